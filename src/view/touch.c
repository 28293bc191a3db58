/*
 * touch.c
 *	  Which rows of a query level may give something else when an appended leaf changes?
 *
 * The leaf hangs below the level in a subquery of an expression, on the nullable side of an outer join, or in a LATERAL subquery. What is looked for is a
 * condition at that level that holds at least for all rows whose result differs: EXISTS (what lies between, with the leaf's delta in its place). It may hold for
 * more rows, never for fewer; so whatever is not simple is left out of it:
 *
 *	  targets, GROUP BY, HAVING, DISTINCT, LIMIT and windows of a subselect; conditions that contain subqueries; nullable sides that do not lead to the leaf, and
 *	  conditions that read them; conditions above a nullable side that leads to the leaf, as far as they read that side.
 *
 * All other leaves are in one state while this one changes, so conditions on them may stay. Pure functions of query trees.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "view/block.h"
#include "view/stack.h"

typedef struct Search
{
	EltShape   *shape;
	EltLeaf    *leaf;
} Search;

static bool
contains_walker(Node *node, void *context)
{
	Search	   *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return elt_leaf_of(search->shape, (RangeTblEntry *) node) == search->leaf;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, contains_walker, context, QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
	return expression_tree_walker(node, contains_walker, context);
}

static bool
contains(Search *search, Node *node)
{
	return contains_walker(node, search);
}

static bool
entry_contains(Search *search, RangeTblEntry *rte)
{
	return elt_leaf_of(search->shape, rte) == search->leaf ||
		(rte->rtekind == RTE_SUBQUERY && contains(search, (Node *) rte->subquery)) ||
		(rte->rtekind == RTE_FUNCTION && contains(search, (Node *) rte->functions));
}

static bool
jointree_contains(Search *search, Query *query, Node *node)
{
	Bitmapset  *relids = elt_relids_in(node);
	int			rti = -1;

	while ((rti = bms_next_member(relids, rti)) >= 0)
		if (rt_fetch(rti, query->rtable)->rtekind != RTE_JOIN && entry_contains(search, rt_fetch(rti, query->rtable)))
			return true;
	return false;
}

/*
 * FROM and WHERE on the way to the leaf
 */

typedef struct Way
{
	Search	   *search;
	Query	   *query;
	List	   *from;			/* RangeTblRef, to be joined */
	List	   *quals;
	Bitmapset  *dropped;		/* conditions that read these do not hold for
								 * all */
	Bitmapset  *inside;			/* what FROM has, on the way or not */
} Way;

static void
add_quals(Way *way, Node *quals)
{
	way->quals = list_concat(way->quals, list_copy(elt_conjuncts(quals)));
}

static void
walk_from(Way *way, Node *node)
{
	JoinExpr   *join;
	bool		left;
	bool		right;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
	{
		way->from = lappend(way->from, node);
		return;
	}
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			walk_from(way, lfirst(lc));
		add_quals(way, ((FromExpr *) node)->quals);
		return;
	}
	join = castNode(JoinExpr, node);
	left = jointree_contains(way->search, way->query, join->larg);
	right = jointree_contains(way->search, way->query, join->rarg);
	if (!left && !right && contains(way->search, join->quals))
	{
		/* within the join's own condition: nothing of it can be told */
		way->dropped = bms_join(way->dropped, elt_relids_in(node));
		return;
	}
	switch (join->jointype)
	{
		case JOIN_INNER:
			walk_from(way, join->larg);
			walk_from(way, join->rarg);
			add_quals(way, join->quals);
			break;
		case JOIN_LEFT:
		case JOIN_RIGHT:
			{
				bool		nullable = join->jointype == JOIN_LEFT ? right : left;
				Node	   *outer = join->jointype == JOIN_LEFT ? join->larg : join->rarg;
				Node	   *inner = join->jointype == JOIN_LEFT ? join->rarg : join->larg;

				walk_from(way, outer);
				way->dropped = bms_union(way->dropped, elt_relids_in(inner));
				if (nullable)
				{
					/*
					 * what joins the two holds for the leaf's rows, what
					 * reads their result need not
					 */
					Way			below = {way->search, way->query};

					walk_from(&below, inner);
					add_quals(&below, join->quals);
					way->from = list_concat(way->from, below.from);
					/* these are kept whatever they read */
					foreach(lc, below.quals)
						if (!elt_reads_any(lfirst(lc), below.dropped))
						way->quals = lappend(way->quals, makeBoolExpr(AND_EXPR, list_make1(lfirst(lc)), -1));
				}
				break;
			}
		default:
			way->dropped = bms_join(way->dropped, elt_relids_in(node));
			break;
	}
}

