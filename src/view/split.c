/*
 * split.c
 *	  A query level that selects, joins and filters, as blocks to be united: what is not linear in any of its tables is rewritten.
 *
 *	  A FULL JOIN B ON p	   A LEFT JOIN B ON p, UNION ALL B with NULLs for A, WHERE NOT EXISTS (A ON p)
 *	  (A UNION ALL B) JOIN C   A JOIN C, UNION ALL B JOIN C
 *
 * Only where rows are preserved from there to the top: elsewhere such constructs are evaluated as they are. Pure functions of query trees.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "view/shape.h"
#include "view/stack.h"

#define MAX_BLOCKS	32

Bitmapset *
elt_relids_in(Node *node)
{
	Bitmapset  *relids = NULL;
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	check_stack_depth();
	if (IsA(node, RangeTblRef))
		return bms_make_singleton(((RangeTblRef *) node)->rtindex);
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		relids = bms_union(elt_relids_in(join->larg), elt_relids_in(join->rarg));
		return join->rtindex > 0 ? bms_add_member(relids, join->rtindex) : relids;
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
		relids = bms_join(relids, elt_relids_in(lfirst(lc)));
	return relids;
}

/*
 * Seen from one level further in
 */

typedef struct PushDown
{
	Bitmapset  *kept;			/* that are in the new level's FROM */
	int			depth;
} PushDown;

static bool
push_down_walker(Node *node, void *context)
{
	PushDown   *push = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if ((int) var->varlevelsup > push->depth ||
			((int) var->varlevelsup == push->depth && !bms_is_member(var->varno, push->kept)))
			var->varlevelsup++;
		return false;
	}
	if (IsA(node, Query))
	{
		push->depth++;
		(void) query_tree_walker((Query *) node, push_down_walker, context, QTW_IGNORE_JOINALIASES);
		push->depth--;
		return false;
	}
	return expression_tree_walker(node, push_down_walker, context);
}

static TargetEntry *
one(void)
{
	return makeTargetEntry((Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(1), false, true), 1, pstrdup("one"), false);
}

/*
 * Columns of joins, which nobody reads any more, are made anew: the deparser looks for each of them in the two sides. How many columns the node has.
 */
static int
renew_join_columns(Query *query, Node *node)
{
	JoinExpr   *join;
	RangeTblEntry *rte;
	int			nleft;
	int			nright;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return list_length(rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable)->eref->colnames);
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			(void) renew_join_columns(query, lfirst(lc));
		return 0;
	}
	join = castNode(JoinExpr, node);
	nleft = renew_join_columns(query, join->larg);
	nright = renew_join_columns(query, join->rarg);
	rte = rt_fetch(join->rtindex, query->rtable);
	rte->eref = makeAlias(rte->eref->aliasname, NIL);
	rte->joinaliasvars = rte->joinleftcols = rte->joinrightcols = NIL;
	rte->joinmergedcols = 0;
	for (int i = 1; i <= nleft + nright; i++)
	{
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(psprintf("c%d", i)));
		/* as if dropped */
		rte->joinaliasvars = lappend(rte->joinaliasvars, NULL);
		if (i <= nleft)
			rte->joinleftcols = lappend_int(rte->joinleftcols, i);
		else
			rte->joinrightcols = lappend_int(rte->joinrightcols, i - nleft);
	}
	return nleft + nright;
}

void
elt_forget_entries(Query *query)
{
	Bitmapset  *relids = elt_relids_in((Node *) query->jointree);
	int			rti = 0;
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (bms_is_member(++rti, relids))
			continue;
		rte->rtekind = RTE_RESULT;
		rte->subquery = NULL;
		rte->tablefunc = NULL;
		rte->functions = rte->joinaliasvars = rte->values_lists = NIL;
		rte->enrname = NULL;
	}
	(void) renew_join_columns(query, (Node *) query->jointree);
}

Query *
elt_push_down(Query *query, Node *from, List *quals)
{
	Query	   *result = makeNode(Query);
	PushDown	push = {elt_relids_in(from), 0};
	ListCell   *lc;

	result->commandType = CMD_SELECT;
	result->querySource = QSRC_ORIGINAL;
	result->canSetTag = true;
	result->rtable = copyObject(query->rtable);
	elt_copy_perminfos(result, query);
	result->jointree = makeFromExpr(IsA(from, FromExpr) ? copyObject(((FromExpr *) from)->fromlist) : list_make1(copyObject(from)),
									(Node *) make_ands_explicit(copyObject(quals)));
	if (quals == NIL)
		result->jointree->quals = NULL;
	elt_forget_entries(result);
	result->targetList = list_make1(one());
	result->hasSubLinks = true;
	/* the range table's subqueries are one level further in already */
	push.depth = 0;
	(void) push_down_walker((Node *) result->jointree, &push);
	foreach(lc, result->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind != RTE_JOIN && rte->rtekind != RTE_RESULT)
			(void) range_table_entry_walker(rte, push_down_walker, &push, QTW_IGNORE_JOINALIASES);
	}
	return result;
}

