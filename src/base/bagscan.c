/*
 * bagscan.c
 *	  Planning of scans that find a bag's rows by equality.
 *
 * The core reads a bag (a named tuplestore) in full each time that it is on the inner side of a nested loop; and where it stands in a
 * UNION ALL beside a table, it keeps the planner from looking rows of the table up by an index, because all of an Append's branches must
 * take the same values from elsewhere. So a bag gets paths here, as a table gets them from its indexes:
 *
 *	  join clauses, equivalence classes -> sets of relations that could give values -> for each a path: a hash lookup by all clauses
 *	  "bag's expression = other's expression" that the set allows, whose hash table is made once and stays for all rescans
 *
 * The core's own scan remains the one that takes no values. In a subquery the values may be parameters instead of join clauses.
 *
 * Not offered: to statements that lock or change rows beside reading the bag, which would need the bag's row again after waiting for a
 * lock; where whole rows of the bag are read; and where the hash table would not fit in hash_mem.
 *
 * No locks; nothing to lose in a crash.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "base/bagscan.h"
#include "base/bagstats.h"
#include "base/exec.h"

/* Sets of outer relations that are looked at for one bag. */
#define MAX_SETS 32

/* How often a subquery is taken to run that has values from outside. */
#define SUBQUERY_LOOPS 10

/* Beside its columns, what a row takes in the hash table: tuple header, chain, memory chunks, its share of the buckets. */
#define ROW_OVERHEAD 72

/* A clause by which rows can be looked up. */
typedef struct Key
{
	Node	   *inner;			/* over the bag's row */
	Node	   *outer;
	Oid			inner_hash;
	Oid			outer_hash;
	Oid			collation;
} Key;

static set_rel_pathlist_hook_type previous_hook = NULL;

/*
 * Keys
 */

/* Is there something that can change while the hash table stays? */
static bool
changes_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return ((Param *) node)->paramkind == PARAM_EXEC;
	/* a PlaceHolderVar may be computed from other relations */
	if (IsA(node, PlaceHolderVar) || IsA(node, SubPlan) || IsA(node, AlternativeSubPlan))
		return true;
	return expression_tree_walker(node, changes_walker, context);
}

static bool
has_exec_param_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return ((Param *) node)->paramkind == PARAM_EXEC;
	return expression_tree_walker(node, has_exec_param_walker, context);
}

/* Can rows of rel be looked up by the clause? A side without relations must have a parameter: a constant is no use. */
static bool
key_of_clause(RestrictInfo *rinfo, RelOptInfo *rel, Key *key)
{
	OpExpr	   *op = (OpExpr *) rinfo->clause;
	Oid			left_hash;
	Oid			right_hash;
	bool		on_left;

	if (rinfo->pseudoconstant || !is_opclause(op) || list_length(op->args) != 2)
		return false;
	if (!restriction_is_securely_promotable(rinfo, rel))
		return false;
	if (bms_equal(rinfo->left_relids, rel->relids) && !bms_overlap(rinfo->right_relids, rel->relids))
		on_left = true;
	else if (bms_equal(rinfo->right_relids, rel->relids) && !bms_overlap(rinfo->left_relids, rel->relids))
		on_left = false;
	else
		return false;

	key->inner = on_left ? linitial(op->args) : lsecond(op->args);
	key->outer = on_left ? lsecond(op->args) : linitial(op->args);
	if (changes_walker(key->inner, NULL))
		return false;
	if (bms_is_empty(on_left ? rinfo->right_relids : rinfo->left_relids) && !has_exec_param_walker(key->outer, NULL))
		return false;
	if (!op_strict(op->opno) || !op_hashjoinable(op->opno, exprType(linitial(op->args))) ||
		contain_volatile_functions((Node *) op) || !get_op_hash_functions(op->opno, &left_hash, &right_hash))
		return false;
	key->inner_hash = on_left ? left_hash : right_hash;
	key->outer_hash = on_left ? right_hash : left_hash;
	key->collation = op->inputcollid;
	return true;
}

/* Those of the clauses (RestrictInfo) that are keys. */
static List *
key_clauses(List *clauses, RelOptInfo *rel)
{
	List	   *found = NIL;
	Key			key;
	ListCell   *lc;

	foreach(lc, clauses)
		if (key_of_clause(lfirst_node(RestrictInfo, lc), rel, &key))
		found = lappend(found, lfirst(lc));
	return found;
}

