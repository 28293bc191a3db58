/*
 * main.c
 *	  A worker: from its start to its end.
 *
 * Attach to the run's segment and to a queue, so that the leader gets errors from then on; connect as the session's user; load what the leader has loaded; take over its
 * settings and role; take the slots. Then claim tasks until none is left. A task's error is sent whole, and the worker goes on or ends as the run wants it.
 *
 * What a task sets is undone after it. A transaction has the role and the security flags of the leader from its start; they are given up just before its
 * commit, after deferred constraints have fired, because the server wants no flags between transactions.
 *
 * Locks: slots (slots.c); those of the tasks. Interrupts are held while a message is sent, so that none is cut in two: where the leader is gone,
 * sending ends by itself. A crash of a worker makes the server restart; what it had not committed is gone.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "libpq/pqmq.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "worker/pool.h"

/* how often a worker that is busy looks whether the server is still there, ms */
#define WATCH_EVERY			1000

/* the leader's own timeout comes first: it knows more */
#define DEADLINE_GRACE		500

/* a slot may be taken for an instant only, by a leader who looks */
#define SLOT_TRIES			3

/* This process. */
static EltWire *wire;
static int	place;
static shm_mq_handle *queue;
static EltTaskHandler handler;
static MemoryContext task_memory;
static EltCurrent task;

PGDLLEXPORT void elt_worker_main(Datum arg);

/* In a signal handler. */
static void
watch_postmaster(void)
{
	if (PostmasterIsAlive())
		return;
	InterruptPending = true;
	ProcDiePending = true;
	SetLatch(MyLatch);
}

static void
watch_begin(void)
{
	TimeoutId	watch = RegisterTimeout(USER_TIMEOUT, watch_postmaster);

	enable_timeout_every(watch, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), WATCH_EVERY), WATCH_EVERY);
	if (wire->deadline != 0)
		enable_timeout_at(STATEMENT_TIMEOUT, TimestampTzPlusMilliseconds(wire->deadline, DEADLINE_GRACE));
}

/* Send a message that consists of up to three parts; the leader is woken. */
static void
send_parts(char type, const void *first, Size first_size, StringInfo rest)
{
	shm_mq_iovec parts[3];
	int			n = 0;

	parts[n].data = &type;
	parts[n++].len = 1;
	parts[n].data = first;
	parts[n++].len = first_size;
	if (rest != NULL && rest->len > 0)
	{
		parts[n].data = rest->data;
		parts[n++].len = rest->len;
	}
	HOLD_INTERRUPTS();
	(void) shm_mq_sendv(queue, parts, n, false, true);
	RESUME_INTERRUPTS();
}

static void
send_byte(char type, char what)
{
	send_parts(type, &what, 1, NULL);
}

static void
send_task(const EltTaskMessage *begun, ErrorData *error)
{
	EltTaskMessage message = *begun;
	StringInfoData rest;

	initStringInfo(&rest);
	message.state = error == NULL ? ELT_TASK_DONE : ELT_TASK_FAILED;
	if (error == NULL && task.result_size > 0)
	{
		message.result_size = task.result_size;
		appendBinaryStringInfo(&rest, task.result, task.result_size);
	}
	elt_task_free(&task);
	if (error != NULL)
	{
		elt_wire_put_error(&rest, error);
		message.error_size = rest.len;
	}
	send_parts(ELT_MESSAGE_TASK, &message, sizeof(message), &rest);
	pfree(rest.data);
}

/* Attach to the segment and to the queue of this worker; ends it where the leader has gone. */
static void
attach(Datum arg)
{
	dsm_segment *segment = dsm_attach(DatumGetUInt32(arg));
	shm_mq	   *mq;

	if (segment == NULL)
		proc_exit(0);
	wire = dsm_segment_address(segment);
	memcpy(&place, MyBgworkerEntry->bgw_extra, sizeof(place));
	if (!elt_wire_valid(wire, dsm_segment_map_length(segment)) || place < 0 || place >= wire->nworkers)
		elog(ERROR, "segment of a run is not valid");
	mq = (shm_mq *) elt_wire_queue(wire, place);
	shm_mq_set_sender(mq, MyProc);
	queue = shm_mq_attach(mq, segment, NULL);
	pq_redirect_to_shm_mq(segment, queue);
}

static void
set_int(const char *name, int value)
{
	SetConfigOption(name, psprintf("%d", value), PGC_USERSET, PGC_S_SESSION);
}

/* Settings, role, and what is a worker's own. */
static void
restore(void)
{
	StartTransactionCommand();
	RestoreLibraryState(elt_wire_at(wire, char, wire->libraries));
	RestoreGUCState(elt_wire_at(wire, char, wire->settings));
	set_int("work_mem", wire->work_mem);
	set_int("maintenance_work_mem", wire->maintenance_work_mem);
	set_int("lock_timeout", wire->lock_timeout);
	/* the processors are busy with the other workers */
	set_int("max_parallel_workers_per_gather", 0);
	set_int("max_parallel_maintenance_workers", 0);
	SetConfigOption("application_name", wire->title, PGC_USERSET, PGC_S_SESSION);
	CommitTransactionCommand();
}

static void
release_slots(int code, Datum arg)
{
	elt_slots_drop();
}

static bool
take_slots(void)
{
	EltScope	full;

	before_shmem_exit(release_slots, (Datum) 0);
	for (int i = 0; i < SLOT_TRIES; i++)
	{
		if (elt_slots_take(&wire->limits, &full))
			return true;
		pg_usleep(1000);
	}
	return false;
}

