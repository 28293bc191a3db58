/*
 * serial.c
 *	  The leader does tasks itself, in the caller's transaction: where no worker can be had, or where workers would not see what the caller sees.
 *
 * A task that may be tried again, or that others are to be done after, is in a subtransaction of its own. Settings are undone after each, as in a worker, and
 * tasks that only read cannot write.
 *
 * Locks: those of the tasks, to the end of the caller's transaction. A crash undoes them with it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/attempt.h"
#include "worker/pool.h"

typedef struct Serial
{
	EltPool    *pool;
	int			number;
} Serial;

static void
push_snapshot(const EltPoolOptions *options)
{
	if (options->share_snapshot)
	{
		PushCopiedSnapshot(GetActiveSnapshot());
		UpdateActiveSnapshotCommandId();
	}
	else
		PushActiveSnapshot(GetTransactionSnapshot());
}

static void
tell_task(void *arg)
{
	errcontext("task \"%s\"", ((const EltTask *) arg)->label);
}

static void
work(void *arg)
{
	Serial	   *serial = arg;
	const EltPoolOptions *options = serial->pool->options;
	const EltTask *task = &serial->pool->tasks[serial->number];
	EltTaskRun	run = {
		.number = serial->number,
		.data = task->data,
		.size = task->size,
		.shared = options->shared,
		.shared_size = options->shared_size,
		.in_leader = true
	};
	int			settings = NewGUCNestLevel();
	bool		read_only = XactReadOnly;
	ErrorContextCallback tell = {error_context_stack, tell_task, (void *) task};

	error_context_stack = &tell;
	/* an abort puts it back as well */
	XactReadOnly = XactReadOnly || options->transactions == ELT_TASKS_READ;
	push_snapshot(options);
	elt_task_handler(options->handler) (&run);
	PopActiveSnapshot();
	AtEOXact_GUC(false, settings);
	XactReadOnly = read_only;
	error_context_stack = tell.previous;
	CommandCounterIncrement();
}

static bool
any_error(int sqlstate)
{
	/* these are not about the task */
	return sqlstate != ERRCODE_QUERY_CANCELED && sqlstate != ERRCODE_ADMIN_SHUTDOWN;
}

/* Once; false: it failed, and task->error says why. Without `subtransaction` errors are raised. */
static bool
attempt(Serial *serial, EltTask *task, bool subtransaction)
{
	EltCurrent	current;
	volatile bool done = false;
	MemoryContext old = CurrentMemoryContext;

	elt_task_begin(&current, NULL, serial->pool);
	PG_TRY();
	{
		if (subtransaction)
			done = elt_attempt(work, serial, any_error, &task->error);
		else
		{
			work(serial);
			done = true;
		}
	}
	PG_CATCH();
	{
		elt_task_forget(&current, &task->counts);
		task->state = ELT_TASK_FAILED;
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	if (!done)
	{
		elt_task_forget(&current, &task->counts);
		return false;
	}
	if (current.result_size > 0)
	{
		task->result = palloc(current.result_size);
		task->result_size = current.result_size;
		memcpy(task->result, current.result, current.result_size);
	}
	elt_task_end(&current, &task->counts);
	elt_task_free(&current);
	return true;
}

/* One task, with as many attempts as it may have. */
void
elt_serial_task(EltPool *pool, int number)
{
	EltTask    *task = &pool->tasks[number];
	Serial		serial = {.pool = pool,.number = number};
	bool		subtransaction = pool->options->keep_going || pool->options->retries > 0;
	bool		done;

	CHECK_FOR_INTERRUPTS();
	elt_pool_check_age(pool);
	task->state = ELT_TASK_RUNNING;
	for (;;)
	{
		task->attempts++;
		done = attempt(&serial, task, subtransaction);
		if (done || task->attempts > pool->options->retries || !elt_task_transient(task->error->sqlerrcode, pool->options->share_snapshot))
			break;
		task->error = NULL;
		elt_task_backoff(task->attempts);
	}
	task->state = done ? ELT_TASK_DONE : ELT_TASK_FAILED;
	pool->rows_current = 0;
	pool->rows_finished += task->counts.rows;
	elt_pool_task_ended(pool, number);
	elt_pool_show_progress(pool);
}

/* All tasks that nobody has claimed. */
void
elt_serial_rest(EltPool *pool)
{
	int			number;

	pool->serial = true;
	while ((pool->error == NULL || pool->options->keep_going) && (number = elt_pool_claim(pool)) >= 0)
		elt_serial_task(pool, number);
}
