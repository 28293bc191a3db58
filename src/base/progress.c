/*
 * progress.c
 *	  Progress of what runs long, for other sessions to see.
 *
 * Each session's numbers are in its slot of the server's backend status array, where the server's own commands (VACUUM, COPY) have theirs, under a
 * command number that no server uses: so it takes no shared memory of ours and works without shared_preload_libraries. Needs
 * track_activities, as pg_stat_activity does. A transaction's and a subtransaction's abort clear the slot, so each report states everything again.
 *
 * No locks: one's own slot is written under its change count, others' are read as the server's statistics functions read them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/progress.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/backend_progress.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/progress.h"

PG_FUNCTION_INFO_V1(elt_sql_progress_rows);

/* not one of the server's */
#define COMMAND			((ProgressCommandType) 5371)

#define P_NODE			0
#define P_PHASE			1
#define P_DONE			2
#define P_TOTAL			3
#define P_STARTED		4
#define P_REPORTED		5
#define P_OWNER			6
#define P_TASKS_DONE	7
#define P_TASKS_TOTAL	8
#define P_WORKERS		9
#define P_PART			10		/* of the tasks' work, in millionths */
#define P_TASKS_STARTED	11
#define NPARAMS			12

#define MILLION			1000000

static bool active = false;
static bool registered = false;
static int64 params[NPARAMS];

/* rows and phase when the tasks began */
static int64 rows_before;
static int64 phase_before;

static bool
slot_is_ours(void)
{
	return MyBEEntry != NULL && MyBEEntry->st_progress_command == COMMAND;
}

void
elt_progress_report(void)
{
	static const int index[NPARAMS] = {P_NODE, P_PHASE, P_DONE, P_TOTAL, P_STARTED, P_REPORTED, P_OWNER, P_TASKS_DONE, P_TASKS_TOTAL, P_WORKERS, P_PART,
	P_TASKS_STARTED};

	if (!active || MyBEEntry == NULL)
		return;
	if (!slot_is_ours())
	{
		/* run by a command that has a report of its own */
		if (MyBEEntry->st_progress_command != PROGRESS_COMMAND_INVALID)
			return;
		pgstat_progress_start_command(COMMAND, InvalidOid);
	}
	params[P_REPORTED] = GetCurrentTimestamp();
	pgstat_progress_update_multi_param(NPARAMS, index, params);
}

/* An error has ended what was under way. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		active = false;
}

void
elt_progress_begin(int32 node, Oid owner)
{
	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
	active = true;
	memset(params, 0, sizeof(params));
	params[P_NODE] = node;
	params[P_OWNER] = owner;
	params[P_STARTED] = GetCurrentTimestamp();
	elt_progress_report();
}

void
elt_progress_phase(EltProgressPhase phase)
{
	params[P_PHASE] = phase;
	elt_progress_report();
}

void
elt_progress_rows(int64 done, int64 total)
{
	params[P_DONE] = done;
	params[P_TOTAL] = total;
	elt_progress_report();
}

bool
elt_progress_enter(void)
{
	bool		entered = !active;

	if (entered)
		elt_progress_begin(0, GetUserId());
	rows_before = params[P_DONE];
	phase_before = params[P_PHASE];
	params[P_TASKS_STARTED] = GetCurrentTimestamp();
	elt_progress_phase(ELT_PHASE_TASKS);
	return entered;
}

void
elt_progress_leave(bool entered)
{
	if (entered)
	{
		elt_progress_end();
		return;
	}
	params[P_TASKS_DONE] = params[P_TASKS_TOTAL] = params[P_WORKERS] = params[P_PART] = params[P_TASKS_STARTED] = 0;
	elt_progress_phase(phase_before);
}

void
elt_progress_tasks(int done, int total, int workers, int64 rows, double part)
{
	params[P_TASKS_DONE] = done;
	params[P_TASKS_TOTAL] = total;
	params[P_WORKERS] = workers;
	params[P_PART] = (int64) (part * MILLION);
	if (params[P_TOTAL] <= 0)
		params[P_DONE] = rows_before + rows;
	elt_progress_report();
}

void
elt_progress_end(void)
{
	active = false;
	if (slot_is_ours())
		pgstat_progress_end_command();
}

/* done and to go, a second, and for how long yet: NULL where there is nothing to reckon with */
static void
reckon(const PgBackendStatus *status, Datum *values, bool *nulls)
{
	int64		done = status->st_progress_param[P_DONE];
	int64		togo = Max(status->st_progress_param[P_TOTAL] - done, 0);
	double		seconds = (status->st_progress_param[P_REPORTED] - status->st_progress_param[P_STARTED]) / (double) USECS_PER_SEC;
	double		rate = seconds > 0 ? done / seconds : 0;
	Interval   *eta = palloc0(sizeof(Interval));

	values[3] = Int64GetDatum(done);
	values[4] = Int64GetDatum(togo);
	nulls[4] = status->st_progress_param[P_TOTAL] <= 0;
	values[5] = Float8GetDatum(rate);
	nulls[5] = rate <= 0;
	eta->time = rate > 0 ? (TimeOffset) Min(togo / rate * USECS_PER_SEC, 1e17) : 0;
	values[6] = IntervalPGetDatum(eta);
	nulls[6] = nulls[4] || nulls[5];
}

