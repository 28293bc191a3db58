/* Settings of the extension. */
#ifndef ELT_GUC_H
#define ELT_GUC_H

extern int	elt_segment_size;	/* kB of log after which a segment is closed */
extern int	elt_batch_memory;	/* kB of change log that one batch may net */
extern int	elt_publish_timeout;	/* ms that a transform may try to lock its
									 * target; 0: for ever */
extern int	elt_run_history;	/* runs of a node that are kept */
extern int	elt_run_history_age;	/* minutes; 0: any age */
extern char *elt_debug_points;	/* names of the points that wait, see
								 * debug_point.h */

extern void elt_guc_init(void);

#endif
