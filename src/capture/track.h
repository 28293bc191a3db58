/* Starting and ending change tracking. */
#ifndef ELT_TRACK_H
#define ELT_TRACK_H

#include "catalog/capture.h"

/*
 * The capture of a relation for a consumer of it: tracked already, or tracked now where the current user owns it. The current user needs SELECT.
 * consumer is the name to tell in messages. 55000 where tracking would begin in a transaction whose snapshot is older than that.
 */
extern EltCapture *elt_track_for(Oid relid, const char *consumer);

/* Lock the source of a capture (AccessShare) if it is there and the current user may read it; false otherwise. */
extern bool elt_track_lock_source(EltCapture *capture);

/* Remove a capture and its log; the triggers are the caller's affair. No writer or reader is at work on it. */
extern void elt_track_forget(int32 capture);

#endif
