/*
 * stack.c
 *	  A query level that does several things with rows, as a stack of levels that do one each.
 *
 *	  SELECT DISTINCT sum(x) OVER (...) ... GROUP BY ... LIMIT   ->   limit (distinct (window (group (select, join, filter))))
 *
 * Also: GROUPING SETS as the UNION ALL of one GROUP BY for each set; UNION, INTERSECT and EXCEPT as groups that count the rows of each side.
 *
 * Pure functions of query trees, but for the parser, which is asked to analyse rewritten set operations.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_agg.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "view/aggregate.h"
#include "base/compat.h"
#include "base/query.h"
#include "view/stack.h"

#define MAX_SETS	256

bool
elt_is_aggregate(Query *query)
{
	return query->hasAggs || query->groupClause != NIL || query->groupingSets != NIL || query->havingQual != NULL;
}

bool
elt_is_heavy(Query *query)
{
	return elt_is_aggregate(query) || query->hasWindowFuncs || query->distinctClause != NIL ||
		query->limitCount != NULL || query->limitOffset != NULL || query->setOperations != NULL;
}

Query *
elt_parse(const char *sql)
{
	List	   *parsed = pg_parse_query(sql);

	return parse_analyze_fixedparams(linitial_node(RawStmt, parsed), sql, NULL, 0, NULL);
}

Query *
elt_wrap(Query *query)
{
	Query	   *result = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell   *lc;

	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->inFromCl = true;
	rte->eref = makeAlias("q", NIL);
	result->commandType = CMD_SELECT;
	result->querySource = QSRC_ORIGINAL;
	result->canSetTag = true;
	result->rtable = list_make1(rte);
	ref->rtindex = 1;
	result->jointree = makeFromExpr(list_make1(ref), NULL);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		TargetEntry *copy;

		if (tle->resname == NULL || tle->resjunk)
			tle->resname = psprintf("_elt_o%d", tle->resno);
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(tle->resname));
		copy = makeTargetEntry((Expr *) makeVar(1, tle->resno, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr),
												exprCollation((Node *) tle->expr), 0),
							   tle->resno, pstrdup(tle->resname), tle->resjunk);
		copy->ressortgroupref = tle->ressortgroupref;
		result->targetList = lappend(result->targetList, copy);
		tle->resjunk = false;
	}
	return result;
}

/* Put LIMIT, or DISTINCT (and what is above it), into a level of its own. */
static Query *
lift(Query *query, bool distinct)
{
	Query	   *inner = copyObject(query);
	Query	   *outer;

	inner->limitCount = inner->limitOffset = NULL;
	inner->limitOption = LIMIT_OPTION_COUNT;
	if (distinct || !inner->hasDistinctOn)
		inner->sortClause = NIL;
	if (distinct)
	{
		inner->distinctClause = NIL;
		inner->hasDistinctOn = false;
	}
	outer = elt_wrap(inner);
	outer->sortClause = copyObject(query->sortClause);
	outer->limitCount = copyObject(query->limitCount);
	outer->limitOffset = copyObject(query->limitOffset);
	outer->limitOption = query->limitOption;
	if (distinct)
	{
		outer->distinctClause = copyObject(query->distinctClause);
		outer->hasDistinctOn = query->hasDistinctOn;
	}
	return outer;
}

/*
 * Results of GROUP BY as columns
 */

static bool
same_at_depth(Node *node, Node *expr, int depth)
{
	if (depth > 0)
	{
		expr = copyObject(expr);
		IncrementVarSublevelsUp(expr, depth, 0);
	}
	return equal(node, expr);
}

static Node *
column_var(EltGrouped *grouped, int column, Node *expr)
{
	return (Node *) makeVar(1, column, exprType(expr), exprTypmod(expr), exprCollation(expr), grouped->depth);
}

