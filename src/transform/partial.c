/*
 * partial.c
 *	  Aggregates computed in two steps: for each part of the rows, then over the parts.
 *
 *	  SELECT g, count(*), avg(x) FROM t GROUP BY g HAVING sum(x) > 0
 *
 *	  partial	SELECT g AS elt_1, count(*) AS elt_2, sum(x) AS elt_3, count(x) AS elt_4, ... FROM t GROUP BY g
 *	  combine	SELECT elt_1, sum(elt_2)::bigint, sum(elt_3) / nullif(sum(elt_4), 0) FROM elt_partial GROUP BY elt_1 HAVING ...
 *
 * Only where that gives the same to the last digit: not for floating point sums, nor for what depends on an order or on all values.
 *
 * Pure functions of query trees.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "transform/survey.h"

typedef struct Splitting
{
	Query	   *query;			/* a copy, its joins' columns resolved at its
								 * own level */
	List	   *groups;			/* expressions of GROUP BY */
	List	   *columns;		/* TargetEntry of the partial query: the
								 * groups, then what aggregates need */
	bool		failed;
} Splitting;

/* Columns of joins and groups at the query's own level become what they stand for. */
static Node *
resolve_mutator(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Query	   *query = context;
		RangeTblEntry *rte;

		if (var->varlevelsup > 0)
			return copyObject(node);
		rte = rt_fetch(var->varno, query->rtable);
		if (elt_rte_has_exprs(rte) && var->varattno > 0)
			return resolve_mutator(list_nth(elt_rte_exprs(rte), var->varattno - 1), context);
		var = copyObject(var);
		elt_forget_nulling(var);
		return (Node *) var;
	}
	return expression_tree_mutator(node, resolve_mutator, context);
}

/* The column of the partial query that has this expression, added where it is missing. */
static Var *
partial_column(Splitting *splitting, Expr *expr)
{
	TargetEntry *tle = tlist_member(expr, splitting->columns);

	if (tle == NULL)
	{
		int			number = list_length(splitting->columns) + 1;

		tle = makeTargetEntry(copyObject(expr), number, psprintf("elt_%d", number), false);
		splitting->columns = lappend(splitting->columns, tle);
	}
	return makeVar(1, tle->resno, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr), exprCollation((Node *) tle->expr), 0);
}

/* function(arg), an aggregate as far as its text goes. */
static Expr *
aggregate_over(Oid function, Oid type, Var *arg, Oid collation)
{
	Aggref	   *agg = makeNode(Aggref);

	agg->aggfnoid = function;
	agg->aggtype = type;
	agg->aggcollid = collation;
	agg->inputcollid = collation;
	agg->aggargtypes = list_make1_oid(arg->vartype);
	agg->args = list_make1(makeTargetEntry((Expr *) arg, 1, NULL, false));
	agg->aggkind = AGGKIND_NORMAL;
	agg->aggsplit = AGGSPLIT_SIMPLE;
	agg->location = -1;
	return (Expr *) agg;
}

static Expr *
cast_to_int8(Expr *numeric)
{
	return (Expr *) makeFuncExpr(F_INT8_NUMERIC, INT8OID, list_make1(numeric), InvalidOid, InvalidOid, COERCE_EXPLICIT_CAST);
}

static Expr *
zero(Oid type)
{
	Datum		value = type == INT8OID ? Int64GetDatum(0) : DirectFunctionCall1(int4_numeric, Int32GetDatum(0));

	return (Expr *) makeConst(type, -1, InvalidOid, type == INT8OID ? 8 : -1, value, false, type == INT8OID ? FLOAT8PASSBYVAL : false);
}

static Oid
numeric_operator(const char *name)
{
	return LookupOperName(NULL, list_make2(makeString("pg_catalog"), makeString(pstrdup(name))), NUMERICOID, NUMERICOID, false, -1);
}

/* sum of partial counts */
static Expr *
combine_count(Splitting *splitting, Aggref *agg)
{
	CoalesceExpr *coalesce = makeNode(CoalesceExpr);
	Var		   *count = partial_column(splitting, (Expr *) agg);

	coalesce->coalescetype = INT8OID;
	coalesce->args = list_make2(cast_to_int8(aggregate_over(F_SUM_INT8, NUMERICOID, count, InvalidOid)), zero(INT8OID));
	coalesce->location = -1;
	return (Expr *) coalesce;
}

