/*
 * touch.c
 *	  Which rows of a query level may give something else when an appended leaf changes?
 *
 * The leaf hangs below the level in a subquery of an expression, on the nullable side of an outer join, or in a LATERAL subquery. What is looked for is a
 * condition at that level that holds at least for all rows whose result differs: EXISTS (what lies between, with the leaf's delta in its place). It may hold for
 * more rows, never for fewer. So it consists of what is certain of a **witness**: if the rows of some FROM differ, then for each row that differs there is a
 * joined row that has one of the delta's and agrees with it, except for entries that are
 *
 *	  unstable	joined, but not as the row has them: the nullable side of an outer join that contains the leaf, where the row may have NULLs
 *	  gone		not joined at all: subqueries of FROM that aggregate, limit, ..., which are looked into by an EXISTS of their own; nullable sides of joins whose
 *				preserved side differs; whatever reads, as LATERAL, an entry that is unstable or gone
 *
 * Conditions that read such entries are left out; also those that have other subqueries, or aggregates of a level that is reduced to FROM and WHERE.
 * Targets, GROUP BY, HAVING, DISTINCT, LIMIT and windows of a subselect do not matter: rows that differ are looked for where they come in.
 *
 * All other leaves are in one state while this one changes, so conditions on them may stay. Pure functions of query trees, but for what compare.c asks the catalog.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "view/block.h"
#include "view/stack.h"
#include "view/touch.h"

/*
 * Where the leaf is
 */

static bool
contains_walker(Node *node, void *context)
{
	EltSearch  *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return elt_leaf_of(search->shape, (RangeTblEntry *) node) == search->leaf;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, contains_walker, context, QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
	return expression_tree_walker(node, contains_walker, context);
}

static bool
contains(EltSearch *search, Node *node)
{
	return contains_walker(node, search);
}

static bool
entry_contains(EltSearch *search, RangeTblEntry *rte)
{
	return rte->rtekind != RTE_JOIN &&
		(elt_leaf_of(search->shape, rte) == search->leaf || range_table_entry_walker(rte, contains_walker, search, QTW_IGNORE_JOINALIASES));
}

/* In entries of a tree of FROM, or in the conditions of its joins. */
static bool
tree_contains(EltSearch *search, Node *node)
{
	Query	   *query = search->scope->query;
	Bitmapset  *relids = elt_relids_in(node);
	int			rti = -1;

	while ((rti = bms_next_member(relids, rti)) >= 0)
		if (entry_contains(search, rt_fetch(rti, query->rtable)))
			return true;
	return contains(search, node);
}

typedef struct FindLink
{
	EltSearch  *search;
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

/* The outermost subquery in an expression that has the leaf. */
static SubLink *
find_link(EltSearch *search, Node *node)
{
	FindLink	find = {search, NULL};

	(void) find_link_walker(node, &find);
	return find.found;
}

/* The same in what an entry of FROM computes: arguments of functions, VALUES. */
static SubLink *
find_entry_link(EltSearch *search, RangeTblEntry *rte)
{
	FindLink	find = {search, NULL};

	(void) range_table_entry_walker(rte, find_link_walker, &find, QTW_IGNORE_JOINALIASES);
	return find.found;
}

/* Is the leaf one of the tree's tables, or of simple subqueries' in it, and its rows are preserved on the way up? */
static bool
leads_simply(EltSearch *search, Node *node)
{
	Query	   *query = search->scope->query;
	JoinExpr   *join;
	ListCell   *lc;

	if (contains(search, node))
		return false;
	if (IsA(node, RangeTblRef))
	{
		RangeTblEntry *rte = rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable);
		EltScope	scope = {rte->subquery, search->scope};
		bool		simple;

		if (elt_leaf_of(search->shape, rte) == search->leaf)
			return true;
		if (rte->rtekind != RTE_SUBQUERY || elt_is_heavy(rte->subquery) || rte->subquery->hasTargetSRFs ||
			find_link(search, (Node *) rte->subquery->targetList) != NULL)
			return false;
		search->scope = &scope;
		simple = tree_contains(search, (Node *) rte->subquery->jointree) && leads_simply(search, (Node *) rte->subquery->jointree);
		search->scope = scope.outer;
		return simple;
	}
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			if (tree_contains(search, lfirst(lc)))
			return leads_simply(search, lfirst(lc));
		return false;
	}
	join = castNode(JoinExpr, node);
	if (tree_contains(search, join->larg))
		return (join->jointype == JOIN_INNER || join->jointype == JOIN_LEFT) && leads_simply(search, join->larg);
	return (join->jointype == JOIN_INNER || join->jointype == JOIN_RIGHT) && leads_simply(search, join->rarg);
}