typedef struct Reads
{
	Bitmapset  *relids;
	int			depth;
} Reads;

static bool
reads_walker(Node *node, void *context)
{
	Reads	   *reads = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return (int) ((Var *) node)->varlevelsup == reads->depth && bms_is_member(((Var *) node)->varno, reads->relids);
	if (IsA(node, Query))
	{
		bool		found;

		reads->depth++;
		found = query_tree_walker((Query *) node, reads_walker, context, QTW_IGNORE_JOINALIASES);
		reads->depth--;
		return found;
	}
	return expression_tree_walker(node, reads_walker, context);
}

bool
elt_reads_any(Node *node, Bitmapset *relids)
{
	Reads		reads = {relids, 0};

	return reads_walker(node, &reads);
}

/* Conditions that hold for whatever the leaf's rows take part in. */
static List *
usable_quals(Way *way)
{
	Bitmapset  *left_out = way->inside;
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, way->from)
		left_out = bms_difference(left_out, bms_make_singleton(((RangeTblRef *) lfirst(lc))->rtindex));
	foreach(lc, way->quals)
	{
		Node	   *qual = lfirst(lc);
		bool		certain = IsA(qual, BoolExpr) && list_length(((BoolExpr *) qual)->args) == 1 && ((BoolExpr *) qual)->boolop == AND_EXPR;

		if (certain)
			qual = linitial(((BoolExpr *) qual)->args);
		if (checkExprHasSubLink(qual) || (!certain && elt_reads_any(qual, way->dropped)) || elt_reads_any(qual, left_out))
			continue;
		result = lappend(result, qual);
	}
	return result;
}

static Node *touch_below(Search *search, Query *query, bool *everything);

/*
 * FROM and WHERE of `query` reduced to what leads to the leaf, as a subselect of the same level. extra: conditions of the same level. NULL: every row may be touched.
 */
static Query *
lead(Search *search, Query *query, Node *from, List *extra, bool push)
{
	Way			way = {search, query};
	Query	   *result;
	List	   *quals;
	Node	   *below;
	bool		everything = false;
	FromExpr   *reduced;
	ListCell   *lc;

	way.inside = elt_relids_in(from);
	walk_from(&way, from);
	way.quals = list_concat(way.quals, extra);
	quals = usable_quals(&way);

	/*
	 * an entry of FROM that leads to the leaf and is not simple is looked
	 * into, not joined
	 */
	foreach(lc, way.from)
	{
		RangeTblEntry *rte = rt_fetch(((RangeTblRef *) lfirst(lc))->rtindex, query->rtable);

		if (rte->rtekind == RTE_SUBQUERY && entry_contains(search, rte) && elt_is_heavy(rte->subquery))
		{
			Bitmapset  *gone = bms_make_singleton(((RangeTblRef *) lfirst(lc))->rtindex);
			List	   *kept = NIL;
			ListCell   *lc2;

			way.from = list_delete_cell(way.from, lc);
			foreach(lc2, quals)
				if (!elt_reads_any(lfirst(lc2), gone))
				kept = lappend(kept, lfirst(lc2));
			quals = kept;
			break;
		}
	}
	reduced = makeFromExpr(way.from, NULL);
	if (push)
		result = elt_push_down(query, (Node *) reduced, quals);
	else
	{
		result = copyObject(query);
		result->jointree = copyObject(reduced);
		result->jointree->quals = quals == NIL ? NULL : (Node *) make_ands_explicit(copyObject(quals));
		elt_forget_unread(result);
		result->targetList = list_make1(makeTargetEntry((Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(1), false, true),
														1, pstrdup("one"), false));
		result->hasAggs = result->hasWindowFuncs = result->hasTargetSRFs = result->hasDistinctOn = false;
		result->groupClause = result->groupingSets = result->windowClause = result->distinctClause = result->sortClause = NIL;
		result->havingQual = result->limitCount = result->limitOffset = NULL;
		result->hasSubLinks = true;
	}
	/* the leaf is in FROM itself, in a simple subquery of it, or further in */
	below = push ? NULL : touch_below(search, query, &everything);
	if (below != NULL)
		elt_add_qual(result, below);
	if (result->jointree->fromlist == NIL && result->jointree->quals == NULL)
		return NULL;
	return result;
}

