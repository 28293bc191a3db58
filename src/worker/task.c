/*
 * task.c
 *	  What happens around a task, in a worker as in a leader that works alone: handlers by name, what a handler tells, and when to try again.
 *
 * One task at a time is under way in a process, unless its handler is itself the leader of a run and does tasks alone: elt_task_begin and elt_task_end nest.
 * What a handler leaves is in memory of its own, until the task has ended.
 *
 * Locks: none. A crash loses nothing.
 */
#include "postgres.h"

#include <math.h>

#include "commands/trigger.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "worker/pool.h"

#define MAX_HANDLERS	16

/* the first wait before another attempt, and the longest, ms */
#define BACKOFF_FIRST	20
#define BACKOFF_MOST	5000

typedef struct Handler
{
	const char *name;
	EltTaskHandler run;
} Handler;

static Handler handlers[MAX_HANDLERS];
static int	nhandlers = 0;
static EltCurrent *current = NULL;

void
elt_worker_register(const char *name, EltTaskHandler handler)
{
	if (nhandlers >= MAX_HANDLERS || strlen(name) >= NAMEDATALEN)
		elog(ERROR, "task handler \"%s\" cannot be registered", name);
	handlers[nhandlers].name = name;
	handlers[nhandlers].run = handler;
	nhandlers++;
}

EltTaskHandler
elt_task_handler(const char *name)
{
	for (int i = 0; i < nhandlers; i++)
		if (strcmp(handlers[i].name, name) == 0)
			return handlers[i].run;
	elog(ERROR, "no task handler \"%s\" is registered", name);
}

/* The task begins; *task lives until elt_task_end, or elt_task_forget after an error. */
void
elt_task_begin(EltCurrent *task, EltWireWorker *live, EltPool *pool)
{
	memset(task, 0, sizeof(*task));
	task->outer = current;
	task->live = live;
	task->pool = pool;
	if (live != NULL)
	{
		task->rows_before = pg_atomic_read_u64(&live->rows);
		task->bytes_before = pg_atomic_read_u64(&live->bytes);
	}
	current = task;
	elt_counters_start(&task->counters);
}

/* The handler has returned: what it cost. The result belongs to *task. */
void
elt_task_end(EltCurrent *task, EltTaskCounts *counts)
{
	elt_counters_stop(&task->counters, counts);
	counts->rows += task->rows;
	counts->bytes += task->bytes;
	counts->rejected += task->rejected;
	current = task->outer;
}

/* The handler has failed: what it cost all the same; its rows do not count. */
void
elt_task_forget(EltCurrent *task, EltTaskCounts *counts)
{
	elt_counters_stop(&task->counters, counts);
	if (task->live != NULL)
	{
		pg_atomic_write_u64(&task->live->rows, task->rows_before);
		pg_atomic_write_u64(&task->live->bytes, task->bytes_before);
	}
	elt_task_free(task);
	current = task->outer;
}

void
elt_task_free(EltCurrent *task)
{
	if (task->result != NULL)
		pfree(task->result);
	task->result = NULL;
	task->result_size = 0;
}

void
elt_task_progress(int64 rows, int64 bytes)
{
	if (current == NULL)
		return;
	current->rows = rows;
	current->bytes = bytes;
	if (current->pool != NULL)
	{
		current->pool->rows_current = rows;
		elt_pool_show_progress(current->pool);
	}
	if (current->live != NULL)
	{
		pg_atomic_write_u64(&current->live->rows, current->rows_before + rows);
		pg_atomic_write_u64(&current->live->bytes, current->bytes_before + bytes);
		elt_status_rows(current->rows_before + rows, current->bytes_before + bytes);
	}
}

void
elt_task_rejected(int64 rows)
{
	if (current != NULL)
		current->rejected += rows;
}

void
elt_task_result(const void *data, Size size)
{
	if (size > ELT_RESULT_MAX)
		elog(ERROR, "a task's result of %zu bytes is too large", size);
	if (current == NULL)
		return;
	elt_task_free(current);
	if (size == 0)
		return;
	current->result = MemoryContextAlloc(TopMemoryContext, size);
	current->result_size = size;
	memcpy(current->result, data, size);
}

/*
 * Fire what is deferred to the commit now, as the role that the task runs as: the commit itself is made as the session's user.
 */
void
elt_task_fire_constraints(void)
{
	ConstraintsSetStmt *all = makeNode(ConstraintsSetStmt);

	all->constraints = NIL;
	all->deferred = false;
	AfterTriggerSetState(all);
}

/*
 * May another attempt succeed where nothing else changes? With a shared snapshot a serialization failure would come again.
 */
bool
elt_task_transient(int sqlstate, bool share_snapshot)
{
	switch (sqlstate)
	{
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
			return !share_snapshot;
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_CANNOT_CONNECT_NOW:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_DISK_FULL:
		case ERRCODE_OUT_OF_MEMORY:
		case ERRCODE_TOO_MANY_CONNECTIONS:
			return true;
		default:
			return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_CONNECTION_EXCEPTION;
	}
}

/* Wait before another attempt: twice as long each time, by chance up to a half less or more. */
void
elt_task_backoff(int attempt)
{
	double		ms = Min(BACKOFF_FIRST * pow(2, Min(attempt - 1, 20)), BACKOFF_MOST);
	TimestampTz until;

	ms *= 0.5 + pg_prng_double(&pg_global_prng_state);
	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) ms);
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		CHECK_FOR_INTERRUPTS();
		if (left <= 0)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
