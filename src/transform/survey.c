/*
 * survey.c
 *	  Do parts of some tables (the drivers) give parts of a query's result?
 *
 * The query is looked at from the bottom up. At each place the rows are either the same for all tasks (nothing was divided below), or
 * they are divided: each row of the whole appears in just one task. For divided rows it is known which columns hold the drivers' partition key: rows
 * with equal keys are in the same task.
 *
 *	  whole JOIN whole			whole
 *	  divided JOIN whole		divided, unless rows of the whole side are kept where nothing matches
 *	  divided JOIN divided		divided, if the keys are equated
 *	  GROUP BY, DISTINCT, windows	divided, if the key is among their columns
 *	  UNION ALL					divided, if all branches are
 *	  LIMIT and others			no
 *
 * Pure functions of query trees.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/stratnum.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "transform/survey.h"

/* Two columns of a level that are equal in each row, as the partition key's columns in `mask` compare. */
typedef struct Pair
{
	Var		   *a;
	Var		   *b;
	uint32		mask;
} Pair;

/* Rows at some place in a level. */
typedef struct Rows
{
	bool		divided;
	List	   *keys;			/* of lists of Var: columns that hold the key */
	List	   *pairs;			/* what is known to be equal */
} Rows;

/* What a level gives to the one around it. */
typedef struct Output
{
	bool		divided;
	List	   *keys;			/* of lists of column numbers */
} Output;

static bool survey_level(EltSurvey *survey, Query *query, EltLevel *outer, Output *output);
static bool survey_node(EltSurvey *survey, EltLevel *level, Node *node, List *known, Rows *rows);

static bool
fail(EltSurvey *survey, const char *reason, const char *detail, const char *hint)
{
	survey->reason = reason;
	survey->detail = detail;
	survey->hint = hint;
	return false;
}

EltSurvey *
elt_survey_begin(Query *query, List *drivers, bool by_partition)
{
	EltSurvey  *survey = palloc0(sizeof(EltSurvey));
	Relation	rel;
	PartitionKey key;

	survey->query = query;
	survey->drivers = drivers;
	if (!by_partition)
		return survey;
	rel = relation_open(linitial_node(RangeTblEntry, drivers)->relid, AccessShareLock);
	key = RelationGetPartitionKey(rel);
	survey->strategy = key->strategy;
	survey->nkeys = key->partnatts;
	survey->families = palloc(sizeof(Oid) * key->partnatts);
	survey->collations = palloc(sizeof(Oid) * key->partnatts);
	memcpy(survey->families, key->partopfamily, sizeof(Oid) * key->partnatts);
	memcpy(survey->collations, key->partcollation, sizeof(Oid) * key->partnatts);
	relation_close(rel, NoLock);
	return survey;
}

CommonTableExpr *
elt_survey_cte(const RangeTblEntry *rte, EltLevel *level, EltLevel **owner)
{
	ListCell   *lc;

	for (Index up = rte->ctelevelsup; up > 0; up--)
		level = level->outer;
	*owner = level;
	foreach(lc, level->query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (strcmp(cte->ctename, rte->ctename) == 0)
			return rte->self_reference ? NULL : cte;
	}
	elog(ERROR, "could not find CTE \"%s\"", rte->ctename);
	return NULL;
}

/*
 * Columns
 */

Node *
elt_survey_resolve(Query *query, Node *node)
{
	for (;;)
	{
		Var		   *var = (Var *) node;
		RangeTblEntry *rte;

		while (node != NULL && IsA(node, RelabelType))
			node = (Node *) ((RelabelType *) node)->arg;
		var = (Var *) node;
		if (node == NULL || !IsA(node, Var) || var->varlevelsup > 0 || var->varattno <= 0)
			return node;
		rte = rt_fetch(var->varno, query->rtable);
		if (!elt_rte_has_exprs(rte))
			return node;
		node = list_nth(elt_rte_exprs(rte), var->varattno - 1);
	}
}

/* The column of this level that an expression is; NULL: none. */
static Var *
column_of(Query *query, Node *node)
{
	node = elt_survey_resolve(query, node);
	return node != NULL && IsA(node, Var) && ((Var *) node)->varlevelsup == 0 && ((Var *) node)->varattno > 0 ? (Var *) node : NULL;
}

