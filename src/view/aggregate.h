/* Aggregates of a group part. */
#ifndef ELT_AGGREGATE_H
#define ELT_AGGREGATE_H

#include "view/shape.h"
#include "view/stack.h"

/*
 * Decide how the aggregates of a group part are kept: fills in counters and finals, or the query that computes them anew, and makes the part's output
 * read elt_final. Adds the hidden columns. Returns the expressions that the blocks have to give: the keys, then what aggregates read.
 */
extern List *elt_aggregate_plan(EltPart *part, EltGrouped *grouped, Query *query);

/* Are values of a type that are equal the same, byte for byte? */
extern bool elt_is_exact_type(Oid type, int32 typmod, Oid collation);

#endif
