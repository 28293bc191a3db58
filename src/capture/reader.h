/* Reading the change log. */
#ifndef ELT_READER_H
#define ELT_READER_H

#include "storage/itemptr.h"

#include "capture/batch.h"

typedef struct EltReader EltReader;

typedef struct EltChange
{
	int64		xid;
	int64		serial;
	char		op;
	const char *image;			/* valid until the next change */
	Size		len;
	Oid			segment;		/* where the row stands */
	ItemPointerData tid;
} EltChange;

extern EltReader *elt_reader_begin(EltBatch *batch);

/* The next change of the window; of the whole log that the snapshot sees where everything is set. */
extern bool elt_reader_next(EltReader *reader, bool everything, EltChange *change);

/* Number of changes in the window; an update counts once. */
extern int64 elt_reader_count(EltReader *reader);
extern void elt_reader_end(EltReader *reader);

#endif