static bool
same_column(Var *a, Var *b)
{
	return a->varno == b->varno && a->varattno == b->varattno;
}

/* Does the operator say that values are equal as the key's n-th column compares them? */
static bool
is_key_equality(EltSurvey *survey, Oid operator, Oid collation, int n)
{
	int			equal = survey->strategy == PARTITION_STRATEGY_HASH ? HTEqualStrategyNumber : BTEqualStrategyNumber;

	return get_op_opfamily_strategy(operator, survey->families[n]) == equal &&
		(!OidIsValid(survey->collations[n]) || collation == survey->collations[n]);
}

static void
add_pair(EltSurvey *survey, Query *query, OpExpr *op, List **pairs)
{
	Pair	   *pair = palloc0(sizeof(Pair));

	if (list_length(op->args) != 2)
		return;
	pair->a = column_of(query, linitial(op->args));
	pair->b = column_of(query, lsecond(op->args));
	for (int i = 0; i < survey->nkeys; i++)
		if (is_key_equality(survey, op->opno, op->inputcollid, i))
			pair->mask |= 1U << i;
	if (pair->a != NULL && pair->b != NULL && pair->mask != 0)
		*pairs = lappend(*pairs, pair);
}

/* The equalities among conditions that all must hold. */
static List *
pairs_of(EltSurvey *survey, Query *query, Node *quals)
{
	List	   *pairs = NIL;
	ListCell   *lc;

	foreach(lc, make_ands_implicit((Expr *) quals))
	{
		Node	   *qual = lfirst(lc);

		if (IsA(qual, OpExpr))
			add_pair(survey, query, (OpExpr *) qual, &pairs);
		else if (is_andclause(qual))
			pairs = list_concat(pairs, pairs_of(survey, query, qual));
	}
	return pairs;
}

/* Are two columns equal, directly or through others? */
static bool
connected(Var *from, Var *to, List *pairs, int n)
{
	List	   *reached = list_make1(from);
	bool		grown = true;
	ListCell   *lc;
	ListCell   *lc2;

	while (grown)
	{
		grown = false;
		foreach(lc, reached)
			if (same_column(lfirst(lc), to))
			return true;
		foreach(lc, pairs)
		{
			Pair	   *pair = lfirst(lc);
			bool		a = false;
			bool		b = false;

			if ((pair->mask & (1U << n)) == 0)
				continue;
			foreach(lc2, reached)
			{
				a = a || same_column(lfirst(lc2), pair->a);
				b = b || same_column(lfirst(lc2), pair->b);
			}
			if (a != b)
			{
				reached = lappend(reached, a ? pair->b : pair->a);
				grown = true;
			}
		}
	}
	return false;
}

static bool
keys_connected(EltSurvey *survey, List *one, List *other, List *pairs)
{
	for (int i = 0; i < survey->nkeys; i++)
		if (!connected(list_nth(one, i), list_nth(other, i), pairs, i))
			return false;
	return survey->nkeys > 0;
}

static bool
rows_connected(EltSurvey *survey, Rows *a, Rows *b, List *pairs)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, a->keys)
	{
		foreach(lc2, b->keys)
		{
			if (keys_connected(survey, lfirst(lc), lfirst(lc2), pairs))
				return true;
		}
	}
	return false;
}

/*
 * Joins
 */

static bool
fail_colocation(EltSurvey *survey)
{
	return fail(survey, "not_colocated", "Tables that would have to be divided together are not joined on their partition keys.",
				"Join them on all columns of the partition key.");
}

static bool
fail_outer_join(EltSurvey *survey)
{
	return fail(survey, "outer_join", "The table is on the side of an outer join that is filled with NULLs where no row matches.",
				"Put the large table on the other side of the join, or give both tables the same partitioning and join them on it.");
}

