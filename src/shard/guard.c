/*
 * guard.c
 *	  Readers whose snapshot is older than the sharding of a table they read.
 *
 * In REPEATABLE READ and above a snapshot may be older than the swap: the rows of the shards are newer than it, so the table would look empty. The catalogs tell: the table's
 * attributes are visible to the snapshot, the row that makes it hash-partitioned is not. Such a query is refused with 40001 when it is planned. (Nobody can have a plan from
 * before: the swap invalidates it.) Partitions that are pruned are not looked at, and need not be.
 *
 * Where the library is not loaded there is no hook, and the table looks empty, as it does after any command that rewrites it.
 *
 * Locks: none of its own; the planner has the relation's. Reads only.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_partitioned_table.h"
#include "optimizer/plancat.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "shard/guard.h"

static get_relation_info_hook_type next_hook = NULL;

/* Was the catalog row written by another transaction that the snapshot does not see? */
static bool
is_newer(HeapTuple tuple, Snapshot snapshot)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

	return TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin) && XidInMVCCSnapshot(xmin, snapshot);
}

/* Did the table become hash-partitioned after the snapshot, which knows it as something else? */
static bool
sharded_since(Oid relid, Snapshot snapshot)
{
	HeapTuple	key = SearchSysCache1(PARTRELID, ObjectIdGetDatum(relid));
	HeapTuple	column;
	bool		since;

	if (!HeapTupleIsValid(key))
		return false;
	since = ((Form_pg_partitioned_table) GETSTRUCT(key))->partstrat == PARTITION_STRATEGY_HASH && is_newer(key, snapshot);
	ReleaseSysCache(key);
	if (!since)
		return false;

	/* no command changes a system column's row */
	column = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(TableOidAttributeNumber));
	since = HeapTupleIsValid(column) && !is_newer(column, snapshot);
	if (HeapTupleIsValid(column))
		ReleaseSysCache(column);
	return since;
}

static void
check_snapshot(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	if (next_hook != NULL)
		next_hook(root, relid, inhparent, rel);
	if (!inhparent || !IsolationUsesXactSnapshot() || !ActiveSnapshotSet())
		return;
	if (sharded_since(relid, GetActiveSnapshot()))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access because table \"%s\" was sharded after this transaction's snapshot", get_rel_name(relid)),
				 errhint("Run the transaction again.")));
}

void
elt_shard_guard_init(void)
{
	next_hook = get_relation_info_hook;
	get_relation_info_hook = check_snapshot;
}
