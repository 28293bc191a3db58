/*
 * run.c
 *	  CALL elt.run on a transform: the leader.
 *
 *	1	lock the node, for the session; what is left of a run that was interrupted is resumed (not atomic) or dropped
 *	2	plan; staging tables and the run's row in the ledger: committed before anything starts
 *	3	workers do the shards, all under one snapshot (atomic), or each under its own, committing its rows and its row in the ledger together (not atomic)
 *	4	workers build the indexes of staging tables
 *	5	publish: lock and swap, or move; the ledger's end of the run in the same transaction
 *	6	ANALYZE; old runs are forgotten
 *
 * What is not divided is done in one transaction instead of steps 2 to 5. An error in 3 to 5 is caught in a subtransaction, noted in the ledger, its staging tables
 * dropped, and raised then.
 *
 * Locks: the node's, by the session. In step 3 none, but those of the workers: what is altered, truncated or rewritten meanwhile is noticed in step 5 and fails the
 * run. After a crash the ledger has a run that nobody runs: the next run sees that by getting the node's lock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/attempt.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/exec.h"
#include "base/guc.h"
#include "base/progress.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "catalog/load.h"
#include "transform/transform.h"
#include "worker/worker.h"

/* of a shard that commits alone, where the error may be gone the next time */
#define RETRIES		3

typedef struct Work
{
	EltTransform *transform;
	EltPlanOfRun *plan;
	EltRun	   *run;
	EltRun	   *last;			/* or NULL */
	bool		resumed;
	bool		ledger;			/* shards are in the ledger before they are
								 * done */
	List	   *shards;			/* EltShard */
	List	   *rows;			/* EltRunShard, as many, where they are in the
								 * ledger */
	EltTask    *tasks;
	int			ntasks;
	char	   *input;			/* what is read, when it was planned, as text */
	char	   *rules;			/* of the target, before rows were written */
	char	   *snapshot;		/* under which it is read */
	MemoryContext memory;		/* for all of the run */
} Work;

