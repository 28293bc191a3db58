/* What the planner knows about the rows of bags. */
#ifndef ELT_BAGSTATS_H
#define ELT_BAGSTATS_H

#include "nodes/pathnodes.h"

#include "base/exec.h"

/*
 * Estimate a bag's relation anew (rel->rows, and what was made of it so far) by counting the rows that meet its own conditions. Leaves it alone where they
 * cannot be evaluated without harm.
 */
extern void elt_bag_estimate_rows(PlannerInfo *root, RelOptInfo *rel, EltBag *bag);

/* When the library is loaded: the planner's hook for statistics of columns. */
extern void elt_bagstats_init(void);

#endif