/* A subselect with the leaf's delta, for EXISTS. */
static Query *
touch_select(Search *search, Query *query)
{
	if (query->setOperations != NULL)
	{
		ListCell   *lc;

		/* the branch that reads the leaf */
		foreach(lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			if (rte->rtekind == RTE_SUBQUERY && entry_contains(search, rte))
			{
				Query	   *branch = copyObject(rte->subquery);

				IncrementVarSublevelsUp((Node *) branch, -1, 2);
				return touch_select(search, branch);
			}
		}
		return NULL;
	}
	return lead(search, query, (Node *) query->jointree, NIL, false);
}

static Node *
exists(Query *query)
{
	SubLink    *link = makeNode(SubLink);

	link->subLinkType = EXISTS_SUBLINK;
	link->subselect = (Node *) query;
	link->location = -1;
	return (Node *) link;
}

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

/* The comparison of ANY or ALL, as a condition inside the subselect. */
static Node *
test_inside(SubLink *link, Query *query)
{
	TestExpr	test = {query->targetList};
	Node	   *outside = copyObject(link->testexpr);

	IncrementVarSublevelsUp(outside, 1, 0);
	return test_mutator(outside, &test);
}

/* May the subselect's targets be read where its rows are? */
static bool
targets_are_plain(Query *query)
{
	return !elt_is_heavy(query) && !query->hasTargetSRFs && !checkExprHasSubLink((Node *) query->targetList);
}

static Node *
touch_sublink(Search *search, SubLink *link, bool conjunct)
{
	Query	   *query = castNode(Query, link->subselect);
	Query	   *touched;

	/* in the test expression */
	if (!contains(search, (Node *) query))
		return NULL;
	touched = touch_select(search, query);
	if (touched == NULL)
		return NULL;
	if ((link->subLinkType == ANY_SUBLINK || link->subLinkType == ALL_SUBLINK) && targets_are_plain(query))
	{
		Node	   *test = test_inside(link, query);
		Bitmapset  *there = elt_relids_in((Node *) touched->jointree);
		Bitmapset  *gone = bms_difference(elt_relids_in((Node *) query->jointree), there);

		if (!elt_reads_any(test, gone) && !checkExprHasSubLink(test))
		{
			if (link->subLinkType == ALL_SUBLINK || !conjunct)
			{
				BooleanTest *differs = makeNode(BooleanTest);

				differs->arg = (Expr *) test;
				differs->booltesttype = link->subLinkType == ALL_SUBLINK ? IS_NOT_TRUE : IS_NOT_FALSE;
				differs->location = -1;
				test = (Node *) differs;
			}
			elt_add_qual(touched, test);
		}
	}
	return exists(touched);
}

typedef struct FindLink
{
	Search	   *search;
	SubLink    *found;
} FindLink;