/*
 * Paths
 */

static Plan *plan_lookup(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses, List *plans);

static const CustomPathMethods path_methods = {
	.CustomName = "BagLookup",
	.PlanCustomPath = plan_lookup,
};

/* How often the path will be scanned with values of these relations: an estimate, at least one. */
static double
loops_of(PlannerInfo *root, Relids outer)
{
	double		loops = 0;
	int			relid = -1;

	if (bms_is_empty(outer))
		return SUBQUERY_LOOPS;
	while ((relid = bms_next_member(outer, relid)) >= 0)
	{
		/* no relation stands for an outer join */
		RelOptInfo *rel = relid < root->simple_rel_array_size ? root->simple_rel_array[relid] : NULL;

		if (rel != NULL && rel->rows > 0 && (loops == 0 || rel->rows < loops))
			loops = rel->rows;
	}
	return Max(loops, 1);
}

/* The hash table's cost is shared by the scans; each pays for the rows that it finds. */
static void
cost_lookup(PlannerInfo *root, RelOptInfo *rel, Path *path, List *keys, List *clauses)
{
	double		build = rel->tuples * (cpu_tuple_cost + (list_length(keys) + 1) * cpu_operator_cost);
	double		found = rel->tuples;
	QualCost	quals;

	if (keys != NIL)
		found = clamp_row_est(found * clauselist_selectivity(root, keys, rel->relid, JOIN_INNER, NULL));
	cost_qual_eval(&quals, clauses, root);
	path->startup_cost = build / loops_of(root, PATH_REQ_OUTER(path)) + quals.startup + path->pathtarget->cost.startup +
		(list_length(keys) + 1) * cpu_operator_cost;
	path->total_cost = path->startup_cost + found * (cpu_tuple_cost + quals.per_tuple) + path->rows * path->pathtarget->cost.per_tuple;
}

static void
add_lookup(PlannerInfo *root, RelOptInfo *rel, Relids outer)
{
	CustomPath *path = makeNode(CustomPath);
	List	   *clauses = rel->baserestrictinfo;
	List	   *keys;

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.param_info = get_baserel_parampathinfo(root, rel, outer);
	path->path.rows = path->path.param_info != NULL ? path->path.param_info->ppi_rows : rel->rows;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &path_methods;

	if (path->path.param_info != NULL)
		clauses = list_concat_copy(clauses, path->path.param_info->ppi_clauses);
	keys = key_clauses(clauses, rel);

	/*
	 * Without a key it finds all rows, and filters them. That helps an Append
	 * whose other branches can do better.
	 */
	if (keys == NIL && (path->path.param_info == NULL || rel->reloptkind != RELOPT_OTHER_MEMBER_REL))
		return;
	cost_lookup(root, rel, &path->path, keys, clauses);
	add_path(rel, &path->path);
}

/* Expressions of the bag that are in equivalence classes: those that were seen, and the one that is looked at. */
typedef struct Members
{
	List	   *seen;
	Expr	   *current;
} Members;

static bool
is_next_member(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec, EquivalenceMember *em, void *arg)
{
	Members    *members = arg;

	if (members->current == NULL && !list_member(members->seen, em->em_expr))
		members->current = em->em_expr;
	return members->current != NULL && equal(members->current, em->em_expr);
}

/* The join clauses that equivalence classes imply. */
static List *
implied_clauses(PlannerInfo *root, RelOptInfo *rel)
{
	Members		members = {NIL, NULL};
	List	   *clauses = NIL;

	if (!rel->has_eclass_joins)
		return NIL;
	do
	{
		/* a call gives the clauses of one expression at most */
		members.current = NULL;
		clauses = list_concat(clauses, generate_implied_equalities_for_column(root, rel, is_next_member, &members, rel->lateral_referencers));
		members.seen = lappend(members.seen, members.current);
	} while (members.current != NULL);
	return clauses;
}

static List *
add_set(List *sets, Relids set)
{
	ListCell   *lc;

	foreach(lc, sets)
		if (bms_equal(lfirst(lc), set))
		return sets;
	return list_length(sets) < MAX_SETS ? lappend(sets, set) : sets;
}

