/* What is done in transactions of their own while a table is being sharded: by workers. */
#ifndef ELT_SHARD_TASKS_H
#define ELT_SHARD_TASKS_H

#include "catalog/consumer.h"
#include "shard/shard.h"

/* When the library is loaded. */
extern void elt_shard_init(void);

/* Each raises what its tasks raise. */

/*
 * Have tracking and our consumer begin, and the shards created; all of it is then committed, and *sharding knows it. NULL: no worker could be had, nothing was done.
 */
extern EltSharding *elt_shard_begin(EltSharding *sharding);

/* Fill the shards from a snapshot, and index them; what the snapshot saw is where to follow from. */
extern EltOffset *elt_shard_fill(EltSharding *sharding);

/* elt_shard_follow in a worker; returns the rows written. */
extern int64 elt_shard_catch_up(EltSharding *sharding, const EltOffset *from);

/* Remove what was committed for a table. False where no worker could be had. */
extern bool elt_shard_undo(Oid relid);

#endif