static Node *
grouped_mutator(Node *node, void *context)
{
	EltGrouped *grouped = context;
	int			column = 0;
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	foreach(lc, grouped->keys)
	{
		column++;
		if (same_at_depth(node, lfirst(lc), grouped->depth))
			return column_var(grouped, column, lfirst(lc));
	}
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup == grouped->depth)
	{
		Aggref	   *aggref = copyObject((Aggref *) node);

		if (grouped->depth > 0)
			IncrementVarSublevelsUp((Node *) aggref, -grouped->depth, grouped->depth);
		aggref->location = -1;
		foreach(lc, grouped->aggs)
		{
			column++;
			if (equal(aggref, lfirst(lc)))
				return column_var(grouped, column, (Node *) aggref);
		}
		grouped->aggs = lappend(grouped->aggs, aggref);
		return column_var(grouped, column + 1, (Node *) aggref);
	}
	if (IsA(node, GroupingFunc) && (int) ((GroupingFunc *) node)->agglevelsup == grouped->depth)
		return (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(0), false, true);
	if (IsA(node, Var) && (int) ((Var *) node)->varlevelsup == grouped->depth)
		elog(ERROR, "ungrouped column in a grouped query");
	if (IsA(node, Query))
	{
		Query	   *result;

		grouped->depth++;
		result = query_tree_mutator((Query *) node, grouped_mutator, context, QTW_IGNORE_JOINALIASES);
		grouped->depth--;
		return (Node *) result;
	}
	return expression_tree_mutator(node, grouped_mutator, context);
}

Node *
elt_grouped_map(EltGrouped *grouped, Node *node)
{
	grouped->depth = 0;
	return grouped_mutator(node, grouped);
}

/* Columns that are determined by the grouping columns (GROUP BY a primary key) group as well. */
static bool
ungrouped_walker(Node *node, void *context)
{
	EltGrouped *grouped = context;
	ListCell   *lc;

	if (node == NULL)
		return false;
	foreach(lc, grouped->keys)
		if (same_at_depth(node, lfirst(lc), grouped->depth))
		return false;
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup == grouped->depth)
		return false;
	if (IsA(node, GroupingFunc))
		return false;
	if (IsA(node, Var))
	{
		if ((int) ((Var *) node)->varlevelsup == grouped->depth)
		{
			Var		   *var = copyObject((Var *) node);
			Oid			equals;

			var->varlevelsup = 0;
			get_sort_group_operators(var->vartype, false, true, false, NULL, &equals, NULL, NULL);
			grouped->keys = lappend(grouped->keys, var);
			grouped->equals = lappend_oid(grouped->equals, equals);
		}
		return false;
	}
	if (IsA(node, Query))
	{
		grouped->depth++;
		(void) query_tree_walker((Query *) node, ungrouped_walker, context, QTW_IGNORE_JOINALIASES);
		grouped->depth--;
		return false;
	}
	return expression_tree_walker(node, ungrouped_walker, context);
}

EltGrouped *
elt_grouped_begin(Query *query)
{
	EltGrouped *grouped = palloc0(sizeof(EltGrouped));
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Node	   *key = get_sortgroupclause_expr(clause, query->targetList);

		/* GROUP BY a constant is no key, but makes groups */
		if (list_member(grouped->keys, key))
			continue;
		grouped->keys = lappend(grouped->keys, key);
		grouped->equals = lappend_oid(grouped->equals, clause->eqop);
	}
	(void) ungrouped_walker((Node *) query->targetList, grouped);
	(void) ungrouped_walker(query->havingQual, grouped);
	return grouped;
}

/* A level for GROUP BY that gives keys and results of aggregates, below one for everything else. */
static Query *
lower_aggregates(Query *query)
{
	EltGrouped *grouped = elt_grouped_begin(query);
	Query	   *outer = copyObject(query);
	Query	   *inner = copyObject(query);
	bool		having_moves = query->havingQual != NULL && checkExprHasSubLink(query->havingQual);
	Query	   *wrapped;
	int			resno = 0;
	ListCell   *lc;
	ListCell   *lc2;

	outer->targetList = (List *) elt_grouped_map(grouped, (Node *) outer->targetList);
	outer->windowClause = (List *) elt_grouped_map(grouped, (Node *) outer->windowClause);
	outer->havingQual = having_moves ? elt_grouped_map(grouped, outer->havingQual) : NULL;

	inner->targetList = inner->groupClause = NIL;
	if (having_moves)
		inner->havingQual = NULL;
	inner->windowClause = inner->distinctClause = inner->sortClause = NIL;
	inner->hasWindowFuncs = inner->hasTargetSRFs = inner->hasDistinctOn = false;
	inner->limitCount = inner->limitOffset = NULL;
	forboth(lc, grouped->keys, lc2, grouped->equals)
	{
		TargetEntry *tle;
		SortGroupClause *clause = makeNode(SortGroupClause);

		resno++;
		tle = makeTargetEntry(copyObject(lfirst(lc)), resno, psprintf("k%d", resno), false);
		tle->ressortgroupref = resno;
		clause->tleSortGroupRef = resno;
		clause->eqop = lfirst_oid(lc2);
		get_sort_group_operators(exprType(lfirst(lc)), false, false, false, &clause->sortop, NULL, NULL, &clause->hashable);
		inner->targetList = lappend(inner->targetList, tle);
		inner->groupClause = lappend(inner->groupClause, clause);
	}
	foreach(lc, grouped->aggs)
	{
		resno++;
		inner->targetList = lappend(inner->targetList, makeTargetEntry(copyObject(lfirst(lc)), resno, psprintf("a%d", resno), false));
	}
	inner->hasAggs = true;

	wrapped = elt_wrap(inner);
	outer->rtable = wrapped->rtable;
	outer->jointree = wrapped->jointree;
	outer->jointree->quals = outer->havingQual;
	outer->havingQual = NULL;
	outer->groupClause = NIL;
	outer->hasAggs = false;
	elt_forget_perminfos(outer);
	return outer;
}