/* Inner joins of all of these, as far as their rows are divided. */
static bool
join_all(EltSurvey *survey, List *items, List *pairs, Rows *result)
{
	List	   *left = NIL;
	bool		merged = true;
	ListCell   *lc;

	memset(result, 0, sizeof(Rows));
	result->pairs = pairs;
	foreach(lc, items)
	{
		if (((Rows *) lfirst(lc))->divided)
			left = lappend(left, lfirst(lc));
	}
	if (left == NIL)
		return true;
	result->divided = true;
	result->keys = ((Rows *) linitial(left))->keys;
	left = list_delete_first(left);
	while (merged && left != NIL)
	{
		merged = false;
		foreach(lc, left)
		{
			Rows	   *rows = lfirst(lc);

			if (!rows_connected(survey, result, rows, pairs))
				continue;
			result->keys = list_concat_copy(result->keys, rows->keys);
			survey->keys_used = true;
			left = foreach_delete_current(left, lc);
			merged = true;
		}
	}
	return left == NIL || fail_colocation(survey);
}

static bool
join_outer(EltSurvey *survey, JoinType type, Rows *kept, Rows *filled, List *pairs, Rows *result)
{
	memset(result, 0, sizeof(Rows));
	if (!kept->divided && !filled->divided)
		return true;
	if (!kept->divided || (type == JOIN_FULL && !filled->divided))
		return fail_outer_join(survey);
	if (filled->divided)
	{
		if (!rows_connected(survey, kept, filled, pairs))
			return fail_colocation(survey);
		survey->keys_used = true;
	}
	result->divided = true;
	/* a key that may be filled with NULL says nothing */
	if (type != JOIN_FULL)
	{
		result->keys = kept->keys;
		result->pairs = kept->pairs;
	}
	return true;
}

static bool
survey_join(EltSurvey *survey, EltLevel *level, JoinExpr *join, List *known, Rows *result)
{
	List	   *pairs = pairs_of(survey, level->query, join->quals);
	bool		inner = join->jointype == JOIN_INNER;
	List	   *both = inner ? list_concat_copy(known, pairs) : pairs;
	Rows		left;
	Rows		right;

	/*
	 * what must hold for a row to be in the result may be used below, but on
	 * the side that is filled only the join's own condition
	 */
	if (!survey_node(survey, level, join->larg, inner ? both : join->jointype == JOIN_LEFT ? known : join->jointype == JOIN_RIGHT ? pairs : NIL, &left) ||
		!survey_node(survey, level, join->rarg, inner ? both : join->jointype == JOIN_RIGHT ? known : join->jointype == JOIN_LEFT ? pairs : NIL, &right))
		return false;
	both = list_concat(list_concat_copy(both, left.pairs), right.pairs);
	switch (join->jointype)
	{
		case JOIN_INNER:
			return join_all(survey, list_make2(&left, &right), both, result);
		case JOIN_LEFT:
		case JOIN_FULL:
			return join_outer(survey, join->jointype, &left, &right, both, result);
		case JOIN_RIGHT:
			return join_outer(survey, join->jointype, &right, &left, both, result);
		default:
			return fail(survey, "join", "It has a join of an unknown kind.", NULL);
	}
}

/* The key columns of a table that is divided by its partitions. */
static List *
keys_of_table(EltSurvey *survey, RangeTblEntry *rte, Index rti)
{
	Relation	rel = relation_open(rte->relid, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(rel);
	List	   *columns = NIL;

	for (int i = 0; i < survey->nkeys; i++)
	{
		if (key->partattrs[i] <= 0)
		{
			/* an expression */
			relation_close(rel, NoLock);
			return NIL;
		}
		columns = lappend(columns, makeVar(rti, key->partattrs[i], key->parttypid[i], key->parttypmod[i], key->parttypcoll[i], 0));
	}
	relation_close(rel, NoLock);
	return columns == NIL ? NIL : list_make1(columns);
}

/* Keys of a subquery's output as columns of the level that reads it. */
static List *
keys_from_output(Output *output, Index rti)
{
	List	   *keys = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, output->keys)
	{
		List	   *columns = NIL;

		foreach(lc2, lfirst(lc))
			columns = lappend(columns, makeVar(rti, lfirst_int(lc2), InvalidOid, -1, InvalidOid, 0));
		keys = lappend(keys, columns);
	}
	return keys;
}

