/*
 * locks.c
 *	  Locks that the leader of a run holds and a worker waits for.
 *
 * The leader waits for its workers on its latch, which the server's deadlock detector does not see: a worker that waits for the leader, itself or through
 * others, would wait until its lock_timeout. So where no task has ended for deadlock_timeout the leader follows who waits for whom, as pg_blocking_pids
 * tells it; an end at the leader itself is a deadlock.
 *
 * Locks: the lock manager's own, shared, for an instant. A crash loses nothing.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "worker/pool.h"

/* processes that are followed at most */
#define MOST_WAITERS	256

/* Those that a process waits for. */
static List *
blockers_of(int pid)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	const int32 *pids = (const int32 *) ARR_DATA_PTR(array);
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	List	   *list = NIL;

	for (int i = 0; i < n; i++)
		list = lappend_int(list, pids[i]);
	return list;
}

/* Does a process wait for this one? */
static bool
waits_for_us(int pid)
{
	List	   *seen = list_make1_int(pid);

	for (int i = 0; i < list_length(seen) && i < MOST_WAITERS; i++)
		seen = list_concat_unique_int(seen, blockers_of(list_nth_int(seen, i)));
	return list_member_int(seen, MyProcPid);
}

static void
check_worker(EltPool *pool, int number)
{
	uint32		task = pg_atomic_read_u32(&elt_wire_workers(pool->wire)[number].task);
	pid_t		pid;

	if (task == 0 || GetBackgroundWorkerPid(pool->workers[number].handle, &pid) != BGWH_STARTED || !waits_for_us(pid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
			 errmsg("task \"%s\" waits for a lock that the session which started it holds", pool->tasks[task - 1].label),
			 errhint("Commit what took the lock before the tasks are run.")));
}

void
elt_pool_check_locks(EltPool *pool)
{
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext old;
	MemoryContext mine;

	if (!TimestampDifferenceExceeds(pool->heard, now, DeadlockTimeout))
		return;
	pool->heard = now;
	mine = AllocSetContextCreate(CurrentMemoryContext, "elt locks", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(mine);
	for (int i = 0; i < pool->nworkers; i++)
		if (pool->workers[i].handle != NULL)
			check_worker(pool, i);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
}
