/* What touch.c and compare.c share. */
#ifndef ELT_TOUCH_H
#define ELT_TOUCH_H

#include "view/shape.h"

/* The query level that is being looked at, and those around it. */
typedef struct EltScope
{
	Query	   *query;
	struct EltScope *outer;
} EltScope;

typedef struct EltSearch
{
	EltShape   *shape;
	EltLeaf    *leaf;
	EltScope   *scope;
} EltSearch;

/* Is an expression over what the block reads never NULL, as far as constraints say? */
extern bool elt_is_notnull(EltShape *shape, Query *block, Node *node);

/* The comparison of ANY or ALL as a condition inside the subselect, which has these targets. */
extern Node *elt_test_inside(Node *testexpr, List *targets);

/* Is it true or false for all rows, and never NULL? query: the subselect. */
extern bool elt_test_is_exact(EltSearch *search, Query *query, Node *testexpr);

/* x op ALL (...) as NOT (x other ANY (...)): the other comparison; NULL: there is none. */
extern Node *elt_test_negated(Node *testexpr);

/*
 * EXISTS (query), where an equality binds it to a column of the level around that has an index, and values are few: a comparison with an array of them.
 * Else NULL. Of EXISTS the planner expects many rows, and then reads whole tables to join them. *exact: nothing else binds it; else the comparison holds for
 * more rows, and EXISTS is needed beside it.
 */
extern Node *elt_by_array(EltSearch *search, Query *query, bool *exact);

#endif
