/*
 * aggregate.c
 *	  How the aggregates of a group part follow changes.
 *
 * With counters, where each aggregate can be told from sums that weights add to and take from: the group's row is changed by the sum of its delta. Else the
 * groups that changed are computed anew. One aggregate of the second kind makes the whole part one of the second kind.
 *
 *	  count(x)			rows that are not NULL
 *	  sum, avg			the sum, and rows that are not NULL; numeric also: rows that are NaN, and where its display scale varies, rows of each scale
 *	  var..., stddev...	the same and the sum of squares
 *	  bool_and, bool_or rows that are false, or true, and rows that are not NULL
 *	  min, max			the extreme itself: when rows as extreme as it are removed, the group is computed anew
 *
 * A sum shows as many digits as the row of the highest scale in it has; so the scales that an expression can have must be known.
 *
 * Pure functions of query trees.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "miscadmin.h"
#include "base/sql.h"
#include "view/aggregate.h"

#define MAX_SCALES	4

/* bytes that a numeric takes, about, and that all counters of a row may */
#define NUMERIC_WIDTH	12
#define MAX_WIDTH		6000

typedef struct AggPlan
{
	EltPart    *part;
	Query	   *query;
	List	   *exprs;			/* input columns */
} AggPlan;

/* The input column that has this expression: its name is i<number>. */
static int
input_column(AggPlan *plan, Node *expr)
{
	int			column = 0;
	ListCell   *lc;

	foreach(lc, plan->exprs)
	{
		column++;
		if (equal(lfirst(lc), expr))
			return column;
	}
	plan->exprs = lappend(plan->exprs, copyObject(expr));
	return column + 1;
}

/*
 * Are values that are equal the same, byte for byte? With one scale, also numerics are.
 */
bool
elt_is_exact_type(Oid type, int32 typmod, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			proc;

	/*
	 * padded to one length, equal strings are the same; of any length, they
	 * are equal whatever blanks they end with
	 */
	if (getBaseTypeAndTypmod(type, &typmod) == BPCHAROID)
		return typmod > 0 && OidIsValid(collation) && get_collation_isdeterministic(collation);
	if (!OidIsValid(entry->btree_opf))
		return false;
	proc = get_opfamily_proc(entry->btree_opf, entry->btree_opintype, entry->btree_opintype, BTEQUALIMAGE_PROC);
	return OidIsValid(proc) && DatumGetBool(OidFunctionCall1Coll(proc, collation, ObjectIdGetDatum(entry->btree_opintype)));
}

/*
 * Display scales
 */

static bool scales_of(Query *query, Node *node, List **scales);

static bool
scale_of_typmod(int32 typmod, List **scales)
{
	int			scale;

	if (typmod < (int32) VARHDRSZ)
		return false;
	scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
	*scales = list_append_unique_int(*scales, Max(scale, 0));
	return true;
}

static bool
scales_of_var(Query *query, Var *var, List **scales)
{
	RangeTblEntry *rte;

	if (var->varlevelsup != 0)
		return false;
	rte = rt_fetch(var->varno, query->rtable);
	/* a stored column has what its type says; a function's result need not */
	if (rte->rtekind == RTE_RELATION || rte->rtekind == RTE_CTE)
		return scale_of_typmod(var->vartypmod, scales);
	if (rte->rtekind != RTE_SUBQUERY || rte->subquery->setOperations != NULL)
		return false;
	return scales_of(rte->subquery, (Node *) get_tle_by_resno(rte->subquery->targetList, var->varattno)->expr, scales);
}

/* Those of a binary operator, from those of its sides. */
static bool
combine_scales(Query *query, Oid function, List *args, List **scales)
{
	List	   *left = NIL;
	List	   *right = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	if (!scales_of(query, linitial(args), &left) || !scales_of(query, lsecond(args), &right))
		return false;
	foreach(lc, left)
		foreach(lc2, right)
		* scales = list_append_unique_int(*scales, function == F_NUMERIC_MUL ? lfirst_int(lc) + lfirst_int(lc2) :
										  Max(lfirst_int(lc), lfirst_int(lc2)));
	return true;
}