/* tasks done, tasks, workers; where the rows tell no end, when the tasks will have come to it */
static void
reckon_tasks(const PgBackendStatus *status, Datum *values, bool *nulls)
{
	const int64 *p = status->st_progress_param;
	double		part = p[P_PART] / (double) MILLION;
	Interval   *eta;

	nulls[9] = nulls[10] = nulls[11] = p[P_TASKS_TOTAL] <= 0;
	if (nulls[9])
		return;
	values[9] = Int32GetDatum((int32) p[P_TASKS_DONE]);
	values[10] = Int32GetDatum((int32) p[P_TASKS_TOTAL]);
	values[11] = Int32GetDatum((int32) p[P_WORKERS]);
	if (!nulls[6] || part <= 0)
		return;
	eta = palloc0(sizeof(Interval));
	eta->time = (TimeOffset) Min((p[P_REPORTED] - p[P_TASKS_STARTED]) * (1 - Min(part, 1)) / part, 1e17);
	values[6] = IntervalPGetDatum(eta);
	nulls[6] = false;
}

/* elt.progress_rows() -> pid, node, phase, rows done, to go, a second, for how long yet, started, snapshot's age in transactions, tasks done, tasks, workers */
Datum
elt_sql_progress_rows(PG_FUNCTION_ARGS)
{
	static const char *const phases[] = {"reading changes", "writing changes", "copying", "quarantining", "running tasks"};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			n = pgstat_fetch_stat_numbackends();
	bool		all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = elt_backend_status(i);
		PgBackendStatus *status;
		Datum		values[12];
		bool		nulls[12] = {false};
		int64		phase;

		if (local == NULL)
			continue;
		status = &local->backendStatus;
		if (status->st_progress_command != COMMAND || status->st_databaseid != MyDatabaseId ||
			!(all || has_privs_of_role(GetUserId(), status->st_userid) ||
			  has_privs_of_role(GetUserId(), (Oid) status->st_progress_param[P_OWNER])))
			continue;
		phase = status->st_progress_param[P_PHASE];
		values[0] = Int32GetDatum(status->st_procpid);
		values[1] = Int32GetDatum((int32) status->st_progress_param[P_NODE]);
		nulls[1] = status->st_progress_param[P_NODE] == 0;
		nulls[2] = phase < 0 || phase >= (int64) lengthof(phases);
		values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(phases[phase]);
		reckon(status, values, nulls);
		reckon_tasks(status, values, nulls);
		values[7] = TimestampTzGetDatum(status->st_progress_param[P_STARTED]);
		nulls[8] = !TransactionIdIsNormal(local->backend_xmin);
		values[8] = Int32GetDatum((int32) (ReadNextTransactionId() - local->backend_xmin));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
