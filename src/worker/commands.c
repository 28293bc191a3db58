/*
 * commands.c
 *	  elt.run_parallel: SQL commands as tasks.
 *
 * A task is a command's text; its handler runs it through SPI, as the caller, with the caller's settings. So a command can do what the caller could do in
 * another session, and no more; within a security-restricted operation, where commits and settings of others' are out of place, it is refused.
 *
 * Locks: those of the commands. A crash undoes commands that have not committed.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/args.h"
#include "worker/commands.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(elt_sql_run_parallel);

#define HANDLER			"command"
#define MOST_COMMANDS	1000000
#define NCOLUMNS		20
#define RESULT_MOST		8192

/* Takes the rows of a command: of the first one the first column is kept, the others only count. */
typedef struct FirstValue
{
	DestReceiver receiver;
	MemoryContext memory;
	bool		first;			/* none has come yet */
	char	   *value;			/* NULL: none, or NULL */
	Oid			output;
} FirstValue;

/* A command may be several statements: the last one counts. */
static void
first_startup(DestReceiver *receiver, int operation, TupleDesc desc)
{
	FirstValue *first = (FirstValue *) receiver;
	bool		varlena;

	first->first = true;
	first->value = NULL;
	first->output = InvalidOid;
	if (desc->natts > 0)
		getTypeOutputInfo(TupleDescAttr(desc, 0)->atttypid, &first->output, &varlena);
}

static bool
first_receive(TupleTableSlot *slot, DestReceiver *receiver)
{
	FirstValue *first = (FirstValue *) receiver;
	Datum		value = (Datum) 0;
	bool		null = true;
	MemoryContext old;

	if (!first->first)
		return true;
	first->first = false;
	if (OidIsValid(first->output))
		value = slot_getattr(slot, 1, &null);
	if (null)
		return true;
	old = MemoryContextSwitchTo(first->memory);
	first->value = OidOutputFunctionCall(first->output, value);
	MemoryContextSwitchTo(old);
	return true;
}

static void
first_nothing(DestReceiver *receiver)
{
}

static void
tell_result(FirstValue *first)
{
	int			length;

	if (first->value == NULL)
		return;
	length = strlen(first->value);
	if (length >= RESULT_MOST)
		length = pg_mbcliplen(first->value, length, RESULT_MOST - 1);
	first->value[length] = '\0';
	elt_task_result(first->value, length + 1);
}

/* Either the leader alone or a worker. */
static void
run_command(EltTaskRun *run)
{
	bool		share_snapshot = *(const bool *) run->shared;
	FirstValue	first = {.memory = CurrentMemoryContext};
	SPIExecuteOptions options = {.dest = &first.receiver};
	int			code;

	first.receiver.receiveSlot = first_receive;
	first.receiver.rStartup = first_startup;
	first.receiver.rShutdown = first_nothing;
	first.receiver.rDestroy = first_nothing;
	first.receiver.mydest = DestTuplestore;

	/*
	 * Alone, a reading command takes the run's snapshot from the stack; a
	 * worker has no other one.
	 */
	options.read_only = run->in_leader && share_snapshot && XactReadOnly;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	code = SPI_execute_extended(run->data, &options);
	if (code < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("command cannot be run as a task: %s", SPI_result_code_string(code))));
	elt_task_progress(SPI_processed, 0);
	SPI_finish();
	tell_result(&first);
}

void
elt_commands_init(void)
{
	elt_worker_register(HANDLER, run_command);
}

/* Numbers that the tasks begin in the order of. */
static void
weigh(EltTask *tasks, int ntasks, ArrayType *weights)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(weights, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &nulls, &n);
	if (n != ntasks)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of weights is %d, and of commands %d", n, ntasks)));
	for (int i = 0; i < n; i++)
	{
		double		weight = nulls[i] ? 0 : DatumGetFloat8(values[i]);

		if (!(weight >= 0) || isinf(weight))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("weight of command %d must be a number that is not negative", i + 1)));
		tasks[i].weight = weight;
	}
}

