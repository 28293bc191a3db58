/*
 * tasks.c
 *	  What is done by workers, each task in a transaction that is committed.
 *
 *	  begin     change tracking, our consumer, the shards, and the row of elt.shard_run that tells of them
 *	  copy      blocks of a parent into its shards, under the leader's snapshot
 *	  index     one shard's indexes and statistics
 *	  follow    changes since
 *	  undo      remove what begin has made
 *
 * The leader has no lock on the table's tree meanwhile, and looks at the end whether it was altered. Locks of the tasks: ShareRowExclusive on the
 * table for begin where tracking begins, AccessExclusive for undo where it ends, else AccessShare; whatever they want on the shards.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/track.h"
#include "catalog/capture.h"
#include "catalog/shard.h"
#include "catalog/table.h"
#include "shard/clean.h"
#include "shard/follow.h"
#include "shard/tasks.h"
#include "worker/worker.h"

#define HANDLER			"shard"
#define MIN_BLOCKS		256		/* of a parent, that one task copies */
#define COPY_TASKS		64		/* that the largest parent is split into */
#define BEGIN_RETRIES	5

typedef enum ShardWork
{
	SHARD_BEGIN,
	SHARD_COPY,
	SHARD_INDEX,
	SHARD_FOLLOW,
	SHARD_UNDO
} ShardWork;

typedef struct ShardTask
{
	ShardWork	work;
	int			parent;
	int			shard;
	BlockNumber first;
	BlockNumber end;
	bool		has_from;		/* follow: an EltOffset and its xip come after
								 * this */
} ShardTask;

/* What begin tells the leader. */
typedef struct BeginResult
{
	bool		done;
	int32		capture;
	bool		tracked;
} BeginResult;

static void
no_worker(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("no background worker could be had to go on with sharding"),
			 errhint("Try again later, or raise max_worker_processes.")));
}

/* The consumer's name, in messages and in elt.tracked. */
static char *
consumer_name(EltSharding *sharding)
{
	return psprintf("sharding of %s", elt_qualified_name(sharding->root));
}

/* An attempt whose tracking could not be ended yet: it is ours to end now. */
static bool
take_over(Oid relid)
{
	EltShardRun *rest = elt_shard_run_by_relation(relid);

	if (rest == NULL)
		return false;
	elt_shard_run_delete(rest->id);
	return rest->tracked_here;
}

/* The shards first: the lock that tracking begins with holds up the table's writers until the commit. */
static void
begin(EltSharding *sharding)
{
	EltShardRun run = {.relid = sharding->root};
	BeginResult result = {.done = true};
	EltCapture *before;
	EltSecContext save;

	elt_shard_clean(sharding->root);
	run.tracked_here = take_over(sharding->root);
	elt_shard_create(sharding);
	for (int i = 0; i < elt_sharding_ntables(sharding); i++)
		run.tables = lappend_oid(run.tables, elt_sharding_tables(sharding, 0)[i]);
	elt_debug_point("shard-created");

	before = elt_capture_by_relation(sharding->root);
	result.tracked = before != NULL && elt_install_is(&before->install) && !run.tracked_here;
	run.tracked_here = !result.tracked;
	if (before == NULL)
		elt_shard_lock(sharding, ShareRowExclusiveLock, NULL, NULL);
	elt_become(&save, elt_relation_owner(sharding->root));
	result.capture = elt_track_for(sharding->root, consumer_name(sharding))->id;
	elt_restore(&save);
	run.consumer = elt_consumer_create(result.capture, "shard", consumer_name(sharding), true, true);
	(void) elt_shard_run_insert(&run);
	elt_debug_point("shard-begun");
	elt_task_result(&result, sizeof(result));
}

static const EltOffset *
task_offset(const ShardTask *task)
{
	EltOffset  *offset;

	if (!task->has_from)
		return NULL;
	offset = palloc(sizeof(EltOffset));
	memcpy(offset, task + 1, sizeof(EltOffset));
	offset->xip = palloc(sizeof(uint64) * (offset->nxip + 1));
	memcpy(offset->xip, (const char *) (task + 1) + sizeof(EltOffset), sizeof(uint64) * offset->nxip);
	return offset;
}

static void
handle(EltTaskRun *run)
{
	const ShardTask *task = run->data;
	EltSharding *sharding = palloc(run->shared_size);
	int64		rows;

	if (run->in_leader)
	{
		/* what has to be committed cannot be done here */
		if (task->work != SHARD_BEGIN && task->work != SHARD_UNDO)
			no_worker();
		return;
	}
	memcpy(sharding, run->shared, run->shared_size);
	switch (task->work)
	{
		case SHARD_BEGIN:
			begin(sharding);
			break;
		case SHARD_COPY:
			elt_debug_point("shard-copy");
			(void) elt_shard_copy(sharding, task->parent, task->first, task->end);
			break;
		case SHARD_INDEX:
			elt_shard_index(sharding, task->parent, task->shard);
			elt_debug_point("shard-indexed");
			break;
		case SHARD_FOLLOW:
			rows = elt_shard_follow(sharding, task_offset(task));
			elt_task_progress(rows, 0);
			elt_task_result(&rows, sizeof(rows));
			break;
		case SHARD_UNDO:
			{
				bool		done = elt_shard_clean(sharding->root);

				elt_task_result(&done, sizeof(done));
				break;
			}
	}
}

void
elt_shard_init(void)
{
	elt_worker_register(HANDLER, handle);
}

static EltPoolResult
run_tasks(EltSharding *sharding, EltTask *tasks, int ntasks, bool share_snapshot, int retries)
{
	EltPoolOptions options = {
		.title = psprintf("elt shard %s", get_rel_name(sharding->root) ? get_rel_name(sharding->root) : ""),
		.handler = HANDLER,
		.shared = sharding,
		.shared_size = elt_sharding_size(sharding->nparents, sharding->shards),
		.transactions = ELT_TASKS_COMMIT,
		.share_snapshot = share_snapshot,
		.retries = retries
	};

	return elt_pool_run(&options, tasks, ntasks);
}