static void
commit_and_begin(void)
{
	PopActiveSnapshot();
	SPI_commit();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static bool
is_mode(Work *work, const char *mode)
{
	return strcmp(work->transform->mode, mode) == 0;
}

/*
 * Running as the owner
 */

static void
become_owner(Work *work, EltSecContext *context)
{
	elt_become(context, work->transform->node.owner);
	elt_settings_pin(work->transform->settings);
}

/* Under locks on everything that is read. */
static void
make_plan(Work *work)
{
	EltSecContext context;

	become_owner(work, &context);
	elt_transform_check_target(work->transform);
	if (work->rules == NULL)
		work->rules = elt_transform_rules(work->transform->target);
	work->plan = elt_transform_plan(work->transform);
	elt_restore(&context);
}

/*
 * What an earlier run has left
 */

static void
drop_leftovers(Work *work)
{
	EltRun	   *last = work->last;

	if (last == NULL || last->staging == NIL)
		return;
	elt_staging_drop(last);
	elt_run_update(last);
}

/* The last run's session is gone: nobody else has the node's lock. */
static void
note_interrupted(EltRun *last)
{
	if (last == NULL || strcmp(last->state, "running") != 0)
		return;
	last->state = "failed";
	last->ended = GetCurrentTimestamp();
	last->sqlstate = "57P01";
	last->message = "the run was interrupted";
	elt_run_update(last);
}

/* Can the last run go on? */
static bool
can_resume(Work *work)
{
	EltRun	   *last = work->last;
	ListCell   *lc;

	if (last == NULL || work->transform->atomic || strcmp(last->state, "failed") != 0 || strcmp(last->definition, work->transform->definition) != 0)
		return false;
	work->rows = elt_run_shards(last->id);
	foreach(lc, last->staging)
	{
		if (get_rel_name(lfirst_oid(lc)) == NULL)
			return false;
	}
	return work->rows != NIL && work->plan->split->kind != ELT_SPLIT_SERIAL && strcmp(last->split, elt_split_name(work->plan->split->kind)) == 0;
}

/*
 * The ledger
 */

static const char *
name_of_way(EltWay way)
{
	static const char *const names[] = {"swap", "move", "direct"};

	return names[way];
}

static void
begin_ledger(Work *work)
{
	EltRun	   *run = palloc0(sizeof(EltRun));

	run->node = work->transform->node.id;
	run->state = "running";
	run->split = pstrdup(elt_split_name(work->plan->split->kind));
	run->reason = pstrdup(work->plan->split->reason);
	run->started = GetCurrentTimestamp();
	run->definition = work->transform->definition;
	run->publish = pstrdup(name_of_way(work->plan->way));
	elt_run_insert(run);
	work->run = run;
}

static void
resume_ledger(Work *work)
{
	work->run = work->last;
	work->run->state = "running";
	work->run->ended = 0;
	work->run->sqlstate = work->run->message = NULL;
	elt_run_update(work->run);
	work->resumed = true;
}

static EltRunShard *
row_of_shard(EltShard *shard, int number)
{
	EltRunShard *row = palloc0(sizeof(EltRunShard));

	row->shard = number;
	row->label = shard->label;
	row->size = sizeof(EltPiece) * shard->npieces;
	row->pieces = (char *) shard->pieces;
	row->worker = -1;
	row->state = "waiting";
	return row;
}

static void
make_shards(Work *work)
{
	ListCell   *lc;

	work->shards = elt_split_shards(work->plan->split, work->plan->query, elt_transform_workers(work->transform, work->plan->split));
	work->rows = NIL;
	foreach(lc, work->shards)
		work->rows = lappend(work->rows, row_of_shard(lfirst(lc), foreach_current_index(lc) + 1));
}

/* What is to be done, before it is begun: shards that are not done yet count as begun. */
static void
begin_shards(Work *work)
{
	ListCell   *lc;

	foreach(lc, work->rows)
	{
		EltRunShard *row = lfirst(lc);

		if (strcmp(row->state, "done") != 0)
		{
			row->state = "running";
			row->attempts++;
			row->message = NULL;
		}
		if (work->resumed)
			elt_run_shard_update(work->run->id, row);
		else
			elt_run_shard_insert(work->run->id, row);
	}
}

static void
note_counts(EltRunShard *row, EltTask *task)
{
	EltTaskCounts *counts = &task->counts;

	row->worker = task->worker;
	/* where the first one is not in the ledger already */
	row->attempts += Max(task->attempts - (row->attempts > 0), 0);
	row->rows = counts->rows;
	row->bytes = counts->bytes;
	row->rejected = counts->rejected;
	row->buffers_hit = counts->buffers_hit;
	row->buffers_read = counts->buffers_read;
	row->buffers_written = counts->buffers_written;
	row->temp_bytes = counts->temp_bytes;
	row->wal_bytes = counts->wal_bytes;
	row->user_ms = counts->user_ms;
	row->system_ms = counts->system_ms;
	row->elapsed_ms = counts->elapsed_ms;
	row->message = task->error != NULL ? task->error->message : NULL;
	row->state = task->state == ELT_TASK_DONE ? "done" : task->state == ELT_TASK_WAITING ? "waiting" : "failed";
}

/* After the workers have ended: what each shard has cost. */
static void
end_shards(Work *work)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, work->rows)
	{
		EltRunShard *row = lfirst(lc);
		bool		is_new = !work->ledger;

		if (work->ledger && strcmp(row->state, "done") == 0)
			continue;
		if (n < work->ntasks)
			note_counts(row, &work->tasks[n++]);
		if (is_new)
			elt_run_shard_insert(work->run->id, row);
		else
			elt_run_shard_update(work->run->id, row);
	}
}

