/*
 * wire.c
 *	  What goes between the leader of a run and its workers: the layout of the DSM segment, and errors as bytes.
 *
 * The leader writes the segment once; sizes are added up before with add_size and mul_size. An error travels with all its fields, in the database's encoding.
 *
 * Locks: none. A crash takes the segment away with the server.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "worker/pool.h"

#define MAGIC	0x656C7431

/* Room for something at the end of what is planned so far. */
static Size
place(EltWire *plan, Size size)
{
	Size		at = plan->size;

	plan->size = add_size(plan->size, MAXALIGN(size));
	return at;
}

static void
plan_places(EltWire *plan, EltPool *pool, Size settings, Size libraries)
{
	plan->size = MAXALIGN(sizeof(EltWire));
	plan->libraries = place(plan, libraries);
	plan->settings = place(plan, settings);
	plan->snapshot = plan->share_snapshot ? place(plan, EstimateSnapshotSpace(GetActiveSnapshot())) : 0;
	plan->shared_size = pool->options->shared_size;
	plan->shared = place(plan, plan->shared_size);
	plan->order = place(plan, mul_size(pool->ntasks, sizeof(int32)));
	plan->tasks = place(plan, mul_size(pool->ntasks, sizeof(EltWireTask)));
	plan->workers = place(plan, mul_size(plan->nworkers, sizeof(EltWireWorker)));
	plan->queues = place(plan, mul_size(plan->nworkers, ELT_QUEUE_SIZE));
	for (int i = 0; i < pool->ntasks; i++)
	{
		(void) place(plan, strlen(pool->tasks[i].label) + 1);
		(void) place(plan, pool->tasks[i].size);
	}
}

static void
copy_tasks(EltWire *wire, EltPool *pool)
{
	Size		at = wire->queues + mul_size(wire->nworkers, ELT_QUEUE_SIZE);

	memcpy(elt_wire_order(wire), pool->order, pool->ntasks * sizeof(int32));
	for (int i = 0; i < pool->ntasks; i++)
	{
		EltTask    *task = &pool->tasks[i];
		EltWireTask *to = &elt_wire_tasks(wire)[i];
		Size		length = strlen(task->label) + 1;

		to->label = at;
		memcpy((char *) wire + at, task->label, length);
		at += MAXALIGN(length);
		to->data = at;
		to->size = task->size;
		if (task->size > 0)
			memcpy((char *) wire + at, task->data, task->size);
		at += MAXALIGN(task->size);
	}
	Assert(at == wire->size);
}

/* The deadline of the statement that this backend runs, 0: none. */
static TimestampTz
statement_deadline(void)
{
	return get_timeout_active(STATEMENT_TIMEOUT) ? get_timeout_finish_time(STATEMENT_TIMEOUT) : 0;
}

static void
plan_identity(EltWire *plan, EltPool *pool)
{
	plan->magic = MAGIC;
	plan->database = MyDatabaseId;
	plan->session_user = GetSessionUserId();
	plan->outer_role = GetCurrentRoleId();
	GetUserIdAndSecContext(&plan->role, &plan->security);
	plan->leader_pid = MyProcPid;
	plan->leader = MyProc;
	plan->run = pool->options->run;
	plan->transaction_start = GetCurrentTransactionStartTimestamp();
	plan->statement_start = GetCurrentStatementStartTimestamp();
	plan->deadline = statement_deadline();
	plan->isolation = pool->options->share_snapshot ? XACT_REPEATABLE_READ : XactIsoLevel;
	plan->read_only = XactReadOnly || pool->options->transactions == ELT_TASKS_READ;
	plan->share_snapshot = pool->options->share_snapshot;
	plan->keep_going = pool->options->keep_going;
	plan->transactions = pool->options->transactions;
	plan->retries = pool->options->retries;
	plan->ntasks = pool->ntasks;
	plan->limits = pool->share.limits;
	strlcpy(plan->handler, pool->options->handler, sizeof(plan->handler));
	if (pool->options->title != NULL)
		strlcpy(plan->title, pool->options->title, sizeof(plan->title));
	else
		strlcpy(plan->title, "elt", sizeof(plan->title));
}

/* Of the leader's memory each worker has a part, so that a run takes no more because it has more workers. */
static void
plan_memory(EltWire *plan)
{
	int			budget = elt_worker_memory < 0 ? work_mem : elt_worker_memory;

	plan->work_mem = elt_worker_memory == 0 ? work_mem : Max(budget / plan->nworkers, 64);
	plan->maintenance_work_mem = elt_worker_memory == 0 ? maintenance_work_mem : Max(maintenance_work_mem / plan->nworkers, 1024);
	plan->lock_timeout = elt_worker_lock_timeout;
	if (LockTimeout > 0 && (plan->lock_timeout == 0 || LockTimeout < plan->lock_timeout))
		plan->lock_timeout = LockTimeout;
}