static bool
scales_of_function(Query *query, Oid function, List *args, List **scales)
{
	Const	   *digits;

	switch (function)
	{
		case F_NUMERIC_ADD:
		case F_NUMERIC_SUB:
		case F_NUMERIC_MUL:
		case F_NUMERIC_MOD:
			return combine_scales(query, function, args, scales);
		case F_NUMERIC_UMINUS:
		case F_NUMERIC_UPLUS:
		case F_ABS_NUMERIC:
		case F_NUMERIC_ABS:
			return scales_of(query, linitial(args), scales);
		case F_NUMERIC_INT2:
		case F_NUMERIC_INT4:
		case F_NUMERIC_INT8:
			*scales = list_append_unique_int(*scales, 0);
			return true;
		case F_NUMERIC_NUMERIC_INT4:
			digits = lsecond(args);
			return IsA(digits, Const) && !digits->constisnull && scale_of_typmod(DatumGetInt32(digits->constvalue), scales);
		case F_ROUND_NUMERIC_INT4:
		case F_TRUNC_NUMERIC_INT4:
			digits = lsecond(args);
			if (!IsA(digits, Const) || digits->constisnull || DatumGetInt32(digits->constvalue) > 100)
				return false;
			*scales = list_append_unique_int(*scales, Max(DatumGetInt32(digits->constvalue), 0));
			return true;
	}
	return false;
}

/* The display scales that an expression's values other than NaN can have; false: any. */
static bool
scales_of(Query *query, Node *node, List **scales)
{
	ListCell   *lc;

	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_Var:
			return scales_of_var(query, (Var *) node, scales);
		case T_Const:
			if (((Const *) node)->constisnull)
				return true;
			if (numeric_is_nan(DatumGetNumeric(((Const *) node)->constvalue)) || numeric_is_inf(DatumGetNumeric(((Const *) node)->constvalue)))
				return false;
			*scales = list_append_unique_int(*scales, DatumGetInt32(DirectFunctionCall1(numeric_scale, ((Const *) node)->constvalue)));
			return true;
		case T_FuncExpr:
			return scales_of_function(query, ((FuncExpr *) node)->funcid, ((FuncExpr *) node)->args, scales);
		case T_OpExpr:
			return scales_of_function(query, get_opcode(((OpExpr *) node)->opno), ((OpExpr *) node)->args, scales);
		case T_CaseExpr:
			foreach(lc, ((CaseExpr *) node)->args)
				if (!scales_of(query, (Node *) lfirst_node(CaseWhen, lc)->result, scales))
				return false;
			return ((CaseExpr *) node)->defresult == NULL || scales_of(query, (Node *) ((CaseExpr *) node)->defresult, scales);
		case T_MinMaxExpr:
			foreach(lc, ((MinMaxExpr *) node)->args)
				if (!scales_of(query, lfirst(lc), scales))
				return false;
			return true;
		case T_CoalesceExpr:
			foreach(lc, ((CoalesceExpr *) node)->args)
				if (!scales_of(query, lfirst(lc), scales))
				return false;
			return true;
		default:
			return false;
	}
}

/*
 * Counters
 */

static EltCounter *
add_counter(AggPlan *plan, Oid type, const char *sql_type, char *init, char *delta, const char *zero)
{
	EltCounter *counter;
	ListCell   *lc;

	foreach(lc, plan->part->counters)
	{
		counter = lfirst(lc);
		if (strcmp(counter->init, init) == 0)
			return counter;
	}
	counter = palloc0(sizeof(EltCounter));
	counter->name = psprintf("_elt_c%d", list_length(plan->part->counters) + 1);
	counter->type = sql_type;
	counter->oid = type;
	counter->typmod = -1;
	counter->init = init;
	counter->delta = delta;
	counter->zero = zero;
	plan->part->counters = lappend(plan->part->counters, counter);
	return counter;
}

/* Rows for which a condition holds. */
static EltCounter *
count_where(AggPlan *plan, const char *condition)
{
	return add_counter(plan, INT8OID, "bigint", psprintf("count(*) FILTER (WHERE %s)", condition),
					   psprintf("elt.weights(_elt_w) FILTER (WHERE %s)", condition), "0");
}

static char *
also(const char *condition, const char *filter)
{
	return filter == NULL ? pstrdup(condition) : psprintf("%s AND %s", condition, filter);
}

/* What is kept of a number's values that are not NULL, as SQL over counters. */
typedef struct Moments
{
	char	   *count;
	char	   *sum;			/* without NaN, with the digits that sum()
								 * shows */
	char	   *nan;			/* rows that are NaN; NULL: there are none */
	char	   *scale;			/* digits; NULL: of integers */
	char	   *value;			/* the value as numeric, over elt_in */
	char	   *finite;			/* FILTER clause for values that are not NaN */
} Moments;

static char *
filter_clause(const char *condition)
{
	return condition == NULL ? pstrdup("") : psprintf(" FILTER (WHERE %s)", condition);
}

