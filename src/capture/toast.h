/* Following pointers to toasted values that the change log kept. */
#ifndef ELT_TOAST_H
#define ELT_TOAST_H

#include "access/htup.h"
#include "access/tupdesc.h"

#include "capture/batch.h"

typedef struct EltToast EltToast;

/* In the current memory context. The log is searched at the first pointer that is asked for. */
extern EltToast *elt_toast_begin(EltBatch *batch);

/*
 * The value that a pointer in an image's column stands for: from the log where it was removed since, else from the row that has the image's key now (it
 * may be a pointer again, which can be followed as long as the batch's snapshot lives). 0 where it is lost.
 */
extern Datum elt_toast_resolve(EltToast *toast, MinimalTuple image, AttrNumber attnum, Datum pointer);

/* Has a value been lost? Then the window has to be given up for a resynchronisation. */
extern bool elt_toast_lost(EltToast *toast);

#endif
