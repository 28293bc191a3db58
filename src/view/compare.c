/*
 * compare.c
 *	  Comparisons by which rows that a change touches are found: which are never NULL, and which can be looked up by an index.
 *
 * Functions of query trees that ask the catalog.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "view/block.h"
#include "view/stack.h"
#include "view/touch.h"

static Node *
strip_relabel(Node *node)
{
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

/*
 * What is never NULL
 */

static bool is_notnull(EltSearch *search, EltScope *scope, Node *node);

/* Entries whose columns may be NULL by an outer join. */
static Bitmapset *
nullable_relids(Node *node)
{
	Bitmapset  *relids = NULL;
	JoinExpr   *join;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return NULL;
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			relids = bms_union(relids, nullable_relids(lfirst(lc)));
		return relids;
	}
	join = castNode(JoinExpr, node);
	relids = bms_union(join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL ? elt_relids_in(join->larg) : nullable_relids(join->larg),
					   join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL ? elt_relids_in(join->rarg) : nullable_relids(join->rarg));
	return relids;
}

static bool
column_is_notnull(EltSearch *search, EltScope *scope, Var *var)
{
	RangeTblEntry *rte = rt_fetch(var->varno, scope->query->rtable);
	EltLeaf    *leaf = elt_leaf_of(search->shape, rte);

	if (var->varattno <= 0 || bms_is_member(var->varno, nullable_relids((Node *) scope->query->jointree)))
		return false;
	if (leaf != NULL && leaf->source->part != NULL)
		return leaf->source->part->columns[var->varattno - 1].notnull;
	if (leaf != NULL)
		return elt_attribute_is_notnull(leaf->source->relid, var->varattno) && !bms_is_member(var->varattno, leaf->source->were_null);
	if (rte->rtekind == RTE_SUBQUERY && !elt_is_heavy(rte->subquery))
	{
		TargetEntry *tle = get_tle_by_resno(rte->subquery->targetList, var->varattno);
		EltScope	below = {rte->subquery, scope};

		return tle != NULL && is_notnull(search, &below, (Node *) tle->expr);
	}
	return false;
}

static bool
is_notnull(EltSearch *search, EltScope *scope, Node *node)
{
	if (IsA(node, RelabelType))
		return is_notnull(search, scope, (Node *) ((RelabelType *) node)->arg);
	if (IsA(node, Const))
		return !((Const *) node)->constisnull;
	if (!IsA(node, Var))
		return false;
	for (Index up = ((Var *) node)->varlevelsup; up > 0; up--)
	{
		scope = scope->outer;
		if (scope == NULL)
			return false;
	}
	return column_is_notnull(search, scope, (Var *) node);
}

bool
elt_is_notnull(EltShape *shape, Query *block, Node *node)
{
	EltScope	scope = {block, NULL};
	EltSearch	search = {shape, NULL, &scope};

	return is_notnull(&search, &scope, node);
}

/*
 * Comparisons of ANY and ALL
 */

typedef struct TestExpr
{
	List	   *targets;
} TestExpr;

static Node *
test_mutator(Node *node, void *context)
{
	TestExpr   *test = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_SUBLINK)
		return copyObject((Node *) get_tle_by_resno(test->targets, ((Param *) node)->paramid)->expr);
	return expression_tree_mutator(node, test_mutator, context);
}

/* The comparison as a condition inside the subselect. */
Node *
elt_test_inside(Node *testexpr, List *targets)
{
	TestExpr	test = {targets};
	Node	   *outside = copyObject(testexpr);

	IncrementVarSublevelsUp(outside, 1, 0);
	return test_mutator(outside, &test);
}

/* Is the comparison true or false, and never NULL? */
bool
elt_test_is_exact(EltSearch *search, Query *query, Node *testexpr)
{
	EltScope	inside = {query, search->scope};
	ListCell   *lc;
	ListCell   *lc2;

	if (is_andclause(testexpr))
	{
		foreach(lc, ((BoolExpr *) testexpr)->args)
			if (!elt_test_is_exact(search, query, lfirst(lc)))
			return false;
		return true;
	}
	if (!IsA(testexpr, OpExpr) || !elt_is_ordering_operator(((OpExpr *) testexpr)->opno))
		return false;
	foreach(lc2, ((OpExpr *) testexpr)->args)
	{
		Node	   *arg = strip_relabel(lfirst(lc2));

		if (IsA(arg, Param) && ((Param *) arg)->paramkind == PARAM_SUBLINK
			? !is_notnull(search, &inside, (Node *) get_tle_by_resno(query->targetList, ((Param *) arg)->paramid)->expr)
			: !is_notnull(search, search->scope, arg))
			return false;
	}
	return true;
}

