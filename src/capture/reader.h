/* Reading the change log. */
#ifndef ELT_READER_H
#define ELT_READER_H

#include "storage/itemptr.h"

#include "capture/batch.h"

typedef struct EltReader EltReader;

/* One image of the log. */
typedef struct EltChange
{
	int64		xid;
	int64		serial;
	char		op;
	const char *image;			/* valid until the next change */
	Size		len;
	Oid			segment;		/* where it stands: segment, row, place in the
								 * row's data */
	ItemPointerData tid;
	Size		offset;
} EltChange;

/* Read the window; the whole log that the snapshot sees where everything is set. */
extern EltReader *elt_reader_begin(EltBatch *batch, bool everything);

extern bool elt_reader_next(EltReader *reader, EltChange *change);

/* Number of images that elt_reader_next would hand out, and of changes: an update counts once. */
extern int64 elt_reader_count(EltReader *reader, int64 *changes);
extern void elt_reader_end(EltReader *reader);

#endif
