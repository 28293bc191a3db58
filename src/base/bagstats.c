/*
 * bagstats.c
 *	  What the planner knows about the rows of bags.
 *
 *	  bag -> sample -> a column's statistics as ANALYZE computes them, when the planner asks for them -> those of a UNION ALL with the bag
 *	                -> the share of rows that meet the conditions on the bag alone
 *
 * Without that a bag would have default selectivities, and the same number of distinct values in each column. Conditions are counted, not
 * derived from the columns' statistics, because they may compare columns and call functions.
 *
 * Memory: a sample and what is made of it stay as long as the statement is planned. No locks; nothing to lose in a crash.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "parser/parsetree.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "base/bagstats.h"
#include "base/compat.h"

/* Rows of a sample: statements are planned often, and what they read is small. */
#define SAMPLE_ROWS 500

/* Values that a column's statistics list. */
#define STATISTICS_TARGET 50

struct EltBagSample
{
	int			n;
	MinimalTuple *rows;
	double		total;			/* rows of the bag */
	bool	   *asked;			/* for each column: statistics are there, or
								 * cannot be had */
	HeapTuple  *statistics;		/* rows of pg_statistic, or NULL */
};

static get_relation_stats_hook_type previous_hook = NULL;

/*
 * Samples
 */

/* Rows at equal distances. */
static void
take_rows(EltBagSample *sample, EltBag *bag)
{
	int64		total = tuplestore_tuple_count(bag->tuples);

	/* to the end of the bag: where values lie, and how far, matters */
	int64		step = Max((total + SAMPLE_ROWS - 1) / SAMPLE_ROWS, 1);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(bag->tupdesc, &TTSOpsMinimalTuple);

	sample->total = total;
	sample->rows = palloc(sizeof(MinimalTuple) * SAMPLE_ROWS);
	tuplestore_select_read_pointer(bag->tuples, tuplestore_alloc_read_pointer(bag->tuples, EXEC_FLAG_REWIND));
	tuplestore_rescan(bag->tuples);
	while (sample->n < SAMPLE_ROWS && tuplestore_gettupleslot(bag->tuples, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		sample->rows[sample->n++] = ExecCopySlotMinimalTuple(slot);
		if (step > 1 && !tuplestore_skiptuples(bag->tuples, step - 1, true))
			break;
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* The bag's sample, made when first asked for; NULL: a plan is made without the rows. */
static EltBagSample *
sample_of(EltBag *bag)
{
	MemoryContext old;

	if (bag->sample != NULL || bag->tuples == NULL)
		return bag->sample;
	old = MemoryContextSwitchTo(elt_planning_context());
	bag->sample = palloc0(sizeof(EltBagSample));
	bag->sample->asked = palloc0(sizeof(bool) * Max(bag->tupdesc->natts, 1));
	bag->sample->statistics = palloc0(sizeof(HeapTuple) * Max(bag->tupdesc->natts, 1));
	take_rows(bag->sample, bag);
	MemoryContextSwitchTo(old);
	return bag->sample;
}

/*
 * Statistics of columns
 */

static Datum
fetch_value(VacAttrStats *stats, int row, bool *isnull)
{
	*isnull = stats->exprnulls[row];
	return stats->exprvals[row];
}

/* A column's values, of the sample. */
static void
take_values(VacAttrStats *stats, EltBagSample *sample, TupleDesc desc)
{
	stats->exprvals = palloc(sizeof(Datum) * sample->n);
	stats->exprnulls = palloc(sizeof(bool) * sample->n);
	for (int i = 0; i < sample->n; i++)
	{
		HeapTupleData tuple;

		tuple.t_len = sample->rows[i]->t_len + MINIMAL_TUPLE_OFFSET;
		tuple.t_data = (HeapTupleHeader) ((char *) sample->rows[i] - MINIMAL_TUPLE_OFFSET);
		stats->exprvals[i] = heap_getattr(&tuple, stats->tupattnum, desc, &stats->exprnulls[i]);
	}
}

/* As ANALYZE begins with a column; false: the type has nothing to compute. */
static bool
begin_column(VacAttrStats *stats, Form_pg_attribute att)
{
	HeapTuple	type = SearchSysCacheCopy1(TYPEOID, ObjectIdGetDatum(att->atttypid));

	if (!HeapTupleIsValid(type))
		elog(ERROR, "cache lookup failed for type %u", att->atttypid);
	stats->attrtype = (Form_pg_type) GETSTRUCT(type);
	stats->attrtypid = att->atttypid;
	stats->attrtypmod = att->atttypmod;
	stats->attrcollid = att->attcollation;
	stats->anl_context = CurrentMemoryContext;
	stats->tupattnum = att->attnum;
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++)
	{
		stats->statypid[i] = stats->attrtypid;
		stats->statyplen[i] = stats->attrtype->typlen;
		stats->statypbyval[i] = stats->attrtype->typbyval;
		stats->statypalign[i] = stats->attrtype->typalign;
	}
	elt_set_statistics_target(stats, att, STATISTICS_TARGET);
	return std_typanalyze(stats);
}

/* A row of pg_statistic. */
static HeapTuple
form_statistics(VacAttrStats *stats)
{
	Relation	rel = table_open(StatisticRelationId, AccessShareLock);
	Datum		values[Natts_pg_statistic] = {0};
	bool		nulls[Natts_pg_statistic] = {0};
	HeapTuple	tuple;

	values[Anum_pg_statistic_starelid - 1] = ObjectIdGetDatum(InvalidOid);
	values[Anum_pg_statistic_staattnum - 1] = Int16GetDatum(stats->tupattnum);
	values[Anum_pg_statistic_stainherit - 1] = BoolGetDatum(false);
	values[Anum_pg_statistic_stanullfrac - 1] = Float4GetDatum(stats->stanullfrac);
	values[Anum_pg_statistic_stawidth - 1] = Int32GetDatum(stats->stawidth);
	values[Anum_pg_statistic_stadistinct - 1] = Float4GetDatum(stats->stadistinct);
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++)
	{
		int			n = stats->numnumbers[i];

		values[Anum_pg_statistic_stakind1 - 1 + i] = Int16GetDatum(stats->stakind[i]);
		values[Anum_pg_statistic_staop1 - 1 + i] = ObjectIdGetDatum(stats->staop[i]);
		values[Anum_pg_statistic_stacoll1 - 1 + i] = ObjectIdGetDatum(stats->stacoll[i]);
		nulls[Anum_pg_statistic_stanumbers1 - 1 + i] = n == 0;
		if (n > 0)
		{
			Datum	   *numbers = palloc(sizeof(Datum) * n);

			for (int j = 0; j < n; j++)
				numbers[j] = Float4GetDatum(stats->stanumbers[i][j]);
			values[Anum_pg_statistic_stanumbers1 - 1 + i] =
				PointerGetDatum(construct_array(numbers, n, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT));
		}
		nulls[Anum_pg_statistic_stavalues1 - 1 + i] = stats->numvalues[i] == 0;
		if (stats->numvalues[i] > 0)
			values[Anum_pg_statistic_stavalues1 - 1 + i] =
				PointerGetDatum(construct_array(stats->stavalues[i], stats->numvalues[i], stats->statypid[i], stats->statyplen[i],
												stats->statypbyval[i], stats->statypalign[i]));
	}
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	table_close(rel, AccessShareLock);
	return tuple;
}

/* NULL: there are none. Everything that is made but the result is gone at return. */
static HeapTuple
compute_statistics(EltBagSample *sample, TupleDesc desc, AttrNumber attnum)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "elt bag statistics", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	VacAttrStats *stats = palloc0(sizeof(VacAttrStats));
	HeapTuple	result = NULL;

	if (sample->n > 0 && !TupleDescAttr(desc, attnum - 1)->attisdropped && begin_column(stats, TupleDescAttr(desc, attnum - 1)))
	{
		take_values(stats, sample, desc);
		stats->compute_stats(stats, fetch_value, sample->n, sample->total);
		if (stats->stats_valid)
		{
			HeapTuple	tuple = form_statistics(stats);

			MemoryContextSwitchTo(old);
			result = heap_copytuple(tuple);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return result;
}

static HeapTuple
statistics_of(EltBag *bag, AttrNumber attnum)
{
	EltBagSample *sample = sample_of(bag);
	MemoryContext old;

	if (sample == NULL || attnum < 1 || attnum > bag->tupdesc->natts)
		return NULL;
	if (!sample->asked[attnum - 1])
	{
		old = MemoryContextSwitchTo(elt_planning_context());
		sample->statistics[attnum - 1] = compute_statistics(sample, bag->tupdesc, attnum);
		sample->asked[attnum - 1] = true;
		MemoryContextSwitchTo(old);
	}
	return sample->statistics[attnum - 1];
}

/* It is used again. */
static void
keep_statistics(HeapTuple tuple)
{
}

/* The column of the largest branch of a UNION ALL, by the entry that stands for all of it; NULL: no column. */
static Var *
branch_column(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum)
{
	double		most = -1;
	Var		   *result = NULL;
	ListCell   *lc;

	foreach(lc, root->append_rel_list)
	{
		AppendRelInfo *branch = lfirst_node(AppendRelInfo, lc);
		RelOptInfo *rel = root->simple_rel_array[branch->child_relid];
		Node	   *column;

		if (planner_rt_fetch(branch->parent_relid, root) != rte || rel == NULL || Max(rel->tuples, rel->rows) <= most)
			continue;
		column = list_nth(branch->translated_vars, attnum - 1);
		if (column == NULL || !IsA(column, Var) || ((Var *) column)->varno != branch->child_relid)
			continue;
		most = Max(rel->tuples, rel->rows);
		result = (Var *) column;
	}
	return result;
}

/*
 * A UNION ALL has no statistics, which the planner takes for few distinct values. In the states of a table that changes, nearly all rows are those of
 * the table: it is like its largest branch.
 */
static bool
get_branch_statistics(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum, VariableStatData *vardata)
{
	Var		   *column = attnum > 0 ? branch_column(root, rte, attnum) : NULL;
	VariableStatData branch;

	if (column == NULL)
		return false;
	examine_variable(root, (Node *) column, 0, &branch);
	vardata->statsTuple = branch.statsTuple;
	vardata->freefunc = branch.freefunc;
	vardata->isunique = branch.isunique;
	vardata->acl_ok = branch.acl_ok;
	return true;
}

static bool
get_statistics(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum, VariableStatData *vardata)
{
	EltBag	   *bag = rte->rtekind == RTE_NAMEDTUPLESTORE ? elt_planned_bag(rte) : NULL;

	if (bag != NULL)
	{
		vardata->statsTuple = statistics_of(bag, attnum);
		vardata->freefunc = keep_statistics;
		/* who reads the bag may read what it stands for */
		vardata->acl_ok = true;
		return true;
	}
	if (previous_hook != NULL && previous_hook(root, rte, attnum, vardata))
		return true;
	return rte->rtekind == RTE_SUBQUERY && rte->inh && elt_planning_context() != NULL &&
		get_branch_statistics(root, rte, attnum, vardata);
}

/*
 * Rows that meet the conditions
 */

static bool
is_users_function(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

static bool
harmful_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			return ((Var *) node)->varattno <= 0;
		case T_Param:
		case T_PlaceHolderVar:
		case T_SubPlan:
		case T_AlternativeSubPlan:
		case T_CoerceToDomain:
			return true;
		default:
			return check_functions_in_node(node, is_users_function, NULL) || expression_tree_walker(node, harmful_walker, context);
	}
}

/* The conditions in the order in which a scan evaluates them: a cheap one may keep the next from failing. NIL if one should not be evaluated here. */
static List *
conditions_of(PlannerInfo *root, RelOptInfo *rel)
{
	List	   *clauses = NIL;
	List	   *costs = NIL;
	ListCell   *lc;

	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		QualCost   *cost = palloc(sizeof(QualCost));
		int			at = list_length(clauses);

		if (rinfo->pseudoconstant || rinfo->security_level > 0 || harmful_walker((Node *) rinfo->clause, NULL) ||
			contain_volatile_functions((Node *) rinfo->clause))
			return NIL;
		cost_qual_eval_node(cost, (Node *) rinfo->clause, root);
		while (at > 0 && ((QualCost *) list_nth(costs, at - 1))->per_tuple > cost->per_tuple)
			at--;
		clauses = list_insert_nth(clauses, at, rinfo->clause);
		costs = list_insert_nth(costs, at, cost);
	}
	return clauses;
}