/*
 * Aggregates that are all over the distinct values of one expression: those values as groups below, so that each is counted and not looked for again.
 */

typedef struct DistinctArg
{
	EltGrouped *grouped;
	Node	   *arg;
	Oid			equals;
	bool		other;			/* an aggregate of another kind */
	bool		over_below;		/* mutator: put the column in the place of the
								 * argument */
} DistinctArg;

static bool
distinct_arg_walker(Node *node, void *context)
{
	DistinctArg *distinct = context;

	if (node == NULL)
		return false;
	if (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0)
	{
		Aggref	   *aggref = (Aggref *) node;
		Node	   *arg = list_length(aggref->args) == 1 ? (Node *) linitial_node(TargetEntry, aggref->args)->expr : NULL;

		if (aggref->aggdistinct == NIL || arg == NULL || aggref->aggfilter != NULL || aggref->aggdirectargs != NIL ||
			(distinct->arg != NULL && !equal(distinct->arg, arg)))
			distinct->other = true;
		else
		{
			distinct->arg = arg;
			distinct->equals = linitial_node(SortGroupClause, aggref->aggdistinct)->eqop;
		}
		return false;
	}
	return expression_tree_walker(node, distinct_arg_walker, context);
}

static Node *
over_distinct_mutator(Node *node, void *context)
{
	DistinctArg *distinct = context;
	int			column = 0;
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	foreach(lc, distinct->grouped->keys)
	{
		column++;
		if (equal(node, lfirst(lc)))
			return (Node *) makeVar(1, column, exprType(node), exprTypmod(node), exprCollation(node), 0);
	}
	if (IsA(node, Aggref))
	{
		Aggref	   *aggref = copyObject((Aggref *) node);
		TargetEntry *tle = linitial_node(TargetEntry, aggref->args);

		tle->expr = (Expr *) makeVar(1, list_length(distinct->grouped->keys) + 1, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr),
									 exprCollation((Node *) tle->expr), 0);
		aggref->aggdistinct = aggref->aggorder = NIL;
		tle->ressortgroupref = 0;
		return (Node *) aggref;
	}
	return expression_tree_mutator(node, over_distinct_mutator, context);
}

/* SELECT keys FROM and WHERE of query GROUP BY keys */
static Query *
groups_below(Query *query, List *keys, List *equals)
{
	Query	   *inner = copyObject(query);
	int			resno = 0;
	ListCell   *lc;
	ListCell   *lc2;

	inner->targetList = inner->groupClause = NIL;
	inner->havingQual = NULL;
	inner->sortClause = NIL;
	inner->hasAggs = inner->hasTargetSRFs = false;
	forboth(lc, keys, lc2, equals)
	{
		TargetEntry *tle;
		SortGroupClause *clause = makeNode(SortGroupClause);

		resno++;
		tle = makeTargetEntry(copyObject(lfirst(lc)), resno, psprintf("k%d", resno), false);
		tle->ressortgroupref = clause->tleSortGroupRef = resno;
		clause->eqop = lfirst_oid(lc2);
		get_sort_group_operators(exprType(lfirst(lc)), false, false, false, &clause->sortop, NULL, NULL, &clause->hashable);
		inner->targetList = lappend(inner->targetList, tle);
		inner->groupClause = lappend(inner->groupClause, clause);
	}
	return inner;
}

