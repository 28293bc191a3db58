/*
 * block.c
 *	  The delta of a block: three sums, as README.md tells.
 *
 *	  core leaf i changed		f(core before i new, i delta, after i old; appended new)
 *	  appended leaf j changed	f(core old; before j new, j new, after j was) - f(core old; before j new, j was, after j was), for rows that j touches
 *	  what was old				f(new) - f(delta), as terms of their own
 *	  now() moved				f(new, now) where it did not hold then - f(new, then) where it does not hold now; the others are taken at then
 *
 * A state is put in by making the leaf's range table entry a reference to a CTE of that name; weights come up through simple subqueries and are multiplied.
 *
 * Pure functions of query trees.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/query.h"
#include "view/block.h"
#include "view/delta.h"
#include "view/stack.h"

char *
elt_query_text(Query *query)
{
	char	   *sql = elt_deparse(query);
	int			len = strlen(sql);

	while (len > 0 && (sql[len - 1] == ';' || sql[len - 1] == ' '))
		sql[--len] = '\0';
	return sql;
}

void
elt_add_qual(Query *query, Node *qual)
{
	query->jointree->quals = query->jointree->quals == NULL ? qual :
		(Node *) makeBoolExpr(AND_EXPR, list_concat(list_copy(elt_conjuncts(query->jointree->quals)), list_make1(qual)), -1);
	query->hasSubLinks = true;
}

List *
elt_conjuncts(Node *quals)
{
	return quals == NULL ? NIL : IsA(quals, List) ? (List *) quals : make_ands_implicit((Expr *) quals);
}

/*
 * Labels
 */

typedef struct Mark
{
	EltShape   *shape;
	EltLeaf    *leaf;
	const char *label;
} Mark;

static bool
mark_walker(Node *node, void *context)
{
	Mark	   *mark = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (elt_leaf_of(mark->shape, rte) == mark->leaf)
			rte->enrname = psprintf("%s %d", mark->label, mark->leaf->number);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, mark_walker, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, mark_walker, context);
}

void
elt_mark_touching(EltShape *shape, Node *node, EltLeaf *leaf)
{
	Mark		mark = {shape, leaf, "touch"};

	(void) mark_walker(node, &mark);
}

void
elt_mark_flipped(EltShape *shape, Node *node, EltLeaf *leaf)
{
	Mark		mark = {shape, leaf, "flip"};

	(void) mark_walker(node, &mark);
}

/*
 * States
 */

typedef struct States
{
	EltShape   *shape;
	EltState   *of;				/* by leaf number */
} States;

/* extra: a last column, or NULL. */
static void
read_state(RangeTblEntry *rte, EltSource *source, const char *state, const char *extra)
{
	List	   *names = NIL;

	for (int i = 0; i < list_length(source->names); i++)
	{
		bool		given = i < list_length(rte->eref->colnames) && strVal(list_nth(rte->eref->colnames, i))[0] != '\0';
		char	   *name = strVal(list_nth(source->names, i));

		names = lappend(names, makeString(pstrdup(name[0] == '\0' ? "" : given ? strVal(list_nth(rte->eref->colnames, i)) : name)));
	}
	if (extra != NULL)
		names = lappend(names, makeString(pstrdup(extra)));
	elt_clear_rte_permissions(rte);
	rte->rtekind = RTE_CTE;
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
	rte->inh = false;
	rte->ctename = psprintf("elt_%s_%d", state, source->number);
	rte->ctelevelsup = 0;
	rte->alias = makeAlias(rte->eref->aliasname, names);
	rte->eref = makeAlias(rte->eref->aliasname, copyObject(names));
}

/* The leaf of an entry, and what state it reads; NULL: it is none. */
static EltLeaf *
state_of(States *states, RangeTblEntry *rte, EltState *state)
{
	const char *label = rte->enrname;
	EltLeaf    *leaf;

	if (label == NULL || strncmp(label, "cte ", 4) == 0 || strchr(label, ' ') == NULL)
		return NULL;
	leaf = list_nth(states->shape->leaves, atoi(strchr(label, ' ') + 1) - 1);
	*state = states->of[leaf->number];
	if (strncmp(label, "touch", 5) == 0)
		*state = ELT_DELTA;
	else if (strncmp(label, "flip", 4) == 0)
		*state = *state == ELT_NEW ? ELT_WAS : ELT_NEW;
	return leaf;
}

/*
 * What a table was, as a plain union that the planner sees through: rows that are and rows that were removed, and beside it the condition that a row that is was
 * not added.
 */