static void
sum_shards(Work *work)
{
	ListCell   *lc;

	work->run->rows = work->run->rejected = 0;
	foreach(lc, work->rows)
	{
		work->run->rows += ((EltRunShard *) lfirst(lc))->rows;
		work->run->rejected += ((EltRunShard *) lfirst(lc))->rejected;
	}
}

static void
end_ledger(Work *work)
{
	work->run->state = "done";
	work->run->ended = GetCurrentTimestamp();
	if (is_mode(work, "append"))
	{
		work->transform->appended = work->snapshot;
		elt_transform_update(work->transform);
	}
	/* what was rejected before has been read again */
	if (!is_mode(work, "append"))
		elt_rejected_delete_range(work->transform->node.id, 0, work->run->first_rejected);
	elt_run_update(work->run);
}

/*
 * The shards
 */

static void
add_task(Work *work, int number, const char *label, double weight, const char *pieces, Size size)
{
	EltTask    *task = &work->tasks[work->ntasks++];
	EltTransformTask own = {number, size / sizeof(EltPiece)};
	char	   *data = palloc(sizeof(own) + size);

	memcpy(data, &own, sizeof(own));
	if (size > 0)
		memcpy(data + sizeof(own), pieces, size);
	task->label = label;
	task->weight = weight;
	task->data = data;
	task->size = sizeof(own) + size;
}

static void
make_tasks(Work *work)
{
	ListCell   *lc;

	work->tasks = palloc0(sizeof(EltTask) * (list_length(work->rows) + 1));
	work->ntasks = 0;
	foreach(lc, work->rows)
	{
		EltRunShard *row = lfirst(lc);
		double		weight = work->shards != NIL ? ((EltShard *) list_nth(work->shards, row->shard - 1))->weight : 1;

		if (!work->ledger || strcmp(row->state, "done") != 0)
			add_task(work, row->shard, row->label, weight, row->pieces, row->size);
	}
}

static EltTransformShared *
make_shared(Work *work, Size *size)
{
	EltPlanOfRun *plan = work->plan;
	EltTransform *transform = work->transform;
	bool		into_bag = plan->way == ELT_WAY_MOVE || plan->split->kind == ELT_SPLIT_PARTIAL;
	char	   *sql = plan->split->partial != NULL ? elt_statement_text(plan->split->partial) :
	into_bag ? transform->query : elt_statement_insert(transform, transform->query);
	EltTransformShared *shared;

	*size = sizeof(EltTransformShared) + strlen(sql) + 1;
	shared = palloc0(*size);
	shared->node = transform->node.id;
	shared->run = work->run->id;
	shared->now = GetCurrentTransactionStartTimestamp();
	shared->into_bag = into_bag;
	shared->direct = plan->way == ELT_WAY_DIRECT;
	shared->frozen = !shared->direct && (transform->atomic || plan->split->kind == ELT_SPLIT_SERIAL);
	shared->ledger = work->ledger;
	shared->quarantine = strcmp(transform->on_error, "quarantine") == 0;
	memcpy((char *) shared + sizeof(EltTransformShared), sql, strlen(sql) + 1);
	return shared;
}

/* Do the shards that are left, as the owner, under the active snapshot. */
static void
run_tasks(Work *work)
{
	EltPoolOptions options = {0};
	EltPoolResult result;
	EltSecContext context;
	Size		size;

	make_tasks(work);
	options.title = psprintf("elt run " INT64_FORMAT, work->run->id);
	options.run = work->run->id;
	options.handler = ELT_TRANSFORM_HANDLER;
	options.shared = make_shared(work, &size);
	options.shared_size = size;
	options.transactions = ELT_TASKS_COMMIT;
	options.share_snapshot = !work->ledger;
	options.workers = elt_transform_workers(work->transform, work->plan->split);
	options.retries = work->ledger ? RETRIES : 0;
	elt_progress_begin(work->transform->node.id, work->transform->node.owner);
	become_owner(work, &context);
	result = elt_pool_run(&options, work->tasks, work->ntasks);
	elt_restore(&context);
	elt_progress_end();
	work->run->workers = result.workers;
}