static Query *
lower_distinct(Query *query)
{
	DistinctArg distinct = {elt_grouped_begin(query)};
	Query	   *outer;
	Query	   *wrapped;

	(void) distinct_arg_walker((Node *) query->targetList, &distinct);
	(void) distinct_arg_walker(query->havingQual, &distinct);
	if (distinct.arg == NULL || distinct.other || checkExprHasSubLink(distinct.arg) || expression_returns_set(distinct.arg) ||
		!elt_is_exact_type(exprType(distinct.arg), exprTypmod(distinct.arg), exprCollation(distinct.arg)) ||
		list_member(distinct.grouped->keys, distinct.arg))
		return NULL;
	wrapped = elt_wrap(groups_below(query, lappend(list_copy(distinct.grouped->keys), distinct.arg),
									lappend_oid(list_copy(distinct.grouped->equals), distinct.equals)));
	outer = copyObject(query);
	outer->targetList = (List *) over_distinct_mutator((Node *) outer->targetList, &distinct);
	outer->havingQual = over_distinct_mutator(outer->havingQual, &distinct);
	outer->rtable = wrapped->rtable;
	outer->jointree = wrapped->jointree;
	outer->constraintDeps = NIL;
	elt_forget_perminfos(outer);
	return outer;
}

/* Is there a subquery, or a set-returning function, in what is computed from groups? */
static bool
beside_aggregates_walker(Node *node, void *context)
{
	if (node == NULL || (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0))
		return false;
	if (IsA(node, SubLink))
		return true;
	return expression_tree_walker(node, beside_aggregates_walker, context);
}

Query *
elt_stack(Query *query)
{
	bool		limit = query->limitCount != NULL || query->limitOffset != NULL;
	bool		distinct = query->distinctClause != NIL;
	bool		aggregate = elt_is_aggregate(query);

	if (limit && (distinct || query->hasWindowFuncs || aggregate || query->setOperations != NULL || query->hasTargetSRFs))
		return lift(query, false);
	if (distinct && (query->hasWindowFuncs || aggregate || query->hasTargetSRFs))
		return lift(query, true);
	if (query->groupingSets == NIL && aggregate &&
		(query->hasWindowFuncs || query->hasTargetSRFs || beside_aggregates_walker((Node *) query->targetList, NULL) ||
		 beside_aggregates_walker(query->havingQual, NULL)))
		return lower_aggregates(query);
	if (query->groupingSets == NIL && aggregate)
	{
		Query	   *lowered = lower_distinct(query);

		return lowered != NULL ? lowered : query;
	}
	return query;
}

/*
 * GROUPING SETS
 */

typedef struct OneSet
{
	List	   *refs;			/* int: sort-group references in the set */
	List	   *members;		/* their expressions */
	List	   *others;			/* expressions that are NULL in it */
} OneSet;

static Node *
one_set_mutator(Node *node, void *context)
{
	OneSet	   *set = context;
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref))
		return copyObject(node);
	if (IsA(node, GroupingFunc))
	{
		int32		bits = 0;

		foreach(lc, ((GroupingFunc *) node)->refs)
			bits = (bits << 1) | !list_member_int(set->refs, lfirst_int(lc));
		return (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(bits), false, true);
	}
	if (list_member(set->members, node))
		return copyObject(node);
	foreach(lc, set->others)
	{
		if (equal(node, lfirst(lc)))
			return (Node *) makeNullConst(exprType(node), exprTypmod(node), exprCollation(node));
	}
	return expression_tree_mutator(node, one_set_mutator, context);
}