typedef enum Placed
{
	ELSEWHERE,
	HERE,						/* to be placed further up */
	PLACED,
	NOWHERE
} Placed;

static void
add_conjunct(Node **quals, Node *qual)
{
	*quals = *quals == NULL ? qual : (Node *) makeBoolExpr(AND_EXPR, lappend(list_copy(elt_conjuncts(*quals)), qual), -1);
}

/* Put a condition on an entry where it applies to the entry's own rows. */
static Placed
place(Node *node, int rti, Node *qual)
{
	JoinExpr   *join;
	Placed		found = ELSEWHERE;
	bool		nullable;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == rti ? HERE : ELSEWHERE;
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			if ((found = place(lfirst(lc), rti, qual)) != ELSEWHERE)
			break;
		if (found == HERE)
			add_conjunct(&((FromExpr *) node)->quals, qual);
		return found == HERE ? PLACED : found;
	}
	join = castNode(JoinExpr, node);
	found = place(join->larg, rti, qual);
	nullable = join->jointype == JOIN_RIGHT;
	if (found == ELSEWHERE)
	{
		found = place(join->rarg, rti, qual);
		nullable = join->jointype == JOIN_LEFT;
	}
	if (found != HERE)
		return found;
	if (join->jointype == JOIN_FULL)
		return NOWHERE;
	if (join->jointype != JOIN_INNER && !nullable)
		return HERE;
	add_conjunct(&join->quals, qual);
	return PLACED;
}

/* A hash table of the keys that were added has to fit into memory, else they would be read through for each row. */
void
elt_expect_changes(EltSource *source, double nchanges)
{
	ListCell   *lc;

	source->nchanges = nchanges;
	source->flat_was = nchanges > 0 && source->key != NIL && nchanges * (40 + 40 * list_length(source->key)) < get_hash_memory_limit();
	if (source->part != NULL)
		foreach(lc, source->key)
			source->flat_was &= source->part->columns[lfirst_int(lc) - 1].notnull;
}

/* x is not current, or its key is not among the added ones. */
static Node *
was_not_added(EltSource *source, RangeTblEntry *rte, int rti)
{
	Node	   *current = (Node *) makeVar(rti, list_length(source->names) + 1, BOOLOID, -1, InvalidOid, 0);
	SubLink    *link = makeNode(SubLink);
	EltColumn  *columns = palloc0(sizeof(EltColumn) * list_length(source->key));
	List	   *tests = NIL;
	Query	   *added;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, source->key)
		columns[n++].name = strVal(list_nth(source->names, lfirst_int(lc) - 1));
	added = elt_select_from_input(psprintf("elt_added_%d", source->number), columns, n);
	n = 0;
	foreach(lc, source->key)
	{
		Param	   *param = makeNode(Param);
		Oid			equals;

		elt_source_column(source, lfirst_int(lc), &param->paramtype, &param->paramtypmod, &param->paramcollid, &equals);
		param->paramkind = PARAM_SUBLINK;
		param->paramid = ++n;
		param->location = -1;
		added->targetList = lappend(added->targetList,
									makeTargetEntry((Expr *) makeVar(1, n, param->paramtype, param->paramtypmod, param->paramcollid, 0),
													n, pstrdup(columns[n - 1].name), false));
		tests = lappend(tests, make_opclause(equals, BOOLOID, false,
											 (Expr *) makeVar(rti, lfirst_int(lc), param->paramtype, param->paramtypmod, param->paramcollid, 0),
											 (Expr *) param, InvalidOid, param->paramcollid));
	}
	link->subLinkType = ANY_SUBLINK;
	link->testexpr = (Node *) make_ands_explicit(tests);
	link->operName = list_make1(makeString("="));
	link->subselect = (Node *) added;
	link->location = -1;
	return (Node *) makeBoolExpr(OR_EXPR, list_make2(makeBoolExpr(NOT_EXPR, list_make1(current), -1),
													 makeBoolExpr(NOT_EXPR, list_make1(link), -1)), -1);
}

static void
flatten_was(States *states, Query *query)
{
	Bitmapset  *relids = elt_relids_in((Node *) query->jointree);
	int			rti = -1;

	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);
		EltState	state;
		EltLeaf    *leaf = state_of(states, rte, &state);

		if (leaf == NULL || state != ELT_WAS || !leaf->source->flat_was ||
			place((Node *) query->jointree, rti, was_not_added(leaf->source, rte, rti)) != PLACED)
			continue;
		query->hasSubLinks = true;
		read_state(rte, leaf->source, "both", "_elt_cur");
		rte->enrname = NULL;
	}
}

