/*
 * sweep.c
 *	  Cleaning up after a caller that rolls back, or is ended, when workers have committed something for it.
 *
 *	  end of the leader's transaction that is no commit of the swap -> a background worker of its own, not waited for -> clean.c
 *
 * Where none can be started, elt._clean_shards() and the next elt.shard_table are left. The callbacks only look at this backend's variables and ask for the worker: they raise nothing, but for PREPARE TRANSACTION, which is refused.
 *
 * Locks: those of clean.c, in the worker. A crash loses the request.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "catalog/shard.h"
#include "catalog/table.h"
#include "shard/clean.h"
#include "shard/sweep.h"

PGDLLEXPORT void elt_sweep_main(Datum arg);

#define LOCK_TRIES	200
#define LOCK_WAIT	50			/* ms */

/* What the worker has to know, in bgw_extra. */
typedef struct SweepRequest
{
	Oid			database;
	Oid			role;
	Oid			relid;
} SweepRequest;

static SweepRequest request;
static bool wanted = false;		/* something was committed, and not used so
								 * far */
static bool swapped = false;	/* but for a rollback it is used */
static bool registered = false;

static void
start_worker(void)
{
	BackgroundWorker worker = {0};

	StaticAssertStmt(sizeof(SweepRequest) <= BGW_EXTRALEN, "the request has to fit");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "elt", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "elt_sweep_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "elt shard cleanup", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "elt worker", sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, &request, sizeof(request));
	(void) RegisterDynamicBackgroundWorker(&worker, NULL);
}

static void
at_xact_end(XactEvent event, void *arg)
{
	/* a later ROLLBACK PREPARED would be told to nobody */
	if (wanted && event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has sharded a table"),
				 errhint("Commit the transaction instead.")));
	if (!wanted || (event != XACT_EVENT_ABORT && event != XACT_EVENT_COMMIT))
		return;
	if (event == XACT_EVENT_ABORT || !swapped)
		start_worker();
	wanted = swapped = false;
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	/* perhaps not the swap's; then the worker finds nothing */
	if (event == SUBXACT_EVENT_ABORT_SUB)
		swapped = false;
}

void
elt_shard_sweep_want(Oid relid)
{
	if (!registered)
	{
		RegisterXactCallback(at_xact_end, NULL);
		RegisterSubXactCallback(at_subxact_end, NULL);
		registered = true;
	}
	request.database = MyDatabaseId;
	request.role = GetUserId();
	request.relid = relid;
	swapped = false;
	wanted = true;
}

void
elt_shard_sweep_swapped(void)
{
	swapped = true;
}

void
elt_shard_sweep_done(void)
{
	wanted = swapped = false;
}

/* The leader is still about to let go. False where it, or somebody who is at work on the table again and cleans up by himself, does not. */
static bool
wait_for_lock(Oid relid)
{
	for (int i = 0; i < LOCK_TRIES; i++)
	{
		if (elt_shard_run_try_lock(relid))
			return true;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCK_WAIT, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/* The worker. */
void
elt_sweep_main(Datum arg)
{
	SweepRequest mine;

	memcpy(&mine, MyBgworkerEntry->bgw_extra, sizeof(mine));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* the role itself need not be allowed to log in */
	BackgroundWorkerInitializeConnectionByOid(mine.database, InvalidOid, 0);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SetUserIdAndSecContext(mine.role, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "elt: cleaning up after elt.shard_table");

	if (elt_installed() && wait_for_lock(mine.relid))
		(void) elt_shard_clean(mine.relid);
	PopActiveSnapshot();
	SetUserIdAndSecContext(GetOuterUserId(), 0);
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
}
