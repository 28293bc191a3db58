/*
 * lock.c
 *	  Getting a lock that conflicts with a table's users, without making them wait for long.
 *
 *	  wait MIN_WAIT ms -> not had: let those go on who queued behind us, for a while that grows -> wait a bit longer, at most MAX_WAIT ms -> ...
 *
 * Locks: the one that is asked for, on the root and all below it, and with AccessExclusive also ShareRowExclusive on the tables that its foreign keys refer to; to the end of the
 * transaction.
 */
#include "postgres.h"

#include "access/relation.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/attempt.h"
#include "base/secctx.h"
#include "capture/tree.h"
#include "shard/shard.h"

#define MIN_WAIT	100			/* ms in the queue */
#define MAX_WAIT	1000
#define MAX_PAUSE	5000

typedef struct LockWork
{
	Oid			root;
	LOCKMODE	mode;
	int			wait;
} LockWork;

/* Attaching shards will want these, and must not wait for them while everybody waits for the table. */
static void
lock_referenced(Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);
	List	   *referenced = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetFKeyList(rel))
		referenced = list_append_unique_oid(referenced, lfirst_node(ForeignKeyCacheInfo, lc)->confrelid);
	relation_close(rel, NoLock);
	foreach(lc, referenced)
	{
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
		(void) elt_tree_members(lfirst_oid(lc), ShareRowExclusiveLock);
	}
}

static void
lock_tree(void *arg)
{
	LockWork   *work = arg;
	int			nest = NewGUCNestLevel();
	List	   *members;
	ListCell   *lc;

	elt_pin_setting("lock_timeout", psprintf("%d", work->wait));

	/*
	 * an autovacuum in the way is asked to leave when deadlocks are looked
	 * for, which by default is when our wait has ended; the setting is a
	 * superuser's
	 */
	(void) set_config_option("deadlock_timeout", psprintf("%d", work->wait / 2), PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	LockRelationOid(work->root, work->mode);
	members = elt_tree_members(work->root, work->mode);
	if (work->mode == AccessExclusiveLock)
	{
		foreach(lc, members)
			lock_referenced(lfirst_oid(lc));
	}
	AtEOXact_GUC(true, nest);
}

static bool
is_transient(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

static void
pause_for(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

bool
elt_shard_try_lock(Oid root, LOCKMODE mode, int patience, void (*meanwhile) (void *arg), void *arg)
{
	TimestampTz start = GetCurrentTimestamp();
	LockWork	work = {.root = root,.mode = mode,.wait = MIN_WAIT};
	ErrorData  *error;

	while (!elt_attempt(lock_tree, &work, is_transient, &error))
	{
		long		pause = work.wait + (long) (pg_prng_double(&pg_global_prng_state) * work.wait * 2);

		FreeErrorData(error);
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), patience))
			return false;
		pause_for(Min(pause, MAX_PAUSE));
		if (meanwhile != NULL)
			meanwhile(arg);
		work.wait = Min(work.wait * 3 / 2, MAX_WAIT);
	}
	return true;
}

void
elt_shard_lock(EltSharding *sharding, LOCKMODE mode, void (*meanwhile) (void *arg), void *arg)
{
	int			patience = sharding->patience;

	if (sharding->since != 0)
		patience = Max(patience - TimestampDifferenceMilliseconds(sharding->since, GetCurrentTimestamp()), 0);
	if (!elt_shard_try_lock(sharding->root, mode, patience, meanwhile, arg))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock table \"%s\" to shard it", get_rel_name(sharding->root)),
				 errdetail("Other transactions have used it for %d ms on end.", sharding->patience),
				 errhint("Call elt.shard_table again when no transaction keeps the table for long; pg_locks shows which do.")));
}