/* The scale that sum() shows: the highest one of which there are rows. */
static char *
plan_scale(AggPlan *plan, const char *x, const char *filter, List *scales)
{
	StringInfoData scale;

	list_sort(scales, list_int_cmp);
	if (list_length(scales) == 1)
		return psprintf("%d", linitial_int(scales));
	initStringInfo(&scale);
	appendStringInfoString(&scale, "CASE");
	for (int i = list_length(scales) - 1; i >= 0; i--)
	{
		EltCounter *rows = count_where(plan, also(psprintf("scale(%s) = %d", x, list_nth_int(scales, i)), filter));

		appendStringInfo(&scale, " WHEN %s > 0 THEN %d", rows->name, list_nth_int(scales, i));
	}
	appendStringInfoString(&scale, " ELSE 0 END");
	return scale.data;
}

/* Most weights are 1 or -1: a product of numerics takes longer than to look. */
static EltCounter *
plan_total(AggPlan *plan, const char *value, const char *clause)
{
	return add_counter(plan, NUMERICOID, "numeric", psprintf("COALESCE(sum(%s)%s, 0)", value, clause),
					   psprintf("COALESCE(sum(CASE _elt_w WHEN 1 THEN %s WHEN -1 THEN -(%s) ELSE _elt_w::numeric * (%s) END)%s, 0)",
								value, value, value, clause), "0");
}

static bool
plan_moments(AggPlan *plan, Aggref *aggref, const char *x, const char *filter, Moments *m)
{
	Node	   *arg = (Node *) linitial_node(TargetEntry, aggref->args)->expr;
	Oid			type = exprType(arg);
	List	   *scales = NIL;

	if (type != INT2OID && type != INT4OID && type != INT8OID &&
		(type != NUMERICOID || !scales_of(plan->query, arg, &scales) || scales == NIL || list_length(scales) > MAX_SCALES))
		return false;
	memset(m, 0, sizeof(*m));
	m->count = count_where(plan, also(psprintf("%s IS NOT NULL", x), filter))->name;
	m->value = psprintf("%s::numeric", x);
	m->finite = filter_clause(type == NUMERICOID ? also(psprintf("%s <> 'NaN'::numeric", x), filter) : filter);
	if (type == NUMERICOID)
	{
		m->nan = count_where(plan, also(psprintf("%s = 'NaN'::numeric", x), filter))->name;
		m->scale = plan_scale(plan, x, filter, scales);
		m->sum = psprintf("round(%s, %s)", plan_total(plan, x, m->finite)->name, m->scale);
	}
	else if (type == INT8OID)
		m->sum = plan_total(plan, m->value, m->finite)->name;
	else
		m->sum = add_counter(plan, INT8OID, "bigint", psprintf("COALESCE(sum(%s)%s, 0)", x, m->finite),
							 psprintf("elt.weights(_elt_w * %s)%s", x, m->finite), "0")->name;
	return true;
}

/* CASE: NULL of fewer rows than that, NaN where there is one, else the value */
static char *
of_moments(Moments *m, int rows, const char *value)
{
	return psprintf("CASE WHEN %s < %d THEN NULL%s ELSE %s END", m->count, rows,
					m->nan == NULL ? "" : psprintf(" WHEN %s > 0 THEN 'NaN'::numeric", m->nan), value);
}

/*
 * Variance and standard deviation, digit by digit as PostgreSQL computes them from the moments: the square root there has the variance's digits, so it is
 * taken of more and rounded.
 */
static char *
plan_variance(AggPlan *plan, Moments *m, const char *name)
{
	bool		population = strstr(name, "_pop") != NULL;
	EltCounter *squares = plan_total(plan, psprintf("%s * %s", m->value, m->value), m->finite);
	char	   *sxx = m->scale != NULL ? psprintf("round(%s, 2 * (%s))", squares->name, m->scale) : squares->name;
	char	   *n = psprintf("%s::numeric", m->count);
	char	   *sx = psprintf("(%s)::numeric", m->sum);
	char	   *above = psprintf("(%s * %s - %s * %s)", n, sxx, sx, sx);
	char	   *variance = psprintf("%s / (%s * %s)", above, n, population ? n : psprintf("(%s - 1)", n));
	char	   *value = variance;

	if (strncmp(name, "stddev", 6) == 0)
		value = psprintf("(SELECT round(sqrt(round(v, scale(v) + 30)), scale(v)) FROM (SELECT %s AS v) AS q)", variance);
	return of_moments(m, population ? 1 : 2, psprintf("CASE WHEN %s <= 0 THEN 0::numeric ELSE %s END", above, value));
}