/* The aggregate with another function over the same rows. */
static Aggref *
sibling(Aggref *agg, Oid function, Oid type)
{
	Aggref	   *other = copyObject(agg);

	other->aggfnoid = function;
	other->aggtype = type;
	return other;
}

/* sum of partial sums / sum of partial counts, as avg() itself divides */
static Expr *
combine_avg(Splitting *splitting, Aggref *agg, Oid sum_function)
{
	Oid			sum_type = get_func_rettype(sum_function);
	Var		   *sum = partial_column(splitting, (Expr *) sibling(agg, sum_function, sum_type));
	Var		   *count = partial_column(splitting, (Expr *) sibling(agg, F_COUNT_ANY, INT8OID));
	NullIfExpr *divisor = makeNode(NullIfExpr);
	Oid			equal = numeric_operator("=");

	divisor->opno = equal;
	divisor->opfuncid = get_opcode(equal);
	divisor->opresulttype = NUMERICOID;
	divisor->args = list_make2(aggregate_over(F_SUM_INT8, NUMERICOID, count, InvalidOid), zero(NUMERICOID));
	divisor->location = -1;
	return make_opclause(numeric_operator("/"), NUMERICOID, false,
						 aggregate_over(sum_type == INT8OID ? F_SUM_INT8 : F_SUM_NUMERIC, NUMERICOID, sum, InvalidOid), (Expr *) divisor, InvalidOid, InvalidOid);
}

/* Is it min or max, of any type? */
static bool
is_extreme(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(function));
	bool		found;

	if (!HeapTupleIsValid(tuple))
		return false;
	found = OidIsValid(((Form_pg_aggregate) GETSTRUCT(tuple))->aggsortop) && get_func_namespace(function) == PG_CATALOG_NAMESPACE;
	ReleaseSysCache(tuple);
	return found;
}

/* Aggregates that can be applied to their own results. */
static bool
is_idempotent(Oid function)
{
	switch (function)
	{
		case F_BOOL_AND:
		case F_BOOL_OR:
		case F_EVERY:
		case F_BIT_AND_INT2:
		case F_BIT_AND_INT4:
		case F_BIT_AND_INT8:
		case F_BIT_OR_INT2:
		case F_BIT_OR_INT4:
		case F_BIT_OR_INT8:
			return true;
		default:
			return is_extreme(function);
	}
}

/* What combines the partial results of an aggregate; NULL: there is nothing exact. */
static Expr *
combine(Splitting *splitting, Aggref *agg)
{
	if (agg->aggkind != AGGKIND_NORMAL || agg->agglevelsup > 0)
		return NULL;
	if (is_idempotent(agg->aggfnoid))
		return aggregate_over(agg->aggfnoid, agg->aggtype, partial_column(splitting, (Expr *) agg), agg->inputcollid);
	if (agg->aggdistinct != NIL)
		return NULL;
	switch (agg->aggfnoid)
	{
		case F_COUNT_:
		case F_COUNT_ANY:
			return combine_count(splitting, agg);
		case F_SUM_INT2:
		case F_SUM_INT4:
			return cast_to_int8(aggregate_over(F_SUM_INT8, NUMERICOID, partial_column(splitting, (Expr *) agg), InvalidOid));
		case F_SUM_INT8:
		case F_SUM_NUMERIC:
			return aggregate_over(F_SUM_NUMERIC, NUMERICOID, partial_column(splitting, (Expr *) agg), InvalidOid);
		case F_AVG_INT2:
			return combine_avg(splitting, agg, F_SUM_INT2);
		case F_AVG_INT4:
			return combine_avg(splitting, agg, F_SUM_INT4);
		case F_AVG_INT8:
			return combine_avg(splitting, agg, F_SUM_INT8);
		case F_AVG_NUMERIC:
			return combine_avg(splitting, agg, F_SUM_NUMERIC);
		default:
			return NULL;
	}
}

