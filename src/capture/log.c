/*
 * log.c
 *	  Appends rows to an open segment of the change log, many at a time.
 *
 * The log tuple is laid out by hand in one allocation (two bigints, a char, the image as bytea): forming it from datums would copy each image
 * twice more. Tuples go in through the multi-insert of the table's access method, as COPY's do.
 *
 * Locks: the caller holds RowExclusive on the segment (target.c). A crash loses what the writer's transaction loses.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "capture/log.h"

#define MAX_BUFFERED_ROWS	1000
#define MAX_BUFFERED_BYTES	(128 * 1024)

struct EltLog
{
	Relation	rel;
	int64		xid;
	CommandId	cid;
	MemoryContext context;		/* of this struct and of the slots */
	MemoryContext flush_context;	/* what one multi-insert leaves behind */
	int			nslots;			/* made so far */
	int			nrows;			/* buffered */
	Size		bytes;			/* buffered */
	TupleTableSlot *slots[MAX_BUFFERED_ROWS];
};

/* The serial belongs to a transaction; it restarts with the next one. */
static int64 serial_owner = 0;
static int64 serial_last = 0;

int64
elt_log_position(int64 *serial)
{
	int64		xid = (int64) U64FromFullTransactionId(GetTopFullTransactionIdIfAny());

	*serial = xid != 0 && xid == serial_owner ? serial_last : 0;
	return xid;
}

int64
elt_log_next(int64 *serial)
{
	int64		xid = (int64) U64FromFullTransactionId(GetTopFullTransactionId());

	if (xid != serial_owner)
	{
		serial_owner = xid;
		serial_last = 0;
	}
	*serial = ++serial_last;
	return xid;
}

/* In the current memory context; elt_log_close frees it. */
EltLog *
elt_log_open(Oid segment)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "elt log",
												  ALLOCSET_DEFAULT_SIZES);
	EltLog	   *log = MemoryContextAlloc(context, sizeof(EltLog));

	log->context = context;
	log->flush_context = AllocSetContextCreate(context, "elt log flush", ALLOCSET_DEFAULT_SIZES);
	log->rel = table_open(segment, NoLock);
	log->cid = GetCurrentCommandId(true);
	log->nslots = 0;
	log->nrows = 0;
	log->bytes = 0;
	return log;
}

static void
log_flush(EltLog *log)
{
	MemoryContext old;

	if (log->nrows == 0)
		return;
	CHECK_FOR_INTERRUPTS();
	old = MemoryContextSwitchTo(log->flush_context);
	table_multi_insert(log->rel, log->slots, log->nrows, log->cid, 0, NULL);
	MemoryContextSwitchTo(old);
	MemoryContextReset(log->flush_context);
	for (int i = 0; i < log->nrows; i++)
		ExecClearTuple(log->slots[i]);
	log->nrows = 0;
	log->bytes = 0;
}

/* Lay out (xid, serial, op, image) as heap_form_tuple would. */
static HeapTuple
log_tuple(int64 xid, int64 serial, char op, const EltImage *image)
{
	const Size	hoff = MAXALIGN(SizeofHeapTupleHeader);
	Size		fixed = 2 * sizeof(int64) + 1;
	bool		is_short = image->len + VARHDRSZ_SHORT <= VARATT_SHORT_MAX;
	Size		start = is_short ? fixed : INTALIGN(fixed);
	Size		datalen = start + image->len + (is_short ? VARHDRSZ_SHORT : VARHDRSZ);
	HeapTuple	tuple;
	char	   *data;

	if (image->len > MaxAllocSize - 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row is too large to be tracked"),
				 errdetail("Its image has %zu bytes.", image->len),
				 errhint("Track the table with images => 'key'.")));

	tuple = palloc(HEAPTUPLESIZE + hoff + datalen);
	memset(tuple, 0, HEAPTUPLESIZE + hoff);
	tuple->t_len = hoff + datalen;
	tuple->t_data = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	ItemPointerSetInvalid(&tuple->t_self);
	ItemPointerSetInvalid(&tuple->t_data->t_ctid);
	tuple->t_data->t_hoff = hoff;
	tuple->t_data->t_infomask = HEAP_HASVARWIDTH;
	HeapTupleHeaderSetNatts(tuple->t_data, ELT_LOG_COLUMNS);

	data = (char *) tuple->t_data + hoff;
	memcpy(data, &xid, sizeof(xid));
	memcpy(data + sizeof(xid), &serial, sizeof(serial));
	data[2 * sizeof(int64)] = op;
	if (is_short)
		SET_VARSIZE_SHORT(data + start, image->len + VARHDRSZ_SHORT);
	else
	{
		memset(data + fixed, 0, start - fixed);
		SET_VARSIZE(data + start, image->len + VARHDRSZ);
	}
	elt_image_write(image, data + start + (is_short ? VARHDRSZ_SHORT : VARHDRSZ));
	return tuple;
}

void
elt_log_append(EltLog *log, char op, const EltImage *image)
{
	MemoryContext old = MemoryContextSwitchTo(log->context);
	HeapTuple	tuple;
	int64		serial;

	if (log->nslots <= log->nrows)
		log->slots[log->nslots++] =
			MakeSingleTupleTableSlot(RelationGetDescr(log->rel), &TTSOpsHeapTuple);
	log->xid = elt_log_next(&serial);
	tuple = log_tuple(log->xid, serial, op, image);
	ExecStoreHeapTuple(tuple, log->slots[log->nrows++], true);
	log->bytes += tuple->t_len;
	if (log->nrows == MAX_BUFFERED_ROWS || log->bytes >= MAX_BUFFERED_BYTES)
		log_flush(log);
	MemoryContextSwitchTo(old);
}

void
elt_log_close(EltLog *log)
{
	log_flush(log);
	for (int i = 0; i < log->nslots; i++)
		ExecDropSingleTupleTableSlot(log->slots[i]);
	table_close(log->rel, NoLock);
	MemoryContextDelete(log->context);
}
