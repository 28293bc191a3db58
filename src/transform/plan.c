/*
 * plan.c
 *	  What a run will do: how its work is divided, and how its rows get to the target.
 *
 *	  overwrite, swap			swap: the target's file is replaced by one that tasks have written
 *	  overwrite, mvcc			move: DELETE and INSERT, in one transaction
 *	  append, upsert			move: one INSERT of what tasks have left; direct where there is one task
 *	  append, not atomic		direct: each task commits its own rows
 *
 * Locks: those of reading the query. Nothing is written.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/query.h"
#include "transform/transform.h"
#include "worker/worker.h"

/* up to here, in blocks, nothing is gained by starting workers, unless somebody asks for them */
#define SMALL_BLOCKS	512

#define MOST_WORKERS	256

/* what a row may cost, in operators, that is not worth another process */
#define CHEAP_ROW		12

const char *
elt_split_name(EltSplitKind kind)
{
	static const char *const names[] = {"serial", "per shard", "block ranges", "partial"};

	return names[kind];
}

static double
blocks_of_shards(List *shards)
{
	double		blocks = 0;
	ListCell   *lc;

	foreach(lc, shards)
		blocks += ((EltShard *) lfirst(lc))->weight;
	return blocks;
}

static void
make_serial(EltSplit *split, const char *reason, const char *detail, const char *hint)
{
	split->kind = ELT_SPLIT_SERIAL;
	split->reason = reason;
	split->detail = detail;
	split->hint = hint;
	split->partial = split->combine = NULL;
	split->drivers = NIL;
}

/*
 * Rows that are added in one transaction are written by the leader, whoever has computed them: that is worth it only if computing them takes longer than to write them to a
 * table and read them again.
 */
static bool
rows_are_cheap(EltTransform *transform, EltSplit *split)
{
	MemoryContext mine;
	MemoryContext old;
	EltPlan    *plan;
	bool		cheap;

	if (!split->row_wise || !transform->atomic || strcmp(transform->mode, "overwrite") == 0)
		return false;
	mine = AllocSetContextCreate(CurrentMemoryContext, "elt plan", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(mine);
	plan = elt_plan(transform->query, NULL, 0);
	cheap = elt_plan_cost(plan) < CHEAP_ROW * cpu_operator_cost * elt_plan_rows(plan);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
	return cheap;
}

/* What is possible is not always worth it. */
static void
consider_cost(EltTransform *transform, EltSplit *split, Query *query)
{
	/* where bad rows are looked for, what is read is divided anyhow */
	if (split->kind == ELT_SPLIT_SERIAL || strcmp(transform->on_error, "quarantine") == 0)
		return;
	if (transform->workers == 1)
		make_serial(split, "one_worker", "The transform may have one worker only.", "Let it have more: elt.alter_transform(..., workers => 2).");
	else if (transform->workers == 0 && blocks_of_shards(elt_split_shards(split, query, 1)) < SMALL_BLOCKS)
		make_serial(split, "small", "The tables are so small that starting workers would take longer.", NULL);
	else if (rows_are_cheap(transform, split))
		make_serial(split, "cheap_rows", "The rows cost less than to hand them to the session, which writes them in one transaction.",
					"With atomic => false workers write them themselves.");
}

int
elt_transform_workers(EltTransform *transform, const EltSplit *split)
{
	const char *limited_by;

	if (split->kind == ELT_SPLIT_SERIAL)
		return 1;
	if (transform->workers > 0)
		return transform->workers;
	return Max(elt_pool_available(MOST_WORKERS, &limited_by), 1);
}

static EltWay
choose_way(EltTransform *transform, EltSplit *split, const char **why)
{
	bool		overwrite = strcmp(transform->mode, "overwrite") == 0;

	if (overwrite && strcmp(transform->publish, "swap") == 0)
	{
		/*
		 * what a failed task has written as frozen could not be told from
		 * what others have
		 */
		if (transform->atomic || split->kind == ELT_SPLIT_SERIAL)
			return ELT_WAY_SWAP;
		*why = "not_atomic";
	}
	if (split->kind == ELT_SPLIT_SERIAL)
		return ELT_WAY_DIRECT;
	if (strcmp(transform->mode, "append") == 0 && !transform->atomic && split->kind != ELT_SPLIT_PARTIAL)
		return ELT_WAY_DIRECT;
	return ELT_WAY_MOVE;
}

EltPlanOfRun *
elt_transform_plan(EltTransform *transform)
{
	EltPlanOfRun *plan = palloc0(sizeof(EltPlanOfRun));

	plan->transform = transform;
	plan->query = elt_query_parse("transform", transform->node.name, transform->query, true);
	plan->split = elt_split_choose(plan->query);
	consider_cost(transform, plan->split, plan->query);
	plan->way = choose_way(transform, plan->split, &plan->why_publish);
	return plan;
}
