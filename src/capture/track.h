/* Starting and ending change tracking. */
#ifndef ELT_TRACK_H
#define ELT_TRACK_H

#include "catalog/capture.h"

/*
 * The capture of a relation for a consumer of it: tracked already, or tracked now where the current user owns it. The current user needs SELECT.
 * consumer is the name to tell in messages.
 */
extern EltCapture *elt_track_for(Oid relid, const char *consumer);

#endif
