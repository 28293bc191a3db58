/*
 * task.c
 *	  What workers do for a transform: a shard's rows, an index of a staging table.
 *
 *	  pieces -> the statement, analysed as the owner, reading just them -> rows -> staging table or target -> (not atomic) the shard is done, in the
 *	  same transaction
 *
 * now() is the same in all tasks, as it is in one statement. The leader may do tasks itself, in its own transaction.
 *
 * Locks: those of the statement, RowExclusive on staging tables. A worker keeps locks on what the leader has locked too, from its first task to its end: else it would wait
 * behind somebody who waits for the leader, and no deadlock detector would see it. A crash loses the rows of a task that has not committed; where they are frozen, the run has failed and
 * its staging tables are dropped.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/debug_point.h"
#include "base/exec.h"
#include "base/query.h"
#include "base/secctx.h"
#include "transform/transform.h"
#include "worker/worker.h"

/* Which pieces of which query. */
typedef struct Restriction
{
	const EltPiece *pieces;
	int			npieces;
	bool		whole;			/* the statement is the query, not an INSERT
								 * around it */
} Restriction;

/* The query in INSERT INTO ... SELECT columns FROM (query) AS elt_q. */
static bool
find_query_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_SUBQUERY && rte->alias != NULL && strcmp(rte->alias->aliasname, "elt_q") == 0)
		{
			*(Query **) context = rte->subquery;
			return true;
		}
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_query_walker, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, find_query_walker, context);
}

static void
restrict_query(Query *statement, void *arg)
{
	Restriction *restriction = arg;
	Query	   *query = statement;

	if (restriction->npieces == 0)
		return;
	if (!restriction->whole && !find_query_walker((Node *) statement, &query))
		elog(ERROR, "the statement of a transform has no query");
	elt_split_restrict(query, restriction->pieces, restriction->npieces);
}

/* Workers begin transactions of their own, and the whole shall have one time. */
static void
set_time(EltTaskRun *task, TimestampTz now)
{
	int			number = ParallelWorkerNumber;

	if (task->in_leader)
		return;
	/* which is what the function asserts */
	ParallelWorkerNumber = 0;
	SetParallelStartTimestamps(now, now);
	ParallelWorkerNumber = number;
}

/*
 * Locks of the worker
 */

static List *kept = NIL;		/* OIDs, in TopMemoryContext */
static List *kept_modes = NIL;

static void
release_kept(void)
{
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, kept, lc2, kept_modes)
	{
		LockRelId	id = {lfirst_oid(lc), MyDatabaseId};

		UnlockRelationIdForSession(&id, lfirst_int(lc2));
	}
	kept = kept_modes = NIL;
}

/* Nothing else would at the end of a process that is in no transaction. */
static void
at_exit(int code, Datum arg)
{
	AbortOutOfAnyTransaction();
	release_kept();
}

/* An abort gives up the session's locks too. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		kept = kept_modes = NIL;
}

static void
keep_tree(Oid relid, LOCKMODE mode)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, mode, NULL))
	{
		LockRelId	id = {lfirst_oid(lc), MyDatabaseId};
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		LockRelationIdForSession(&id, mode);
		kept = lappend_oid(kept, lfirst_oid(lc));
		kept_modes = lappend_int(kept_modes, mode);
		MemoryContextSwitchTo(old);
	}
}

static void
keep_locks(EltTransform *transform)
{
	static bool registered = false;
	ListCell   *lc;

	if (kept != NIL)
		return;
	if (!registered)
	{
		before_shmem_exit(at_exit, (Datum) 0);
		RegisterXactCallback(at_end_of_transaction, NULL);
		registered = true;
	}
	keep_tree(transform->target, RowExclusiveLock);
	foreach(lc, elt_split_mentions(elt_query_parse("transform", transform->node.name, transform->query, true)))
		keep_tree(((EltMention *) lfirst(lc))->rte->relid, AccessShareLock);
}

/* Where the rows go; NULL: the statement itself writes them. */
static DestReceiver *
destination(const EltTransformShared *shared, EltTransform *transform, EltRun *run)
{
	int			flags = (shared->frozen ? ELT_INSERT_FROZEN : 0);

	if (shared->into_bag)
		return elt_insert_receiver(linitial_oid(run->staging), NULL, 0, flags);
	if (!shared->direct)
		return elt_insert_receiver(transform->target, elt_staging_places(run), list_length(run->staging), flags);
	if (strcmp(transform->mode, "upsert") == 0 || elt_insert_refusal(transform->target) != NULL)
		return NULL;
	return elt_insert_receiver(transform->target, NULL, 0, ELT_INSERT_INDEXES);
}