/* The text for sum, avg, variance and the like; NULL: it cannot be told. */
static char *
plan_number(AggPlan *plan, Aggref *aggref, const char *name, const char *x, const char *filter)
{
	Moments		m;

	if (!plan_moments(plan, aggref, x, filter, &m))
		return NULL;
	if (strcmp(name, "sum") == 0)
		return of_moments(&m, 1, m.sum);
	if (strcmp(name, "avg") == 0)
		return of_moments(&m, 1, psprintf("(%s)::numeric / %s::numeric", m.sum, m.count));
	return plan_variance(plan, &m, name);
}

static bool
is_number_aggregate(const char *name)
{
	static const char *const names[] = {"sum", "avg", "variance", "var_samp", "var_pop", "stddev", "stddev_samp", "stddev_pop", NULL};

	for (int i = 0; names[i] != NULL; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool
plan_extreme(AggPlan *plan, Aggref *aggref, const char *x, const char *filter, char **final)
{
	Node	   *arg = (Node *) linitial_node(TargetEntry, aggref->args)->expr;
	char	   *name = get_func_name(aggref->aggfnoid);
	List	   *scales = NIL;
	EltCounter *counter;
	TypeCacheEntry *entry = lookup_type_cache(exprType(arg), TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);

	if (aggref->aggtype != exprType(arg) || !OidIsValid(entry->lt_opr) || !OidIsValid(entry->gt_opr))
		return false;
	if (!elt_is_exact_type(exprType(arg), exprTypmod(arg), exprCollation(arg)) &&
		!(exprType(arg) == NUMERICOID && scales_of(plan->query, arg, &scales) && list_length(scales) == 1))
		return false;
	counter = add_counter(plan, exprType(arg), format_type_with_typemod(exprType(arg), exprTypmod(arg)),
						  psprintf("%s(%s)%s", name, x, filter == NULL ? "" : psprintf(" FILTER (WHERE %s)", filter)),
						  psprintf("%s(%s) FILTER (WHERE %s)", name, x, also("_elt_w > 0", filter)), NULL);
	counter->typmod = exprTypmod(arg);
	counter->collation = exprCollation(arg);
	counter->extreme = psprintf("%s(%s) FILTER (WHERE %s)", name, x, also("_elt_w < 0", filter));
	/* more extreme than */
	counter->beyond = elt_operator_name(strcmp(name, "max") == 0 ? entry->gt_opr : entry->lt_opr);
	*final = counter->name;
	return true;
}

/* The SQL over counters that gives an aggregate's result, NULL: it cannot be told from counters. */
static char *
plan_counters(AggPlan *plan, Aggref *aggref)
{
	char	   *name = get_func_name(aggref->aggfnoid);
	char	   *filter = NULL;
	char	   *x = NULL;
	char	   *sum;
	char	   *count;
	char	   *final;

	if (get_func_namespace(aggref->aggfnoid) != PG_CATALOG_NAMESPACE || aggref->aggkind != AGGKIND_NORMAL || aggref->aggvariadic ||
		(aggref->aggdistinct != NIL && strcmp(name, "min") != 0 && strcmp(name, "max") != 0))
		return NULL;
	if (aggref->aggfilter != NULL)
		filter = psprintf("i%d", input_column(plan, (Node *) aggref->aggfilter));
	if (aggref->aggstar)
		return filter == NULL ? pstrdup("_elt_n") : count_where(plan, filter)->name;
	if (aggref->args != NIL)
		x = psprintf("i%d", input_column(plan, (Node *) linitial_node(TargetEntry, aggref->args)->expr));
	if (strcmp(name, "count") == 0)
		return count_where(plan, also(psprintf("%s IS NOT NULL", x), filter))->name;
	if (is_number_aggregate(name))
		return plan_number(plan, aggref, name, x, filter);
	if ((strcmp(name, "min") == 0 || strcmp(name, "max") == 0) && plan_extreme(plan, aggref, x, filter, &final))
		return final;
	if (strcmp(name, "bool_and") == 0 || strcmp(name, "every") == 0 || strcmp(name, "bool_or") == 0)
	{
		bool		is_or = strcmp(name, "bool_or") == 0;

		count = count_where(plan, also(psprintf("%s IS NOT NULL", x), filter))->name;
		sum = count_where(plan, also(psprintf("%s IS %s", x, is_or ? "TRUE" : "FALSE"), filter))->name;
		return psprintf("CASE WHEN %s > 0 THEN %s %s 0 END", count, sum, is_or ? ">" : "=");
	}
	return NULL;
}

/* EXTRACT of a field that is a whole number: it has no digits after the point. */
static bool
is_whole_extract(Query *query, Node *node)
{
	static const char *const fields[] = {"year", "isoyear", "quarter", "month", "week", "day", "dow", "isodow", "doy", "hour", "minute", "decade", "century",
	"millennium", NULL};
	FuncExpr   *function = (FuncExpr *) node;
	Const	   *field;
	char	   *name;

	while (IsA(node, Var) && ((Var *) node)->varlevelsup == 0 && rt_fetch(((Var *) node)->varno, query->rtable)->rtekind == RTE_SUBQUERY)
	{
		Query	   *below = rt_fetch(((Var *) node)->varno, query->rtable)->subquery;

		if (below->setOperations != NULL)
			return false;
		node = (Node *) get_tle_by_resno(below->targetList, ((Var *) node)->varattno)->expr;
		query = below;
		function = (FuncExpr *) node;
	}
	if (!IsA(node, FuncExpr) || (function->funcid != F_EXTRACT_TEXT_DATE && function->funcid != F_EXTRACT_TEXT_TIMESTAMP &&
								 function->funcid != F_EXTRACT_TEXT_TIMESTAMPTZ))
		return false;
	field = linitial(function->args);
	if (!IsA(field, Const) || field->constisnull)
		return false;
	name = TextDatumGetCString(field->constvalue);
	for (int i = 0; fields[i] != NULL; i++)
		if (strcmp(fields[i], name) == 0)
			return true;
	return false;
}

/* Can a group's row stay while rows come and go? Not where its key could then show another of several equal values. */
static bool
keys_are_exact(AggPlan *plan, List *keys)
{
	ListCell   *lc;

	foreach(lc, keys)
	{
		List	   *scales = NIL;

		if (elt_is_exact_type(exprType(lfirst(lc)), exprTypmod(lfirst(lc)), exprCollation(lfirst(lc))))
			continue;
		if (exprType(lfirst(lc)) == NUMERICOID && scales_of(plan->query, lfirst(lc), &scales) && list_length(scales) == 1)
			continue;
		if (is_whole_extract(plan->query, lfirst(lc)))
			continue;
		return false;
	}
	return true;
}

/*
 * The query that computes groups anew
 */

static Node *
over_input(AggPlan *plan, Node *expr)
{
	int			column = input_column(plan, expr);

	return (Node *) makeVar(1, column, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);
}

/* Direct arguments are made of keys and constants. */
static Node *
direct_mutator(Node *node, void *context)
{
	AggPlan    *plan = context;
	int			column = 0;
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	foreach(lc, plan->exprs)
	{
		column++;
		if (equal(lfirst(lc), node))
			return (Node *) makeVar(1, column, exprType(node), exprTypmod(node), exprCollation(node), 0);
	}
	return expression_tree_mutator(node, direct_mutator, context);
}

static Aggref *
aggref_over_input(AggPlan *plan, Aggref *aggref)
{
	Aggref	   *result = copyObject(aggref);
	ListCell   *lc;

	foreach(lc, result->args)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		tle->expr = (Expr *) over_input(plan, (Node *) tle->expr);
	}
	if (result->aggfilter != NULL)
		result->aggfilter = (Expr *) over_input(plan, (Node *) result->aggfilter);
	result->aggdirectargs = (List *) direct_mutator((Node *) result->aggdirectargs, plan);
	return result;
}

static void
plan_anew(AggPlan *plan, EltGrouped *grouped)
{
	List	   *targets = NIL;
	List	   *clauses = NIL;
	int			resno = 0;
	EltColumn  *columns;
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, grouped->keys, lc2, grouped->equals)
	{
		TargetEntry *tle;
		SortGroupClause *clause = makeNode(SortGroupClause);

		resno++;
		tle = makeTargetEntry((Expr *) over_input(plan, lfirst(lc)), resno, psprintf("k%d", resno), false);
		tle->ressortgroupref = clause->tleSortGroupRef = resno;
		clause->eqop = lfirst_oid(lc2);
		get_sort_group_operators(exprType(lfirst(lc)), false, false, false, &clause->sortop, NULL, NULL, &clause->hashable);
		targets = lappend(targets, tle);
		clauses = lappend(clauses, clause);
	}
	foreach(lc, grouped->aggs)
	{
		resno++;
		targets = lappend(targets, makeTargetEntry((Expr *) aggref_over_input(plan, lfirst(lc)), resno, psprintf("a%d", resno), false));
	}
	columns = palloc0(sizeof(EltColumn) * (list_length(plan->exprs) + 1));
	for (int i = 0; i < list_length(plan->exprs); i++)
		columns[i].name = psprintf("i%d", i + 1);
	plan->part->aggregate = elt_select_from_input("elt_in", columns, list_length(plan->exprs));
	plan->part->aggregate->targetList = targets;
	plan->part->aggregate->groupClause = clauses;
	plan->part->aggregate->hasAggs = true;
	/* no key and no aggregate: one row all the same */
	if (clauses == NIL && grouped->aggs == NIL)
		plan->part->aggregate->havingQual = makeBoolConst(true, false);
}