static char *
snapshot_text(void)
{
	return DatumGetCString(DirectFunctionCall1(pg_snapshot_out, DirectFunctionCall1(pg_current_snapshot, (Datum) 0)));
}

static void
raise_too_many_rejected(Work *work)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("transform \"%s\" has rejected more than %lld rows", work->transform->node.name, (long long) work->transform->max_rejected),
			 errhint("Correct the rows, the query's functions or the target, then run the transform again.")));
}

/* Step 3. The leader has no locks on what the tasks read and write: who waits for one would stand between it and its workers, and no deadlock detector would see it. */
static void
do_shards(void *arg)
{
	Work	   *work = arg;
	MemoryContext old = MemoryContextSwitchTo(work->memory);

	PushActiveSnapshot(GetTransactionSnapshot());
	if (work->snapshot == NULL)
		work->snapshot = snapshot_text();
	run_tasks(work);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
}

/* Is what was read still what it was when it was planned? A table that was rewritten or emptied meanwhile would have shown other rows to later tasks. */
static void
check_input(Work *work)
{
	make_plan(work);
	if (strcmp(work->input, elt_transform_input(work->plan->query)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a table that transform \"%s\" reads was altered, truncated or rewritten while it ran", work->transform->node.name),
				 errhint("Run the transform again.")));
}

/* In the leader's own transaction, whose staging tables no worker can see. */
static void
build_indexes_here(Work *work)
{
	ListCell   *lc;

	foreach(lc, elt_staging_index_tasks(work->run))
		elt_staging_build_index(lfirst(lc), true);
}

/* Step 4. */
static void
build_indexes(void *arg)
{
	Work	   *work = arg;
	MemoryContext old = MemoryContextSwitchTo(work->memory);
	List	   *indexes = elt_staging_index_tasks(work->run);
	EltTask    *tasks = palloc0(sizeof(EltTask) * (list_length(indexes) + 1));
	EltPoolOptions options = {0};
	ListCell   *lc;
	int			n = 0;

	foreach(lc, indexes)
	{
		EltIndexTask *index = lfirst(lc);

		tasks[n].label = psprintf("index %s", get_rel_name(index->index));
		tasks[n].weight = 1;
		tasks[n].data = index;
		tasks[n++].size = sizeof(EltIndexTask);
	}
	options.title = psprintf("elt run " INT64_FORMAT, work->run->id);
	options.run = work->run->id;
	options.handler = ELT_INDEX_HANDLER;
	options.transactions = ELT_TASKS_COMMIT;
	options.workers = elt_transform_workers(work->transform, work->plan->split);
	if (n > 0)
		(void) elt_pool_run(&options, tasks, n);
	MemoryContextSwitchTo(old);
}

/*
 * Publishing
 */

static void
delete_target(Work *work)
{
	EltSecContext context;

	if (!is_mode(work, "overwrite"))
		return;
	become_owner(work, &context);
	elt_exec(psprintf("DELETE FROM %s", elt_qualified_name(work->transform->target)), NULL, 0, NULL, NULL, NULL);
	elt_restore(&context);
}

/* One statement of the leader: rows of the bag, through `places` where the target's files will be swapped. */
static void
move_bag(Work *work, bool into_shadows)
{
	EltSplit   *split = work->plan->split;
	Oid			bag = linitial_oid(work->run->staging);
	char	   *sql = elt_statement_over_bag(work->transform, bag, split->combine != NULL ? elt_statement_text(split->combine) : NULL);
	DestReceiver *dest = NULL;
	EltSecContext context;
	EltExecCounts counts = {0};

	if (into_shadows)
		dest = elt_insert_receiver(work->transform->target, elt_staging_places(work->run), list_length(work->run->staging),
								   ELT_INSERT_FROZEN | ELT_INSERT_NEW_PAGES);
	else if (!is_mode(work, "upsert") && elt_insert_refusal(work->transform->target) == NULL)
		dest = elt_insert_receiver(work->transform->target, NULL, 0, ELT_INSERT_INDEXES);
	become_owner(work, &context);
	elt_exec_changed(sql, NULL, NULL, dest, &counts);
	elt_restore(&context);
	work->run->rows = dest != NULL ? elt_insert_rows(dest) : (int64) counts.processed;
}

