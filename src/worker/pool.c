/*
 * pool.c
 *	  A run: who does its tasks, and how it ends.
 *
 *	1	sort the tasks, heaviest first; find out how many workers may help
 *	2	where there are some, and workers can see what the caller sees: a DSM segment (wire.c), workers (start.c, main.c), wait for them (lead.c)
 *	3	else, and for tasks that are left over, the leader alone (serial.c)
 *	4	end the workers, and await that, before anything is returned or raised
 *
 * Memory: the run's own is a child of TopMemoryContext, so that the end of the process can still use it; what the caller gets is in the context it called in.
 * Locks: slots.c. A crash takes all workers with it; what they committed stays.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/progress.h"
#include "worker/pool.h"

/* a worker costs memory for its queue even if it never starts */
#define MOST_WORKERS	256

static int
heavier(const void *a, const void *b, void *arg)
{
	const EltTask *tasks = arg;
	int32		i = *(const int32 *) a;
	int32		j = *(const int32 *) b;

	if (tasks[i].weight != tasks[j].weight)
		return tasks[i].weight > tasks[j].weight ? -1 : 1;
	return i < j ? -1 : i > j;
}

/* Why must the leader do all of it alone? NULL: it need not. */
static const char *
must_be_serial(const EltPoolOptions *options)
{
	if (RecoveryInProgress())
		return "the server is in recovery";
	if (IsInParallelMode())
		return "a parallel query is under way";
	if (!options->share_snapshot)
		return NULL;

	/*
	 * Workers would take the caller's own rows for aborted ones, and say so
	 * in the rows' hint bits.
	 */
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return "the transaction has written, and workers would not see that";
	if (IsolationIsSerializable())
		return "the transaction is serializable";
	return NULL;
}

/* How many workers could work at a time: of those asked for, as many as there are processors and tasks, and as the limits let us; *why tells what there is least of. */
static int
most_workers(const EltPoolOptions *options, const EltLimits *limits, int ntasks, const char **why)
{
	int			cpus = elt_cpus();
	int			n = options->workers > 0 ? options->workers : cpus;

	*why = NULL;
	n = Min(n, MOST_WORKERS);
	n = Min(n, ntasks);
	if (n > cpus)
	{
		n = cpus;
		*why = psprintf(elt_cpu_count > 0 ? "elt.cpu_count is %d" : "number of processors (elt.cpu_count) is %d", cpus);
	}
	for (int scope = 0; scope < ELT_SCOPES; scope++)
		if (limits->limit[scope] >= 0 && limits->limit[scope] < n)
		{
			n = limits->limit[scope];
			*why = elt_limit_text(limits, scope);
		}
	return n;
}

static EltPool *
make_pool(const EltPoolOptions *options, EltTask *tasks, int ntasks)
{
	MemoryContext memory = AllocSetContextCreate(TopMemoryContext, "elt run", ALLOCSET_DEFAULT_SIZES);
	EltPool    *pool = MemoryContextAllocZero(memory, sizeof(EltPool));

	pool->memory = memory;
	pool->options = options;
	pool->tasks = tasks;
	pool->ntasks = ntasks;
	pool->idle_since = pool->heard = GetCurrentTimestamp();
	pool->snapshot_since = IsolationUsesXactSnapshot() ? GetCurrentTransactionStartTimestamp() : GetCurrentStatementStartTimestamp();
	pool->order = MemoryContextAllocHuge(memory, mul_size(ntasks, sizeof(int32)));
	for (int i = 0; i < ntasks; i++)
	{
		EltTask    *task = &tasks[i];

		pool->order[i] = i;
		pool->weight += task->weight;
		task->state = ELT_TASK_WAITING;
		memset(&task->counts, 0, sizeof(task->counts));
		task->attempts = 0;
		task->worker = 0;
		task->result = NULL;
		task->result_size = 0;
		task->error = NULL;
	}
	qsort_arg(pool->order, ntasks, sizeof(int32), heavier, tasks);
	elt_limits_now(&pool->share.limits);
	return pool;
}

/* The segment, where there can be workers. */
static void
prepare_workers(EltPool *pool)
{
	const char *why = must_be_serial(pool->options);
	int			n;

	if (why != NULL)
	{
		pool->result.limited_by = why;
		return;
	}
	pool->asked = Min(pool->options->workers > 0 ? pool->options->workers : elt_cpus(), pool->ntasks);
	n = most_workers(pool->options, &pool->share.limits, pool->ntasks, &pool->capped_by);
	if (n == 0)
		return;
	pool->wire = elt_wire_create(pool, n, &pool->segment);
	if (pool->wire == NULL)
	{
		pool->result.limited_by = "no dynamic shared memory segment is free";
		return;
	}
	pool->workers = MemoryContextAllocZero(pool->memory, n * sizeof(EltWorker));
	pool->nworkers = n;
}

static void
do_tasks(EltPool *pool)
{
	pool->owns_progress = elt_progress_enter();
	prepare_workers(pool);
	elt_pool_show_progress(pool);
	if (pool->wire != NULL)
		elt_lead(pool);
	else
		elt_serial_rest(pool);
	elt_progress_leave(pool->owns_progress);
}

/* Why there were fewer workers than asked for; a run may be over before all have started, which is nobody's fault. */
static const char *
limited_by(EltPool *pool)
{
	if (pool->wire != NULL && pool->most >= pool->asked)
		return NULL;
	return pool->result.limited_by != NULL ? pool->result.limited_by : pool->capped_by;
}

/* The first error, with the task's label. */
static void
raise_error(ErrorData *error, const char *label)
{
	if (label != NULL)
	{
		char	   *context = psprintf("task \"%s\"", label);

		error->context = error->context == NULL ? context : psprintf("%s\n%s", error->context, context);
	}
	error->elevel = ERROR;
	ThrowErrorData(error);
}

EltPoolResult
elt_pool_run(const EltPoolOptions *options, EltTask *tasks, int ntasks)
{
	EltPool    *pool;
	EltPoolResult result = {0};
	ErrorData  *error;
	const char *label;

	if (ntasks <= 0)
		return result;
	if (options->share_snapshot && !ActiveSnapshotSet())
		elog(ERROR, "a run that shares a snapshot needs an active one");
	(void) elt_task_handler(options->handler);
	pool = make_pool(options, tasks, ntasks);
	elt_pool_open(pool);
	PG_TRY();
	{
		do_tasks(pool);
	}
	PG_CATCH();
	{
		elt_progress_leave(pool->owns_progress);
		elt_pool_stop(pool, true);
		PG_RE_THROW();
	}
	PG_END_TRY();

	result = pool->result;
	result.workers = pool->most;
	result.limited_by = limited_by(pool);
	error = pool->error;
	label = pool->error_label;
	elt_pool_stop(pool, true);
	if (error != NULL && !options->keep_going)
		raise_error(error, label);
	return result;
}

int
elt_pool_available(int wanted, const char **limited_by)
{
	EltPoolOptions options = {.workers = wanted};
	EltLimits	limits;
	EltScope	full;
	const char *why;
	int			n;

	elt_limits_now(&limits);
	n = RecoveryInProgress() ? 0 : most_workers(&options, &limits, wanted, &why);
	if (n > 0)
	{
		int			free = elt_slots_count_free(&limits, n, &full);

		if (free < n)
			why = elt_limit_text(&limits, full);
		n = free;
	}
	else if (RecoveryInProgress())
		why = "the server is in recovery";
	if (limited_by != NULL)
		*limited_by = n < wanted ? why : NULL;
	return n;
}