/* The columns of elt_final, and the output as a query over them. */
static void
finish_output(AggPlan *plan, EltGrouped *grouped)
{
	EltPart    *part = plan->part;
	int			nfinal = list_length(grouped->keys) + list_length(grouped->aggs);
	EltColumn  *columns = palloc0(sizeof(EltColumn) * (nfinal + list_length(part->counters) + 1));
	List	   *targets = part->output->targetList;
	ListCell   *lc;
	int			n = 0;

	for (int i = 0; i < list_length(grouped->keys); i++)
		columns[n++].name = psprintf("k%d", i + 1);
	for (int i = 0; i < list_length(grouped->aggs); i++, n++)
		columns[n].name = psprintf("a%d", n + 1);
	if (part->method == ELT_COUNTERS)
	{
		columns[n++].name = "_elt_n";
		elt_part_add_hidden(part, "_elt_n", INT8OID, -1, InvalidOid, (Expr *) makeVar(1, n, INT8OID, -1, InvalidOid, 0));
		targets = part->output->targetList;
		foreach(lc, part->counters)
		{
			EltCounter *counter = lfirst(lc);

			columns[n++].name = counter->name;
			elt_part_add_hidden(part, counter->name, counter->oid, counter->typmod, counter->collation,
								(Expr *) makeVar(1, n, counter->oid, counter->typmod, counter->collation, 0));
			targets = part->output->targetList;
		}
	}
	part->output = elt_select_from_input("elt_final", columns, n);
	part->output->targetList = targets;
}

