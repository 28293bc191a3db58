/*
 * The shared library's entry: what the server calls when it loads it.
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/bagscan.h"
#include "base/bagstats.h"
#include "base/guc.h"
#include "transform/transform.h"
#include "shard/guard.h"
#include "shard/tasks.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	elt_worker_init();
	elt_guc_init();
	elt_bagscan_init();
	elt_bagstats_init();
	elt_transform_init();
	elt_shard_init();
	elt_shard_guard_init();
}
