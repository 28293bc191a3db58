/*
 * lead.c
 *	  The leader while its workers work: it reads what they send, looks after those that end, asks for more where that helps, and tells the progress.
 *
 * It waits on its latch, which workers set when they send something and the postmaster when one starts or ends. Where no worker is to be had it waits for one
 * for elt.worker_wait, and then does tasks itself: reading ones between looks for a free slot, others all that are left.
 *
 * Locks: those of slots.c. A crash ends the workers too.
 */
#include "postgres.h"

#include "libpq/pqmq.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/progress.h"
#include "worker/pool.h"

/* how long it waits, ms: when it looks for free slots, and when it has nothing to ask for */
#define LOOK_EVERY			20
#define REPORT_EVERY		200

/* how long it waits at the end for workers that come too late, ms */
#define LATE_MOST			1000

/* workers that could not start, in a row, until no more are asked for; and between them, ms */
#define START_TRIES			3
#define START_PAUSE			200

/* The next task for the leader itself; -1: none is left. */
int
elt_pool_claim(EltPool *pool)
{
	uint32		next = pool->wire != NULL ? pg_atomic_fetch_add_u32(&pool->wire->next, 1) : (uint32) pool->next++;

	return next < pool->ntasks ? pool->order[next] : -1;
}

static int
tasks_unclaimed(EltPool *pool)
{
	uint32		next = pg_atomic_read_u32(&pool->wire->next);

	return next < pool->ntasks ? pool->ntasks - (int) next : 0;
}

static int
workers_working(EltPool *pool)
{
	int			n = 0;

	for (int i = 0; i < pool->nworkers; i++)
		n += pool->workers[i].handle != NULL && pool->workers[i].ready && pool->workers[i].end == 0;
	return n;
}

/* A task has ended, by whoever did it: its fields are filled. */
void
elt_pool_task_ended(EltPool *pool, int number)
{
	EltTask    *task = &pool->tasks[number];

	pool->finished++;
	pool->weight_finished += task->weight;
	if (task->state == ELT_TASK_FAILED)
	{
		pool->result.failed++;
		if (pool->error == NULL)
		{
			pool->error = task->error;
			pool->error_label = task->worker > 0 ? task->label : NULL;
		}
	}
	if (pool->options->done != NULL)
		pool->options->done(task, pool->options->arg);
}

/* A task has failed with a worker that is gone. */
static void
task_lost(EltPool *pool, int number, int worker, ErrorData *error)
{
	EltTask    *task = &pool->tasks[number];

	task->state = ELT_TASK_FAILED;
	task->worker = worker + 1;
	task->attempts = Max(task->attempts, 1);
	task->error = error;
	elt_pool_task_ended(pool, number);
}

/* What a message says of a task, without its result and error; NULL: it is not valid. */
static EltTask *
note_task(EltPool *pool, int worker, EltTaskMessage *message, const char *data, Size size)
{
	EltTask    *task;

	if (size < sizeof(*message))
		return NULL;
	memcpy(message, data, sizeof(*message));
	if (size != sizeof(*message) + message->result_size + message->error_size || message->task < 0 || message->task >= pool->ntasks)
		return NULL;
	task = &pool->tasks[message->task];
	task->state = message->state;
	task->attempts = message->attempts;
	task->counts = message->counts;
	task->worker = worker + 1;
	return task;
}

static void
task_message(EltPool *pool, int worker, const char *data, Size size)
{
	EltTaskMessage message;
	const char *rest = data + sizeof(message);
	EltTask    *task = note_task(pool, worker, &message, data, size);

	if (task == NULL)
		elog(ERROR, "a worker's message is not valid");
	pool->heard = GetCurrentTimestamp();
	if (message.result_size > 0)
	{
		task->result = palloc(message.result_size);
		memcpy(task->result, rest, message.result_size);
		task->result_size = message.result_size;
	}
	if (message.error_size > 0)
		task->error = elt_wire_get_error(rest + message.result_size, message.error_size);
	elt_pool_task_ended(pool, message.task);
}

static char *
to_server(char *string)
{
	return string == NULL ? NULL : pg_client_to_server(string, strlen(string));
}

/* What a worker reported by ereport, in the current memory context. */
static ErrorData *
parse_report(const char *data, Size size)
{
	ErrorData  *error = palloc(sizeof(ErrorData));
	StringInfoData message;

	initStringInfo(&message);
	appendBinaryStringInfo(&message, data, size);
	pq_parse_errornotice(&message, error);
	error->assoc_context = CurrentMemoryContext;
	error->message = to_server(error->message);
	error->detail = to_server(error->detail);
	error->hint = to_server(error->hint);
	error->context = to_server(error->context);
	return error;
}