/* The segment of a run with so many places for workers; NULL where the server has no segment left. */
EltWire *
elt_wire_create(EltPool *pool, int nworkers, dsm_segment **segment)
{
	EltWire		plan;
	EltWire    *wire;
	Size		settings = EstimateGUCStateSpace();
	Size		libraries = EstimateLibraryStateSpace();

	memset(&plan, 0, sizeof(plan));
	plan.nworkers = nworkers;
	plan_identity(&plan, pool);
	plan_memory(&plan);
	plan_places(&plan, pool, settings, libraries);

	*segment = dsm_create(plan.size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (*segment == NULL)
		return NULL;
	wire = dsm_segment_address(*segment);
	memcpy(wire, &plan, sizeof(plan));
	pg_atomic_init_u32(&wire->next, 0);
	pg_atomic_init_u32(&wire->stop, 0);
	pg_atomic_init_u32(&wire->give_back, 0);
	for (int i = 0; i < nworkers; i++)
	{
		EltWireWorker *worker = &elt_wire_workers(wire)[i];

		pg_atomic_init_u32(&worker->task, 0);
		pg_atomic_init_u64(&worker->rows, 0);
		pg_atomic_init_u64(&worker->bytes, 0);
	}
	SerializeLibraryState(libraries, elt_wire_at(wire, char, wire->libraries));
	SerializeGUCState(settings, elt_wire_at(wire, char, wire->settings));
	if (wire->share_snapshot)
		SerializeSnapshot(GetActiveSnapshot(), elt_wire_at(wire, char, wire->snapshot));
	if (wire->shared_size > 0)
		memcpy(elt_wire_at(wire, char, wire->shared), pool->options->shared, wire->shared_size);
	copy_tasks(wire, pool);
	return wire;
}

bool
elt_wire_valid(const EltWire *wire, Size size)
{
	return size >= sizeof(EltWire) && wire->magic == MAGIC && wire->size <= size;
}

/* NULL is told from the empty string. */
static void
put_string(StringInfo to, const char *string)
{
	appendStringInfoChar(to, string != NULL);
	if (string != NULL)
		appendBinaryStringInfo(to, string, strlen(string) + 1);
}

static char *
get_string(const char **from, const char *end)
{
	const char *string;
	Size		length;

	if (*from >= end)
		elog(ERROR, "a worker's error message is too short");
	if (*(*from)++ == 0)
		return NULL;
	string = *from;
	length = strnlen(string, end - string);
	if (length == end - string)
		elog(ERROR, "a worker's error message is too short");
	*from += length + 1;
	return pstrdup(string);
}

static void
put_int(StringInfo to, int value)
{
	appendBinaryStringInfo(to, (char *) &value, sizeof(value));
}

static int
get_int(const char **from, const char *end)
{
	int			value;

	if (end - *from < sizeof(value))
		elog(ERROR, "a worker's error message is too short");
	memcpy(&value, *from, sizeof(value));
	*from += sizeof(value);
	return value;
}

void
elt_wire_put_error(StringInfo to, ErrorData *error)
{
	put_int(to, error->sqlerrcode);
	put_int(to, error->internalpos);
	put_int(to, error->cursorpos);
	put_int(to, error->lineno);
	put_string(to, error->filename);
	put_string(to, error->funcname);
	put_string(to, error->message);
	put_string(to, error->detail);
	put_string(to, error->detail_log);
	put_string(to, error->hint);
	put_string(to, error->context);
	put_string(to, error->schema_name);
	put_string(to, error->table_name);
	put_string(to, error->column_name);
	put_string(to, error->datatype_name);
	put_string(to, error->constraint_name);
	put_string(to, error->internalquery);
}

/* In the current memory context. */
ErrorData *
elt_wire_get_error(const char *from, Size size)
{
	const char *end = from + size;
	ErrorData  *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->assoc_context = CurrentMemoryContext;
	error->sqlerrcode = get_int(&from, end);
	error->internalpos = get_int(&from, end);
	error->cursorpos = get_int(&from, end);
	error->lineno = get_int(&from, end);
	error->filename = get_string(&from, end);
	error->funcname = get_string(&from, end);
	error->message = get_string(&from, end);
	error->detail = get_string(&from, end);
	error->detail_log = get_string(&from, end);
	error->hint = get_string(&from, end);
	error->context = get_string(&from, end);
	error->schema_name = get_string(&from, end);
	error->table_name = get_string(&from, end);
	error->column_name = get_string(&from, end);
	error->datatype_name = get_string(&from, end);
	error->constraint_name = get_string(&from, end);
	error->internalquery = get_string(&from, end);
	return error;
}
