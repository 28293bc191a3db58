/*
 * start.c
 *	  The leader starts workers, and makes sure that they end before its transaction does.
 *
 * A run is on a list of this process from before its first worker starts until after its last one has ended. Whoever leaves it (return, error, end of the
 * transaction, end of the process) comes by elt_pool_stop, which ends the workers and waits until the postmaster has seen the end of each. Meanwhile it reads the queues, or
 * has taken them away, so that no worker waits for a reader.
 *
 * Locks: those of slots.c. A crash of any process ends all of them.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/procsignal.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "worker/pool.h"

/* Runs of this session that are not over, the innermost first. */
static EltPool *pools = NULL;

static bool registered = false;

/* At the end of a worker that leads a run, the lock table is still whole. */
static void
stop_all(void)
{
	while (pools != NULL)
		elt_pool_stop(pools, false);
}

static void
at_exit(int code, Datum arg)
{
	stop_all();
}

/* Errors have passed elt_pool_run, which stopped the run: this is for what did not. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PRE_COMMIT)
		stop_all();
}

void
elt_pool_open(EltPool *pool)
{
	if (!registered)
	{
		before_shmem_exit(at_exit, (Datum) 0);
		RegisterXactCallback(at_transaction_end, NULL);
		registered = true;
	}
	pool->outer = pools;
	pools = pool;
}

static int
free_place(EltPool *pool)
{
	for (int i = 0; i < pool->nworkers; i++)
		if (pool->workers[i].handle == NULL)
			return i;
	return -1;
}

static void
describe(BackgroundWorker *worker, EltPool *pool, int place)
{
	memset(worker, 0, sizeof(*worker));
	snprintf(worker->bgw_name, BGW_MAXLEN, "elt worker %d of process %d", place + 1, MyProcPid);
	strlcpy(worker->bgw_type, "elt worker", BGW_MAXLEN);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "elt", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "elt_worker_main", sizeof(worker->bgw_function_name));
	worker->bgw_main_arg = UInt32GetDatum(dsm_segment_handle(pool->segment));
	worker->bgw_notify_pid = MyProcPid;
	memcpy(worker->bgw_extra, &place, sizeof(place));
}

/* Ask for one more worker; false: the server has no room for it, and *why_not says so. It may turn out later that it could not start. */
bool
elt_workers_start(EltPool *pool, const char **why_not)
{
	int			place = free_place(pool);
	EltWorker  *worker = &pool->workers[place];
	BackgroundWorker description;
	MemoryContext old;
	shm_mq	   *mq;
	bool		started;

	Assert(place >= 0);
	memset(worker, 0, sizeof(*worker));
	pg_atomic_write_u32(&elt_wire_workers(pool->wire)[place].task, 0);
	describe(&description, pool, place);

	old = MemoryContextSwitchTo(pool->memory);
	mq = shm_mq_create(elt_wire_queue(pool->wire, place), ELT_QUEUE_SIZE);
	shm_mq_set_receiver(mq, MyProc);
	worker->queue = shm_mq_attach(mq, pool->segment, NULL);
	started = RegisterDynamicBackgroundWorker(&description, &worker->handle);
	if (started)
		shm_mq_set_handle(worker->queue, worker->handle);
	else
	{
		shm_mq_detach(worker->queue);
		worker->queue = NULL;
		worker->handle = NULL;
		*why_not = "no background worker is free (max_worker_processes)";
	}
	MemoryContextSwitchTo(old);
	return started;
}

/* Places of workers that have not ended. */
int
elt_workers_alive(EltPool *pool)
{
	int			n = 0;

	for (int i = 0; i < pool->nworkers; i++)
		n += pool->workers[i].handle != NULL;
	return n;
}

/* Wait until a worker has ended, and read what it still sends, where there is a queue; interrupts are held. */
static void
await_end(EltPool *pool, int number)
{
	EltWorker  *worker = &pool->workers[number];
	pid_t		pid;

	for (;;)
	{
		BgwHandleStatus status = GetBackgroundWorkerPid(worker->handle, &pid);

		elt_pool_note_rest(pool, number);

		if (status == BGWH_STOPPED)
			return;
		if (!PostmasterIsAlive())
		{
			/* nobody else would tell it */
			if (status == BGWH_STARTED)
				(void) kill(pid, SIGTERM);
			return;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_POSTMASTER_DEATH, 100, elt_wait_event_workers());
		ResetLatch(MyLatch);
	}
}

static void
drop_queue(EltWorker *worker)
{
	if (worker->queue != NULL)
		shm_mq_detach(worker->queue);
	worker->queue = NULL;
}

static void
end_workers(EltPool *pool, bool read)
{
	pg_atomic_write_u32(&pool->wire->stop, 1);
	for (int i = 0; i < pool->nworkers; i++)
	{
		EltWorker  *worker = &pool->workers[i];

		if (!read)
			drop_queue(worker);
		/* one that has said goodbye ends by itself */
		if (worker->handle != NULL && worker->end == 0)
			TerminateBackgroundWorker(worker->handle);
	}
	for (int i = 0; i < pool->nworkers; i++)
	{
		if (pool->workers[i].handle != NULL)
			await_end(pool, i);
		drop_queue(&pool->workers[i]);
	}
	/* what came in meanwhile, for others */
	SetLatch(MyLatch);
}

/* End what is left of a run. It raises nothing, and may be called when all has ended. read: the caller wants to know which tasks have been done until then. */
void
elt_pool_stop(EltPool *pool, bool read)
{
	HOLD_INTERRUPTS();
	if (pool->wire != NULL)
		end_workers(pool, read);
	elt_share_leave(&pool->share);
	if (pool->segment != NULL)
		dsm_detach(pool->segment);
	pool->segment = NULL;
	pool->wire = NULL;
	Assert(pools == pool);
	pools = pool->outer;
	MemoryContextDelete(pool->memory);
	RESUME_INTERRUPTS();
}