/* Notices are for the client; there may be many. */
static void
pass_notice(const char *data, Size size)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "elt notice", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mine);
	ErrorData  *notice = parse_report(data, size);

	if (notice->elevel < ERROR)
		ThrowErrorData(notice);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
}

static void
handle_message(EltPool *pool, int number, char *data, Size size)
{
	EltWorker  *worker = &pool->workers[number];

	switch (data[0])
	{
		case ELT_MESSAGE_READY:
			worker->ready = true;
			pool->failed_starts = 0;
			pool->most = Max(pool->most, workers_working(pool));
			break;
		case ELT_MESSAGE_TASK:
			task_message(pool, number, data + 1, size - 1);
			break;
		case ELT_MESSAGE_END:
			worker->end = size > 1 ? data[1] : ELT_END_DONE;
			if (worker->end == ELT_END_NO_SLOT)
				pool->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_EVERY);
			break;
		case 'E':
			/* what it dies of */
			worker->fatal = parse_report(data + 1, size - 1);
			worker->fatal->elevel = ERROR;
			break;
		case 'N':
			pass_notice(data + 1, size - 1);
			break;
		default:
			/* what else the protocol has is for nobody here */
			break;
	}
}

/* Read what has come from a worker; its queue is gone when it has detached. */
static void
drain(EltPool *pool, int number)
{
	EltWorker  *worker = &pool->workers[number];

	while (worker->queue != NULL)
	{
		Size		size;
		void	   *data;
		shm_mq_result result;

		CHECK_FOR_INTERRUPTS();
		result = shm_mq_receive(worker->queue, &size, &data, true);
		if (result == SHM_MQ_WOULD_BLOCK)
			return;
		if (result == SHM_MQ_SUCCESS)
		{
			if (size > 0)
				handle_message(pool, number, data, size);
			continue;
		}
		shm_mq_detach(worker->queue);
		worker->queue = NULL;
	}
}

/* While a run is being stopped: which tasks have been done all the same. It raises nothing. */
void
elt_pool_note_rest(EltPool *pool, int number)
{
	EltWorker  *worker = &pool->workers[number];
	EltTaskMessage message;
	Size		size;
	void	   *data;

	while (worker->queue != NULL && shm_mq_receive(worker->queue, &size, &data, true) == SHM_MQ_SUCCESS)
		if (size > 0 && *(char *) data == ELT_MESSAGE_TASK)
			(void) note_task(pool, number, &message, (char *) data + 1, size - 1);
}

/* A worker has not become ready. The next one would not either, where the reason is not one that passes. */
static void
start_failed(EltPool *pool, const ErrorData *fatal)
{
	pool->failed_starts++;
	if (fatal != NULL && !elt_task_transient(fatal->sqlerrcode, false))
		pool->failed_starts = START_TRIES;
	pool->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), START_PAUSE);
	pool->result.limited_by = fatal != NULL ? psprintf("a worker could not start: %s", fatal->message) : "a worker could not start";
}

/* A worker's process is over: what became of its task, and is it a failure? */
static void
worker_ended(EltPool *pool, int number)
{
	EltWorker  *worker = &pool->workers[number];
	uint32		task = pg_atomic_read_u32(&elt_wire_workers(pool->wire)[number].task);

	if (worker->end == 0 && task > 0 && pool->tasks[task - 1].state == ELT_TASK_WAITING)
	{
		ErrorData  *error = worker->fatal;

		if (error == NULL)
		{
			error = palloc0(sizeof(ErrorData));
			error->elevel = ERROR;
			error->sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
			error->assoc_context = CurrentMemoryContext;
			error->message = pstrdup("worker ended before its task was done");
		}
		task_lost(pool, task - 1, number, error);
	}
	else if (worker->end == 0 && !worker->ready)
		start_failed(pool, worker->fatal);
	pfree(worker->handle);
	worker->handle = NULL;
	pool->next_look = 0;
}

static void
look_after_workers(EltPool *pool)
{
	for (int i = 0; i < pool->nworkers; i++)
	{
		EltWorker  *worker = &pool->workers[i];
		pid_t		pid;

		if (worker->handle == NULL)
			continue;
		drain(pool, i);
		if (worker->queue == NULL && GetBackgroundWorkerPid(worker->handle, &pid) == BGWH_STOPPED)
			worker_ended(pool, i);
	}
}

/* One more worker; false: not now. *waits: it is worth waiting for one. */
static bool
one_more(EltPool *pool, int alive, bool *waits)
{
	EltShare   *share = &pool->share;
	EltScope	full;

	*waits = true;
	if (pool->failed_starts >= START_TRIES)
	{
		*waits = false;
		return false;
	}
	if (GetCurrentTimestamp() < pool->next_start)
		return false;
	if (!elt_slots_free(&share->limits, &full))
	{
		elt_share_hungry(share, full, elt_share_below(share, full, alive));
		if (pool->result.limited_by == NULL)
			pool->result.limited_by = elt_limit_text(&share->limits, full);
		*waits = !elt_slots_held();
		return false;
	}
	if (elt_workers_start(pool, &pool->result.limited_by))
		return true;
	pool->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), START_PAUSE);
	*waits = false;
	return false;
}