/* The outermost outer join on whose nullable side, or in whose condition, the leaf is. */
static JoinExpr *
find_join(EltSearch *search, Node *node)
{
	JoinExpr   *join;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return NULL;
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			if (tree_contains(search, lfirst(lc)))
			return find_join(search, lfirst(lc));
		return NULL;
	}
	join = castNode(JoinExpr, node);
	if (contains(search, join->quals))
		return join->jointype == JOIN_INNER ? NULL : join;
	if (tree_contains(search, join->larg))
		return join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL ? join : find_join(search, join->larg);
	return join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL ? join : find_join(search, join->rarg);
}

/*
 * What an expression reads
 */

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
	/* an aggregate of a level further out, which will not have it */
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup > reads->depth)
		return true;
	if (IsA(node, GroupingFunc) && (int) ((GroupingFunc *) node)->agglevelsup > reads->depth)
		return true;
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

/* Does it read these entries, or an aggregate from outside? */
static bool
reads_any(Node *node, Bitmapset *relids)
{
	Reads		reads = {relids, 0};

	return reads_walker(node, &reads);
}

static bool
tree_reads_any(Query *query, Node *node, Bitmapset *relids)
{
	Bitmapset  *inside = elt_relids_in(node);
	Reads		reads = {relids, 0};
	int			rti = -1;

	while ((rti = bms_next_member(inside, rti)) >= 0)
		if (rt_fetch(rti, query->rtable)->rtekind != RTE_JOIN &&
			range_table_entry_walker(rt_fetch(rti, query->rtable), reads_walker, &reads, QTW_IGNORE_JOINALIASES))
			return true;
	return reads_walker(node, &reads);
}

/*
 * FROM and WHERE on the way to the leaf
 */

typedef struct Way
{
	EltSearch  *search;
	List	   *from;			/* trees, to be joined */
	List	   *quals;			/* that a witness meets */
	Bitmapset  *unstable;
	Bitmapset  *gone;
	bool		targets;		/* the targets are read, too */
} Way;

static Node *touch_sublink(EltSearch *search, SubLink *link, bool conjunct);
static Query *touch_select(EltSearch *search, Query *query, Way *way);

static Node *
exists(EltSearch *search, Query *query)
{
	bool		exact;
	Node	   *array = elt_by_array(search, query, &exact);
	SubLink    *link = makeNode(SubLink);

	if (array != NULL && exact)
		return array;
	link->subLinkType = EXISTS_SUBLINK;
	link->subselect = (Node *) query;
	link->location = -1;
	if (array != NULL)
		return (Node *) make_andclause(list_make2(array, link));
	return (Node *) link;
}

static bool
is_usable(Way *way, Node *qual)
{
	return !checkExprHasSubLink(qual) && !reads_any(qual, bms_union(way->unstable, way->gone));
}

static void
add_quals(Way *way, Node *quals)
{
	ListCell   *lc;

	foreach(lc, elt_conjuncts(quals))
	{
		Node	   *qual = lfirst(lc);
		SubLink    *link = find_link(way->search, qual);
		Node	   *touch;

		if (link == NULL)
		{
			if (is_usable(way, qual))
				way->quals = lappend(way->quals, qual);
			continue;
		}
		touch = touch_sublink(way->search, link, (Node *) link == qual);
		if (touch != NULL)
			way->quals = lappend(way->quals, touch);
	}
}