static bool
find_link_walker(Node *node, void *context)
{
	FindLink   *find = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink) && contains(find->search, ((SubLink *) node)->subselect))
	{
		find->found = (SubLink *) node;
		return true;
	}
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, find_link_walker, context);
}

static SubLink *
find_link(Search *search, Node *node)
{
	FindLink	find = {search, NULL};

	(void) find_link_walker(node, &find);
	return find.found;
}

/* The outer join nearest to the top on whose nullable side, or in whose condition, the leaf is. */
static JoinExpr *
find_join(Search *search, Query *query, Node *node)
{
	JoinExpr   *join;
	JoinExpr   *found;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return NULL;
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			if ((found = find_join(search, query, lfirst(lc))) != NULL)
			return found;
		return NULL;
	}
	join = castNode(JoinExpr, node);
	if (join->jointype != JOIN_INNER &&
		((join->jointype != JOIN_RIGHT && jointree_contains(search, query, join->rarg)) ||
		 (join->jointype != JOIN_LEFT && jointree_contains(search, query, join->larg)) ||
		 contains(search, join->quals)))
		return join;
	found = find_join(search, query, join->larg);
	return found != NULL ? found : find_join(search, query, join->rarg);
}

/* The rows that the leaf, on the nullable side of an outer join, may join. */
static Node *
touch_join(Search *search, Query *query, JoinExpr *join)
{
	Node	   *side = join->jointype == JOIN_RIGHT ? join->larg : join->rarg;
	Query	   *touched;
	SubLink    *link;

	if (join->jointype == JOIN_FULL)
		return NULL;
	link = find_link(search, join->quals);
	if (link == NULL && !jointree_contains(search, query, side))
		return NULL;
	if (link != NULL)
	{
		/*
		 * a subquery in the condition: rows of the side that meet the rest of
		 * it, and are touched by the subquery
		 */
		Node	   *touch = touch_sublink(search, link, false);

		if (touch == NULL)
			return NULL;
		touched = elt_push_down(query, side, list_concat(elt_conjuncts_without_sublinks(join->quals), list_make1(touch)));
		return exists(touched);
	}
	touched = lead(search, query, side, list_copy(elt_conjuncts(join->quals)), true);
	if (touched == NULL)
		return NULL;
	{
		/*
		 * an entry of the side that is not simple, or a subquery in its
		 * conditions: all rows that may join it
		 */
		bool		found = false;
		ListCell   *lc;

		foreach(lc, touched->jointree->fromlist)
			found |= entry_contains(search, rt_fetch(((RangeTblRef *) lfirst(lc))->rtindex, touched->rtable)) &&
			!(rt_fetch(((RangeTblRef *) lfirst(lc))->rtindex, touched->rtable)->rtekind == RTE_SUBQUERY &&
			  !elt_leads_simply(search->shape, rt_fetch(((RangeTblRef *) lfirst(lc))->rtindex, touched->rtable)->subquery, search->leaf));
		if (!found)
			return NULL;
	}
	return exists(touched);
}

/* Is the leaf in FROM of the query, or of simple subqueries in it, and joined inner all the way? */
bool
elt_leads_simply(EltShape *shape, Query *query, EltLeaf *leaf)
{
	Search		search = {shape, leaf};
	Bitmapset  *relids;
	int			rti = -1;

	if (elt_is_heavy(query))
		return false;
	if (find_join(&search, query, (Node *) query->jointree) != NULL)
		return false;
	relids = elt_relids_in((Node *) query->jointree);
	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);

		if (elt_leaf_of(shape, rte) == leaf)
			return true;
		if (rte->rtekind == RTE_SUBQUERY && entry_contains(&search, rte))
			return elt_leads_simply(shape, rte->subquery, leaf);
	}
	return false;
}

/*
 * The condition at the level of `query` for a leaf that hangs below it. NULL with everything false: the leaf is in FROM itself, or in a simple subquery there, so
 * that FROM with the delta tells it all.
 */