static bool
states_walker(Node *node, void *context)
{
	States	   *states = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		static const char *const names[] = {"new", "delta", "old", "was"};
		RangeTblEntry *rte = (RangeTblEntry *) node;
		EltState	state;
		EltLeaf    *leaf = state_of(states, rte, &state);

		if (leaf == NULL)
			return false;
		if (state == ELT_NEW && leaf->source->part == NULL)
		{
			rte->enrname = NULL;
			return false;
		}
		/* of a bag the weight is always there */
		read_state(rte, leaf->source, names[state], state == ELT_DELTA || state == ELT_OLD ? ELT_WEIGHT_COLUMN : NULL);
		return false;
	}
	if (IsA(node, Query))
	{
		flatten_was(states, (Query *) node);
		return query_tree_walker((Query *) node, states_walker, context, QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
	}
	return expression_tree_walker(node, states_walker, context);
}

/*
 * Weights
 */

static Node *
times(Node *a, Node *b)
{
	if (a == NULL || b == NULL)
		return a == NULL ? b : a;
	return (Node *) makeFuncExpr(F_INT8MUL, INT8OID, list_make2(a, b), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* The product of the weights that come in through FROM; NULL: no entry has one. Subqueries hand theirs on as a last column. */
static Node *
weigh(States *states, Query *query)
{
	Bitmapset  *relids = elt_relids_in((Node *) query->jointree);
	Node	   *weight = NULL;
	int			rti = -1;

	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);
		EltLeaf    *leaf = elt_leaf_of(states->shape, rte);

		if (leaf != NULL && leaf->core && (states->of[leaf->number] == ELT_DELTA || states->of[leaf->number] == ELT_OLD))
			weight = times(weight, (Node *) makeVar(rti, list_length(leaf->source->names) + 1, INT8OID, -1, InvalidOid, 0));
		else if (rte->rtekind == RTE_SUBQUERY && !elt_is_heavy(rte->subquery))
		{
			Node	   *below = weigh(states, rte->subquery);
			List	   *targets = NIL;
			ListCell   *lc;

			if (below == NULL)
				continue;
			foreach(lc, rte->subquery->targetList)
				if (!lfirst_node(TargetEntry, lc)->resjunk)
				targets = lappend(targets, lfirst(lc));
			rte->subquery->sortClause = NIL;
			rte->subquery->targetList = lappend(targets, makeTargetEntry((Expr *) below, list_length(targets) + 1, pstrdup(ELT_WEIGHT_COLUMN), false));
			while (list_length(rte->eref->colnames) > list_length(targets) - 1)
				rte->eref->colnames = list_delete_last(rte->eref->colnames);
			rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(ELT_WEIGHT_COLUMN)));
			if (rte->alias != NULL && rte->alias->colnames != NIL)
				rte->alias->colnames = copyObject(rte->eref->colnames);
			weight = times(weight, (Node *) makeVar(rti, list_length(rte->subquery->targetList), INT8OID, -1, InvalidOid, 0));
		}
	}
	return weight;
}

/* A copy of the block with its leaves in their states, and the weight as last column. */
static Query *
in_states(States *states, Query *block, bool negative)
{
	Query	   *query = block;
	Node	   *weight = weigh(states, query);

	if (weight == NULL)
		weight = (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(negative ? -1 : 1), false, FLOAT8PASSBYVAL);
	else if (negative)
		weight = (Node *) makeFuncExpr(F_INT8UM, INT8OID, list_make1(weight), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	(void) states_walker((Node *) query, states);
	query->targetList = lappend(query->targetList,
								makeTargetEntry((Expr *) weight, list_length(query->targetList) + 1, pstrdup(ELT_WEIGHT_COLUMN), false));
	return query;
}

Query *
elt_block_now(EltShape *shape, Query *block)
{
	States		states = {shape, palloc0(sizeof(EltState) * (list_length(shape->leaves) + 1))};
	Query	   *query = copyObject(block);

	(void) states_walker((Node *) query, &states);
	return query;
}

/*
 * now()
 */

static bool
is_now_function(Oid function, void *context)
{
	return function == F_NOW || function == F_TRANSACTION_TIMESTAMP;
}

static bool
now_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_now_function, NULL))
		return true;
	if (IsA(node, SQLValueFunction))
	{
		SQLValueFunctionOp op = ((SQLValueFunction *) node)->op;

		return op == SVFOP_CURRENT_DATE || op == SVFOP_CURRENT_TIMESTAMP || op == SVFOP_CURRENT_TIMESTAMP_N ||
			op == SVFOP_LOCALTIMESTAMP || op == SVFOP_LOCALTIMESTAMP_N;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, now_walker, context, QTW_IGNORE_JOINALIASES);
	return expression_tree_walker(node, now_walker, context);
}

