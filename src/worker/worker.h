/* Tasks, done by a pool of dynamic background workers for one leader. */
#ifndef ELT_WORKER_H
#define ELT_WORKER_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* What a task, a worker or a run has cost. */
typedef struct EltTaskCounts
{
	int64		rows;			/* as the handler told */
	int64		bytes;			/* of rows written, as the handler told */
	int64		rejected;
	int64		buffers_hit;
	int64		buffers_read;
	int64		buffers_written;
	int64		temp_bytes;
	int64		wal_bytes;
	double		user_ms;
	double		system_ms;
	double		elapsed_ms;
} EltTaskCounts;

typedef enum EltTaskState
{
	ELT_TASK_WAITING,
	ELT_TASK_RUNNING,
	ELT_TASK_DONE,
	ELT_TASK_FAILED
} EltTaskState;

typedef struct EltTask
{
	/* set by the caller */
	const char *label;			/* for people: "shard 3/8", "blocks 0 to 127" */
	double		weight;			/* heaviest first; any unit */
	const void *data;			/* copied to the worker; no pointers in it */
	Size		size;

	/*
	 * set when elt_pool_run returns, or raises (so that a caller who catches
	 * can tell)
	 */
	EltTaskState state;
	EltTaskCounts counts;
	int			attempts;
	int			worker;			/* 1 .. n, 0: the leader */
	void	   *result;			/* what the handler left by elt_task_result,
								 * palloc'd */
	Size		result_size;
	ErrorData  *error;			/* ELT_TASK_FAILED */
} EltTask;

/* What a handler sees. It runs in a transaction, as the pool's role, with the pool's settings and, where there is one, its snapshot active. */
typedef struct EltTaskRun
{
	int			number;			/* index among the pool's tasks */
	const void *data;
	Size		size;
	const void *shared;			/* what is the same for all tasks */
	Size		shared_size;
	bool		in_leader;		/* serial: in the caller's own transaction */
} EltTaskRun;

typedef void (*EltTaskHandler) (EltTaskRun *run);

/* When the library is loaded: a handler under a name, so that a worker, where the library may be at another address, finds it. */
extern void elt_worker_register(const char *name, EltTaskHandler handler);

/* In a handler: rows so far, for others to see; and what the leader gets back (at most 8 kB, copied). */
extern void elt_task_progress(int64 rows, int64 bytes);
extern void elt_task_rejected(int64 rows);
extern void elt_task_result(const void *data, Size size);

typedef enum EltTaskTransactions
{
	ELT_TASKS_READ,				/* one read-only transaction a worker */
	ELT_TASKS_COMMIT			/* a transaction each, committed when the
								 * handler returns */
} EltTaskTransactions;

typedef struct EltPoolOptions
{
	const char *title;			/* in pg_stat_activity: "elt run 42" */
	int64		run;			/* number of the run, 0: none */
	const char *handler;
	const void *shared;
	Size		shared_size;
	EltTaskTransactions transactions;
	bool		share_snapshot; /* all tasks see what the active snapshot of
								 * the leader sees */
	int			workers;		/* at most so many; 0: as many as make sense */
	bool		keep_going;		/* do the other tasks although one failed, and
								 * return; else the first error is raised,
								 * after all have stopped */
	int			retries;		/* of a task, for transient errors only; with
								 * a shared snapshot not for serialization
								 * failures, which need another one */
	void		(*done) (EltTask *task, void *arg); /* in the leader, as tasks
													 * end; may be NULL */
	void	   *arg;
} EltPoolOptions;

typedef struct EltPoolResult
{
	int			workers;		/* that took part; 0: the leader did all */
	const char *limited_by;		/* why they are fewer than asked for, for
								 * people; NULL: they are not */
	int			failed;
} EltPoolResult;

/*
 * Do the tasks as the current user; returns when no worker is left. With a snapshot to share, the caller's transaction must not have an xid: else, and where no
 * worker can be had, the leader does the tasks itself, in the caller's transaction (EltTaskRun.in_leader), where each sees what those before it have written.
 * That may happen to some of the tasks only. What is in `tasks` afterwards is in the memory context of the call.
 *
 * Cancelling the leader, or its end, ends the workers before the leader's transaction is over. A worker's error is raised in the leader with
 * its SQLSTATE, detail, hint and context, and the task's label. Tasks that have committed stay so.
 *
 * Settings that a handler changes are undone after it; so is a role that it takes on. work_mem is the worker's part of the leader's, and plans use no
 * parallel workers. With a shared snapshot now() is the leader's.
 *
 * Locks: the leader must not hold one that a task needs: found after deadlock_timeout (40P01), or ended by the workers' lock_timeout.
 */
extern EltPoolResult elt_pool_run(const EltPoolOptions *options, EltTask *tasks, int ntasks);

/* When the library is loaded, before elt_guc_init: the settings. */
extern void elt_worker_init(void);

/* How many workers a run that could use `wanted` would get now, and why not more. */
extern int	elt_pool_available(int wanted, const char **limited_by);

#endif