/* A row has to fit into a page, as nothing in it is long enough to be stored elsewhere; and a table has so many columns. */
static bool
counters_fit(EltPart *part)
{
	int			width = 0;
	ListCell   *lc;

	foreach(lc, part->counters)
		width += get_typlen(((EltCounter *) lfirst(lc))->oid) > 0 ? sizeof(int64) : NUMERIC_WIDTH;
	return width + part->ncolumns * NUMERIC_WIDTH <= MAX_WIDTH &&
		part->ncolumns + list_length(part->counters) < MaxHeapAttributeNumber - 10;
}

List *
elt_aggregate_plan(EltPart *part, EltGrouped *grouped, Query *query)
{
	AggPlan		plan = {part, query, list_copy(grouped->keys)};
	ListCell   *lc;

	part->method = ELT_COUNTERS;
	if (!keys_are_exact(&plan, grouped->keys))
	{
		part->method = ELT_KEYS;
		part->reason = ELT_WHY_KEY_IMAGE;
	}
	foreach(lc, grouped->aggs)
	{
		char	   *final = part->method == ELT_COUNTERS ? plan_counters(&plan, lfirst(lc)) : NULL;

		if (final != NULL)
		{
			part->finals = lappend(part->finals, makeString(final));
			continue;
		}
		if (part->reason == NULL)
		{
			part->reason = ELT_WHY_AGGREGATE;
			part->what = psprintf("%s%s", get_func_name(lfirst_node(Aggref, lc)->aggfnoid), lfirst_node(Aggref, lc)->aggdistinct != NIL ? "(DISTINCT)" : "");
		}
		part->method = ELT_KEYS;
	}
	if (part->method == ELT_COUNTERS && !counters_fit(part))
	{
		part->method = ELT_KEYS;
		part->reason = ELT_WHY_COMPLEX;
		part->what = "more counters than a row can hold";
	}
	if (part->method == ELT_KEYS)
	{
		part->counters = part->finals = NIL;
		plan.exprs = list_copy(grouped->keys);
		plan_anew(&plan, grouped);
	}
	finish_output(&plan, grouped);
	return plan.exprs;
}