/*
 * FULL JOIN
 */

typedef struct Nullify
{
	Bitmapset  *relids;
	int			depth;
	JoinExpr   *skip;			/* not in here */
} Nullify;

static Node *
nullify_mutator(Node *node, void *context)
{
	Nullify    *nullify = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if ((int) var->varlevelsup == nullify->depth && bms_is_member(var->varno, nullify->relids))
			return (Node *) makeNullConst(var->vartype, var->vartypmod, var->varcollid);
		return copyObject(node);
	}
	if (IsA(node, Query))
	{
		Query	   *result;

		nullify->depth++;
		result = query_tree_mutator((Query *) node, nullify_mutator, context, QTW_IGNORE_JOINALIASES);
		nullify->depth--;
		return (Node *) result;
	}
	return expression_tree_mutator(node, nullify_mutator, context);
}

/* The first FULL JOIN that rows pass through on the way to the top, and where it hangs. */
static Node **
find_full(Node **at)
{
	Node	   *node = *at;

	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
		{
			Node	  **found = find_full((Node **) &lfirst(lc));

			if (found != NULL)
				return found;
		}
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;
		Node	  **found = NULL;

		if (join->jointype == JOIN_FULL)
			return at;
		if (join->jointype != JOIN_RIGHT)
			found = find_full(&join->larg);
		if (found == NULL && join->jointype != JOIN_LEFT)
			found = find_full(&join->rarg);
		return found;
	}
	return NULL;
}

static void
add_qual(Query *query, Node *qual)
{
	query->jointree->quals = (Node *) (query->jointree->quals == NULL ? (Expr *) qual :
									   makeBoolExpr(AND_EXPR, list_make2(query->jointree->quals, qual), -1));
	query->hasSubLinks = true;
}

static Node *
not_exists(Query *subselect)
{
	SubLink    *link = makeNode(SubLink);

	link->subLinkType = EXISTS_SUBLINK;
	link->subselect = (Node *) subselect;
	link->location = -1;
	return (Node *) makeBoolExpr(NOT_EXPR, list_make1(link), -1);
}

/* Rows of the right side that have no match, with NULLs for the left side. */
static Query *
unmatched(Query *query)
{
	Query	   *result = copyObject(query);
	Node	  **at = find_full((Node **) &result->jointree);
	JoinExpr   *join = castNode(JoinExpr, *at);
	Query	   *left = elt_push_down(result, join->larg, join->quals != NULL ? list_make1(join->quals) : NIL);
	Nullify		nullify = {elt_relids_in(join->larg), 0, NULL};

	*at = join->rarg;
	elt_forget_entries(result);
	result = query_tree_mutator(result, nullify_mutator, &nullify, QTW_IGNORE_JOINALIASES);
	add_qual(result, not_exists(left));
	return result;
}

/*
 * UNION ALL
 */

/* The columns of a branch, which is a level further in than before, as the types of the whole. */
static Query *
cast_branch(Query *branch, List *types)
{
	Query	   *result = elt_wrap(branch);
	List	   *targets = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, result->targetList, lc2, types)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) tle->expr;

		if (tle->resjunk)
			break;
		tle->ressortgroupref = 0;
		if (exprType(expr) != lfirst_oid(lc2))
			expr = coerce_to_target_type(NULL, expr, exprType(expr), lfirst_oid(lc2), -1, COERCION_IMPLICIT, COERCE_EXPLICIT_CAST, -1);
		if (expr == NULL)
			elog(ERROR, "cannot cast a column of UNION to %s", format_type_be(lfirst_oid(lc2)));
		tle->expr = (Expr *) expr;
		targets = lappend(targets, tle);
	}
	result->targetList = targets;
	return result;
}

static bool
has_types(Query *branch, List *types)
{
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, branch->targetList, lc2, types)
		if (exprType((Node *) lfirst_node(TargetEntry, lc)->expr) != lfirst_oid(lc2))
		return false;
	return true;
}

static Bitmapset *
operands_in(Node *node)
{
	if (IsA(node, RangeTblRef))
		return bms_make_singleton(((RangeTblRef *) node)->rtindex);
	check_stack_depth();
	return bms_join(operands_in(castNode(SetOperationStmt, node)->larg), operands_in(castNode(SetOperationStmt, node)->rarg));
}

