/* Rows of elt.node_run and elt.run_shard: the ledger of runs. */
#ifndef ELT_CATALOG_RUN_H
#define ELT_CATALOG_RUN_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

typedef struct EltRun
{
	int64		id;
	int32		node;
	char	   *state;			/* running | done | failed */
	char	   *split;
	char	   *reason;
	int32		workers;
	TimestampTz started;
	TimestampTz ended;			/* 0: not yet */
	int64		rows;
	int64		rejected;
	char	   *sqlstate;		/* or NULL */
	char	   *message;
	char	   *definition;
	char	   *publish;
	List	   *staging;		/* OIDs */
	List	   *targets;		/* as many */
	int64		first_rejected;
} EltRun;

typedef struct EltRunShard
{
	int32		shard;			/* 1 .. n */
	char	   *label;
	char	   *pieces;			/* bytes, for who made the shard */
	Size		size;
	char	   *state;			/* waiting | running | done | failed */
	int32		attempts;
	int32		worker;			/* -1: none yet */
	int64		rows;
	int64		bytes;
	int64		rejected;
	int64		buffers_hit;
	int64		buffers_read;
	int64		buffers_written;
	int64		temp_bytes;
	int64		wal_bytes;
	double		user_ms;
	double		system_ms;
	double		elapsed_ms;
	char	   *message;		/* or NULL */
} EltRunShard;

/* The node's last run, or NULL. */
extern EltRun *elt_run_last(int32 node);
extern void elt_run_insert(EltRun *run);	/* sets id, and first_rejected */
extern void elt_run_update(const EltRun *run);

extern List *elt_run_shards(int64 run); /* EltRunShard by number */
extern void elt_run_shard_insert(int64 run, const EltRunShard *shard);
extern void elt_run_shard_update(int64 run, const EltRunShard *shard);

/* The shard's rows are in the target, or staged, as of this transaction; an error unless it was running. */
extern void elt_run_shard_complete(int64 run, int32 shard, int64 rows, int64 bytes, int64 rejected);

/* Forget all runs of a node but the last `keep`, and those that ended before `before` but the last one. */
extern void elt_run_purge(int32 node, int keep, TimestampTz before);
extern void elt_run_delete_all(int32 node);

#endif