/* An expression over the groups and aggregates, as one over the columns of the partial result. */
static Node *
combine_mutator(Node *node, void *context)
{
	Splitting  *splitting = context;
	ListCell   *lc;

	if (node == NULL || splitting->failed)
		return NULL;
	foreach(lc, splitting->groups)
	{
		if (equal(lfirst(lc), node))
			return (Node *) partial_column(splitting, (Expr *) node);
	}
	if (IsA(node, Aggref))
	{
		Node	   *combined = (Node *) combine(splitting, (Aggref *) node);

		splitting->failed = splitting->failed || combined == NULL;
		return combined;
	}

	/*
	 * a column that only follows from the groups, and what looks at more than
	 * these rows
	 */
	if (IsA(node, Var) || IsA(node, SubLink) || IsA(node, GroupingFunc))
	{
		splitting->failed = true;
		return NULL;
	}
	return expression_tree_mutator(node, combine_mutator, context);
}

/* Its FROM, WHERE and GROUP BY, with the columns that the combination wants. */
static Query *
partial_query(Splitting *splitting, List *group_clauses)
{
	Query	   *partial = copyObject(splitting->query);
	ListCell   *lc;
	int			number = 0;

	partial->targetList = splitting->columns;
	partial->groupClause = NIL;
	foreach(lc, group_clauses)
	{
		SortGroupClause *clause = copyObject(lfirst_node(SortGroupClause, lc));
		TargetEntry *tle = list_nth_node(TargetEntry, partial->targetList, number++);

		tle->ressortgroupref = clause->tleSortGroupRef = number;
		partial->groupClause = lappend(partial->groupClause, clause);
	}
	partial->havingQual = NULL;
	partial->distinctClause = NIL;
	partial->sortClause = NIL;
	partial->windowClause = NIL;
	partial->limitCount = NULL;
	partial->limitOffset = NULL;
	partial->hasWindowFuncs = false;
	partial->hasDistinctOn = false;
	partial->hasTargetSRFs = expression_returns_set((Node *) partial->targetList);
	return partial;
}

static RangeTblEntry *
partial_entry(List *columns)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, columns)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		names = lappend(names, makeString(pstrdup(tle->resname)));
		rte->coltypes = lappend_oid(rte->coltypes, exprType((Node *) tle->expr));
		rte->coltypmods = lappend_int(rte->coltypmods, exprTypmod((Node *) tle->expr));
		rte->colcollations = lappend_oid(rte->colcollations, exprCollation((Node *) tle->expr));
	}
	rte->rtekind = RTE_CTE;
	rte->ctename = pstrdup("elt_partial");
	rte->eref = makeAlias("elt_partial", names);
	rte->inFromCl = true;
	return rte;
}

/* The rest of the query, over the partial results. */
static Query *
combining_query(Splitting *splitting, List *targets, Node *having)
{
	Query	   *combining = copyObject(splitting->query);
	RangeTblRef *ref = makeNode(RangeTblRef);

	combining->targetList = targets;
	combining->havingQual = having;
	combining->cteList = NIL;
	combining->rtable = list_make1(partial_entry(splitting->columns));
	elt_forget_perminfos(combining);
	ref->rtindex = 1;
	combining->jointree = makeFromExpr(list_make1(ref), NULL);
	combining->hasSubLinks = false;
	combining->hasAggs = true;
	return combining;
}

static bool
is_candidate(Query *query)
{
	return query->setOperations == NULL && (query->groupClause != NIL || query->hasAggs) && query->groupingSets == NIL && !query->hasRecursive;
}

bool
elt_partial_make(Query *query, Query **partial, Query **combine_query)
{
	Splitting	splitting = {copyObject(query)};
	List	   *targets;
	Node	   *having;
	ListCell   *lc;

	if (!is_candidate(query))
		return false;
	splitting.query->targetList = (List *) resolve_mutator((Node *) query->targetList, query);
	splitting.query->havingQual = resolve_mutator(query->havingQual, query);
	foreach(lc, query->groupClause)
	{
		Expr	   *expr = (Expr *) get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), splitting.query->targetList);

		if (list_member(splitting.groups, expr))
			return false;
		splitting.groups = lappend(splitting.groups, expr);
		(void) partial_column(&splitting, expr);
	}
	targets = (List *) combine_mutator((Node *) splitting.query->targetList, &splitting);
	having = combine_mutator(splitting.query->havingQual, &splitting);
	/* limits may hold subqueries, which have no place here */
	if (splitting.failed || contain_subplans(query->limitCount) || contain_subplans(query->limitOffset))
		return false;
	elt_drop_group_rte(splitting.query);
	*combine_query = combining_query(&splitting, targets, having);
	*partial = partial_query(&splitting, query->groupClause);
	if ((*partial)->targetList == NIL)
		return false;
	return true;
}
