/* What the files of this room share: the layout of a run's DSM segment, the messages in its queues, and the leader's state. */
#ifndef ELT_POOL_H
#define ELT_POOL_H

#include <sys/resource.h>

#include "executor/instrument.h"
#include "lib/stringinfo.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"

#include "worker/worker.h"

/*
 * Limits. A worker that a limit counts holds one lock of each scope, which its end releases, however it comes about.
 */
typedef enum EltScope
{
	ELT_SCOPE_CLUSTER,
	ELT_SCOPE_DATABASE,
	ELT_SCOPE_ROLE
} EltScope;

#define ELT_SCOPES	3

typedef struct EltLimits
{
	int			limit[ELT_SCOPES];	/* -1: none */
	Oid			object[ELT_SCOPES]; /* the database, the role */
} EltLimits;

/* what one run's leader holds beside */
typedef struct EltShare
{
	EltLimits	limits;
	bool		entered;		/* counted as a run that could use more */
	bool		hungry[ELT_SCOPES]; /* has less than its share, and none is
									 * free */
} EltShare;

/*
 * The DSM segment of a run: this header, and what it tells the place of, in bytes from the start. Written by the leader before the first worker is started,
 * and not changed later but for the atomics.
 */
typedef struct EltWireTask
{
	Size		label;
	Size		data;
	Size		size;
} EltWireTask;

typedef struct EltWireWorker
{
	pg_atomic_uint32 task;		/* number + 1 of the one it does; 0: none */
	pg_atomic_uint64 rows;		/* of all its tasks, as they told */
	pg_atomic_uint64 bytes;
} EltWireWorker;

typedef struct EltWire
{
	uint32		magic;
	Oid			database;
	Oid			session_user;
	Oid			outer_role;		/* SET ROLE; InvalidOid: none */
	Oid			role;
	int			security;		/* flags */
	int			leader_pid;
	PGPROC	   *leader;
	int64		run;
	TimestampTz transaction_start;	/* the leader's */
	TimestampTz statement_start;
	TimestampTz deadline;		/* of the leader's statement; 0: none */
	int			lock_timeout;	/* ms */
	int			work_mem;		/* kB */
	int			maintenance_work_mem;
	int			isolation;
	bool		read_only;
	bool		share_snapshot;
	bool		keep_going;
	EltTaskTransactions transactions;
	int			retries;
	int			ntasks;
	int			nworkers;
	EltLimits	limits;
	char		handler[NAMEDATALEN];
	char		title[NAMEDATALEN];

	pg_atomic_uint32 next;		/* in the order: what is claimed next */
	pg_atomic_uint32 stop;		/* no more tasks */
	pg_atomic_uint32 give_back; /* so many workers shall end, for others */

	/* places */
	Size		libraries;
	Size		settings;
	Size		snapshot;
	Size		shared;
	Size		shared_size;
	Size		order;			/* int32 a task: their numbers, heaviest first */
	Size		tasks;			/* EltWireTask each */
	Size		workers;		/* EltWireWorker each */
	Size		queues;			/* ELT_QUEUE_SIZE each */
	Size		size;
} EltWire;

#define ELT_QUEUE_SIZE		((Size) 65536)
#define ELT_RESULT_MAX		8192

#define elt_wire_at(wire, type, place)	((type *) ((char *) (wire) + (place)))
#define elt_wire_order(wire)	elt_wire_at(wire, int32, (wire)->order)
#define elt_wire_tasks(wire)	elt_wire_at(wire, EltWireTask, (wire)->tasks)
#define elt_wire_workers(wire)	elt_wire_at(wire, EltWireWorker, (wire)->workers)
#define elt_wire_queue(wire, n)	((char *) (wire) + (wire)->queues + (n) * ELT_QUEUE_SIZE)

/* The first byte of a message; others are the protocol's own, for what a worker reports by ereport. */
#define ELT_MESSAGE_READY	'+'
#define ELT_MESSAGE_TASK	'#' /* EltTaskMessage, result, error */
#define ELT_MESSAGE_END		'!' /* one of EltEnd in a byte */

typedef enum EltEnd
{
	ELT_END_DONE = 1,			/* no task is left */
	ELT_END_GAVE_BACK,			/* another run needs the slot */
	ELT_END_NO_SLOT				/* none was free when it came */
} EltEnd;

typedef struct EltTaskMessage
{
	int			task;
	EltTaskState state;
	int			attempts;
	Size		result_size;
	Size		error_size;
	EltTaskCounts counts;
} EltTaskMessage;

/* A process's own counters when a task began. */
typedef struct EltCounters
{
	BufferUsage buffers;
	WalUsage	wal;
	struct rusage usage;
	instr_time	since;
} EltCounters;

/* The task that a process has under way. */
typedef struct EltCurrent
{
	struct EltCurrent *outer;	/* of a handler that leads a run, alone */
	EltWireWorker *live;		/* NULL: the leader alone */
	struct EltPool *pool;		/* NULL: a worker */
	uint64		rows_before;	/* of the worker's earlier tasks */
	uint64		bytes_before;
	int64		rows;
	int64		bytes;
	int64		rejected;
	void	   *result;			/* in TopMemoryContext */
	Size		result_size;
	EltCounters counters;
} EltCurrent;

