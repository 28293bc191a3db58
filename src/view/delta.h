/* Bags of rows with weights, netted by image. */
#ifndef ELT_DELTA_H
#define ELT_DELTA_H

#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "utils/tuplestore.h"

#include "view/row.h"

#define ELT_WEIGHT_COLUMN	"_elt_w"

/* Rows are added in any order; reading nets them: the weights of rows with the same image (not: that are equal) are added, zeroes vanish. */
typedef struct EltDelta EltDelta;

/* For rows of desc, to which a last column _elt_w int8 is added in the bag. Lives in the current memory context; spills to disk. */
extern EltDelta *elt_delta_begin(TupleDesc desc);
extern void elt_delta_add(EltDelta *delta, MinimalTuple tuple, int64 weight);
extern void elt_delta_add_slot(EltDelta *delta, TupleTableSlot *slot, int64 weight);

/* Add what a statement gave: rows of the delta's columns and, last, their weight (int8; a NULL or zero is passed over). */
extern void elt_delta_add_store(EltDelta *delta, Tuplestorestate *store, TupleDesc desc);

/*
 * Net. The bag's descriptor, tuples and their number; both belong to the delta. Adding again is possible afterwards (what was netted is part of the sum); then
 * it has to be netted again. The order is that in which images were first added, as far as all fit into elt.batch_memory.
 */
extern void elt_delta_net(EltDelta *delta);
extern TupleDesc elt_delta_desc(EltDelta *delta);	/* with _elt_w */
extern Tuplestorestate *elt_delta_tuples(EltDelta *delta);
extern int64 elt_delta_count(EltDelta *delta);
extern bool elt_delta_has_removed(EltDelta *delta); /* a weight below zero */
extern bool elt_delta_has_added(EltDelta *delta);
extern Bitmapset *elt_delta_were_null(EltDelta *delta); /* attribute numbers of
														 * NULLs in rows with a
														 * weight below zero */
extern void elt_delta_free(EltDelta *delta);

/* An empty one for rows of the same columns, in the same context; and: take over its rows, which frees it. */
extern EltDelta *elt_delta_begin_like(EltDelta *delta);
extern void elt_delta_join(EltDelta *delta, EltDelta *from);

#endif