static void
lock_and_swap(Work *work)
{
	elt_debug_point("transform-publish");
	elt_publish_lock(work->transform);
	elt_debug_point("transform-locked");
	elt_publish_swap(work->run, work->transform, work->rules);
}

/* Step 5 but for what is in one transaction. */
static void
publish(void *arg)
{
	Work	   *work = arg;
	MemoryContext old = MemoryContextSwitchTo(work->memory);

	sum_shards(work);
	if (work->run->rejected > work->transform->max_rejected)
		raise_too_many_rejected(work);
	if (work->input != NULL && work->plan->way != ELT_WAY_DIRECT)
		check_input(work);
	if (work->plan->way == ELT_WAY_SWAP)
	{
		if (work->plan->split->kind == ELT_SPLIT_PARTIAL)
		{
			elt_staging_create_shadows(work->run, work->transform);
			move_bag(work, true);
			CommandCounterIncrement();
			build_indexes_here(work);
		}
		lock_and_swap(work);
	}
	else if (work->plan->way == ELT_WAY_MOVE)
	{
		elt_debug_point("transform-publish");
		delete_target(work);
		move_bag(work, false);
		elt_staging_drop(work->run);
	}
	/* what fails at the commit could not be put on record */
	if (work->plan->way != ELT_WAY_SWAP)
		elt_sql_run("SET CONSTRAINTS ALL IMMEDIATE");
	end_ledger(work);
	elt_debug_point("transform-published");
	MemoryContextSwitchTo(old);
}

/* All of a run that is not divided, in the leader's transaction. */
static void
do_serially(void *arg)
{
	Work	   *work = arg;
	MemoryContext old = MemoryContextSwitchTo(work->memory);

	work->shards = elt_split_shards(work->plan->split, work->plan->query, 1);
	work->rows = list_make1(row_of_shard(linitial(work->shards), 1));
	((EltShard *) linitial(work->shards))->npieces = 0;
	if (work->plan->way == ELT_WAY_SWAP)
		elt_staging_create_shadows(work->run, work->transform);
	elt_run_update(work->run);
	if (work->plan->way == ELT_WAY_DIRECT)
		delete_target(work);
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	work->snapshot = snapshot_text();
	run_tasks(work);
	PopActiveSnapshot();
	CommandCounterIncrement();
	if (work->plan->way == ELT_WAY_SWAP)
		build_indexes_here(work);
	end_shards(work);
	publish(work);
	MemoryContextSwitchTo(old);
}

/*
 * Failure
 */

static bool
any_error(int sqlerrcode)
{
	return true;
}

/* In the transaction of the failed attempt, which has been undone: put it on record, drop what is of no use any more, and raise it. */
static void
fail(Work *work, ErrorData *error)
{
	EltRun	   *run = work->run;

	elt_progress_end();
	run->state = "failed";
	run->ended = GetCurrentTimestamp();
	run->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	run->message = error->message;
	if (!work->ledger)
	{
		elt_staging_drop(run);
		elt_rejected_delete_range(run->node, run->first_rejected, PG_INT64_MAX);
	}
	elt_run_update(run);
	commit_and_begin();
	ReThrowError(error);
}

