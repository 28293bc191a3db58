/*
 * clean.c
 *	  Removes what a sharding has committed and not used: an error's cleanup, and elt._clean_shards() after a crash, or after its caller rolled back.
 *
 * Whether somebody is at work on a table is told by the object lock of catalog/shard.h, which goes with the leader's transaction, however that ends.
 *
 * Locks: AccessExclusive on the shards; on the table only where change tracking that began for the sharding has to end, and not waited for long. A crash undoes what was not committed.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/track.h"
#include "capture/tree.h"
#include "catalog/capture.h"
#include "catalog/consumer.h"
#include "catalog/shard.h"
#include "shard/clean.h"
#include "shard/shard.h"

#define PATIENCE	10000		/* ms, to end tracking that nobody wants */

PG_FUNCTION_INFO_V1(elt_sql_clean_shards);

void
elt_shard_end_tracking(Oid relid, int32 capture, int32 consumer, bool tracked_here)
{
	ListCell   *lc;

	if (elt_consumer_by_id(consumer) != NULL)
		elt_consumer_delete(consumer);
	CacheInvalidateRelcacheByRelid(relid);
	if (!tracked_here || elt_consumer_list(capture) != NIL)
		return;
	foreach(lc, elt_tree_members(relid, AccessExclusiveLock))
	{
		elt_tree_drop_triggers(lfirst_oid(lc));
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	}
	elt_track_forget(capture);
}

/* Tables that are still by themselves. */
static void
drop_tables(List *tables)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		Oid			relid = lfirst_oid(lc);

		if (get_rel_name(relid) != NULL && !get_rel_relispartition(relid))
			elt_sql_run(psprintf("DROP TABLE %s", elt_qualified_name(relid)));
		CommandCounterIncrement();
	}
}

/* Ours to remove? */
static bool
may_clean(EltShardRun *run)
{
	ListCell   *lc;

	if (get_rel_name(run->relid) != NULL && !elt_owns_relation(run->relid))
		return false;
	foreach(lc, run->tables)
	{
		if (get_rel_name(lfirst_oid(lc)) != NULL && !elt_owns_relation(lfirst_oid(lc)))
			return false;
	}
	return true;
}

static bool
clean_run(EltShardRun *run)
{
	EltCapture *capture = get_rel_name(run->relid) ? elt_capture_by_relation(run->relid) : NULL;

	drop_tables(run->tables);
	if (capture != NULL && run->tracked_here && !elt_shard_try_lock(run->relid, AccessExclusiveLock, PATIENCE, NULL, NULL))
	{
		EltShardRun rest = {.relid = run->relid,.consumer = run->consumer,.tracked_here = true};

		/* its changes are not kept any longer, at least */
		if (elt_consumer_by_id(run->consumer) != NULL)
			elt_consumer_delete(run->consumer);
		elt_shard_run_delete(run->id);
		(void) elt_shard_run_insert(&rest);
		return false;
	}
	if (capture != NULL)
		elt_shard_end_tracking(run->relid, capture->id, run->consumer, run->tracked_here);
	else if (elt_consumer_by_id(run->consumer) != NULL)
		elt_consumer_delete(run->consumer);
	elt_shard_run_delete(run->id);
	return true;
}

bool
elt_shard_clean(Oid relid)
{
	bool		done = true;
	EltSecContext save;
	ListCell   *lc;

	elt_become(&save, GetUserId());
	foreach(lc, elt_shard_run_all())
	{
		EltShardRun *run = lfirst(lc);

		if (run->relid == relid && may_clean(run))
			done &= clean_run(run);
	}
	elt_restore(&save);
	return done;
}

/* elt._clean_shards() -> how many shardings that came to no end were cleaned up; others' are left alone */
Datum
elt_sql_clean_shards(PG_FUNCTION_ARGS)
{
	int32		cleaned = 0;
	EltSecContext save;
	ListCell   *lc;

	elt_check_may_write("elt._clean_shards()");
	elt_become(&save, GetUserId());
	foreach(lc, elt_shard_run_all())
	{
		EltShardRun *run = lfirst(lc);

		if (may_clean(run) && elt_shard_run_try_lock(run->relid) && clean_run(run))
			cleaned++;
	}
	elt_restore(&save);
	PG_RETURN_INT32(cleaned);
}