static void
add_tree(Way *way, Node *node)
{
	/* what reads, as LATERAL, what is not as the row has it */
	if (tree_reads_any(way->search->scope->query, node, bms_union(way->unstable, way->gone)))
		way->gone = bms_union(way->gone, elt_relids_in(node));
	else
		way->from = lappend(way->from, node);
}

/* An entry that has the leaf, and whose rows are not the leaf's. */
static void
look_into(Way *way, int rti)
{
	EltSearch  *search = way->search;
	RangeTblEntry *rte = rt_fetch(rti, search->scope->query->rtable);
	Node	   *touch = NULL;

	way->gone = bms_add_member(bms_copy(way->gone), rti);
	if (rte->rtekind == RTE_SUBQUERY)
	{
		Query	   *touched = touch_select(search, rte->subquery, NULL);

		touch = touched != NULL ? exists(search, touched) : NULL;
	}
	else
	{
		SubLink    *link = find_entry_link(search, rte);

		touch = link != NULL ? touch_sublink(search, link, false) : NULL;
	}
	if (touch != NULL)
		way->quals = lappend(way->quals, touch);
}

static void lead(Way *way, Node *node);

/* The nullable side of an outer join that has the leaf, or whose condition has it: what a witness of that side is. */
static void
lead_side(Way *way, Node *side, Node *quals)
{
	Way			below = {way->search};

	lead(&below, side);
	add_quals(&below, quals);
	way->from = list_concat(way->from, below.from);
	way->quals = list_concat(way->quals, below.quals);
	way->gone = bms_union(way->gone, below.gone);
	way->unstable = bms_union(way->unstable, elt_relids_in(side));
}

static void
lead_join(Way *way, JoinExpr *join)
{
	EltSearch  *search = way->search;
	bool		in_left = tree_contains(search, join->larg);
	bool		in_right = tree_contains(search, join->rarg);
	Node	   *outer = join->jointype == JOIN_RIGHT ? join->rarg : join->larg;
	Node	   *inner = join->jointype == JOIN_RIGHT ? join->larg : join->rarg;

	switch (join->jointype)
	{
		case JOIN_INNER:
			lead(way, join->larg);
			lead(way, join->rarg);
			add_quals(way, join->quals);
			break;
		case JOIN_LEFT:
		case JOIN_RIGHT:
			if (tree_contains(search, outer))
			{
				lead(way, outer);
				way->gone = bms_union(way->gone, elt_relids_in(inner));
			}
			else
			{
				add_tree(way, outer);
				lead_side(way, inner, join->quals);
			}
			break;
		case JOIN_FULL:
			if (in_left || in_right)
			{
				/*
				 * the other side's rows without a match may come and go, too:
				 * for them the condition holds with a row that differs
				 */
				Node	   *other = in_left ? join->rarg : join->larg;

				lead_side(way, in_left ? join->larg : join->rarg, NULL);
				way->gone = bms_union(way->gone, elt_relids_in(other));
			}
			else
			{
				add_tree(way, join->larg);
				lead_side(way, join->rarg, join->quals);
				way->unstable = bms_union(way->unstable, elt_relids_in(join->larg));
			}
			break;
		default:
			elog(ERROR, "unexpected join type %d", (int) join->jointype);
	}
}

static void
lead(Way *way, Node *node)
{
	ListCell   *lc;

	check_stack_depth();
	if (!tree_contains(way->search, node))
	{
		if (IsA(node, FromExpr))
		{
			foreach(lc, ((FromExpr *) node)->fromlist)
				add_tree(way, lfirst(lc));
			add_quals(way, ((FromExpr *) node)->quals);
		}
		else
			add_tree(way, node);
	}
	else if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			lead(way, lfirst(lc));
		add_quals(way, ((FromExpr *) node)->quals);
	}
	else if (leads_simply(way->search, node))
		way->from = lappend(way->from, node);
	else if (IsA(node, RangeTblRef))
		look_into(way, ((RangeTblRef *) node)->rtindex);
	else
		lead_join(way, castNode(JoinExpr, node));
}