/* now() is part of what the tasks see: the same for all of them. */
static void
share_timestamps(void)
{
	/* made for the server's own parallel workers, as it asserts */
	int			number = ParallelWorkerNumber;

	ParallelWorkerNumber = 0;
	SetParallelStartTimestamps(wire->transaction_start, wire->statement_start);
	ParallelWorkerNumber = number;
}

static void
begin_transaction(void)
{
	if (IsTransactionState())
		return;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = wire->isolation;
	XactReadOnly = wire->read_only;

	/*
	 * The leader has no xid, so the catalogs look the same to both: nothing
	 * in the caches is made invalid by its snapshot.
	 */
	if (wire->share_snapshot)
	{
		share_timestamps();
		RestoreTransactionSnapshot(RestoreSnapshot(elt_wire_at(wire, char, wire->snapshot)), wire->leader);
	}
}

/* Whatever role the last task has left: its SET ROLE, undone, ends at the session's user. */
static void
become(void)
{
	if (OidIsValid(wire->outer_role))
		SetCurrentRoleId(wire->outer_role, superuser_arg(wire->outer_role));
	SetUserIdAndSecContext(wire->role, wire->security);
}

static void
end_transaction(void)
{
	if (!IsTransactionState())
		return;
	SetUserIdAndSecContext(GetOuterUserId(), 0);
	CommitTransactionCommand();
}

/* The task itself, in a transaction of its own or in the worker's only one. */
static void
do_task(int number)
{
	const EltWireTask *given = &elt_wire_tasks(wire)[number];
	EltTaskRun	run = {.number = number,.size = given->size,.shared_size = wire->shared_size};
	int			settings;

	run.data = elt_wire_at(wire, void, given->data);
	run.shared = elt_wire_at(wire, void, wire->shared);

	begin_transaction();
	become();
	settings = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(task_memory);
	elt_debug_point("worker-claimed");
	handler(&run);
	if (wire->transactions == ELT_TASKS_COMMIT)
		elt_task_fire_constraints();
	PopActiveSnapshot();
	AtEOXact_GUC(false, settings);
	elt_debug_point("worker-done");
	if (wire->transactions == ELT_TASKS_COMMIT)
		end_transaction();
	else
		CommandCounterIncrement();
}

/* One attempt at a task; its error, in task_memory, or NULL. */
static ErrorData *
attempt(int number, EltTaskCounts *counts)
{
	ErrorData  *volatile error = NULL;

	elt_task_begin(&task, &elt_wire_workers(wire)[place], NULL);
	PG_TRY();
	{
		do_task(number);
		elt_task_end(&task, counts);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(task_memory);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		elt_task_forget(&task, counts);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(task_memory);
	return error;
}

/* A task, with as many attempts as it may have; false: it failed. */
static bool
run_task(int number)
{
	EltWireWorker *live = &elt_wire_workers(wire)[place];
	EltTaskMessage message = {.task = number};
	ErrorData  *error;

	pg_atomic_write_u32(&live->task, number + 1);
	elt_status_task(wire, number);
	for (;;)
	{
		message.attempts++;
		error = attempt(number, &message.counts);
		if (error == NULL || message.attempts > wire->retries || !elt_task_transient(error->sqlerrcode, wire->share_snapshot) ||
			pg_atomic_read_u32(&wire->stop) != 0)
			break;
		MemoryContextReset(task_memory);
		elt_task_backoff(message.attempts);
	}
	/* from here on an end of this process is no failure of the task */
	HOLD_INTERRUPTS();
	send_task(&message, error);
	pg_atomic_write_u32(&live->task, 0);
	RESUME_INTERRUPTS();
	MemoryContextReset(task_memory);
	return error == NULL;
}

/* Shall this worker end for the sake of another run? */
static bool
gives_back(void)
{
	uint32		wanted = pg_atomic_read_u32(&wire->give_back);

	while (wanted > 0)
		if (pg_atomic_compare_exchange_u32(&wire->give_back, &wanted, wanted - 1))
			return true;
	return false;
}

static EltEnd
run_tasks(void)
{
	const int32 *order = elt_wire_order(wire);

	while (pg_atomic_read_u32(&wire->stop) == 0)
	{
		uint32		next;

		CHECK_FOR_INTERRUPTS();
		if (!elt_slots_keep(&wire->limits))
			return ELT_END_NO_SLOT;
		if (pg_atomic_read_u32(&wire->next) < wire->ntasks && gives_back())
			return ELT_END_GAVE_BACK;
		next = pg_atomic_fetch_add_u32(&wire->next, 1);
		if (next >= wire->ntasks)
			break;
		if (!run_task(order[next]) && !wire->keep_going)
			break;
	}
	return ELT_END_DONE;
}

/* Others have been faster. */
static bool
too_late(void)
{
	return pg_atomic_read_u32(&wire->stop) != 0 || pg_atomic_read_u32(&wire->next) >= wire->ntasks;
}

static void
leave(EltEnd end)
{
	send_byte(ELT_MESSAGE_END, (char) end);
	proc_exit(0);
}

void
elt_worker_main(Datum arg)
{
	EltEnd		end = ELT_END_NO_SLOT;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	attach(arg);
	if (too_late())
		leave(ELT_END_DONE);
	elt_connect_worker(wire->database, wire->session_user);
	restore();
	watch_begin();
	handler = elt_task_handler(wire->handler);
	task_memory = AllocSetContextCreate(TopMemoryContext, "elt task", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(task_memory);
	if (take_slots())
	{
		elt_status_begin(wire);
		send_byte(ELT_MESSAGE_READY, 0);
		end = run_tasks();
		end_transaction();
	}
	elt_slots_drop();
	leave(end);
}