/* Do it in a subtransaction, or fail. */
static void
step(Work *work, EltWork work_of_step)
{
	ErrorData  *error;
	List	   *staging = list_copy(work->run->staging);
	List	   *targets = list_copy(work->run->targets);

	if (elt_attempt(work_of_step, work, any_error, &error))
		return;
	work->run->staging = staging;
	work->run->targets = targets;
	if (work_of_step == do_shards && work->rows != NIL && work->tasks != NULL)
		end_shards(work);
	fail(work, error);
}

/*
 * The run
 */

static void
run_in_parallel(Work *work)
{
	EltPlanOfRun *plan = work->plan;

	work->input = elt_transform_input(plan->query);
	if (!work->resumed)
	{
		make_shards(work);
		if (plan->way == ELT_WAY_MOVE || plan->split->kind == ELT_SPLIT_PARTIAL)
			elt_staging_create_bag(work->run, work->transform, plan->split->partial != NULL ? plan->split->partial : plan->query);
		else if (plan->way == ELT_WAY_SWAP)
			elt_staging_create_shadows(work->run, work->transform);
		elt_run_update(work->run);
	}
	if (work->ledger)
	{
		work->snapshot = snapshot_text();
		begin_shards(work);
	}
	commit_and_begin();
	elt_debug_point("transform-started");

	/*
	 * the leader may have had to do shards itself: its locks would be in the
	 * way of the next step's workers
	 */
	step(work, do_shards);
	end_shards(work);
	elt_run_update(work->run);
	commit_and_begin();
	if (plan->way == ELT_WAY_SWAP && work->plan->split->kind != ELT_SPLIT_PARTIAL)
	{
		step(work, build_indexes);
		commit_and_begin();
	}
	step(work, publish);
}

/* As its owner, who alone may, whatever the transform's owner may. */
static void
analyze_target(Work *work)
{
	EltSecContext context;

	elt_become(&context, elt_relation_owner(work->transform->target));
	elt_sql_run(psprintf("ANALYZE %s", elt_qualified_name(work->transform->target)));
	elt_restore(&context);
}

static void
finish(Work *work)
{
	TimestampTz before = elt_run_history_age > 0 ? GetCurrentTimestamp() - (int64) elt_run_history_age * USECS_PER_MINUTE : 0;

	elt_run_purge(work->transform->node.id, elt_run_history, before);
	if (get_rel_name(work->transform->target) != NULL)
		analyze_target(work);
	commit_and_begin();
}

static void
context_of_run(void *arg)
{
	errcontext("transform \"%s\"", ((Work *) arg)->transform->node.name);
}

/* With the node locked. */
static void
run_locked(Work *work, const char *name)
{
	ErrorContextCallback context = {error_context_stack, context_of_run, work};

	work->transform = elt_transform_get(name);
	elt_check_may_write("elt.run()");
	error_context_stack = &context;
	work->last = elt_run_last(work->transform->node.id);
	note_interrupted(work->last);
	make_plan(work);
	work->ledger = !work->transform->atomic && work->plan->split->kind != ELT_SPLIT_SERIAL;
	if (can_resume(work))
		resume_ledger(work);
	else
	{
		work->rows = NIL;
		drop_leftovers(work);
		elt_transform_check_appended(work->transform, work->plan);
		begin_ledger(work);
	}
	if (work->plan->split->kind == ELT_SPLIT_SERIAL)
		step(work, do_serially);
	else
		run_in_parallel(work);
	commit_and_begin();
	finish(work);
	error_context_stack = context.previous;
}

void
elt_transform_run(const char *name)
{
	Work		work = {0};
	MemoryContext old = CurrentMemoryContext;
	int32		node;

	work.memory = AllocSetContextCreate(CurrentMemoryContext, "elt transform", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(work.memory);
	node = elt_transform_get(name)->node.id;
	elt_node_lock_session(node);
	PG_TRY();
	{
		/* what happened while this waited can be seen */
		commit_and_begin();
		run_locked(&work, name);
	}
	PG_FINALLY();
	{
		elt_node_unlock_session(node);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work.memory);
}
