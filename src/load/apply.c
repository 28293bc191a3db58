/*
 * apply.c
 *	  Writing changed rows to a load's target.
 *
 *	  append   INSERT INTO target SELECT FROM (query over the added rows)
 *	  upsert   the same ON CONFLICT (key) DO UPDATE, which leaves rows alone that are the same already
 *	  mirror   query over the added rows -> staged; DELETE what the removed rows had made and is not staged; upsert from staged
 *
 * A row that the mirror must delete is found by the source's primary key where the target's key holds it (`owned`): whatever the query made of the
 * row, lookups of that time included, hangs on that key. Else by the key that the query gives for the removed row; such queries depend on nothing
 * but the row (define.c sees to it).
 *
 * Everything runs as the load's owner, under the batch's snapshot. Locks: those of the statements. A crash undoes the transaction.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/sql.h"
#include "load/load.h"

/* for how many rows a statement is planned that will run for various numbers of them */
#define NOMINAL_ROWS	2

/* What an update sets: also key columns where equal is not the same. Others stay out, to leave rows that refer to the key unlocked. */
static List *
columns_to_update(EltLoadRun *run)
{
	List	   *columns = list_difference(run->load->columns, run->load->key);

	for (int i = 0; i < run->key->ncolumns; i++)
	{
		if (!run->key->columns[i].exact)
			columns = lappend(columns, makeString(run->key->columns[i].name));
	}
	return columns;
}

char *
elt_apply_insert_sql(EltLoadRun *run, const char *from)
{
	EltLoad    *load = run->load;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS elt_t (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s",
					 elt_qualified_name(load->target), elt_column_names(load->columns, ""),
					 elt_column_names(load->columns, "elt_q."), from);
	if (!run->append)
		elt_append_on_conflict(&sql, run->load->key, columns_to_update(run));
	return sql.data;
}

char *
elt_apply_target(EltLoadRun *run)
{
	return psprintf("%s%s AS elt_t", get_rel_relkind(run->load->target) == RELKIND_RELATION ? "ONLY " : "",
					elt_qualified_name(run->load->target));
}

char *
elt_apply_source(EltLoadRun *run)
{
	return psprintf("%s AS elt_s", elt_qualified_name(run->load->source));
}

static void
run_plan(EltLoadRun *run, EltPlan *plan, EltBag *bags, int nbags)
{
	EltExecCounts counts;

	elt_plan_run(plan, bags, nbags, &counts);
	run->counts.inserted += counts.inserted;
	run->counts.updated += counts.updated;
	run->counts.deleted += counts.deleted;
}

/* A bag in the place of the source. */
static EltBag
source_bag(EltLoadRun *run, const char *name, Tuplestorestate *tuples, int64 ntuples)
{
	EltBag		bag = {name, run->load->source, run->desc, tuples, ntuples};

	return bag;
}

static char *
query_as(EltLoadRun *run, const char *alias)
{
	return psprintf("(%s) AS %s", run->load->query, alias);
}

/* The source's keys of what was removed, where the target's key has exactly those: without what comes back. */
static char *
delete_owned_whole(EltLoadRun *run, bool staged)
{
	EltLoad    *load = run->load;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s USING (SELECT elt_r.* FROM elt_removed AS elt_r", elt_apply_target(run));
	if (staged)
		appendStringInfo(&sql, " WHERE NOT EXISTS (SELECT FROM elt_staged AS elt_n WHERE %s)",
						 elt_key_match(run->key, "elt_n", load->owned_target, "elt_r", load->owned_source));
	appendStringInfo(&sql, ") AS elt_d WHERE %s",
					 elt_key_match(run->key, "elt_t", load->owned_target, "elt_d", load->owned_source));
	return sql.data;
}

/* Where one source row may make several: all target rows of that source row which do not come back. */
static char *
delete_owned_part(EltLoadRun *run, bool staged)
{
	EltLoad    *load = run->load;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s USING elt_removed AS elt_d WHERE %s", elt_apply_target(run),
					 elt_key_match(run->key, "elt_t", load->owned_target, "elt_d", load->owned_source));
	if (staged)
		appendStringInfo(&sql, " AND NOT EXISTS (SELECT FROM elt_staged AS elt_n WHERE %s)",
						 elt_key_match(run->key, "elt_t", load->key, "elt_n", load->key));
	return sql.data;
}

/* By the keys that the query gives for the removed rows. */
static char *
delete_by_query(EltLoadRun *run, bool staged)
{
	EltLoad    *load = run->load;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s USING %s WHERE %s", elt_apply_target(run), query_as(run, "elt_d"),
					 elt_key_match(run->key, "elt_t", load->key, "elt_d", load->key));
	if (staged)
		appendStringInfo(&sql, " AND NOT EXISTS (SELECT FROM elt_staged AS elt_n WHERE %s)",
						 elt_key_match(run->key, "elt_t", load->key, "elt_n", load->key));
	return sql.data;
}

static char *
delete_sql(EltLoadRun *run, bool staged)
{
	if (!run->owned)
		return delete_by_query(run, staged);
	if (list_length(run->load->key) == list_length(run->load->owned_target))
		return delete_owned_whole(run, staged);
	return delete_owned_part(run, staged);
}