static void
restrict_whole(Query *statement, void *piece)
{
	Restriction restriction = {piece, 1, true};

	restrict_query(statement, &restriction);
}

static void
restrict_insert(Query *statement, void *piece)
{
	Restriction restriction = {piece, 1, false};

	restrict_query(statement, &restriction);
}

static EltTransform *
transform_of(const EltTransformShared *shared)
{
	char	   *name = elt_node_name(shared->node);
	EltTransform *transform = name == NULL ? NULL : elt_transform_by_name(name);

	if (transform == NULL)
		elog(ERROR, "transform %d does not exist", shared->node);
	return transform;
}

static EltRun *
run_of(const EltTransformShared *shared)
{
	EltRun	   *run = elt_run_last(shared->node);

	if (run == NULL || run->id != shared->run)
		elog(ERROR, "run " INT64_FORMAT " does not exist", shared->run);
	return run;
}

static void
run_shard(EltTaskRun *task)
{
	EltTransformShared shared;
	EltTransformTask own;
	EltSecContext context;
	EltExecCounts counts = {0};
	EltTransform *transform;
	EltRun	   *run;
	Restriction restriction;
	DestReceiver *dest;
	const char *sql;
	int64		rows;
	int64		rejected = 0;
	EltPiece   *pieces;

	memcpy(&shared, task->shared, sizeof(shared));
	memcpy(&own, task->data, sizeof(own));
	sql = (const char *) task->shared + sizeof(shared);
	shared.quarantine = shared.quarantine && own.npieces > 0;
	pieces = palloc(sizeof(EltPiece) * (own.npieces + 1));
	memcpy(pieces, (const char *) task->data + sizeof(own), sizeof(EltPiece) * own.npieces);
	transform = transform_of(&shared);
	run = run_of(&shared);
	restriction.pieces = pieces;
	restriction.npieces = own.npieces;
	restriction.whole = shared.into_bag;

	set_time(task, shared.now);
	elt_become(&context, transform->node.owner);
	elt_settings_pin(transform->settings);
	/* what each task reads as a whole comes to all of them in the same order */
	elt_pin_setting("synchronize_seqscans", "off");
	elt_pin_setting("max_parallel_workers_per_gather", "0");
	if (!task->in_leader)
		keep_locks(transform);
	dest = destination(&shared, transform, run);
	elt_debug_point("transform-task");
	if (shared.quarantine)
	{
		EltQuarantine quarantine = {transform, run, sql, restrict_insert, restrict_whole, pieces[0], dest, shared.direct, shared.into_bag};

		elt_quarantine_task(&quarantine);
		counts.processed = quarantine.rows;
		rejected = quarantine.rejected;
	}
	else
		elt_exec_changed(sql, restrict_query, &restriction, dest, &counts);
	elt_restore(&context);

	rows = dest != NULL && !(shared.quarantine && shared.direct) ? elt_insert_rows(dest) : (int64) counts.processed;
	elt_task_progress(rows, dest != NULL ? elt_insert_bytes(dest) : 0);
	elt_task_rejected(rejected);
	if (shared.ledger)
		elt_run_shard_complete(shared.run, own.shard, rows, dest != NULL ? elt_insert_bytes(dest) : 0, rejected);
	elt_debug_point("transform-task-done");
}

static void
run_index(EltTaskRun *task)
{
	EltIndexTask index;

	memcpy(&index, task->data, sizeof(index));
	elt_debug_point("transform-index");
	elt_staging_build_index(&index, task->in_leader);
}

void
elt_transform_init(void)
{
	elt_worker_register(ELT_TRANSFORM_HANDLER, run_shard);
	elt_worker_register(ELT_INDEX_HANDLER, run_index);
}