static EltTask
single_task(const char *label, ShardWork work)
{
	ShardTask  *data = palloc0(sizeof(ShardTask));
	EltTask		task = {.label = label,.weight = 1,.data = data,.size = sizeof(ShardTask)};

	data->work = work;
	return task;
}

EltSharding *
elt_shard_begin(EltSharding *sharding)
{
	EltTask		task = single_task("begin", SHARD_BEGIN);
	const BeginResult *result;
	EltShardRun *run;
	EltSharding *begun;
	ListCell   *lc;
	int			n = 0;

	/* all attempts together */
	sharding->since = GetCurrentTimestamp();
	(void) run_tasks(sharding, &task, 1, false, BEGIN_RETRIES);
	sharding->since = 0;
	result = task.result;
	if (result == NULL || task.result_size != sizeof(BeginResult) || !result->done)
		return NULL;
	run = elt_shard_run_by_relation(sharding->root);
	if (run == NULL || list_length(run->tables) != elt_sharding_ntables(sharding))
		elog(ERROR, "the shards of \"%s\" have gone", get_rel_name(sharding->root));
	begun = palloc(elt_sharding_size(sharding->nparents, sharding->shards));
	memcpy(begun, sharding, elt_sharding_size(sharding->nparents, sharding->shards));
	begun->capture = result->capture;
	begun->tracked = result->tracked;
	begun->consumer = run->consumer;
	foreach(lc, run->tables)
		elt_sharding_tables(begun, 0)[n++] = lfirst_oid(lc);
	return begun;
}

static BlockNumber
blocks_of(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);

	/* workers will want to lock the shards */
	table_close(rel, AccessShareLock);
	return blocks;
}

static void
copy_all(EltSharding *sharding)
{
	EltTask    *tasks = NULL;
	int			ntasks = 0;
	BlockNumber most = 0;
	BlockNumber step;

	for (int i = 0; i < sharding->nparents; i++)
		most = Max(most, blocks_of(elt_sharding_parents(sharding)[i]));
	step = Max(most / COPY_TASKS + 1, MIN_BLOCKS);
	for (int i = 0; i < sharding->nparents; i++)
	{
		BlockNumber blocks = blocks_of(elt_sharding_parents(sharding)[i]);

		for (BlockNumber first = 0; first < blocks; first += Min(step, blocks - first))
		{
			BlockNumber end = first + Min(step, blocks - first);
			EltTask		task = single_task(psprintf("%s, blocks %u to %u", get_rel_name(elt_sharding_parents(sharding)[i]), first, end - 1),
										   SHARD_COPY);
			ShardTask  *data = unconstify(void *, task.data);

			data->parent = i;
			data->first = first;
			data->end = end;
			task.weight = end - first;
			tasks = tasks ? repalloc(tasks, sizeof(EltTask) * (ntasks + 1)) : palloc(sizeof(EltTask));
			tasks[ntasks++] = task;
		}
	}
	if (ntasks > 0)
		(void) run_tasks(sharding, tasks, ntasks, true, 0);
}

static void
index_all(EltSharding *sharding)
{
	int			ntasks = elt_sharding_ntables(sharding);
	EltTask    *tasks = palloc(sizeof(EltTask) * ntasks);

	for (int i = 0; i < ntasks; i++)
	{
		Oid			relid = elt_sharding_tables(sharding, 0)[i];
		ShardTask  *data;

		tasks[i] = single_task(psprintf("indexes of %s", get_rel_name(relid)), SHARD_INDEX);
		data = unconstify(void *, tasks[i].data);
		data->parent = i / sharding->shards;
		data->shard = i % sharding->shards;
		tasks[i].weight = blocks_of(relid);
	}
	(void) run_tasks(sharding, tasks, ntasks, false, 0);
}

EltOffset *
elt_shard_fill(EltSharding *sharding)
{
	EltOffset  *filled;

	PushCopiedSnapshot(GetLatestSnapshot());
	filled = elt_offset_of_snapshot(GetActiveSnapshot());
	copy_all(sharding);
	PopActiveSnapshot();
	elt_debug_point("shard-copied");
	index_all(sharding);
	return filled;
}

int64
elt_shard_catch_up(EltSharding *sharding, const EltOffset *from)
{
	EltTask		task = single_task("changes", SHARD_FOLLOW);

	if (from != NULL)
	{
		Size		xip = sizeof(uint64) * from->nxip;
		char	   *data = palloc0(sizeof(ShardTask) + sizeof(EltOffset) + xip);

		((ShardTask *) data)->work = SHARD_FOLLOW;
		((ShardTask *) data)->has_from = true;
		memcpy(data + sizeof(ShardTask), from, sizeof(EltOffset));
		memcpy(data + sizeof(ShardTask) + sizeof(EltOffset), from->xip, xip);
		task.data = data;
		task.size = sizeof(ShardTask) + sizeof(EltOffset) + xip;
	}
	(void) run_tasks(sharding, &task, 1, false, 3);
	if (task.result == NULL || task.result_size != sizeof(int64))
		elog(ERROR, "a worker told no number of changes");
	return *(int64 *) task.result;
}

bool
elt_shard_undo(Oid relid)
{
	EltTask		task = single_task("clean up", SHARD_UNDO);
	EltSharding *sharding = palloc0(elt_sharding_size(0, 0));

	sharding->root = relid;
	(void) run_tasks(sharding, &task, 1, false, 3);
	return task.result != NULL && *(bool *) task.result;
}
