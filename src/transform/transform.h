/* Parallel transforms: what the files of this folder share. */
#ifndef ELT_TRANSFORM_H
#define ELT_TRANSFORM_H

#include "access/tupdesc.h"
#include "nodes/parsenodes.h"
#include "utils/timestamp.h"

#include "base/exec.h"
#include "base/insert.h"
#include "catalog/run.h"
#include "catalog/transform.h"
#include "transform/split.h"

/* How a run's rows get to the target. */
typedef enum EltWay
{
	ELT_WAY_SWAP,				/* tasks write to tables like the target,
								 * whose files then become the target's */
	ELT_WAY_MOVE,				/* tasks write the query's rows to a table of
								 * their own; statements of the leader move
								 * them */
	ELT_WAY_DIRECT				/* tasks write to the target */
} EltWay;

/* What a run will do. */
typedef struct EltPlanOfRun
{
	EltTransform *transform;
	Query	   *query;			/* as the owner reads it */
	EltSplit   *split;
	EltWay		way;
	const char *why_publish;	/* a code: why rows are moved though a swap
								 * was asked for; NULL: they are not, or it
								 * was not */
} EltPlanOfRun;

/*
 * What handlers are told that is the same for all tasks of a run. The statement's text follows.
 */
typedef struct EltTransformShared
{
	int32		node;
	int64		run;
	TimestampTz now;			/* for all tasks */
	bool		into_bag;		/* the statement is a SELECT, its rows go to
								 * the run's only staging table */
	bool		direct;			/* rows go to the target */
	bool		frozen;
	bool		ledger;			/* the task marks its shard as done */
	bool		quarantine;
} EltTransformShared;

/* And a task's own: the pieces follow. */
typedef struct EltTransformTask
{
	int32		shard;
	int32		npieces;
} EltTransformTask;

/* An index to be built on a staging table. */
typedef struct EltIndexTask
{
	Oid			staging;
	Oid			index;			/* of the target, to be copied */
	Oid			owner;
	char		name[NAMEDATALEN];
} EltIndexTask;

#define ELT_TRANSFORM_HANDLER	"transform"
#define ELT_INDEX_HANDLER		"transform index"

/* define.c: exists, and the current user may act for its owner; else an error */
extern EltTransform *elt_transform_get(const char *name);

/* The target still has the columns; else an error. As the owner. Locks it (AccessShare). */
extern void elt_transform_check_target(EltTransform *transform);

/* plan.c: as the owner, with the transform's settings. */
extern EltPlanOfRun *elt_transform_plan(EltTransform *transform);

/* An error where an append that must not be repeated would read rows that an earlier run has read. */
extern void elt_transform_check_appended(EltTransform *transform, EltPlanOfRun *plan);
extern int	elt_transform_workers(EltTransform *transform, const EltSplit *split);
extern const char *elt_split_name(EltSplitKind kind);

/* a snapshot that sees whatever was committed: that of another server says nothing of this one's rows, which may be the same */
#define ELT_ALL_TRANSACTIONS	"9223372036854775807:9223372036854775807:"

/* input.c: are there rows of a relation, or of what belongs to it, that a snapshot (its text) has seen? */
extern bool elt_transform_has_read(const char *snapshot, Oid relid);

/* input.c: the tables that a query reads, with their files and columns, as text to be compared */
extern char *elt_transform_input(Query *query);

/* input.c: what a table's rows have to be (NOT NULL, CHECK, generated columns, bounds of partitions), as text to be compared */
extern char *elt_transform_rules(Oid target);

/* run.c: CALL elt.run, in transactions of its own */
extern void elt_transform_run(const char *name);

/* task.c: when the library is loaded */
extern void elt_transform_init(void);

/* statements.c: SQL */
extern char *elt_statement_insert(EltTransform *transform, const char *query);	/* INSERT ... SELECT,
																				 * with ON CONFLICT for
																				 * upserts */
extern char *elt_statement_text(Query *query);
extern char *elt_statement_over_bag(EltTransform *transform, Oid bag, const char *combine); /* the query's rows from
																							 * what tasks left there */
extern char *elt_statement_generated(EltTransform *transform, EltSplit *split, const EltShard *shard);	/* for people */

/* staging.c: tables beside the target, of the target's owner or the transform's; their OIDs and what they stand for are added to the run. */
extern void elt_staging_create_shadows(EltRun *run, EltTransform *transform);
extern void elt_staging_create_bag(EltRun *run, EltTransform *transform, Query *query);
extern void elt_staging_drop(EltRun *run);	/* and empty the lists */
extern EltInsertPlace *elt_staging_places(EltRun *run); /* as many as
														 * run->staging */
extern List *elt_staging_index_tasks(EltRun *run);	/* EltIndexTask */
extern void elt_staging_build_index(const EltIndexTask *task, bool parallel);	/* may the server use
																				 * parallel workers? */

/* publish.c */

/* AccessExclusive on the target and its leaves, asked for again and again for a short time each; an error when elt.publish_timeout is over. */
extern void elt_publish_lock(EltTransform *transform);

/* Give the target the files of the staging tables, which get its old ones. Locked by elt_publish_lock. rules: of the target, when the rows were written. */
extern void elt_publish_swap(EltRun *run, EltTransform *transform, const char *rules);

/* why the target's files cannot be swapped: a code, or NULL */
extern const char *elt_publish_refusal(Oid target);

/* A task whose bad rows are to be put aside. */
typedef struct EltQuarantine
{
	EltTransform *transform;
	EltRun	   *run;
	const char *sql;			/* what the task runs */
	EltQueryChange restrict_insert; /* to a piece, which is its argument */
	EltQueryChange restrict_whole;
	EltPiece	piece;			/* of the one table that it reads a part of */
	DestReceiver *dest;			/* NULL: the statement writes by itself */
	bool		direct;			/* what is written is undone with the
								 * subtransaction */
	bool		into_bag;		/* sql is the query, not an INSERT */
	int64		rows;			/* written, where dest is NULL */
	int64		rejected;
} EltQuarantine;

/* quarantine.c */
extern void elt_quarantine_task(EltQuarantine *task);

#endif
