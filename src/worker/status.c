/*
 * status.c
 *	  What workers do now, for other sessions to see.
 *
 * As base/progress.c does it: each worker's numbers are in its slot of the server's backend status array, under a command number that no server uses. The
 * task's label is the text of its activity, from a place that is one of the numbers. An abort clears the numbers, so each report states all of them;
 * while a task is in a command with a progress of its own (COPY, CREATE INDEX) that one is there, and only the process is shown.
 *
 * No locks, but those that slots.c takes for an instant to count slots.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "commands/progress.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/backend_progress.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "worker/pool.h"

PG_FUNCTION_INFO_V1(elt_sql_worker_rows);
PG_FUNCTION_INFO_V1(elt_sql_worker_limits);
PG_FUNCTION_INFO_V1(elt_sql_workers_available);

/* not one of the server's */
#define COMMAND			((ProgressCommandType) 5372)

#define P_RUN			0
#define P_TASK			1
#define P_NTASKS		2
#define P_ROWS			3
#define P_BYTES			4
#define P_SINCE			5
#define P_ROLE			6
#define P_LEADER		7
#define P_LABEL_AT		8
#define NPARAMS			9

#define NCOLUMNS		10

static int64 params[NPARAMS];

static void
report(void)
{
	static const int index[NPARAMS] = {P_RUN, P_TASK, P_NTASKS, P_ROWS, P_BYTES, P_SINCE, P_ROLE, P_LEADER, P_LABEL_AT};

	if (MyBEEntry == NULL)
		return;
	if (MyBEEntry->st_progress_command != COMMAND)
	{
		if (MyBEEntry->st_progress_command != PROGRESS_COMMAND_INVALID)
			return;
		pgstat_progress_start_command(COMMAND, InvalidOid);
	}
	pgstat_progress_update_multi_param(NPARAMS, index, params);
}

/* A worker is there, and has no task yet. */
void
elt_status_begin(const EltWire *wire)
{
	memset(params, 0, sizeof(params));
	params[P_RUN] = wire->run;
	params[P_NTASKS] = wire->ntasks;
	params[P_ROLE] = wire->role;
	params[P_LEADER] = wire->leader_pid;
	params[P_SINCE] = GetCurrentTimestamp();
	report();
}

/* It does this task now. */
void
elt_status_task(const EltWire *wire, int task)
{
	const char *label = elt_wire_at(wire, const char, elt_wire_tasks(wire)[task].label);
	char	   *name = psprintf("%s %s", wire->title, label);

	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_SESSION);
	pgstat_report_activity(STATE_RUNNING, name);
	params[P_TASK] = task + 1;
	params[P_SINCE] = GetCurrentTimestamp();
	params[P_LABEL_AT] = strlen(wire->title) + 1;
	report();
	pfree(name);
}

/* Rows and bytes of all its tasks. */
void
elt_status_rows(int64 rows, int64 bytes)
{
	params[P_ROWS] = rows;
	params[P_BYTES] = bytes;
	report();
}

static bool
is_worker(const PgBackendStatus *status)
{
	const char *type;

	if (status->st_backendType != B_BG_WORKER || status->st_databaseid != MyDatabaseId)
		return false;
	type = GetBackgroundWorkerTypeByPid(status->st_procpid);
	return type != NULL && strcmp(type, "elt worker") == 0;
}

static void
show_numbers(PgBackendStatus *status, Datum *values, bool *nulls)
{
	const int64 *p = status->st_progress_param;
	char	   *label = NULL;

	values[1] = Int32GetDatum((int32) p[P_LEADER]);
	values[2] = Int64GetDatum(p[P_RUN]);
	nulls[2] = p[P_RUN] == 0;
	if (p[P_TASK] > 0 && status->st_activity_raw != NULL)
	{
		label = pgstat_clip_activity(status->st_activity_raw);
		label = p[P_LABEL_AT] < strlen(label) ? label + p[P_LABEL_AT] : NULL;
	}
	nulls[3] = label == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(label);
	values[4] = Int32GetDatum((int32) p[P_TASK]);
	nulls[4] = p[P_TASK] == 0;
	values[5] = Int32GetDatum((int32) p[P_NTASKS]);
	values[6] = Int64GetDatum(p[P_ROWS]);
	values[7] = Int64GetDatum(p[P_BYTES]);
	values[8] = TimestampTzGetDatum(p[P_SINCE]);
	values[9] = ObjectIdGetDatum((Oid) p[P_ROLE]);
}

/* elt.worker_rows() -> pid, leader's pid, run, task, its number, tasks, rows, bytes, since when, role */
Datum
elt_sql_worker_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			n = pgstat_fetch_stat_numbackends();
	bool		all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = elt_backend_status(i);
		PgBackendStatus *status;
		Datum		values[NCOLUMNS] = {0};
		bool		nulls[NCOLUMNS];
		bool		ours;

		if (local == NULL || !is_worker(&local->backendStatus))
			continue;
		status = &local->backendStatus;
		ours = status->st_progress_command == COMMAND;
		if (!all && !has_privs_of_role(GetUserId(), status->st_userid) &&
			!(ours && has_privs_of_role(GetUserId(), (Oid) status->st_progress_param[P_ROLE])))
			continue;
		memset(nulls, !ours, sizeof(nulls));
		values[0] = Int32GetDatum(status->st_procpid);
		nulls[0] = false;
		if (ours)
			show_numbers(status, values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* elt.worker_limits() -> scope, limit, slots taken; of this session's database and user */
Datum
elt_sql_worker_limits(PG_FUNCTION_ARGS)
{
	static const char *const names[ELT_SCOPES] = {"cluster", "database", "role"};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EltLimits	limits;

	InitMaterializedSRF(fcinfo, 0);
	elt_limits_now(&limits);
	for (int scope = 0; scope < ELT_SCOPES; scope++)
	{
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = CStringGetTextDatum(names[scope]);
		nulls[1] = nulls[2] = limits.limit[scope] < 0;
		values[1] = Int32GetDatum(limits.limit[scope]);
		values[2] = Int32GetDatum(nulls[2] || RecoveryInProgress() ? 0 : elt_slots_taken(&limits, scope));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* elt.workers_available(wanted) -> workers, why not more */
Datum
elt_sql_workers_available(PG_FUNCTION_ARGS)
{
	int			wanted = PG_GETARG_INT32(0);
	const char *limited_by = NULL;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};

	if (wanted < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wanted must be at least 1, not %d", wanted)));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int32GetDatum(elt_pool_available(wanted, &limited_by));
	nulls[1] = limited_by == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(limited_by);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