static bool
survey_entry(EltSurvey *survey, EltLevel *level, Index rti, Rows *rows)
{
	RangeTblEntry *rte = rt_fetch(rti, level->query->rtable);
	Output		output = {0};

	memset(rows, 0, sizeof(Rows));
	if (rte->rtekind == RTE_RELATION)
	{
		rows->divided = list_member_ptr(survey->drivers, rte);
		if (rows->divided)
			rows->keys = keys_of_table(survey, rte, rti);
		return true;
	}
	if (rte->rtekind == RTE_SUBQUERY)
	{
		if (!survey_level(survey, rte->subquery, level, &output))
			return false;
	}
	else if (rte->rtekind == RTE_CTE)
	{
		EltLevel   *owner;
		CommonTableExpr *cte = elt_survey_cte(rte, level, &owner);

		if (cte != NULL && !cte->cterecursive && cte->cterefcount == 1 && !survey_level(survey, castNode(Query, cte->ctequery), owner, &output))
			return false;
	}
	if (output.divided && rte->lateral)
		return fail(survey, "lateral", "The table is read anew for rows of another one.", "Write the LATERAL subquery as a join.");
	rows->divided = output.divided;
	rows->keys = keys_from_output(&output, rti);
	return true;
}

static bool
survey_node(EltSurvey *survey, EltLevel *level, Node *node, List *known, Rows *rows)
{
	FromExpr   *from;
	List	   *items = NIL;
	List	   *pairs;
	ListCell   *lc;

	check_stack_depth();
	if (IsA(node, RangeTblRef))
		return survey_entry(survey, level, ((RangeTblRef *) node)->rtindex, rows);
	if (IsA(node, JoinExpr))
		return survey_join(survey, level, (JoinExpr *) node, known, rows);
	from = castNode(FromExpr, node);
	pairs = list_concat_copy(known, pairs_of(survey, level->query, from->quals));
	foreach(lc, from->fromlist)
	{
		Rows	   *item = palloc0(sizeof(Rows));

		if (!survey_node(survey, level, lfirst(lc), pairs, item))
			return false;
		items = lappend(items, item);
	}
	foreach(lc, items)
		pairs = list_concat_copy(pairs, ((Rows *) lfirst(lc))->pairs);
	return join_all(survey, items, pairs, rows);
}

/*
 * What is done with the rows
 */

/* Is the key among the columns by which rows are put together? */
static bool
grouped_by_key(EltSurvey *survey, Query *query, List *clauses, Rows *rows)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, rows->keys)
	{
		int			found = 0;

		for (int i = 0; i < survey->nkeys; i++)
		{
			foreach(lc2, clauses)
			{
				SortGroupClause *clause = lfirst_node(SortGroupClause, lc2);
				Node	   *expr = get_sortgroupclause_expr(clause, query->targetList);
				Var		   *column = column_of(query, expr);

				if (column != NULL && is_key_equality(survey, clause->eqop, exprCollation(expr), i) &&
					connected(list_nth(lfirst(lc), i), column, rows->pairs, i))
				{
					found++;
					break;
				}
			}
		}
		if (found == survey->nkeys && found > 0)
		{
			survey->keys_used = true;
			return true;
		}
	}
	return false;
}

/*
 * Order. In a part, rows may come in another order than in the whole: what depends on that would differ.
 */

/* Are sums over this type exact? */
static bool
is_exact(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID || type == CASHOID || type == INTERVALOID;
}

/* Does an aggregate give the same whatever the order of its rows? */
static bool
is_order_free(Oid function, Oid argument)
{
	static const char *const free[] = {"count", "min", "max", "bool_and", "bool_or", "every", "bit_and", "bit_or", "bit_xor"};
	static const char *const exact[] = {"sum", "avg", "variance", "var_pop", "var_samp", "stddev", "stddev_pop", "stddev_samp"};
	char	   *name = get_func_name(function);

	if (name == NULL || get_func_namespace(function) != PG_CATALOG_NAMESPACE)
		return false;
	for (int i = 0; i < (int) lengthof(free); i++)
		if (strcmp(name, free[i]) == 0)
			return true;
	for (int i = 0; i < (int) lengthof(exact); i++)
		if (strcmp(name, exact[i]) == 0)
			return is_exact(argument);
	return false;
}

