/* Running one SQL statement over tuplestores that stand in for relations. */
#ifndef ELT_EXEC_H
#define ELT_EXEC_H

#include "access/tupdesc.h"
#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "utils/tuplestore.h"

typedef struct EltBagSample EltBagSample;

/* A tuplestore that stands in for a relation. Its tuples have the relation's columns at their attribute numbers, dropped ones included. */
typedef struct EltBag
{
	const char *name;			/* unqualified name under which SQL text may
								 * refer to it; unique within a call */
	Oid			replaces;		/* every reading mention of this relation
								 * reads the bag; InvalidOid: by name only */
	TupleDesc	tupdesc;
	Tuplestorestate *tuples;
	double		ntuples;		/* for the planner */
	EltBagSample *sample;		/* the planner's own: NULL */
} EltBag;

typedef struct EltExecCounts
{
	uint64		processed;		/* rows, as the command tag counts them */
	uint64		inserted;
	uint64		updated;
	uint64		deleted;
	uint64		offered;		/* rows that an INSERT's source gave, those
								 * that it then left alone included */
} EltExecCounts;

/*
 * Run one statement under (a copy of) the active snapshot, with the effects of all earlier commands of the transaction; ends with a
 * CommandCounterIncrement. params, dest and counts may be NULL; rows without a dest are discarded. See exec.c for what is counted.
 */
extern void elt_exec(const char *sql, EltBag *bags, int nbags, ParamListInfo params, DestReceiver *dest, EltExecCounts *counts);

/* Change a statement's query after its analysis. */
typedef void (*EltQueryChange) (Query *query, void *arg);

/*
 * The same for a statement that is changed before it is planned. Of an INSERT with a dest nothing is inserted: dest gets the rows that would be, whole, as the
 * table has its columns, without what it generates. No rules may rewrite it then.
 */
extern void elt_exec_changed(const char *sql, EltQueryChange change, void *arg, DestReceiver *dest, EltExecCounts *counts);

/*
 * The same, appending the rows (of a SELECT or RETURNING) to `out`. outdesc, unless NULL, gets their descriptor, in the current memory
 * context; nrows, unless NULL, their number. Toasted values stay toasted.
 */
extern void elt_exec_into(const char *sql, EltBag *bags, int nbags, Tuplestorestate *out, TupleDesc *outdesc, uint64 *nrows);

/*
 * A statement planned once, in the current memory context, to be run several times by the same user over bags that have the same names and
 * descriptors. Of the bags' tuples, which may be NULL here, only statistics are made. It is good until the end of the (sub)transaction, which holds its locks.
 */
typedef struct EltPlan EltPlan;

extern EltPlan *elt_plan(const char *sql, EltBag *bags, int nbags);

/* what the planner expects it to cost */
extern double elt_plan_cost(EltPlan *plan);
extern void elt_plan_run(EltPlan *plan, EltBag *bags, int nbags, EltExecCounts *counts);
extern void elt_plan_run_into(EltPlan *plan, EltBag *bags, int nbags, Tuplestorestate *out, TupleDesc *outdesc, uint64 *nrows);

/* and how many rows */
extern double elt_plan_rows(EltPlan *plan);

/* An error unless the current user has the rights that running it takes. */
extern void elt_plan_check_permissions(EltPlan *plan);

/* While a statement is planned: the bag that a range table entry stands for; NULL: it is none of ours. */
extern EltBag *elt_planned_bag(RangeTblEntry *rte);

/* While a statement is planned: memory that stays at least until that is done. */
extern MemoryContext elt_planning_context(void);

/* An error where row-level security of the relation applies to the current user: changes are read without policies. */
extern void elt_check_row_security(Oid relid);

#endif