bool
elt_reads_now(Node *node)
{
	return now_walker(node, NULL);
}

static Node *
then_mutator(Node *node, void *context)
{
	TimestampTz *then = context;
	Node	   *value;
	SQLValueFunction *function = (SQLValueFunction *) node;

	if (node == NULL)
		return NULL;
	value = (Node *) makeConst(TIMESTAMPTZOID, -1, InvalidOid, sizeof(TimestampTz), TimestampTzGetDatum(*then), false, FLOAT8PASSBYVAL);
	if (IsA(node, FuncExpr) && is_now_function(((FuncExpr *) node)->funcid, NULL))
		return value;
	if (IsA(node, SQLValueFunction))
	{
		Node	   *typmod = (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(function->typmod), false, true);

		switch (function->op)
		{
			case SVFOP_CURRENT_DATE:
				return (Node *) makeFuncExpr(F_DATE_TIMESTAMPTZ, DATEOID, list_make1(value), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
			case SVFOP_CURRENT_TIMESTAMP:
				return value;
			case SVFOP_CURRENT_TIMESTAMP_N:
				return (Node *) makeFuncExpr(F_TIMESTAMPTZ_TIMESTAMPTZ_INT4, TIMESTAMPTZOID, list_make2(value, typmod), InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL);
			case SVFOP_LOCALTIMESTAMP:
			case SVFOP_LOCALTIMESTAMP_N:
				value = (Node *) makeFuncExpr(F_TIMESTAMP_TIMESTAMPTZ, TIMESTAMPOID, list_make1(value), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
				if (function->op == SVFOP_LOCALTIMESTAMP_N)
					value = (Node *) makeFuncExpr(F_TIMESTAMP_TIMESTAMP_INT4, TIMESTAMPOID, list_make2(value, typmod), InvalidOid, InvalidOid,
												  COERCE_EXPLICIT_CALL);
				return value;
			default:
				return copyObject(node);
		}
	}
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, then_mutator, context, QTW_IGNORE_JOINALIASES);
	return expression_tree_mutator(node, then_mutator, context);
}

bool
elt_now_is_bound(Query *block)
{
	Query	   *rest = copyObject(block);
	List	   *still = NIL;
	ListCell   *lc;

	foreach(lc, elt_conjuncts(rest->jointree->quals))
		if (!elt_reads_now(lfirst(lc)) || checkExprHasSubLink(lfirst(lc)))
		still = lappend(still, lfirst(lc));
	rest->jointree->quals = (Node *) still;
	return !elt_reads_now((Node *) rest);
}

/* Rows of the new state for which the conditions that read now() hold at one time and not at the other. */
static Query *
crossed(EltShape *shape, Query *block, bool entered, TimestampTz then)
{
	States		states = {shape, palloc0(sizeof(EltState) * (list_length(shape->leaves) + 1))};
	Query	   *query = copyObject(block);
	List	   *moving = NIL;
	BooleanTest *not_true = makeNode(BooleanTest);
	ListCell   *lc;

	foreach(lc, elt_conjuncts(query->jointree->quals))
		if (elt_reads_now(lfirst(lc)))
		moving = lappend(moving, lfirst(lc));
	not_true->arg = make_ands_explicit(copyObject(moving));
	not_true->booltesttype = IS_NOT_TRUE;
	not_true->location = -1;
	if (entered)
		not_true = castNode(BooleanTest, then_mutator((Node *) not_true, &then));
	else
		query = castNode(Query, then_mutator((Node *) query, &then));
	elt_add_qual(query, (Node *) not_true);
	return in_states(&states, query, !entered);
}

/*
 * The sums
 */

static bool
is_changed(EltLeaf *leaf, Bitmapset *changed)
{
	return bms_is_member(leaf->source->number, changed);
}

/* So many leaves of a term are taken apart. */
#define MAX_APART	2

typedef struct Found
{
	EltShape   *shape;
	List	   *leaves;
} Found;

static bool
leaves_walker(Node *node, void *context)
{
	Found	   *found = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		EltLeaf    *leaf = elt_leaf_of(found->shape, (RangeTblEntry *) node);

		if (leaf != NULL)
			found->leaves = list_append_unique_ptr(found->leaves, leaf);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, leaves_walker, context, QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
	return expression_tree_walker(node, leaves_walker, context);
}

/*
 * The order in which leaves change: those with most changes first, because what comes later is read as it was, table and changes together. Any order
 * gives the same sum. Before all comes what foreign keys refer to and was only added to.
 */
static bool
comes_later(EltLeaf *leaf, EltLeaf *than)
{
	if (leaf->first != than->first)
		return than->first;
	if (leaf->source->nchanges != than->source->nchanges)
		return leaf->source->nchanges < than->source->nchanges;
	return leaf->number > than->number;
}

/* States of the leaves when `leaf` changes: those before it are new, those behind it are as they were. */
static EltState *
states_at(EltShape *shape, List *leaves, EltLeaf *leaf, Bitmapset *changed)
{
	EltState   *states = palloc0(sizeof(EltState) * (list_length(shape->leaves) + 1));
	ListCell   *lc;

	foreach(lc, leaves)
	{
		EltLeaf    *other = lfirst(lc);

		if (!is_changed(other, changed))
			continue;
		if (leaf->core)
			states[other->number] = other->core && comes_later(other, leaf) ? ELT_OLD : ELT_NEW;
		else
			states[other->number] = other->core ? ELT_OLD : comes_later(other, leaf) ? ELT_WAS : ELT_NEW;
	}
	return states;
}

/*
 * A term whose old leaves are new ones less their deltas, each of them apart: a union of table and delta would have to be searched for each row that is joined,
 * and the delta has no index.
 */
static List *
apart(States *states, Query *query, List *leaves, bool negative)
{
	List	   *terms = NIL;
	int			old[MAX_APART + 1];
	int			nold = 0;
	ListCell   *lc;

	foreach(lc, leaves)
	{
		int			number = ((EltLeaf *) lfirst(lc))->number;

		if (states->of[number] == ELT_OLD && nold < MAX_APART)
			old[nold++] = number;
	}
	for (int mask = 0; mask < 1 << nold; mask++)
	{
		bool		minus = negative;

		for (int i = 0; i < nold; i++)
		{
			bool		of_delta = mask & (1 << i);

			states->of[old[i]] = of_delta ? ELT_DELTA : ELT_NEW;
			minus ^= of_delta;
		}
		terms = lappend(terms, in_states(states, copyObject(query), minus));
	}
	return terms;
}

/* Are all terms of this core leaf empty, because a table that refers to it is as it was? Rows that were only added had no rows referring to them. */
static bool
is_empty_term(EltLeaf *leaf, List *referring, EltState *states, Bitmapset *changed)
{
	ListCell   *lc;

	if (!leaf->source->only_added)
		return false;
	foreach(lc, referring)
		if (states[((EltLeaf *) lfirst(lc))->number] == ELT_OLD || !is_changed(lfirst(lc), changed))
		return true;
	return false;
}

List *
elt_block_delta(EltShape *shape, Query *block, Bitmapset *changed, bool moved, TimestampTz then)
{
	Found		found = {shape, NIL};
	List	   *terms = NIL;
	ListCell   *lc;

	moved = moved && elt_reads_now((Node *) block);
	(void) leaves_walker((Node *) block, &found);
	foreach(lc, found.leaves)
	{
		EltLeaf    *leaf = lfirst(lc);

		leaf->referring = leaf->core && is_changed(leaf, changed) && leaf->source->only_added ?
			elt_referring_leaves(shape, block, leaf, found.leaves) : NIL;
		leaf->first = leaf->referring != NIL;
	}
	foreach(lc, found.leaves)
	{
		EltLeaf    *leaf = lfirst(lc);
		States		states = {shape, NULL};

		if (!is_changed(leaf, changed))
			continue;
		if (is_empty_term(leaf, leaf->referring, states_at(shape, found.leaves, leaf, changed), changed))
			continue;
		for (int sign = 1; sign >= -1; sign -= 2)
		{
			Query	   *query = copyObject(block);

			states.of = states_at(shape, found.leaves, leaf, changed);
			states.of[leaf->number] = leaf->core ? ELT_DELTA : sign > 0 ? ELT_NEW : ELT_WAS;
			if (!leaf->core)
				(void) elt_touch(shape, query, leaf);
			if (moved)
				query = castNode(Query, then_mutator((Node *) query, &then));
			terms = list_concat(terms, apart(&states, query, found.leaves, sign < 0));
			if (leaf->core)
				break;
		}
	}
	if (moved)
	{
		terms = lappend(terms, crossed(shape, block, true, then));
		terms = lappend(terms, crossed(shape, block, false, then));
	}
	return terms;
}