static bool
fail_order(EltSurvey *survey, Oid argument)
{
	if (argument == FLOAT4OID || argument == FLOAT8OID)
		return fail(survey, "float_aggregate", "Sums of floating point numbers differ in their last digits when rows come in another order.",
					"Cast the argument to numeric, or give the aggregate an ORDER BY.");
	return fail(survey, "order_dependent", "The result of an aggregate or window function depends on the order of its rows.",
				"Give it an ORDER BY.");
}

typedef struct OrderCheck
{
	EltSurvey  *survey;
	Query	   *query;
} OrderCheck;

static bool
check_window_function(OrderCheck *check, WindowFunc *function)
{
	WindowClause *window = list_nth_node(WindowClause, check->query->windowClause, function->winref - 1);
	Oid			argument = function->args == NIL ? InvalidOid : exprType(linitial(function->args));

	switch (function->winfnoid)
	{
		case F_RANK_:
		case F_DENSE_RANK_:
		case F_PERCENT_RANK_:
		case F_CUME_DIST_:
			return true;
		default:
			return window->orderClause != NIL || (function->winagg && is_order_free(function->winfnoid, argument)) ||
				fail_order(check->survey, argument);
	}
}

/* true: something depends on the order */
static bool
order_walker(Node *node, void *context)
{
	OrderCheck *check = context;

	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, Aggref))
	{
		Aggref	   *agg = (Aggref *) node;
		Oid			argument = agg->aggargtypes == NIL ? InvalidOid : linitial_oid(agg->aggargtypes);

		if (agg->agglevelsup == 0 && agg->aggorder == NIL && agg->aggdistinct == NIL && agg->aggkind == AGGKIND_NORMAL &&
			!is_order_free(agg->aggfnoid, argument))
			return !fail_order(check->survey, argument);
	}
	if (IsA(node, WindowFunc) && !check_window_function(check, (WindowFunc *) node))
		return true;
	return expression_tree_walker(node, order_walker, context);
}

static bool
check_order(EltSurvey *survey, Query *query)
{
	OrderCheck	check = {survey, query};

	if (query->hasDistinctOn && list_length(query->sortClause) <= list_length(query->distinctClause))
		return fail(survey, "order_dependent", "Which row DISTINCT ON keeps depends on the order of the rows.",
					"Add columns to ORDER BY that say which row is to be kept.");
	return !order_walker((Node *) query->targetList, &check) && !order_walker(query->havingQual, &check);
}

static bool
check_windows(EltSurvey *survey, Query *query, Rows *rows)
{
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		if (!grouped_by_key(survey, query, lfirst_node(WindowClause, lc)->partitionClause, rows))
			return fail(survey, "window", "A window function looks at rows of several parts.",
						"Partition the window, and the table, by the same columns.");
	}
	return true;
}

/* Does what a level does with its rows work on the parts? */
static bool
check_constructs(EltSurvey *survey, Query *query, Rows *rows)
{
	if (query->limitCount != NULL || query->limitOffset != NULL)
		return fail(survey, "limit", "LIMIT or OFFSET counts the rows of all parts.", NULL);
	if (query->groupingSets != NIL)
		return fail(survey, "grouping_sets", "GROUPING SETS, ROLLUP and CUBE put rows of several parts together.",
					"Write one transform for each grouping.");
	if ((query->groupClause != NIL || query->hasAggs || query->havingQual != NULL) &&
		!grouped_by_key(survey, query, query->groupClause, rows))
		return fail(survey, "aggregate", "Groups have rows of several parts, and not all aggregates can be combined exactly.",
					"Partition the table by columns of GROUP BY, for instance with elt.shard_table.");
	if (query->distinctClause != NIL && !grouped_by_key(survey, query, query->distinctClause, rows))
		return fail(survey, "distinct", "DISTINCT compares rows of several parts.",
					"Partition the table by columns of the result, for instance with elt.shard_table.");
	return check_windows(survey, query, rows) && check_order(survey, query);
}