List *
elt_one_by_set(Query *query)
{
	List	   *sets = expand_grouping_sets(query->groupingSets, query->groupDistinct, MAX_SETS);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, sets)
	{
		Query	   *one = copyObject(query);
		OneSet		set = {lfirst(lc), NIL, NIL};
		ListCell   *lc2;

		one->groupingSets = one->groupClause = NIL;
		foreach(lc2, query->groupClause)
		{
			SortGroupClause *clause = lfirst_node(SortGroupClause, lc2);

			if (list_member_int(set.refs, clause->tleSortGroupRef))
			{
				one->groupClause = lappend(one->groupClause, copyObject(clause));
				set.members = lappend(set.members, get_sortgroupclause_expr(clause, query->targetList));
			}
			else
				set.others = lappend(set.others, get_sortgroupclause_expr(clause, query->targetList));
		}
		one->targetList = (List *) one_set_mutator((Node *) one->targetList, &set);
		one->havingQual = one_set_mutator(one->havingQual, &set);
		one->hasAggs = true;
		/* the empty set gives one row, also without an aggregate */
		if (one->groupClause == NIL && one->havingQual == NULL)
			one->havingQual = makeBoolConst(true, false);
		one->sortClause = NIL;
		result = lappend(result, one);
	}
	return result;
}

/*
 * Set operations
 */

static char *
operand(Query *query, Node *node)
{
	if (IsA(node, RangeTblRef))
		return elt_deparse(rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable)->subquery);
	else
	{
		Query	   *copy = copyObject(query);

		copy->setOperations = copyObject(node);
		copy->sortClause = NIL;
		copy->limitCount = copy->limitOffset = NULL;
		return elt_deparse(copy);
	}
}

static char *
trim_semicolon(char *sql)
{
	int			len = strlen(sql);

	while (len > 0 && (sql[len - 1] == ';' || sql[len - 1] == ' '))
		sql[--len] = '\0';
	return sql;
}

Query *
elt_count_sides(Query *query)
{
	SetOperationStmt *op = castNode(SetOperationStmt, query->setOperations);
	char	   *left = trim_semicolon(operand(query, op->larg));
	char	   *right = trim_semicolon(operand(query, op->rarg));
	StringInfoData columns;
	StringInfoData named;
	StringInfoData sql;
	EltShape	ignored = {0};
	int			n = 0;
	ListCell   *lc;

	initStringInfo(&columns);
	initStringInfo(&named);
	initStringInfo(&sql);
	foreach(lc, query->targetList)
	{
		n++;
		appendStringInfo(&columns, "%sc%d", n > 1 ? ", " : "", n);
		appendStringInfo(&named, "%sc%d AS %s", n > 1 ? ", " : "", n, quote_identifier(lfirst_node(TargetEntry, lc)->resname));
	}
	if (n == 0 || (op->op == SETOP_UNION && op->all))
		return NULL;
	if (op->op == SETOP_UNION)
		appendStringInfo(&sql, "SELECT DISTINCT %s FROM ((%s) UNION ALL (%s)) q(%s)", named.data, left, right, columns.data);
	else
	{
		appendStringInfo(&sql, "SELECT %s, pg_catalog.count(*) FILTER (WHERE _elt_side OPERATOR(pg_catalog.=) 0) AS _elt_l, "
						 "pg_catalog.count(*) FILTER (WHERE _elt_side OPERATOR(pg_catalog.=) 1) AS _elt_r FROM "
						 "(SELECT l.*, 0 FROM (%s) l UNION ALL SELECT r.*, 1 FROM (%s) r) q(%s, _elt_side) GROUP BY %s",
						 columns.data, left, right, columns.data, columns.data);
		if (op->all)
		{
			char	   *inner = pstrdup(sql.data);

			resetStringInfo(&sql);
			appendStringInfo(&sql, "SELECT %s FROM (%s) s, LATERAL pg_catalog.generate_series(1::bigint, %s) g", named.data, inner,
							 op->op == SETOP_INTERSECT ? "LEAST(_elt_l, _elt_r)" : "_elt_l OPERATOR(pg_catalog.-) _elt_r");
		}
		else
		{
			resetStringInfo(&sql);
			appendStringInfo(&sql, "SELECT %s FROM (SELECT l.*, 0 FROM (%s) l UNION ALL SELECT r.*, 1 FROM (%s) r) q(%s, _elt_side) GROUP BY %s "
							 "HAVING pg_catalog.count(*) FILTER (WHERE _elt_side OPERATOR(pg_catalog.=) 0) OPERATOR(pg_catalog.>) 0 AND "
							 "pg_catalog.count(*) FILTER (WHERE _elt_side OPERATOR(pg_catalog.=) 1) OPERATOR(pg_catalog.%s) 0",
							 named.data, left, right, columns.data, columns.data, op->op == SETOP_INTERSECT ? ">" : "=");
		}
	}
	return elt_flatten(&ignored, elt_parse(sql.data));
}