/*
 * Outer joins that nothing reads are not joined: the number of rows does not matter
 */

static bool
is_needed(Way *way, JoinExpr *join)
{
	Query	   *query = way->search->scope->query;
	Bitmapset  *relids = elt_relids_in(join->rarg);
	ListCell   *lc;

	foreach(lc, way->quals)
		if (reads_any(lfirst(lc), relids))
		return true;
	foreach(lc, way->from)
		if (lfirst(lc) != join && tree_reads_any(query, lfirst(lc), relids))
		return true;
	return way->targets && reads_any((Node *) query->targetList, relids);
}

static void
drop_unneeded(Way *way)
{
	ListCell   *lc;

	foreach(lc, way->from)
	{
		JoinExpr   *join = lfirst(lc);

		while (IsA(join, JoinExpr) && join->jointype == JOIN_LEFT && !is_needed(way, join))
		{
			way->gone = bms_union(way->gone, elt_relids_in(join->rarg));
			join = (JoinExpr *) join->larg;
			lfirst(lc) = join;
		}
	}
}

/*
 * Subselects
 */

static Query *
reduced(Way *way)
{
	Query	   *result = copyObject(way->search->scope->query);

	drop_unneeded(way);
	result->jointree = makeFromExpr(copyObject(way->from), way->quals == NIL ? NULL : (Node *) make_ands_explicit(copyObject(way->quals)));
	result->targetList = list_make1(makeTargetEntry((Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(1), false, true),
													1, pstrdup("one"), false));
	result->hasAggs = result->hasWindowFuncs = result->hasTargetSRFs = result->hasDistinctOn = false;
	result->groupClause = result->groupingSets = result->windowClause = result->distinctClause = result->sortClause = NIL;
	result->havingQual = result->limitCount = result->limitOffset = NULL;
	result->limitOption = LIMIT_OPTION_COUNT;
	result->hasSubLinks = true;
	elt_forget_entries(result);
	return result;
}

/* Of a set operation the subselect that has the leaf. limited, unless NULL: there is a LIMIT above it. */
static Query *
branch_with_leaf(EltSearch *search, Query *query, bool *limited)
{
	while (query->setOperations != NULL)
	{
		RangeTblEntry *found = NULL;
		ListCell   *lc;

		if (limited != NULL)
			*limited |= query->limitCount != NULL || query->limitOffset != NULL;

		foreach(lc, query->rtable)
			if (entry_contains(search, lfirst_node(RangeTblEntry, lc)))
			found = lfirst_node(RangeTblEntry, lc);
		if (found == NULL || found->rtekind != RTE_SUBQUERY)
			return NULL;
		query = copyObject(found->subquery);
		IncrementVarSublevelsUp((Node *) query, -1, 2);
	}
	return query;
}

/* A subselect with the leaf's delta, for EXISTS; NULL: it may differ for any row. way: unless NULL, gets what is in it. */
static Query *
touch_select(EltSearch *search, Query *query, Way *way)
{
	Way			own = {search};
	EltScope	scope;
	Query	   *result = NULL;

	check_stack_depth();
	query = branch_with_leaf(search, query, NULL);
	if (query == NULL)
		return NULL;
	own.targets = way != NULL;
	way = way != NULL ? way : &own;
	*way = own;
	scope.query = query;
	scope.outer = search->scope;
	search->scope = &scope;
	lead(way, (Node *) query->jointree);
	if (!tree_contains(search, (Node *) query->jointree))
	{
		/* in the targets, or HAVING */
		SubLink    *link = find_link(search, (Node *) query->targetList);
		Node	   *touch;

		if (link == NULL)
			link = find_link(search, query->havingQual);
		touch = link != NULL ? touch_sublink(search, link, false) : NULL;
		if (touch != NULL)
			way->quals = lappend(way->quals, touch);
	}
	if (way->from != NIL || way->quals != NIL)
		result = reduced(way);
	search->scope = scope.outer;
	return result;
}

