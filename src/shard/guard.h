/* Readers whose snapshot is older than the sharding of a table. */
#ifndef ELT_SHARD_GUARD_H
#define ELT_SHARD_GUARD_H

/* When the library is loaded: the planner's hook. */
extern void elt_shard_guard_init(void);

#endif