/* How many rows of the sample meet the conditions. */
static int
count_rows(EltBagSample *sample, TupleDesc desc, List *conditions)
{
	ExprContext *econtext = CreateStandaloneExprContext();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	ExprState  *qual = ExecInitQual((List *) expression_planner((Expr *) conditions), NULL);
	int			n = 0;

	econtext->ecxt_scantuple = slot;
	for (int i = 0; i < sample->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ExecStoreMinimalTuple(sample->rows[i], slot, false);
		ResetExprContext(econtext);
		n += ExecQual(qual, econtext);
	}
	ExecDropSingleTupleTableSlot(slot);
	FreeExprContext(econtext, true);
	return n;
}

/* The conditions' selectivity, all together: clauselist_selectivity multiplies those of the clauses. */
static void
set_selectivity(RelOptInfo *rel, Selectivity all)
{
	ListCell   *lc;

	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		rinfo->norm_selec = rinfo->outer_selec = foreach_current_index(lc) == 0 ? all : 1;
	}
}

void
elt_bag_estimate_rows(PlannerInfo *root, RelOptInfo *rel, EltBag *bag)
{
	double		before = rel->rows;
	List	   *conditions = conditions_of(root, rel);
	EltBagSample *sample = conditions != NIL ? sample_of(bag) : NULL;
	ListCell   *lc;

	if (sample == NULL || sample->n == 0)
		return;
	/* none in a sample may be some in the bag */
	set_selectivity(rel, Max(count_rows(sample, bag->tupdesc, conditions), 0.5) / sample->n);
	set_baserel_size_estimates(root, rel);

	foreach(lc, rel->pathlist)
	{
		Path	   *path = lfirst(lc);

		if (path->param_info == NULL)
			path->rows = rel->rows;
	}
	/* branches of a UNION ALL were added up before */
	for (Index relid = rel->relid; root->append_rel_array != NULL && root->append_rel_array[relid] != NULL;)
	{
		RelOptInfo *parent = find_base_rel(root, root->append_rel_array[relid]->parent_relid);

		parent->rows = clamp_row_est(parent->rows + rel->rows - before);
		relid = parent->relid;
	}
}

void
elt_bagstats_init(void)
{
	previous_hook = get_relation_stats_hook;
	get_relation_stats_hook = get_statistics;
}
