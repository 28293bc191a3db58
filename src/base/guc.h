/* Settings of the extension. */
#ifndef ELT_GUC_H
#define ELT_GUC_H

extern int	elt_segment_size;	/* kB of log after which a segment is closed */
extern int	elt_batch_memory;	/* kB of change log that one batch may net */
extern char *elt_debug_points;	/* names of the points that wait, see
								 * debug_point.h */

extern void elt_guc_init(void);

#endif