/* x op ALL (...) as NOT (x other ANY (...)): the other comparison; NULL: there is none. */
Node *
elt_test_negated(Node *testexpr)
{
	OpExpr	   *op = (OpExpr *) testexpr;
	Oid			negator = IsA(op, OpExpr) ? get_negator(op->opno) : InvalidOid;

	if (!OidIsValid(negator))
		return NULL;
	op = copyObject(op);
	op->opno = negator;
	op->opfuncid = get_opcode(negator);
	return (Node *) op;
}

/*
 * Few values by an index
 */

#define MAX_ARRAY	3000

static bool
has_index(Oid relid, AttrNumber attno, Oid operator, Oid collation)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found |= index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indkey.values[0] == attno &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) && index->rd_indcollation[0] == collation &&
			get_op_opfamily_strategy(operator, index->rd_opfamily[0]) == BTEqualStrategyNumber;
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
	return found;
}

/* Can rows be found by this column of the level around, by few values? */
static bool
is_indexed(EltSearch *search, Var *var, Oid operator, Oid collation)
{
	EltLeaf    *leaf;

	if (!IsA(var, Var) || var->varlevelsup != 1 || var->varattno <= 0 || search->leaf->source->nchanges > MAX_ARRAY)
		return false;
	leaf = elt_leaf_of(search->shape, rt_fetch(var->varno, search->scope->query->rtable));
	if (leaf == NULL || leaf->source->nchanges > MAX_ARRAY)
		return false;
	if (leaf->source->part != NULL)
		return leaf->source->key != NIL && linitial_int(leaf->source->key) == var->varattno;
	return has_index(leaf->source->relid, var->varattno, operator, collation);
}

static bool
reads_outside(Node *node)
{
	return contain_vars_of_level(node, 1) || checkExprHasSubLink(node);
}

/* `outer = inner` as outer = ANY (ARRAY (SELECT inner)), without what else is compared with the level around. */
Node *
elt_by_array(EltSearch *search, Query *query, bool *exact)
{
	List	   *rest = NIL;
	OpExpr	   *found = NULL;
	ScalarArrayOpExpr *result = makeNode(ScalarArrayOpExpr);
	SubLink    *link = makeNode(SubLink);
	Query	   *inner = copyObject(query);
	ListCell   *lc;

	foreach(lc, elt_conjuncts(query->jointree->quals))
	{
		OpExpr	   *op = copyObject(lfirst(lc));

		if (found != NULL || !IsA(op, OpExpr) || list_length(op->args) != 2)
		{
			rest = lappend(rest, op);
			continue;
		}
		if (!contain_vars_of_level(linitial(op->args), 1) && OidIsValid(get_commutator(op->opno)))
			CommuteOpExpr(op);
		if (is_indexed(search, (Var *) strip_relabel(linitial(op->args)), op->opno, op->inputcollid) && !reads_outside(lsecond(op->args)) &&
			OidIsValid(get_array_type(exprType(lsecond(op->args)))))
			found = op;
		else
			rest = lappend(rest, op);
	}
	if (found == NULL)
		return NULL;
	*exact = true;
	foreach(lc, rest)
	{
		if (!contain_vars_of_level(lfirst(lc), 1))
			continue;
		rest = foreach_delete_current(rest, lc);
		*exact = false;
	}
	inner->jointree->quals = rest == NIL ? NULL : (Node *) make_ands_explicit(rest);
	inner->targetList = list_make1(makeTargetEntry(lsecond(found->args), 1, pstrdup("touched"), false));
	if (elt_is_correlated(inner))
		return NULL;
	link->subLinkType = ARRAY_SUBLINK;
	link->subselect = (Node *) inner;
	link->location = -1;
	IncrementVarSublevelsUp(linitial(found->args), -1, 1);
	result->opno = found->opno;
	result->opfuncid = get_opcode(found->opno);
	result->useOr = true;
	result->inputcollid = found->inputcollid;
	result->args = list_make2(linitial(found->args), link);
	result->location = -1;
	return (Node *) result;
}
