/* Writing a storage: rows to delete, to update, to insert. */
#ifndef ELT_WRITE_H
#define ELT_WRITE_H

#include "view/change.h"

typedef struct EltWriteBag
{
	TupleDesc	desc;
	Tuplestorestate *tuples;
	int64		n;
} EltWriteBag;

typedef struct EltWrite
{
	const EltChangeTarget *target;
	EltWriteBag deletes;		/* _elt_tid */
	EltWriteBag updates;		/* the columns, _elt_tid */
	EltWriteBag inserts;		/* the columns */
} EltWrite;

/* desc: of the columns that are written, and maybe more. In the current memory context. */
extern EltWrite *elt_write_begin(const EltChangeTarget *target, TupleDesc desc);
extern void elt_write_put(EltWriteBag *bag, Datum *values, bool *nulls);

/* Run the statements: deletes, updates (of what is no key), inserts; those without rows are left out. An error where not every row counts. */
extern void elt_write_run(EltWrite *write);
extern void elt_write_end(EltWrite *write);

#endif
