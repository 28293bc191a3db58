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
	DefineCustomStringVariable("elt.debug_points",
							   "Names of the points at which the extension waits, for its own tests.",
							   NULL, &elt_debug_points, NULL,
							   PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
	MarkGUCPrefixReserved("elt");
}
