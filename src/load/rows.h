/* Changed source rows on their way to the target. */
#ifndef ELT_ROWS_H
#define ELT_ROWS_H

#include "access/htup.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/tuplestore.h"

/* What became of one source row: so many tuples of `removed` and of `added`, in their order. */
typedef struct EltRowGroup
{
	uint32		nremoved;
	uint32		nadded;
} EltRowGroup;

typedef struct EltLoadRows
{
	TupleDesc	desc;			/* of the source; not a copy */
	Tuplestorestate *removed;	/* old row versions */
	Tuplestorestate *added;		/* new ones */
	int64		nremoved;
	int64		nadded;
	bool		wants_removed;	/* else they are only counted in groups that
								 * have them */
	EltRowGroup *groups;		/* NULL: not kept */
	int64		ngroups;
	int64		max_groups;
	TupleTableSlot *slot;
} EltLoadRows;

/* Empty, in the current memory context. grouped: remember which tuples belong together, so that the rows can be halved. */
extern EltLoadRows *elt_rows_begin(TupleDesc desc, bool wants_removed, bool grouped);

/* Add one group; the tuples (lists of MinimalTuple) are copied. */
extern void elt_rows_put(EltLoadRows *rows, List *removed, List *added);

/* The first half of the groups, and the second; rows are left as they are. */
extern void elt_rows_halve(EltLoadRows *rows, EltLoadRows **first, EltLoadRows **second);

/* Go through a tuplestore of rows from its beginning. */
extern void elt_rows_rewind(Tuplestorestate *store);

extern void elt_rows_free(EltLoadRows *rows);

#endif
