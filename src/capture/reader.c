/*
 * reader.c
 *	  Scans the segments of a batch, unpacks their rows and hands out the images in its window.
 *
 *	  window = what the batch's snapshot sees, its end contains and the consumer's offset does not
 *
 * Locks: none of its own; batch.c holds AccessShare on the segments. Reads only.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "capture/log.h"
#include "capture/reader.h"

struct EltReader
{
	EltBatch   *batch;
	bool		everything;		/* not only the window */
	int			next_segment;
	Relation	rel;			/* being scanned, or NULL */
	TableScanDesc scan;
	TupleTableSlot *slot;
	struct varlena *detoasted;	/* data of the present row where it had to be
								 * fetched */
	const char *data;			/* of the present row */
	const char *at;				/* the next image in it */
	const char *end;
	int64		xid;
	int64		serial;			/* of the next image */
	bool		partly;			/* not all images of the row are in the window */
};

EltReader *
elt_reader_begin(EltBatch *batch, bool everything)
{
	EltReader  *reader = palloc0(sizeof(EltReader));

	reader->batch = batch;
	reader->everything = everything;
	return reader;
}

static void
close_segment(EltReader *reader)
{
	if (reader->rel == NULL)
		return;
	ExecDropSingleTupleTableSlot(reader->slot);
	table_endscan(reader->scan);
	table_close(reader->rel, NoLock);
	reader->rel = NULL;
}

static bool
open_next_segment(EltReader *reader)
{
	EltSegment *segment;

	close_segment(reader);
	if (reader->next_segment >= list_length(reader->batch->segments))
		return false;
	segment = list_nth(reader->batch->segments, reader->next_segment++);
	reader->rel = table_open(segment->relid, NoLock);
	reader->slot = table_slot_create(reader->rel, NULL);
	reader->scan = table_beginscan(reader->rel, reader->batch->snapshot, 0, NULL);
	return true;
}

static bool
in_window(EltBatch *batch, int64 xid, int64 serial)
{
	return elt_offset_contains(batch->to, xid, serial) &&
		!elt_offset_contains(batch->consumer->offset, xid, serial);
}

/*
 * Are images with these serials in the window? Of one transaction an offset contains those up to some serial, so the two ends tell. In part only where
 * an offset lies between two images of one row.
 */
static bool
overlaps_window(EltBatch *batch, int64 xid, int64 first, int64 last, bool *partly)
{
	EltOffset  *from = batch->consumer->offset;

	if (!elt_offset_contains(batch->to, xid, first) || elt_offset_contains(from, xid, last))
		return false;
	*partly = first != last &&
		(!elt_offset_contains(batch->to, xid, last) || elt_offset_contains(from, xid, first));
	return true;
}

static inline int64
slot_int64(TupleTableSlot *slot, AttrNumber attno)
{
	return DatumGetInt64(slot->tts_values[attno - 1]);
}

static inline int32
slot_int32(TupleTableSlot *slot, AttrNumber attno)
{
	return DatumGetInt32(slot->tts_values[attno - 1]);
}

/* The next row of the log that has images to hand out; its data is not looked at. */
static bool
next_row(EltReader *reader)
{
	for (;;)
	{
		TupleTableSlot *slot;

		if (reader->rel == NULL && !open_next_segment(reader))
			return false;
		CHECK_FOR_INTERRUPTS();
		slot = reader->slot;
		if (!table_scan_getnextslot(reader->scan, ForwardScanDirection, slot))
		{
			if (!open_next_segment(reader))
				return false;
			continue;
		}
		slot_getsomeattrs(slot, ELT_LOG_CHANGES);
		reader->xid = slot_int64(slot, ELT_LOG_XID);
		reader->serial = slot_int64(slot, ELT_LOG_SERIAL);
		reader->partly = false;
		if (reader->everything ||
			overlaps_window(reader->batch, reader->xid, reader->serial,
							reader->serial + slot_int32(slot, ELT_LOG_IMAGES) - 1, &reader->partly))
			return true;
	}
}

/* Get at the images of the present row. */
static void
unpack_row(EltReader *reader)
{
	TupleTableSlot *slot = reader->slot;
	struct varlena *data;
	Datum		value;

	slot_getsomeattrs(slot, ELT_LOG_DATA);
	value = slot->tts_values[ELT_LOG_DATA - 1];
	data = PG_DETOAST_DATUM_PACKED(value);
	if ((Pointer) data != DatumGetPointer(value))
		reader->detoasted = data;
	reader->data = reader->at = VARDATA_ANY(data);
	reader->end = reader->data + VARSIZE_ANY_EXHDR(data);
}

static void
leave_row(EltReader *reader)
{
	if (reader->detoasted != NULL)
		pfree(reader->detoasted);
	reader->detoasted = NULL;
	reader->at = reader->end = NULL;
}

/* The next image of the present row, false at its end. */
static bool
next_image(EltReader *reader, EltChange *change)
{
	while (reader->at < reader->end)
	{
		CHECK_FOR_INTERRUPTS();
		change->offset = reader->at - reader->data;
		change->xid = reader->xid;
		change->serial = reader->serial++;
		reader->at = elt_log_unpack(reader->at, reader->end, &change->op, &change->image, &change->len);
		if (!reader->partly || in_window(reader->batch, change->xid, change->serial))
			return true;
	}
	return false;
}

bool
elt_reader_next(EltReader *reader, EltChange *change)
{
	while (!next_image(reader, change))
	{
		leave_row(reader);
		if (!next_row(reader))
			return false;
		unpack_row(reader);
	}
	change->segment = RelationGetRelid(reader->rel);
	change->tid = reader->slot->tts_tid;
	return true;
}

int64
elt_reader_count(EltReader *reader, int64 *changes)
{
	int64		images = 0;

	*changes = 0;
	while (next_row(reader))
	{
		EltChange	change;

		if (!reader->partly)
		{
			images += slot_int32(reader->slot, ELT_LOG_IMAGES);
			*changes += slot_int32(reader->slot, ELT_LOG_CHANGES);
			continue;
		}
		unpack_row(reader);
		while (next_image(reader, &change))
		{
			images++;
			*changes += change.op != ELT_OP_NEW;
		}
		leave_row(reader);
	}
	return images;
}

void
elt_reader_end(EltReader *reader)
{
	close_segment(reader);
	leave_row(reader);
	pfree(reader);
}