static EltTask *
tasks_of(ArrayType *commands, int *ntasks)
{
	Datum	   *values;
	bool	   *nulls;
	EltTask    *tasks;

	deconstruct_array(commands, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, ntasks);
	if (*ntasks > MOST_COMMANDS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many commands: %d", *ntasks),
				 errdetail("One run can have %d.", MOST_COMMANDS)));
	tasks = palloc0(Max(*ntasks, 1) * sizeof(EltTask));
	for (int i = 0; i < *ntasks; i++)
	{
		char	   *command;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("command %d is NULL", i + 1)));
		command = TextDatumGetCString(values[i]);
		tasks[i].label = psprintf("command %d/%d", i + 1, *ntasks);
		tasks[i].data = command;
		tasks[i].size = strlen(command) + 1;
	}
	return tasks;
}

static void
put_text(Datum *values, bool *nulls, int n, const char *text)
{
	nulls[n] = text == NULL;
	values[n] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
put_task(ReturnSetInfo *result, int number, const EltTask *task)
{
	static const char *const states[] = {"waiting", "running", "done", "failed"};
	const EltTaskCounts *counts = &task->counts;
	const ErrorData *error = task->error;
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {false};
	int			n = 0;

	values[n++] = Int32GetDatum(number);
	values[n++] = CStringGetTextDatum(states[task->state]);
	values[n++] = Int32GetDatum(task->worker);
	values[n++] = Int32GetDatum(task->attempts);
	values[n++] = Int64GetDatum(counts->rows);
	put_text(values, nulls, n++, task->result);
	put_text(values, nulls, n++, error == NULL ? NULL : unpack_sql_state(error->sqlerrcode));
	put_text(values, nulls, n++, error == NULL ? NULL : error->message);
	put_text(values, nulls, n++, error == NULL ? NULL : error->detail);
	put_text(values, nulls, n++, error == NULL ? NULL : error->hint);
	put_text(values, nulls, n++, error == NULL ? NULL : error->context);
	values[n++] = Int64GetDatum(counts->buffers_hit);
	values[n++] = Int64GetDatum(counts->buffers_read);
	values[n++] = Int64GetDatum(counts->buffers_written);
	values[n++] = Int64GetDatum(counts->temp_bytes);
	values[n++] = Int64GetDatum(counts->wal_bytes);
	values[n++] = Float8GetDatum(counts->user_ms);
	values[n++] = Float8GetDatum(counts->system_ms);
	values[n++] = Float8GetDatum(counts->elapsed_ms);
	Assert(n <= NCOLUMNS);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static int
int_or_zero(FunctionCallInfo fcinfo, int n, const char *name, int least)
{
	int			value = PG_ARGISNULL(n) ? 0 : PG_GETARG_INT32(n);

	if (!PG_ARGISNULL(n) && value < least)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at least %d, not %d", name, least, value)));
	return value;
}

/* elt.run_parallel(commands, workers, read_only, same_snapshot, keep_going, retries, weights) -> a row for each command */
Datum
elt_sql_run_parallel(PG_FUNCTION_ARGS)
{
	EltPoolOptions options = {.title = "elt parallel",.handler = HANDLER,.shared_size = sizeof(bool)};
	EltPoolResult outcome;
	EltTask    *tasks;
	int			ntasks;
	bool		same_snapshot;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("commands must not be NULL")));
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot run commands in parallel within security-restricted operation")));
	PreventCommandIfParallelMode("elt.run_parallel");
	tasks = tasks_of(PG_GETARG_ARRAYTYPE_P(0), &ntasks);
	options.workers = int_or_zero(fcinfo, 1, "workers", 1);
	options.transactions = elt_arg_bool(fcinfo, 2, "read_only") ? ELT_TASKS_READ : ELT_TASKS_COMMIT;
	same_snapshot = elt_arg_bool(fcinfo, 3, "same_snapshot");
	options.share_snapshot = same_snapshot;
	options.shared = &same_snapshot;
	options.keep_going = elt_arg_bool(fcinfo, 4, "keep_going");
	options.retries = int_or_zero(fcinfo, 5, "retries", 0);

	if (!PG_ARGISNULL(6))
		weigh(tasks, ntasks, PG_GETARG_ARRAYTYPE_P(6));

	InitMaterializedSRF(fcinfo, 0);
	outcome = elt_pool_run(&options, tasks, ntasks);
	if (outcome.limited_by != NULL)
		ereport(NOTICE,
				(errmsg("number of workers for the commands: %d", outcome.workers),
				 errdetail("Not more because: %s.", outcome.limited_by)));
	for (int i = 0; i < ntasks; i++)
		put_task((ReturnSetInfo *) fcinfo->resultinfo, i + 1, &tasks[i]);
	return (Datum) 0;
}
