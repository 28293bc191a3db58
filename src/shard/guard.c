/*
 * guard.c
 *	  Readers whose snapshot is older than the sharding of a table they read.
 *
 * A snapshot may be older than the swap: the rows of the shards are newer than it, so the table would look empty, or lack the last changes. The catalogs tell: the table's
 * attributes are visible to the snapshot, the row that makes it hash-partitioned is not. Such a query is refused with 40001.
 *
 * In REPEATABLE READ and above that is when it is planned. (Nobody can have a plan from before: the swap invalidates it.) Else the snapshot for planning is mostly not that for
 * execution, so the look is taken when it is executed: COPY (SELECT ...), REFRESH MATERIALIZED VIEW and EXECUTE take their snapshot and then wait for the table's lock, and a STABLE
 * function reads with the snapshot of a query that may run for long. Partitions that are pruned are not looked at, and need not be.
 *
 * Where the library is not loaded there are no hooks, and the table looks empty, as it does after any command that rewrites it.
 *
 * Locks: none of its own; the planner has the relation's. Reads only.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_partitioned_table.h"
#include "executor/executor.h"
#include "optimizer/plancat.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "shard/guard.h"

static get_relation_info_hook_type next_hook = NULL;
static ExecutorStart_hook_type next_start = NULL;

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
refuse_snapshot(Oid relid, const char *whose)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access because table \"%s\" was sharded after this %s's snapshot", get_rel_name(relid), whose),
			 errhint("Run the %s again.", whose)));
}

static void
check_snapshot(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	if (next_hook != NULL)
		next_hook(root, relid, inhparent, rel);
	if (!inhparent || !IsolationUsesXactSnapshot() || !ActiveSnapshotSet())
		return;
	if (sharded_since(relid, GetActiveSnapshot()))
		refuse_snapshot(relid, "transaction");
}

static void
check_start(QueryDesc *query, int eflags)
{
	ListCell   *lc;

	if (query->snapshot != NULL && IsMVCCSnapshot(query->snapshot) && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
	{
		foreach(lc, query->plannedstmt->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			if (rte->rtekind == RTE_RELATION && rte->inh && rte->relkind == RELKIND_PARTITIONED_TABLE &&
				sharded_since(rte->relid, query->snapshot))
				refuse_snapshot(rte->relid, "statement");
		}
	}
	if (next_start != NULL)
		next_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

void
elt_shard_guard_init(void)
{
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = check_start;
	next_hook = get_relation_info_hook;
	get_relation_info_hook = check_snapshot;
}
