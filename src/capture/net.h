/* Netting: from the events of a window to the rows it removed and added. */
#ifndef ELT_NET_H
#define ELT_NET_H

#include "capture/batch.h"

typedef enum EltNetMode
{
	ELT_NET_EVENTS,				/* every new row version, nothing cancelled;
								 * `removed` is empty */
	ELT_NET_ROWS,				/* what is left when removed and added images
								 * cancel */
	ELT_NET_KEYS				/* `added`: one row per key that was touched,
								 * other columns NULL */
} EltNetMode;

/* One netted change: removed and added are lists of MinimalTuple with the same key (or image, where there is no primary key). */
typedef void (*EltNetEmit) (void *arg, List *removed, List *added);

/*
 * Net the batch's chunk of the window and hand out change by change, in the order in which keys were first touched. Returns the changes read; an update
 * counts once. *lost: a toasted value is gone, what was handed out is of no use and the consumer has to resynchronise.
 */
extern int64 elt_net_each(EltBatch *batch, EltNetMode mode, EltNetEmit emit, void *arg,
						  bool *lost);

/* Does the source have a primary key by which changes are netted? Else they are by image. */
extern bool elt_net_by_key(Relation root);

#endif