/* The output columns that hold the key. */
static List *
output_keys(EltSurvey *survey, Query *query, Rows *rows)
{
	List	   *keys = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, rows->keys)
	{
		List	   *numbers = NIL;

		for (int i = 0; i < survey->nkeys; i++)
		{
			foreach(lc2, query->targetList)
			{
				TargetEntry *tle = lfirst_node(TargetEntry, lc2);
				Var		   *column = tle->resjunk ? NULL : column_of(query, (Node *) tle->expr);

				if (column != NULL && connected(list_nth(lfirst(lc), i), column, rows->pairs, i))
				{
					numbers = lappend_int(numbers, tle->resno);
					break;
				}
			}
		}
		if (list_length(numbers) == survey->nkeys && numbers != NIL)
			keys = list_append_unique(keys, numbers);
	}
	return keys;
}

static bool
survey_union(EltSurvey *survey, EltLevel *level, Node *node, Output *output)
{
	Output		left = {0};
	Output		right = {0};
	SetOperationStmt *op;

	check_stack_depth();
	if (IsA(node, RangeTblRef))
		return survey_level(survey, rt_fetch(((RangeTblRef *) node)->rtindex, level->query->rtable)->subquery, level, output);
	op = castNode(SetOperationStmt, node);
	if (!survey_union(survey, level, op->larg, &left) || !survey_union(survey, level, op->rarg, &right))
		return false;
	if (!left.divided && !right.divided)
		return true;
	if (op->op != SETOP_UNION || !op->all)
		return fail(survey, "set_operation", "UNION, INTERSECT and EXCEPT compare rows of several parts.",
					"Use UNION ALL, with a GROUP BY or a join where that is needed.");
	if (!left.divided || !right.divided)
		return fail(survey, "union", "Not all branches of UNION ALL read a part of the table.", "Write one transform for each branch.");
	output->divided = true;
	output->keys = list_intersection(left.keys, right.keys);
	return true;
}

static bool
survey_level(EltSurvey *survey, Query *query, EltLevel *outer, Output *output)
{
	EltLevel	level = {query, outer};
	Rows		rows = {0};

	memset(output, 0, sizeof(Output));
	if (query->setOperations != NULL)
	{
		if (!survey_union(survey, &level, query->setOperations, output))
			return false;
		if (output->divided && (query->limitCount != NULL || query->limitOffset != NULL))
			return fail(survey, "limit", "LIMIT or OFFSET counts the rows of all parts.", NULL);
		return true;
	}
	if (!survey_node(survey, &level, (Node *) query->jointree, NIL, &rows))
		return false;
	output->divided = rows.divided;
	if (!rows.divided)
		return true;
	output->keys = output_keys(survey, query, &rows);
	return check_constructs(survey, query, &rows);
}

/*
 * Columns that a part does not have
 */

typedef struct SystemColumns
{
	EltSurvey  *survey;
	List	   *levels;			/* Query, the innermost first */
} SystemColumns;

static bool
system_column_walker(Node *node, void *context)
{
	SystemColumns *columns = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varattno > 0 || (int) var->varlevelsup >= list_length(columns->levels))
			return false;
		return list_member_ptr(columns->survey->drivers, rt_fetch(var->varno, ((Query *) list_nth(columns->levels, var->varlevelsup))->rtable));
	}
	if (IsA(node, Query))
	{
		bool		found;

		columns->levels = lcons(node, columns->levels);
		found = query_tree_walker((Query *) node, system_column_walker, context, 0);
		columns->levels = list_delete_first(columns->levels);
		return found;
	}
	return expression_tree_walker(node, system_column_walker, context);
}

static bool
check_system_columns(EltSurvey *survey)
{
	SystemColumns columns = {survey, NIL};

	if (!system_column_walker((Node *) survey->query, &columns))
		return true;
	return fail(survey, "system_column", "It reads a system column or the whole row of the table.", "Name the columns of the table.");
}

bool
elt_survey_query(EltSurvey *survey)
{
	Output		output;

	if (!check_system_columns(survey) || !survey_level(survey, survey->query, NULL, &output))
		return false;
	return output.divided || fail(survey, "no_table", "It reads no table in FROM that could be divided.", NULL);
}

bool
elt_survey_from(EltSurvey *survey)
{
	EltLevel	level = {survey->query, NULL};
	Rows		rows;

	return survey->query->setOperations == NULL && check_system_columns(survey) &&
		survey_node(survey, &level, (Node *) survey->query->jointree, NIL, &rows) && rows.divided;
}