/*
 * The comparison of ANY and ALL
 */

/*
 * Are the rows that the subselect hands to the comparison those that its FROM and WHERE give, so that where the set of them differs, it does by a row that itself
 * differs there? By GROUP BY, where they consist of what is grouped by.
 */
static bool
hands_rows_on(Query *whole, Query *query)
{
	ListCell   *lc;

	if (query->limitCount != NULL || query->limitOffset != NULL ||
		query->hasWindowFuncs || query->hasTargetSRFs || query->hasDistinctOn || query->groupingSets != NIL)
		return false;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		TargetEntry *seen = get_tle_by_resno(whole->targetList, tle->resno);

		if (tle->resjunk)
			continue;
		if (seen == NULL || exprType((Node *) seen->expr) != exprType((Node *) tle->expr))
			return false;
		if (elt_is_aggregate(query) &&
			(tle->ressortgroupref == 0 || get_sortgroupref_clause_noerr(tle->ressortgroupref, query->groupClause) == NULL))
			return false;
	}
	return true;
}

static Node *
boolean_test(Node *condition, BoolTestType type)
{
	BooleanTest *test = makeNode(BooleanTest);

	test->arg = (Expr *) condition;
	test->booltesttype = type;
	test->location = -1;
	return (Node *) test;
}

/* Restrict a touch to rows for which the comparison with the differing rows says something. */
static Node *
touch_comparison(EltSearch *search, SubLink *link, Query *touched, Query *query, Way *way, bool conjunct)
{
	bool		all = link->subLinkType == ALL_SUBLINK;
	Node	   *testexpr = all ? elt_test_negated(link->testexpr) : link->testexpr;
	List	   *targets = NIL;
	bool		plain;
	Node	   *test;
	ListCell   *lc;

	/*
	 * ALL is not true, or ANY not false, by rows for which this is true or
	 * NULL
	 */
	if (testexpr == NULL)
		test = boolean_test(elt_test_inside(link->testexpr, query->targetList), IS_NOT_TRUE);
	else
		test = elt_test_inside(testexpr, query->targetList);
	if (!is_usable(way, test))
		return exists(search, touched);
	plain = testexpr != NULL && ((conjunct && !all) || elt_test_is_exact(search, query, testexpr));
	if (testexpr == NULL || elt_is_correlated(touched))
	{
		elt_add_qual(touched, plain || testexpr == NULL ? test : boolean_test(test, IS_NOT_FALSE));
		return exists(search, touched);
	}
	if (plain)
	{
		Query	   *with_test = copyObject(touched);
		bool		exact;
		Node	   *array;

		elt_add_qual(with_test, test);
		array = elt_by_array(search, with_test, &exact);
		if (array != NULL && exact)
			return array;
	}
	/* a subselect that is the same for all rows can be hashed */
	foreach(lc, query->targetList)
		if (!lfirst_node(TargetEntry, lc)->resjunk)
	{
		TargetEntry *tle = copyObject(lfirst_node(TargetEntry, lc));

		tle->ressortgroupref = 0;
		targets = lappend(targets, tle);
	}
	touched->targetList = targets;
	link = copyObject(link);
	link->subLinkType = ANY_SUBLINK;
	link->testexpr = copyObject(testexpr);
	link->subselect = (Node *) touched;
	return plain ? (Node *) link : boolean_test((Node *) link, IS_NOT_FALSE);
}

