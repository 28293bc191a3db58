/* A query level that does several things with rows, as a stack of levels that do one each. */
#ifndef ELT_STACK_H
#define ELT_STACK_H

#include "nodes/parsenodes.h"

/* Has GROUP BY or aggregates; or anything that is not select, join and filter. */
extern bool elt_is_aggregate(Query *query);
extern bool elt_is_heavy(Query *query);

/* SQL to an analysed query. */
extern Query *elt_parse(const char *sql);

/* SELECT all columns, also those that are junk in it, FROM (query); the range table's only entry. query is used, and changed. */
extern Query *elt_wrap(Query *query);

/* The same query, or one that reads another level of it as a subquery: whose own level does one thing only. */
extern Query *elt_stack(Query *query);

/* GROUP BY as columns: the keys, then the aggregates, of the one range table entry that expressions read after elt_grouped_map. */
typedef struct EltGrouped
{
	List	   *keys;			/* expressions */
	List	   *equals;			/* OIDs of operators */
	List	   *aggs;			/* Aggref, as elt_grouped_map finds them */
	int			depth;
} EltGrouped;

extern EltGrouped *elt_grouped_begin(Query *query);
extern Node *elt_grouped_map(EltGrouped *grouped, Node *node);

/* GROUPING SETS: a query for each set. */
extern List *elt_one_by_set(Query *query);

/* UNION, INTERSECT, EXCEPT: the query that groups rows and counts those of each side. */
extern Query *elt_count_sides(Query *query);

#endif
