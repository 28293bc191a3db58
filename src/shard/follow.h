/* Following the changes of a table that is being sharded. */
#ifndef ELT_SHARD_FOLLOW_H
#define ELT_SHARD_FOLLOW_H

#include "catalog/consumer.h"
#include "shard/shard.h"

/*
 * Write to the shards what changed since our consumer's offset, or since `from`, up to now, and store the new offset; returns the rows written. The shards have their
 * indexes. Errors: 40001 where changes do not tell what happened, and those of elt_batch_lock.
 */
extern int64 elt_shard_follow(EltSharding *sharding, const EltOffset *from);

#endif
