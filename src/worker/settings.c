/*
 * settings.c
 *	  Settings of the workers, registered once when the library is loaded.
 *
 * No locks; nothing to lose in a crash.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "worker/commands.h"
#include "worker/pool.h"

int			elt_max_workers = 8;
int			elt_max_workers_per_database = -1;
int			elt_max_workers_per_role = -1;
int			elt_cpu_count = 0;
int			elt_worker_memory = -1;
int			elt_worker_lock_timeout = 60 * 1000;
int			elt_worker_wait = 10 * 1000;
int			elt_max_snapshot_age = 0;

static void
define_limits(void)
{
	DefineCustomIntVariable("elt.max_workers",
							"Most workers that the server runs for elt at a time.",
							"They are also counted by max_worker_processes. 0: no workers, every run does its tasks in the session that started it.",
							&elt_max_workers, 8, 0, 1024,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.max_workers_per_database",
							"Most workers at a time for one database, -1: no limit of its own.",
							"Meant for ALTER DATABASE.",
							&elt_max_workers_per_database, -1, -1, 1024,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.max_workers_per_role",
							"Most workers at a time for the sessions of one role, -1: no limit of its own.",
							"Meant for ALTER ROLE.",
							&elt_max_workers_per_role, -1, -1, 1024,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.cpu_count",
							"Processors that one run may use: it has no more workers, 0: as many as the server process may run on.",
							NULL,
							&elt_cpu_count, 0, 0, 1024,
							PGC_SUSET, 0, NULL, NULL, NULL);
}

void
elt_worker_init(void)
{
	define_limits();
	DefineCustomIntVariable("elt.worker_memory",
							"Memory that the workers of a run divide between them as work_mem, -1: work_mem, 0: each has work_mem.",
							NULL,
							&elt_worker_memory, -1, -1, INT_MAX / 2,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.worker_lock_timeout",
							"lock_timeout of workers, where the session's is not less; 0: the session's.",
							"A worker that waits for a lock of its own leader would wait for ever, which no deadlock detector sees.",
							&elt_worker_lock_timeout, 60 * 1000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.worker_wait",
							"How long a run waits for its first worker, when all that the limits allow are busy, until it does its tasks alone.",
							NULL,
							&elt_worker_wait, 10 * 1000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.max_snapshot_age",
							"Age of a snapshot, shared by the workers of a run, at which the run ends with an error, 0: none.",
							"VACUUM cannot remove rows that a snapshot still sees.",
							&elt_max_snapshot_age, 0, 0, INT_MAX / 1000,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	elt_commands_init();
}
