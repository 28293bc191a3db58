/*
 * order.c
 *	  Does what a block's subqueries give depend on the order in which rows come?
 *
 * A block's change is a difference of what it gives for the tables as they are and as they were: which is right only where the same rows always give the same
 * bytes. So in subqueries that are evaluated in place
 *
 *	  LIMIT, DISTINCT ON, ARRAY (SELECT ... ORDER BY)	get ORDER BY columns that make the order a total one: keys of the tables, or all columns of the output
 *	  array_agg(x ORDER BY y)							likewise its arguments
 *	  without ORDER BY, sums of floats, row_number(), values that are equal and yet different (1.0 and 1.00) as extremes or of groups		cannot be followed
 *
 * What is a part of its own is stored, and read as it was stored. Functions of query trees that ask the catalog.
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "view/aggregate.h"
#include "view/shape.h"
#include "view/stack.h"

typedef struct Order
{
	EltShape   *shape;
	Query	   *query;			/* the level whose expressions are looked at */
} Order;

static bool order_walker(Node *node, void *context);

static bool
is_exact(Node *expr)
{
	/* of one scale, numerics that are equal have the same digits */
	if (exprType(expr) == NUMERICOID && exprTypmod(expr) >= (int32) VARHDRSZ)
		return true;
	return elt_is_exact_type(exprType(expr), exprTypmod(expr), exprCollation(expr));
}

static bool
is_sorted_by(List *sortClause, List *targets, TargetEntry *tle)
{
	ListCell   *lc;

	foreach(lc, sortClause)
		if (equal(get_sortgroupclause_expr(lfirst(lc), targets), tle->expr))
		return true;
	return false;
}

/* Add a sort column at the end; false: its type has no order. */
static bool
sort_also_by(List **sortClause, List *targets, TargetEntry *tle)
{
	SortGroupClause *clause;

	if (is_sorted_by(*sortClause, targets, tle))
		return true;
	clause = makeNode(SortGroupClause);
	get_sort_group_operators(exprType((Node *) tle->expr), false, false, false, &clause->sortop, &clause->eqop, NULL, &clause->hashable);
	if (!OidIsValid(clause->sortop))
		return false;
	clause->tleSortGroupRef = assignSortGroupRef(tle, targets);
	*sortClause = lappend(*sortClause, clause);
	return true;
}

/* By the keys of all tables in FROM, which tell joined rows apart. */
static bool
sort_by_keys(Order *order, Query *query)
{
	Bitmapset  *relids = elt_relids_in((Node *) query->jointree);
	int			rti = -1;
	ListCell   *lc;

	if (elt_is_aggregate(query) || query->hasWindowFuncs || query->setOperations != NULL || query->hasTargetSRFs ||
		(query->distinctClause != NIL && !query->hasDistinctOn))
		return false;
	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);
		EltLeaf    *leaf = elt_leaf_of(order->shape, rte);

		if (rte->rtekind != RTE_JOIN && (leaf == NULL || leaf->source->key == NIL))
			return false;
	}
	rti = -1;
	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		EltLeaf    *leaf = elt_leaf_of(order->shape, rt_fetch(rti, query->rtable));

		if (leaf == NULL)
			continue;
		foreach(lc, leaf->source->key)
		{
			Oid			type;
			int32		typmod;
			Oid			collation;
			Oid			equals;
			TargetEntry *tle;

			elt_source_column(leaf->source, lfirst_int(lc), &type, &typmod, &collation, &equals);
			tle = makeTargetEntry((Expr *) makeVar(rti, lfirst_int(lc), type, typmod, collation, 0), list_length(query->targetList) + 1, NULL, true);
			if (is_sorted_by(query->sortClause, query->targetList, tle))
				continue;
			query->targetList = lappend(query->targetList, tle);
			if (!sort_also_by(&query->sortClause, query->targetList, tle))
				return false;
		}
	}
	return true;
}

/* By all columns of the output. */
static bool
sort_by_output(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && (!is_exact((Node *) tle->expr) || !sort_also_by(&query->sortClause, query->targetList, tle)))
			return false;
	}
	return true;
}

static bool
is_plain_sorted(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && !(is_exact((Node *) tle->expr) && is_sorted_by(query->sortClause, query->targetList, tle)))
			return false;
	}
	return true;
}

/* Make its order, which matters, a total one. */
static bool
settle(Order *order, Query *query)
{
	if (query->sortClause == NIL)
		return false;
	return is_plain_sorted(query) || sort_by_keys(order, query) || sort_by_output(query);
}

/*
 * Aggregates and windows
 */

static bool
is_float(Oid type)
{
	type = getBaseType(type);
	return type == FLOAT4OID || type == FLOAT8OID;
}