static char *
stage_sql(EltLoadRun *run)
{
	return psprintf("SELECT * FROM %s", query_as(run, "elt_q"));
}

static char *
write_sql(EltLoadRun *run)
{
	return elt_apply_insert_sql(run, query_as(run, "elt_q"));
}

static char *
write_staged_sql(EltLoadRun *run)
{
	return elt_apply_insert_sql(run, "elt_staged AS elt_q");
}

static void
apply_mirror(EltLoadRun *run, EltLoadRows *rows)
{
	EltBag		added = source_bag(run, "elt_added", rows->added, rows->nadded);
	EltBag		bags[2] = {
		source_bag(run, "elt_removed", rows->removed, rows->nremoved),
		{"elt_staged", InvalidOid, NULL, tuplestore_begin_heap(true, false, work_mem), 0}
	};
	EltBag	   *staged = &bags[1];
	EltLoadPlans *plans = run->plans;
	uint64		nstaged = 0;

	if (rows->nadded > 0)
		elt_plan_run_into(plans ? plans->stage : elt_plan(stage_sql(run), &added, 1),
						  &added, 1, staged->tuples, &staged->tupdesc, &nstaged);
	staged->ntuples = nstaged;
	if (nstaged > 0)
	{
		run_plan(run, plans ? plans->delete_staged : elt_plan(delete_sql(run, true), bags, 2), bags, 2);
		run_plan(run, plans ? plans->write_staged : elt_plan(write_staged_sql(run), staged, 1), staged, 1);
	}
	else
		run_plan(run, plans ? plans->delete_all : elt_plan(delete_sql(run, false), bags, 1), bags, 1);
	tuplestore_end(staged->tuples);
}

void
elt_apply(EltLoadRun *run, EltLoadRows *rows)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "elt apply", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mine);

	if (run->mirror && rows->nremoved > 0)
		apply_mirror(run, rows);
	else if (rows->nadded > 0)
	{
		EltBag		added = source_bag(run, "elt_added", rows->added, rows->nadded);

		run_plan(run, run->plans ? run->plans->write : elt_plan(write_sql(run), &added, 1), &added, 1);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
}

/* The descriptor that the staged rows will have. */
static TupleDesc
staged_desc(EltLoadRun *run, EltPlan *stage, EltBag *added)
{
	Tuplestorestate *none = tuplestore_begin_heap(true, false, work_mem);
	EltBag		empty = *added;
	TupleDesc	desc;

	empty.tuples = none;
	elt_plan_run_into(stage, &empty, 1, none, &desc, NULL);
	tuplestore_end(none);
	return desc;
}

EltLoadPlans *
elt_apply_prepare(EltLoadRun *run)
{
	EltLoadPlans *plans = palloc0(sizeof(EltLoadPlans));
	EltBag		added = source_bag(run, "elt_added", NULL, NOMINAL_ROWS);
	EltBag		bags[2] = {source_bag(run, "elt_removed", NULL, NOMINAL_ROWS), {"elt_staged", InvalidOid, NULL, NULL, NOMINAL_ROWS}};

	plans->write = elt_plan(write_sql(run), &added, 1);
	if (!run->mirror)
		return plans;
	plans->stage = elt_plan(stage_sql(run), &added, 1);
	plans->staged = bags[1].tupdesc = staged_desc(run, plans->stage, &added);
	plans->delete_staged = elt_plan(delete_sql(run, true), bags, 2);
	plans->delete_all = elt_plan(delete_sql(run, false), bags, 1);
	plans->write_staged = elt_plan(write_staged_sql(run), &bags[1], 1);
	return plans;
}

void
elt_apply_stage(EltLoadRun *run, EltLoadRows *rows, Tuplestorestate *out)
{
	EltBag		added = source_bag(run, "elt_added", rows->added, rows->nadded);

	elt_plan_run_into(run->plans->stage, &added, 1, out, NULL, NULL);
}

EltStaged *
elt_staged_begin(EltLoadRun *run)
{
	EltStaged  *staged = palloc0(sizeof(EltStaged));

	staged->tuples = tuplestore_begin_heap(true, false, work_mem);
	staged->desc = run->plans->staged;
	return staged;
}

void
elt_staged_append(EltStaged *staged, Tuplestorestate *tuples)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(staged->desc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(tuples, true, false, slot))
	{
		tuplestore_puttupleslot(staged->tuples, slot);
		staged->ntuples++;
	}
	ExecDropSingleTupleTableSlot(slot);
}

void
elt_apply_delete_keys(EltLoadRun *run, EltStaged *staged)
{
	EltBag		bag = {"elt_staged", InvalidOid, staged->desc, staged->tuples, staged->ntuples};
	List	   *key = run->load->key;

	run_plan(run, elt_plan(psprintf("DELETE FROM %s USING elt_staged AS elt_d WHERE %s", elt_apply_target(run),
									elt_key_match(run->key, "elt_t", key, "elt_d", key)), &bag, 1), &bag, 1);
}

void
elt_staged_end(EltStaged *staged)
{
	tuplestore_end(staged->tuples);
	pfree(staged);
}
