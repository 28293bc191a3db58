/*
 * explain.c
 *	  elt.explain_transform: how a transform, or a query, would be divided, and why.
 *
 * A row for the tasks, with the SQL of the first one; one for what the leader does with their rows; one for how they are published.
 *
 * Locks: those of reading the query. Nothing is written.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "base/args.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "transform/transform.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(elt_sql_explain_transform);

#define NCOLUMNS	8

/* One row: a NULL pointer or a negative number is NULL. */
static void
put(ReturnSetInfo *result, const char *step, const char *split, int tasks, int workers, const char *reason, const char *detail,
	const char *hint, const char *sql)
{
	const char *texts[NCOLUMNS] = {step, split, NULL, NULL, reason, detail, hint, sql};
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];

	for (int i = 0; i < NCOLUMNS; i++)
	{
		nulls[i] = texts[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
	values[2] = Int32GetDatum(tasks);
	nulls[2] = tasks < 0;
	values[3] = Int32GetDatum(workers);
	nulls[3] = workers < 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
explain_publish(ReturnSetInfo *result, EltPlanOfRun *plan)
{
	EltTransform *transform = plan->transform;
	const char *hint = NULL;

	if (plan->why_publish != NULL)
		hint = "With atomic => true its files are swapped.";
	if (plan->way == ELT_WAY_SWAP)
		put(result, "publish", "swap", -1, -1, "swap", "The target gets the files of tables that the tasks have written; readers wait for that moment only.", NULL, NULL);
	else if (plan->way == ELT_WAY_DIRECT)
		put(result, "publish", "direct", -1, -1, strcmp(transform->mode, "overwrite") == 0 ? "mvcc" : transform->mode,
			plan->split->kind == ELT_SPLIT_SERIAL ? "Rows are written to the target, in one transaction." :
			"Each task writes to the target and commits its rows.", hint, NULL);
	else
		put(result, "publish", "move", -1, -1, plan->why_publish != NULL ? plan->why_publish : strcmp(transform->mode, "overwrite") == 0 ? "mvcc" : transform->mode,
			"Rows of the tasks are moved to the target by one statement, in one transaction.", hint, NULL);
}

static void
explain(ReturnSetInfo *result, EltPlanOfRun *plan, bool with_target)
{
	EltSplit   *split = plan->split;
	EltTransform *transform = plan->transform;
	int			workers = elt_transform_workers(transform, split);
	List	   *shards = elt_split_shards(split, plan->query, workers);
	const char *limited_by = NULL;

	if (split->kind == ELT_SPLIT_SERIAL)
		((EltShard *) linitial(shards))->npieces = 0;
	put(result, "tasks", elt_split_name(split->kind), list_length(shards),
		split->kind == ELT_SPLIT_SERIAL ? 0 : elt_pool_available(Min(workers, Max(list_length(shards), 1)), &limited_by),
		split->reason, split->detail, split->hint != NULL ? split->hint : limited_by,
		shards == NIL ? NULL : elt_statement_generated(transform, split, linitial(shards)));
	if (split->kind == ELT_SPLIT_PARTIAL)
		put(result, "combine", "serial", 1, 0, split->reason, "The leader combines what the tasks have left.", NULL, elt_statement_text(split->combine));
	if (with_target)
		explain_publish(result, plan);
}

static void
explain_query(ReturnSetInfo *result, const char *sql)
{
	EltTransform transform = {.mode = "overwrite",.publish = "swap",.atomic = true,.on_error = "stop"};
	const char *limited_by;
	Query	   *query;

	transform.node.name = "query";
	query = elt_query_parse("transform", transform.node.name, sql, false);
	transform.query = elt_query_canonical("transform", transform.node.name, query);
	/* how it could be divided, even if its tables are small yet */
	transform.workers = Max(elt_pool_available(elt_transform_workers(&transform, elt_split_choose(query)), &limited_by), 2);
	explain(result, elt_transform_plan(&transform), false);
}

static void
explain_transform(ReturnSetInfo *result, const char *name)
{
	EltTransform *transform = elt_transform_get(name);
	EltSecContext context;

	elt_become(&context, transform->node.owner);
	elt_settings_pin(transform->settings);
	elt_transform_check_target(transform);
	explain(result, elt_transform_plan(transform), true);
	elt_restore(&context);
}

Datum
elt_sql_explain_transform(PG_FUNCTION_ARGS)
{
	char	   *text = elt_arg_text(fcinfo, 0, "name_or_query");
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (elt_node_by_name(text) != NULL)
		explain_transform(result, text);
	else
		explain_query(result, text);
	return (Datum) 0;
}
