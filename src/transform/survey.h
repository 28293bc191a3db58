/* Do parts of some tables give parts of a query's result? */
#ifndef ELT_SURVEY_H
#define ELT_SURVEY_H

#include "nodes/parsenodes.h"

/* A query and the one around it, to find what CTE references mean. */
typedef struct EltLevel
{
	Query	   *query;
	struct EltLevel *outer;
} EltLevel;

typedef struct EltSurvey
{
	Query	   *query;
	List	   *drivers;		/* RangeTblEntry, the ones divided */
	int			nkeys;			/* columns of their partition key; 0: none
								 * that says more than that the parts are
								 * disjoint */
	char		strategy;
	Oid		   *families;		/* of operators, for each */
	Oid		   *collations;

	/* what was found */
	bool		keys_used;		/* it is right only because equal keys are in
								 * one part */
	const char *reason;			/* why not: a code, */
	const char *detail;			/* what it means, */
	const char *hint;			/* and what to do, or NULL */
} EltSurvey;

/* by_partition: the drivers are divided by their partitions, which are the same for all; else there is one driver. */
extern EltSurvey *elt_survey_begin(Query *query, List *drivers, bool by_partition);

/* The whole query; or just its FROM and WHERE, as if nothing was done with their rows. */
extern bool elt_survey_query(EltSurvey *survey);
extern bool elt_survey_from(EltSurvey *survey);

/* The CTE that an entry of `level` reads, NULL where it is its own part; *owner is the level whose WITH has it. */
extern CommonTableExpr *elt_survey_cte(const RangeTblEntry *rte, EltLevel *level, EltLevel **owner);

/* The expression behind a column of a join or of a group, at the query's own level. */
extern Node *elt_survey_resolve(Query *query, Node *node);

/*
 * partial.c: a query that computes the aggregates of parts, and one that combines them, from a CTE elt_partial. False: some aggregate cannot be
 * split exactly, or the query does more than that.
 */
extern bool elt_partial_make(Query *query, Query **partial, Query **combine);

#endif