/* The leader's state. */
typedef struct EltWorker
{
	BackgroundWorkerHandle *handle; /* NULL: this place is free */
	shm_mq_handle *queue;		/* NULL: it has detached */
	bool		ready;
	EltEnd		end;			/* 0: it has not said */
	ErrorData  *fatal;			/* what it died of */
} EltWorker;

typedef struct EltPool
{
	struct EltPool *outer;		/* of an unfinished run in this session */
	const EltPoolOptions *options;
	EltTask    *tasks;
	int			ntasks;
	int32	   *order;
	int			next;			/* in the order, where there is no wire */
	MemoryContext memory;		/* of this; the caller's is for what it gets */
	MemoryContext caller;
	ErrorData  *error;			/* the first */
	const char *error_label;	/* of a task that a worker did */
	int			finished;		/* tasks */
	double		weight;			/* of all tasks, and of those */
	double		weight_finished;
	int64		rows_finished;	/* by the leader itself */
	int64		rows_current;	/* of a task that it does now */

	dsm_segment *segment;
	EltWire    *wire;			/* NULL: no workers */
	EltWorker  *workers;
	int			nworkers;		/* places */
	int			asked;			/* for so many */
	const char *capped_by;		/* why nworkers is less; NULL: it is not */
	int			most;			/* that were ready at a time */
	int			failed_starts;	/* in a row */
	TimestampTz next_start;		/* not before */
	TimestampTz next_look;		/* for slots */
	bool		waits;			/* for one, as of the last look */
	TimestampTz idle_since;		/* without any worker */
	TimestampTz heard;			/* when a task ended, or locks were looked at */
	TimestampTz over_since;		/* all tasks are done */
	bool		serial;			/* the leader has written in its own
								 * transaction: no more workers */
	EltShare	share;
	TimestampTz snapshot_since;
	bool		owns_progress;
	EltPoolResult result;
} EltPool;

/* wire.c */
extern EltWire *elt_wire_create(EltPool *pool, int nworkers, dsm_segment **segment);
extern bool elt_wire_valid(const EltWire *wire, Size size);
extern void elt_wire_put_error(StringInfo to, ErrorData *error);
extern ErrorData *elt_wire_get_error(const char *from, Size size);

/* slots.c */
extern void elt_limits_now(EltLimits *limits);
extern bool elt_slots_take(const EltLimits *limits, EltScope *full);
extern bool elt_slots_keep(const EltLimits *limits);
extern bool elt_slots_held(void);
extern void elt_slots_drop(void);
extern bool elt_slots_free(const EltLimits *limits, EltScope *full);
extern int	elt_slots_count_free(const EltLimits *limits, int most, EltScope *least);
extern int	elt_slots_taken(const EltLimits *limits, EltScope scope);
extern const char *elt_limit_text(const EltLimits *limits, EltScope scope);
extern void elt_share_enter(EltShare *share);
extern void elt_share_leave(EltShare *share);
extern void elt_share_hungry(EltShare *share, EltScope scope, bool hungry);
extern int	elt_share_surplus(EltShare *share, int mine);
extern bool elt_share_below(EltShare *share, EltScope scope, int mine);

/* start.c */
extern bool elt_workers_start(EltPool *pool, const char **why_not);
extern int	elt_workers_alive(EltPool *pool);
extern void elt_pool_open(EltPool *pool);
extern void elt_pool_stop(EltPool *pool, bool read);

/* lead.c */
extern void elt_lead(EltPool *pool);
extern void elt_pool_note_rest(EltPool *pool, int number);
extern int	elt_pool_claim(EltPool *pool);
extern void elt_pool_task_ended(EltPool *pool, int number);
extern void elt_pool_check_age(EltPool *pool);
extern void elt_pool_show_progress(EltPool *pool);

/* locks.c */
extern void elt_pool_check_locks(EltPool *pool);

/* serial.c */
extern void elt_serial_task(EltPool *pool, int number);
extern void elt_serial_rest(EltPool *pool);

/* task.c */
extern EltTaskHandler elt_task_handler(const char *name);
extern void elt_task_begin(EltCurrent *task, EltWireWorker *live, EltPool *pool);
extern void elt_task_end(EltCurrent *task, EltTaskCounts *counts);
extern void elt_task_forget(EltCurrent *task, EltTaskCounts *counts);
extern void elt_task_free(EltCurrent *task);
extern void elt_task_fire_constraints(void);
extern bool elt_task_transient(int sqlstate, bool share_snapshot);
extern void elt_task_backoff(int attempt);

/* counters.c */
extern void elt_counters_start(EltCounters *counters);
extern void elt_counters_stop(EltCounters *counters, EltTaskCounts *counts);

/* status.c */
extern void elt_status_begin(const EltWire *wire);
extern void elt_status_task(const EltWire *wire, int task);
extern void elt_status_rows(int64 rows, int64 bytes);

/* settings.c; elt_cpus in slots.c */
extern int	elt_max_workers;
extern int	elt_max_workers_per_database;
extern int	elt_max_workers_per_role;
extern int	elt_cpu_count;
extern int	elt_worker_memory;
extern int	elt_worker_lock_timeout;
extern int	elt_worker_wait;
extern int	elt_max_snapshot_age;
extern int	elt_cpus(void);

#endif