static Node *
touch_below(Search *search, Query *query, bool *everything)
{
	JoinExpr   *join = find_join(search, query, (Node *) query->jointree);
	Bitmapset  *relids = elt_relids_in((Node *) query->jointree);
	Node	   *result = NULL;
	SubLink    *link;
	int			rti = -1;

	*everything = false;
	if (join != NULL)
	{
		result = touch_join(search, query, join);
		*everything = result == NULL;
		return result;
	}
	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);

		if (rte->rtekind == RTE_JOIN || !entry_contains(search, rte))
			continue;
		if (elt_leaf_of(search->shape, rte) == search->leaf ||
			(rte->rtekind == RTE_SUBQUERY && elt_leads_simply(search->shape, rte->subquery, search->leaf)))
			return NULL;
		if (rte->rtekind == RTE_SUBQUERY)
		{
			Query	   *touched = touch_select(search, rte->subquery);

			result = touched != NULL ? exists(touched) : NULL;
		}
		*everything = result == NULL;
		return result;
	}
	/* in an expression */
	{
		ListCell   *lc;

		foreach(lc, elt_conjuncts(query->jointree->quals))
		{
			SubLink    *direct = lfirst(lc);

			if (IsA(direct, SubLink) && contains(search, direct->subselect) && find_link(search, direct->testexpr) == NULL)
			{
				result = touch_sublink(search, direct, true);
				*everything = result == NULL;
				return result;
			}
		}
	}
	link = find_link(search, (Node *) query->jointree);
	if (link == NULL)
		link = find_link(search, (Node *) query->targetList);
	if (link != NULL)
		result = touch_sublink(search, link, false);
	*everything = result == NULL;
	return result;
}

/* The level at which the leaf hangs: down through simple subqueries of FROM that rows pass through. */
static Query *
hanging_level(Search *search, Query *query)
{
	Bitmapset  *relids = elt_relids_in((Node *) query->jointree);
	int			rti = -1;

	if (find_join(search, query, (Node *) query->jointree) != NULL)
		return query;
	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);

		if (rte->rtekind == RTE_SUBQUERY && entry_contains(search, rte) && !elt_is_heavy(rte->subquery))
			return hanging_level(search, rte->subquery);
	}
	return query;
}

/* A condition of the WHERE clause that reads the leaf in a subquery which is the same for all rows; NULL: there is none, or there are others too. */
static Node *
constant_condition(Search *search, Query *level)
{
	Node	   *result = NULL;
	ListCell   *lc;

	foreach(lc, elt_conjuncts(level->jointree->quals))
	{
		SubLink    *link = find_link(search, lfirst(lc));

		if (link == NULL)
			continue;
		if (result != NULL || (link->subLinkType != EXPR_SUBLINK && link->subLinkType != EXISTS_SUBLINK) ||
			elt_is_correlated(castNode(Query, link->subselect)))
			return NULL;
		result = lfirst(lc);
	}
	return result;
}

bool
elt_touch(EltShape *shape, Query *block, EltLeaf *leaf, bool appears)
{
	Search		search = {shape, leaf};
	Query	   *level = hanging_level(&search, block);
	Node	   *condition = find_join(&search, level, (Node *) level->jointree) == NULL ? constant_condition(&search, level) : NULL;
	bool		everything;
	Node	   *touch;

	if (condition != NULL)
	{
		BooleanTest *not_true = makeNode(BooleanTest);

		/* rows for which it is the same before and after give the same */
		not_true->arg = copyObject((Expr *) condition);
		not_true->booltesttype = IS_NOT_TRUE;
		not_true->location = -1;
		elt_mark_flipped(shape, (Node *) not_true, leaf);
		elt_add_qual(level, (Node *) not_true);
		return true;
	}
	touch = touch_below(&search, level, &everything);
	if (touch == NULL)
		return false;
	elt_mark_touching(shape, touch, leaf);
	elt_add_qual(level, touch);
	return true;
}