/* Ask for as many workers as may be had, or give some back where other runs have less than their share. True: this run waits for a slot. */
static bool
size_up(EltPool *pool)
{
	EltShare   *share = &pool->share;
	int			alive = elt_workers_alive(pool);
	int			left = tasks_unclaimed(pool);
	bool		waits = false;

	if (left == 0 || pool->serial)
	{
		elt_share_leave(share);
		return false;
	}
	elt_share_enter(share);
	pg_atomic_write_u32(&pool->wire->give_back, elt_share_surplus(share, alive));
	while (alive < Min(pool->nworkers, workers_working(pool) + left) && elt_share_surplus(share, alive + 1) <= 0)
	{
		if (!one_more(pool, alive, &waits))
			return waits;
		alive++;
	}
	for (int scope = 0; scope < ELT_SCOPES; scope++)
		elt_share_hungry(share, scope, false);
	return alive < pool->nworkers;
}

void
elt_pool_check_age(EltPool *pool)
{
	if (!pool->options->share_snapshot || elt_max_snapshot_age <= 0)
		return;
	if (TimestampDifferenceExceeds(pool->snapshot_since, GetCurrentTimestamp(), elt_max_snapshot_age * 1000))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("snapshot of the run is older than elt.max_snapshot_age"),
				 errdetail("%d of %d tasks are done.", pool->finished, pool->ntasks),
				 errhint("While a snapshot is in use VACUUM cannot remove rows that were deleted since: do it in smaller parts, with more workers, or raise elt.max_snapshot_age (now %d s).",
						 elt_max_snapshot_age)));
}

void
elt_pool_show_progress(EltPool *pool)
{
	int64		rows = pool->rows_finished + pool->rows_current;
	int			working = 0;

	if (pool->wire != NULL)
	{
		working = workers_working(pool);
		for (int i = 0; i < pool->nworkers; i++)
			rows += pg_atomic_read_u64(&elt_wire_workers(pool->wire)[i].rows);
	}
	elt_progress_tasks(pool->finished, pool->ntasks, working, rows,
					   pool->weight > 0 ? pool->weight_finished / pool->weight : (double) pool->finished / pool->ntasks);
}

/* No worker is there: wait for one, or do a task? */
static bool
lead_alone(EltPool *pool)
{
	if (pool->waits && !TimestampDifferenceExceeds(pool->idle_since, GetCurrentTimestamp(), elt_worker_wait))
		return false;
	if (pool->options->transactions == ELT_TASKS_COMMIT)
		elt_serial_rest(pool);
	else
	{
		int			number = elt_pool_claim(pool);

		if (number >= 0)
			elt_serial_task(pool, number);
	}
	return true;
}

/* Look for slots now and then; at once where a worker has ended. */
static void
look_for_slots(EltPool *pool)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < pool->next_look)
		return;
	pool->waits = size_up(pool);
	pool->next_look = TimestampTzPlusMilliseconds(now, LOOK_EVERY);
}

/*
 * Are all tasks done, or has one failed and that ends the run? Workers that come too late are given some time to notice, so that none need be told to end.
 */
static bool
is_over(EltPool *pool)
{
	TimestampTz now;

	if (pool->error != NULL && !pool->options->keep_going)
		return true;
	if (pool->finished < pool->ntasks)
		return false;
	if (elt_workers_alive(pool) == 0)
		return true;
	now = GetCurrentTimestamp();
	if (pool->over_since == 0)
		pool->over_since = now;
	return TimestampDifferenceExceeds(pool->over_since, now, LATE_MOST);
}

/* Until all tasks are done, or one has failed and that ends the run. */
void
elt_lead(EltPool *pool)
{
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		look_after_workers(pool);
		elt_pool_show_progress(pool);
		if (is_over(pool))
			break;
		elt_pool_check_age(pool);
		elt_pool_check_locks(pool);
		look_for_slots(pool);
		if (elt_workers_alive(pool) > 0)
			pool->idle_since = GetCurrentTimestamp();
		else if (tasks_unclaimed(pool) == 0)
			elog(ERROR, "%d tasks were lost", pool->ntasks - pool->finished);
		else if (lead_alone(pool))
			continue;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, tasks_unclaimed(pool) > 0 ? LOOK_EVERY : REPORT_EVERY,
						 elt_wait_event_workers());
		ResetLatch(MyLatch);
	}
}