/* The sets of relations whose values some of the clauses take, and their unions. */
static List *
outer_sets(RelOptInfo *rel, List *clauses)
{
	List	   *sets = NIL;
	ListCell   *lc;

	foreach(lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Relids		outer;

		if (!join_clause_is_movable_to(rinfo, rel))
			continue;
		outer = bms_difference(bms_union(rinfo->clause_relids, rel->lateral_relids), rel->relids);
		if (!bms_is_empty(outer))
			sets = add_set(sets, outer);
	}
	/* unions that are added here are united with others in their turn */
	for (int i = 1; i < list_length(sets); i++)
		for (int j = 0; j < i; j++)
			sets = add_set(sets, bms_union(list_nth(sets, i), list_nth(sets, j)));
	return sets;
}

/* Is the bag's row as a whole asked for, in this query level? */
static bool
reads_whole_row(RelOptInfo *rel, List *clauses)
{
	Bitmapset  *attrs = NULL;
	ListCell   *lc;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &attrs);
	foreach(lc, clauses)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause, rel->relid, &attrs);
	return bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, attrs);
}

static void
add_lookups(PlannerInfo *root, RelOptInfo *rel)
{
	List	   *clauses;
	ListCell   *lc;

	if (root->rowMarks != NIL)
		return;
	if (rel->tuples * (rel->reltarget->width + ROW_OVERHEAD) > get_hash_memory_limit())
		return;
	clauses = list_concat(implied_clauses(root, rel), rel->joininfo);
	if (reads_whole_row(rel, clauses) || reads_whole_row(rel, rel->baserestrictinfo))
		return;

	add_lookup(root, rel, rel->lateral_relids);
	foreach(lc, outer_sets(rel, clauses))
		add_lookup(root, rel, lfirst(lc));
}

static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	EltBag	   *bag;

	if (previous_hook != NULL)
		previous_hook(root, rel, rti, rte);
	bag = rte->rtekind == RTE_NAMEDTUPLESTORE ? elt_planned_bag(rte) : NULL;
	if (bag == NULL || IS_DUMMY_REL(rel))
		return;
	elt_bag_estimate_rows(root, rel, bag);
	add_lookups(root, rel);
}

/*
 * Plans
 */

/* The columns of the bag that are used: Vars of it, once each. */
static List *
used_columns(RelOptInfo *rel, List *tlist, List *quals)
{
	int			flags = PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS;
	List	   *columns = NIL;
	ListCell   *lc;

	/* the target list may come later, of the same columns */
	tlist = list_concat_copy(rel->reltarget->exprs, tlist);
	foreach(lc, list_concat(pull_var_clause((Node *) tlist, flags), pull_var_clause((Node *) quals, flags)))
	{
		Var		   *var = lfirst_node(Var, lc);

		if (var->varno == rel->relid)
			columns = list_append_unique(columns, var);
	}
	return columns;
}

static Plan *
plan_lookup(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses, List *plans)
{
	CustomScan *scan = makeNode(CustomScan);
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	List	   *inner = NIL;
	List	   *outer = NIL;
	List	   *inner_hash = NIL;
	List	   *outer_hash = NIL;
	List	   *collations = NIL;
	List	   *attnos = NIL;
	ListCell   *lc;

	foreach(lc, clauses)
	{
		Key			key;

		if (!key_of_clause(lfirst_node(RestrictInfo, lc), rel, &key))
			continue;
		inner = lappend(inner, copyObject(key.inner));
		outer = lappend(outer, copyObject(key.outer));
		inner_hash = lappend_oid(inner_hash, key.inner_hash);
		outer_hash = lappend_oid(outer_hash, key.outer_hash);
		collations = lappend_oid(collations, key.collation);
	}

	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	/* a relation's number would make the executor open a relation */
	scan->scan.scanrelid = 0;
	foreach(lc, used_columns(rel, tlist, scan->scan.plan.qual))
	{
		Var		   *var = lfirst_node(Var, lc);

		scan->custom_scan_tlist = lappend(scan->custom_scan_tlist,
										  makeTargetEntry((Expr *) copyObject(var), list_length(attnos) + 1, NULL, false));
		attnos = lappend_int(attnos, var->varattno);
	}
	scan->custom_exprs = list_concat(inner, outer);
	scan->custom_private = list_make5(makeString(pstrdup(rte->enrname)), attnos, inner_hash, outer_hash, collations);
	scan->flags = path->flags;
	scan->methods = &elt_bag_scan_methods;
	return &scan->scan.plan;
}

void
elt_bagscan_init(void)
{
	RegisterCustomScanMethods(&elt_bag_scan_methods);
	previous_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
}
