/* The change of a part's storage: what is there, against what is to be there. */
#ifndef ELT_CHANGE_H
#define ELT_CHANGE_H

#include "view/delta.h"

typedef struct EltChangeTarget
{
	Oid			storage;
	const char *label;			/* the view's name, for messages */
	int			ncolumns;		/* that are written, in the storage's order:
								 * first the output's */
	char	  **names;
	int			noutput;		/* so many are the part's output */
	int			shown;			/* index of the boolean that says whether a
								 * row is in the output, or -1 */
	int			nkeys;			/* columns that tell rows apart; 0: there may
								 * be equal rows */
	int		   *keys;			/* their indexes */
} EltChangeTarget;

typedef struct EltChangeCounts
{
	int64		inserted;
	int64		updated;
	int64		deleted;
} EltChangeCounts;

typedef struct EltChange EltChange;

/* desc: of the columns that are written. In the current memory context; spills to disk. */
extern EltChange *elt_change_begin(const EltChangeTarget *target, TupleDesc desc);

/*
 * Rows that the storage has, of a statement's result: the columns, then _elt_tid tid, and _elt_frozen boolean (a row that nothing may change). Every
 * stored row that might be removed or updated has to be among them; they are no change by themselves. replaced: they are to go, unless they are added again.
 */
extern void elt_change_old(EltChange *change, Tuplestorestate *store, TupleDesc desc, bool replaced);

/* Rows to add (weight > 0) and to remove (< 0): the columns, then _elt_w int8. */
extern void elt_change_new(EltChange *change, Tuplestorestate *store, TupleDesc desc);

/*
 * Net by image, pair by key what is removed and added to updates, and write: deletes, then updates, then inserts. Frozen rows stay, and nothing takes the place of one
 * with the same key. out (may be NULL): gets the change of the part's output. Returns false, with nothing written, where the rows to remove
 * are not all there: the storage is not what it should be. Runs as the current user. Ends the change, whose target has to live as long.
 */
extern bool elt_change_apply(EltChange *change, EltDelta *out, EltChangeCounts *counts);

#endif