/* An operation within a tree of others as a query of its own. */
static Query *
operation(Query *query, SetOperationStmt *op)
{
	Query	   *result = copyObject(query);
	Node	   *first = (Node *) op;
	Bitmapset  *read = operands_in((Node *) op);
	int			rti = 0;
	List	   *targets = NIL;
	ListCell   *lc;

	while (IsA(first, SetOperationStmt))
		first = ((SetOperationStmt *) first)->larg;
	result->setOperations = copyObject((Node *) op);
	foreach(lc, result->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (bms_is_member(++rti, read))
			continue;
		rte->rtekind = RTE_RESULT;
		rte->subquery = NULL;
		rte->enrname = NULL;
	}
	for (int i = 0; i < list_length(op->colTypes); i++)
		targets = lappend(targets, makeTargetEntry((Expr *) makeVar(castNode(RangeTblRef, first)->rtindex, i + 1, list_nth_oid(op->colTypes, i),
																	list_nth_int(op->colTypmods, i), list_nth_oid(op->colCollations, i), 0),
												   i + 1, pstrdup(list_nth_node(TargetEntry, query->targetList, i)->resname), false));
	result->targetList = targets;
	return result;
}

/* The branches of a tree of UNION ALL as Querys. */
static List *
branches(Query *query, Node *node, List *types)
{
	SetOperationStmt *op;

	if (IsA(node, RangeTblRef))
	{
		Query	   *branch = copyObject(rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable)->subquery);

		if (branch->setOperations != NULL || !has_types(branch, types))
			return list_make1(cast_branch(branch, types));
		/* it hangs one level higher now */
		IncrementVarSublevelsUp((Node *) branch, -1, 2);
		return list_make1(branch);
	}
	op = castNode(SetOperationStmt, node);
	if (op->op != SETOP_UNION || !op->all)
	{
		Query	   *branch = operation(query, op);

		IncrementVarSublevelsUp((Node *) branch, 1, 1);
		return list_make1(cast_branch(branch, types));
	}
	return list_concat(branches(query, op->larg, types), branches(query, op->rarg, types));
}

static List *
branches_of(Query *query)
{
	SetOperationStmt *op = castNode(SetOperationStmt, query->setOperations);

	return branches(query, (Node *) op, op->colTypes);
}

static bool
is_union_all(Query *query)
{
	SetOperationStmt *op = (SetOperationStmt *) query->setOperations;

	return op != NULL && op->op == SETOP_UNION && op->all && query->sortClause == NIL && query->limitCount == NULL && query->limitOffset == NULL;
}

/* A UNION ALL in FROM that rows pass through on the way to the top: its index, or 0. */
static int
find_union(Query *query, Node *node)
{
	int			found = 0;

	if (IsA(node, RangeTblRef))
	{
		RangeTblEntry *rte = rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable);

		return rte->rtekind == RTE_SUBQUERY && is_union_all(rte->subquery) ? ((RangeTblRef *) node)->rtindex : 0;
	}
	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			if ((found = find_union(query, lfirst(lc))) != 0)
			return found;
		return 0;
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);

		if (join->jointype != JOIN_RIGHT)
			found = find_union(query, join->larg);
		if (found == 0 && join->jointype != JOIN_LEFT)
			found = find_union(query, join->rarg);
		return found;
	}
}

List *
elt_split_blocks(Query *query)
{
	List	   *todo;
	List	   *done = NIL;
	List	   *whole = is_union_all(query) ? branches_of(query) : NIL;

	todo = whole != NIL ? whole : list_make1(query);
	while (todo != NIL && list_length(todo) + list_length(done) <= MAX_BLOCKS)
	{
		Query	   *next = linitial_node(Query, todo);
		int			rti;

		todo = list_delete_first(todo);
		if (find_full((Node **) &next->jointree) != NULL)
		{
			Query	   *matched = copyObject(next);
			JoinExpr   *join = castNode(JoinExpr, *find_full((Node **) &matched->jointree));

			join->jointype = JOIN_LEFT;
			rt_fetch(join->rtindex, matched->rtable)->jointype = JOIN_LEFT;
			todo = lcons(matched, lcons(unmatched(next), todo));
		}
		else if ((rti = find_union(next, (Node *) next->jointree)) != 0)
		{
			List	   *parts = branches_of(rt_fetch(rti, next->rtable)->subquery);
			ListCell   *lc;

			foreach(lc, parts)
			{
				Query	   *copy = copyObject(next);

				rt_fetch(rti, copy->rtable)->subquery = lfirst_node(Query, lc);
				todo = lappend(todo, copy);
			}
		}
		else
			done = lappend(done, next);
	}
	return todo == NIL ? done : NIL;
}
