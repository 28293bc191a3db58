/*
 * guc.c
 *	  Settings of the extension, registered once when the library is loaded.
 *
 * No locks; nothing to lose in a crash.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/guc.h"

int			elt_segment_size = 16 * 1024;
int			elt_batch_memory = 256 * 1024;
int			elt_publish_timeout = 60 * 1000;
int			elt_run_history = 100;
int			elt_run_history_age = 30 * 24 * 60;
char	   *elt_debug_points = NULL;

void
elt_guc_init(void)
{
	DefineCustomIntVariable("elt.segment_size",
							"Size of a change log segment after which the next one is opened.",
							"Segments that every consumer has passed are truncated as a whole.",
							&elt_segment_size, 16 * 1024, 64, INT_MAX / 2,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.batch_memory",
							"Memory for netting the changes of one batch.",
							"A window that needs more is applied in several batches where the load allows it, and otherwise spills to disk.",
							&elt_batch_memory, 256 * 1024, 1024, INT_MAX / 2,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.publish_timeout",
							"How long a transform tries to lock its target when it publishes.",
							"It asks for the lock for a moment at a time, so that readers never wait long. 0: for ever.",
							&elt_publish_timeout, 60 * 1000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.run_history",
							"Runs of a node that are kept in elt.run_shards.",
							NULL, &elt_run_history, 100, 1, 100000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("elt.run_history_age",
							"Age at which runs of a node are forgotten.",
							"The last run is always kept. 0: at no age.",
							&elt_run_history_age, 30 * 24 * 60, 0, INT_MAX / 60,
							PGC_USERSET, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomStringVariable("elt.debug_points",
							   "Names of the points at which the extension waits, for its own tests.",
							   NULL, &elt_debug_points, NULL,
							   PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
	MarkGUCPrefixReserved("elt");
}
