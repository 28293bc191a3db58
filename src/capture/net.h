/* Netting: from the events of a window to the rows it removed and added. */
#ifndef ELT_NET_H
#define ELT_NET_H

#include "access/tupdesc.h"
#include "utils/tuplestore.h"

#include "capture/batch.h"

typedef enum EltNetMode
{
	ELT_NET_EVENTS,				/* every new row version, nothing cancelled; `removed` stays empty */
	ELT_NET_ROWS,				/* what is left when removed and added images cancel */
	ELT_NET_KEYS				/* `added`: one row per key that was touched, other columns NULL */
} EltNetMode;

typedef struct EltDelta
{
	TupleDesc	desc;			/* of the source */
	Tuplestorestate *removed;
	Tuplestorestate *added;
	int64		nremoved;
	int64		nadded;
	int64		nevents;		/* changes read; an update counts once */
	bool		lost;			/* a toasted value is gone: the bags are of no use, resynchronise */
} EltDelta;

/* One netted change: removed and added are lists of MinimalTuple with the same key (or image, where there is no primary key). */
typedef void (*EltNetEmit) (void *arg, List *removed, List *added);

/* Net the batch's chunk of the window into two tuplestores in the current memory context. */
extern EltDelta *elt_net_batch(EltBatch *batch, EltNetMode mode);

/* Net it and hand out change by change, in the order in which keys were first touched. */
extern int64 elt_net_each(EltBatch *batch, EltNetMode mode, EltNetEmit emit, void *arg,
						  bool *lost);

extern void elt_delta_free(EltDelta *delta);

#endif
