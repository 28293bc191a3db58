/* Removing what a sharding that came to no end has left. */
#ifndef ELT_SHARD_CLEAN_H
#define ELT_SHARD_CLEAN_H

#include "postgres_ext.h"

/*
 * Remove what was committed for a table: shards, consumer, tracking that began for it. Nobody is at work on it. False where a part has to wait, because the table is locked; elt._clean_shards()
 * does it later.
 */
extern bool elt_shard_clean(Oid relid);

/* Our consumer goes, and tracking that began for the sharding, unless somebody else reads the log by now. The caller has AccessExclusive on the tree. */
extern void elt_shard_end_tracking(Oid relid, int32 capture, int32 consumer, bool tracked_here);

#endif