/* Does it give the same for the same rows in any order? */
static bool
is_orderless(Aggref *aggref)
{
	static const char *const orderless[] = {"count", "sum", "avg", "bool_and", "bool_or", "every", "bit_and", "bit_or", "bit_xor", "stddev",
		"stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp", "percentile_cont", "percentile_disc", "mode", "rank", "dense_rank",
	"percent_rank", "cume_dist", "range_agg", "range_intersect_agg", NULL};
	static const char *const extremes[] = {"min", "max", NULL};
	char	   *name = get_func_name(aggref->aggfnoid);
	ListCell   *lc;

	if (get_func_namespace(aggref->aggfnoid) != PG_CATALOG_NAMESPACE)
		return false;
	for (int i = 0; extremes[i] != NULL; i++)
		if (strcmp(name, extremes[i]) == 0)
			return is_exact((Node *) linitial_node(TargetEntry, aggref->args)->expr);
	if (strcmp(name, "count") == 0)
		return true;
	foreach(lc, aggref->args)
		if (is_float(exprType((Node *) lfirst_node(TargetEntry, lc)->expr)))
		return false;
	/* of values that are equal, one is shown */
	if (strcmp(name, "mode") == 0 || strcmp(name, "percentile_disc") == 0)
		return is_exact((Node *) linitial_node(TargetEntry, aggref->args)->expr);
	for (int i = 0; orderless[i] != NULL; i++)
		if (strcmp(name, orderless[i]) == 0)
			return true;
	return false;
}

static bool
settle_aggregate(Aggref *aggref)
{
	ListCell   *lc;

	if (is_orderless(aggref))
		return true;
	if (aggref->aggkind != AGGKIND_NORMAL || (aggref->aggorder == NIL && aggref->aggdistinct == NIL))
		return false;
	foreach(lc, aggref->args)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
			continue;
		if (IsA(tle->expr, Const))
			continue;
		if (!is_exact((Node *) tle->expr))
			return false;
		/* DISTINCT sorts by the arguments anyway */
		if (aggref->aggdistinct == NIL && !sort_also_by(&aggref->aggorder, aggref->args, tle))
			return false;
	}
	return true;
}

/* Window functions for which rows that are equal in ORDER BY are equal. */
static bool
window_is_orderless(Query *query, WindowFunc *func)
{
	static const char *const peers[] = {"rank", "dense_rank", "percent_rank", "cume_dist", "count", "sum", "avg", "min", "max", NULL};
	WindowClause *clause = list_nth_node(WindowClause, query->windowClause, func->winref - 1);
	char	   *name = get_func_name(func->winfnoid);

	if (get_func_namespace(func->winfnoid) != PG_CATALOG_NAMESPACE || !(clause->frameOptions & FRAMEOPTION_RANGE) ||
		(clause->frameOptions & FRAMEOPTION_EXCLUSION))
		return false;
	if (func->args != NIL && strcmp(name, "count") != 0 &&
		(is_float(exprType(linitial(func->args))) || ((strcmp(name, "min") == 0 || strcmp(name, "max") == 0) && !is_exact(linitial(func->args)))))
		return false;
	for (int i = 0; peers[i] != NULL; i++)
		if (strcmp(name, peers[i]) == 0)
			return true;
	return false;
}

/*
 * Levels
 */

/* Of rows that are equal, one is shown. */
static bool
groups_are_exact(Query *query, List *clauses)
{
	ListCell   *lc;

	foreach(lc, clauses)
		if (!is_exact(get_sortgroupclause_expr(lfirst(lc), query->targetList)))
		return false;
	return true;
}

/* counts: only whether there are rows. True: it cannot be settled. */
static bool
level_depends(Order *order, Query *query, bool counts)
{
	Order		level = {order->shape, query};

	check_stack_depth();
	if (!counts)
	{
		if ((query->limitCount != NULL || query->limitOffset != NULL || query->hasDistinctOn) && !settle(&level, query))
			return true;
		if (!groups_are_exact(query, query->groupClause) || (!query->hasDistinctOn && !groups_are_exact(query, query->distinctClause)))
			return true;
		if (query->setOperations != NULL && !((SetOperationStmt *) query->setOperations)->all)
		{
			ListCell   *lc;

			foreach(lc, query->targetList)
				if (!is_exact((Node *) lfirst_node(TargetEntry, lc)->expr))
				return true;
		}
	}
	return query_tree_walker(query, order_walker, &level, QTW_IGNORE_JOINALIASES);
}

static bool
order_walker(Node *node, void *context)
{
	Order	   *order = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
	{
		SubLink    *link = (SubLink *) node;
		Query	   *query = castNode(Query, link->subselect);
		Order		level = {order->shape, query};

		if (link->subLinkType == ARRAY_SUBLINK && !settle(&level, query))
			return true;
		return order_walker(link->testexpr, context) || level_depends(order, query, link->subLinkType == EXISTS_SUBLINK);
	}
	if (IsA(node, Aggref) && !settle_aggregate((Aggref *) node))
		return true;
	if (IsA(node, WindowFunc) && !window_is_orderless(order->query, (WindowFunc *) node))
		return true;
	if (IsA(node, Query))
		return level_depends(order, (Query *) node, false);
	return expression_tree_walker(node, order_walker, context);
}

bool
elt_depends_on_order(EltShape *shape, Query *block)
{
	Order		order = {shape, block};

	return query_tree_walker(block, order_walker, &order, QTW_IGNORE_JOINALIASES);
}