/* conjunct: it does not matter whether the subquery's result is false or NULL. NULL: any row may be touched. */
static Node *
touch_sublink(EltSearch *search, SubLink *link, bool conjunct)
{
	Query	   *query = castNode(Query, link->subselect);
	Way			way;
	bool		compared = link->subLinkType == ANY_SUBLINK || link->subLinkType == ALL_SUBLINK;
	Query	   *touched = touch_select(search, query, compared ? &way : NULL);

	if (touched == NULL)
		return NULL;
	if (compared)
	{
		bool		limited = false;
		Query	   *branch = branch_with_leaf(search, query, &limited);

		if (!limited && hands_rows_on(query, branch) && !checkExprHasSubLink(link->testexpr) && !checkExprHasSubLink((Node *) branch->targetList))
			return touch_comparison(search, link, touched, branch, &way, conjunct);
	}
	return exists(search, touched);
}

/*
 * The level at which the leaf hangs
 */

/* Down through simple subqueries of FROM that rows pass through; search->scope is where it ends. */
static Query *
hanging_level(EltSearch *search, Query *query)
{
	EltScope   *scope = palloc(sizeof(EltScope));
	Bitmapset  *relids = elt_relids_in((Node *) query->jointree);
	int			rti = -1;

	scope->query = query;
	scope->outer = search->scope;
	search->scope = scope;
	if (find_join(search, (Node *) query->jointree) != NULL)
		return query;
	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);

		if (rte->rtekind == RTE_SUBQUERY && entry_contains(search, rte) && !elt_is_heavy(rte->subquery))
			return hanging_level(search, rte->subquery);
	}
	return query;
}

/* A condition of the WHERE clause that reads the leaf in a subquery which is the same for all rows; NULL: there is none. */
static Node *
constant_condition(EltSearch *search, Query *level)
{
	ListCell   *lc;

	foreach(lc, elt_conjuncts(level->jointree->quals))
	{
		SubLink    *link = find_link(search, lfirst(lc));

		if (link != NULL)
			return (link->subLinkType == EXPR_SUBLINK || link->subLinkType == EXISTS_SUBLINK) &&
				!elt_is_correlated(castNode(Query, link->subselect)) ? lfirst(lc) : NULL;
	}
	return NULL;
}

/* The condition at the level; NULL: any row may be touched. */
static Node *
touch_level(EltSearch *search, Query *level)
{
	JoinExpr   *join = find_join(search, (Node *) level->jointree);
	Way			way = {search};
	ListCell   *lc;

	if (join != NULL)
	{
		lead_side(&way, join->jointype == JOIN_RIGHT ? join->larg : join->rarg, join->quals);
		if (join->jointype == JOIN_FULL || (way.from == NIL && way.quals == NIL))
			return NULL;
		drop_unneeded(&way);
		return exists(search, elt_push_down(level, (Node *) makeFromExpr(way.from, NULL), way.quals));
	}
	if (tree_contains(search, (Node *) level->jointree))
		lead(&way, (Node *) level->jointree);
	else
	{
		SubLink    *link = find_link(search, (Node *) level->targetList);

		return link != NULL ? touch_sublink(search, link, false) : NULL;
	}

	/*
	 * the level has its own rows and conditions: of the way, it needs what
	 * leads on
	 */
	foreach(lc, way.quals)
		if (contains(search, lfirst(lc)))
		return lfirst(lc);
	return NULL;
}

bool
elt_touch(EltShape *shape, Query *block, EltLeaf *leaf)
{
	EltSearch	search = {shape, leaf, NULL};
	Query	   *level = hanging_level(&search, block);
	Node	   *condition = find_join(&search, (Node *) level->jointree) == NULL ? constant_condition(&search, level) : NULL;
	Node	   *touch;

	if (condition != NULL)
	{
		/* rows for which it is the same before and after give the same */
		touch = boolean_test(copyObject(condition), IS_NOT_TRUE);
		elt_mark_flipped(shape, touch, leaf);
	}
	else
	{
		touch = touch_level(&search, level);
		if (touch == NULL)
			return false;
		touch = copyObject(touch);
		elt_mark_touching(shape, touch, leaf);
	}
	elt_add_qual(level, touch);
	return true;
}
