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

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/args.h"
#include "worker/commands.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(elt_sql_run_parallel);

#define HANDLER			"command"
#define MOST_COMMANDS	1000000
#define NCOLUMNS		20

/* Either the leader alone or a worker: nothing is returned but how many rows there were. */
static void
run_command(EltTaskRun *run)
{
	const char *command = run->data;
	bool		share_snapshot = *(const bool *) run->shared;
	int			code;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/*
	 * Alone, a reading command takes the run's snapshot from the stack; a
	 * worker has no other one.
	 */
	code = SPI_execute(command, run->in_leader && share_snapshot && XactReadOnly, 0);
	if (code < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("command cannot be run as a task: %s", SPI_result_code_string(code))));
	elt_task_progress(SPI_processed, 0);
	SPI_finish();
}

void
elt_commands_init(void)
{
	elt_worker_register(HANDLER, run_command);
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

/* elt.run_parallel(commands, workers, read_only, same_snapshot, keep_going, retries) -> a row for each command */
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

	InitMaterializedSRF(fcinfo, 0);
	outcome = elt_pool_run(&options, tasks, ntasks);
	if (outcome.limited_by != NULL)
		ereport(NOTICE,
				(errmsg("commands ran with %d workers: %s", outcome.workers, outcome.limited_by)));
	for (int i = 0; i < ntasks; i++)
		put_task((ReturnSetInfo *) fcinfo->resultinfo, i + 1, &tasks[i]);
	return (Datum) 0;
}
