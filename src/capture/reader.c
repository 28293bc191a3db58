/*
 * reader.c
 *	  Scans the segments of a batch and hands out the changes in its window.
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
	int			next_segment;
	Relation	rel;			/* being scanned, or NULL */
	TableScanDesc scan;
	TupleTableSlot *slot;
	struct varlena *detoasted;	/* image of the last change where it had to be fetched */
};

EltReader *
elt_reader_begin(EltBatch *batch)
{
	EltReader  *reader = palloc0(sizeof(EltReader));

	reader->batch = batch;
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

static inline int64
slot_int64(TupleTableSlot *slot, AttrNumber attno)
{
	return DatumGetInt64(slot->tts_values[attno - 1]);
}

/* The next row of the log; its image is not looked at. */
static bool
next_row(EltReader *reader, bool everything)
{
	for (;;)
	{
		if (reader->rel == NULL && !open_next_segment(reader))
			return false;
		CHECK_FOR_INTERRUPTS();
		if (!table_scan_getnextslot(reader->scan, ForwardScanDirection, reader->slot))
		{
			if (!open_next_segment(reader))
				return false;
			continue;
		}
		slot_getsomeattrs(reader->slot, ELT_LOG_OP);
		if (everything || in_window(reader->batch,
									slot_int64(reader->slot, ELT_LOG_XID),
									slot_int64(reader->slot, ELT_LOG_SERIAL)))
			return true;
	}
}

bool
elt_reader_next(EltReader *reader, bool everything, EltChange *change)
{
	TupleTableSlot *slot;
	struct varlena *image;
	Datum		value;

	if (reader->detoasted != NULL)
		pfree(reader->detoasted);
	reader->detoasted = NULL;
	if (!next_row(reader, everything))
		return false;

	slot = reader->slot;
	slot_getsomeattrs(slot, ELT_LOG_IMAGE);
	value = slot->tts_values[ELT_LOG_IMAGE - 1];
	image = PG_DETOAST_DATUM_PACKED(value);
	if ((Pointer) image != DatumGetPointer(value))
		reader->detoasted = image;

	change->xid = slot_int64(slot, ELT_LOG_XID);
	change->serial = slot_int64(slot, ELT_LOG_SERIAL);
	change->op = DatumGetChar(slot->tts_values[ELT_LOG_OP - 1]);
	change->image = VARDATA_ANY(image);
	change->len = VARSIZE_ANY_EXHDR(image);
	change->segment = RelationGetRelid(reader->rel);
	change->tid = slot->tts_tid;
	return true;
}

int64
elt_reader_count(EltReader *reader)
{
	int64		rows = 0;

	while (next_row(reader, false))
		rows += DatumGetChar(reader->slot->tts_values[ELT_LOG_OP - 1]) != ELT_OP_NEW;
	return rows;
}

void
elt_reader_end(EltReader *reader)
{
	close_segment(reader);
	if (reader->detoasted != NULL)
		pfree(reader->detoasted);
	pfree(reader);
}
