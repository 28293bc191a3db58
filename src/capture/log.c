/*
 * log.c
 *	  Appends images to an open segment of the change log, many to a row.
 *
 *	  row   xid, serial of the first image, number of images, number of changes, data
 *	  data  for each image: op (1 byte), length (2 bytes, native; 0: all the rest), the image (image.c)
 *
 * A row is at most what fits a page, except that an image larger than that stands alone in a row and is toasted. The row is laid out by hand as
 * a heap tuple, so that an image is copied just once until its row is full. Full rows go to pages of their own, several at a time (page.c); the last
 * one of a statement, and large ones, go through heap_insert.
 *
 * Locks: the caller holds RowExclusive on the segment (target.c). A crash loses what the writer's transaction loses.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "capture/log.h"
#include "capture/page.h"

/* The columns as they stand in the tuple. */
typedef struct RowData
{
	int64		xid;
	int64		serial;
	int32		images;
	int32		changes;
	int32		varlena;		/* header of what follows */
	char		data[FLEXIBLE_ARRAY_MEMBER];
} RowData;

#define ROW_HOFF		MAXALIGN(SizeofHeapTupleHeader)
#define ROW_OVERHEAD	(ROW_HOFF + offsetof(RowData, data))
#define ROW_SPACE		(MaxHeapTupleSize - ROW_OVERHEAD)

/* In front of an image in a row's data: op and length. */
#define IMAGE_OVERHEAD	(1 + sizeof(uint16))

struct EltLog
{
	Relation	rel;
	CommandId	cid;
	MemoryContext context;		/* of this struct and of the rows */
	int			nfull;			/* full rows, to be written */
	HeapTuple	rows[ELT_PAGES_AT_ONCE];	/* made when first needed */
	RowData    *row;			/* being filled, that of rows[nfull]; NULL:
								 * none */
	Size		used;			/* of its data */
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
	EltLog	   *log = MemoryContextAllocZero(context, sizeof(EltLog));

	log->context = context;
	log->rel = table_open(segment, NoLock);
	log->cid = GetCurrentCommandId(true);
	return log;
}

/* A tuple with room for so much data. */
static HeapTuple
make_row(EltLog *log, Size space)
{
	HeapTuple	tuple = MemoryContextAlloc(log->context, HEAPTUPLESIZE + ROW_OVERHEAD + space);

	memset(tuple, 0, HEAPTUPLESIZE + ROW_OVERHEAD);
	tuple->t_data = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_data->t_hoff = ROW_HOFF;
	return tuple;
}

static inline RowData *
row_data(HeapTuple tuple)
{
	return (RowData *) ((char *) tuple->t_data + ROW_HOFF);
}

/* Begin the row's images with that of this stamp. */
static RowData *
begin_row(HeapTuple tuple, int64 xid, int64 serial)
{
	RowData    *row = row_data(tuple);

	row->xid = xid;
	row->serial = serial;
	row->images = row->changes = 0;
	return row;
}

/* The row's data is complete. */
static void
end_row(HeapTuple tuple, Size used)
{
	tuple->t_len = ROW_OVERHEAD + used;
	tuple->t_data->t_infomask = HEAP_HASVARWIDTH;
	tuple->t_data->t_infomask2 = 0;
	HeapTupleHeaderSetNatts(tuple->t_data, ELT_LOG_COLUMNS);
	ItemPointerSetInvalid(&tuple->t_data->t_ctid);
	SET_VARSIZE(&row_data(tuple)->varlena, VARHDRSZ + used);
}

/* Put an image to the row's data; length as it is to be stored. Returns how many bytes that took. */
static inline Size
put_image(RowData *row, Size used, char op, uint16 length, const EltImage *image)
{
	char	   *dest = row->data + used;

	dest[0] = op;
	memcpy(dest + 1, &length, sizeof(length));
	elt_image_write(image, dest + IMAGE_OVERHEAD);
	row->images++;
	row->changes += op != ELT_OP_NEW;
	return IMAGE_OVERHEAD + image->len;
}

static void
write_full_rows(EltLog *log)
{
	CHECK_FOR_INTERRUPTS();
	if (log->nfull > 0)
		elt_page_append(log->rel, log->rows, log->nfull, log->cid);
	log->nfull = 0;
}

/* Nothing more goes into the row being filled. */
static void
close_row(EltLog *log)
{
	if (log->row == NULL)
		return;
	end_row(log->rows[log->nfull], log->used);
	log->nfull++;
	log->row = NULL;
	if (log->nfull == ELT_PAGES_AT_ONCE)
		write_full_rows(log);
}

static void
open_row(EltLog *log, int64 xid, int64 serial)
{
	close_row(log);
	if (log->rows[log->nfull] == NULL)
		log->rows[log->nfull] = make_row(log, ROW_SPACE);
	log->row = begin_row(log->rows[log->nfull], xid, serial);
	log->used = 0;
}

/* A row of its own for an image that does not fit a page. */
static void
append_large(EltLog *log, int64 xid, int64 serial, char op, const EltImage *image)
{
	MemoryContext old = MemoryContextSwitchTo(log->context);
	HeapTuple	tuple;

	if (image->len > MaxAllocSize - 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row is too large to be tracked"),
				 errdetail("Its image has %zu bytes.", image->len),
				 errhint("Track the table with images => 'key'.")));
	tuple = make_row(log, IMAGE_OVERHEAD + image->len);
	end_row(tuple, put_image(begin_row(tuple, xid, serial), 0, op, 0, image));
	heap_insert(log->rel, tuple, log->cid, 0, NULL);
	pfree(tuple);
	MemoryContextSwitchTo(old);
}

void
elt_log_append(EltLog *log, char op, const EltImage *image)
{
	Size		need = IMAGE_OVERHEAD + image->len;
	RowData    *row = log->row;
	int64		serial;
	int64		xid = elt_log_next(&serial);

	if (need > ROW_SPACE)
	{
		append_large(log, xid, serial, op, image);
		return;
	}
	if (row == NULL || log->used + need > ROW_SPACE || serial != row->serial + row->images)
		open_row(log, xid, serial);
	log->used += put_image(log->row, log->used, op, (uint16) image->len, image);
}

void
elt_log_close(EltLog *log)
{
	HeapTuple	last = NULL;

	if (log->row != NULL)
	{
		last = log->rows[log->nfull];
		end_row(last, log->used);
	}
	write_full_rows(log);
	if (last != NULL)
		heap_insert(log->rel, last, log->cid, 0, NULL);
	table_close(log->rel, NoLock);
	MemoryContextDelete(log->context);
}

const char *
elt_log_unpack(const char *at, const char *end, char *op, const char **image, Size *len)
{
	uint16		length;

	*op = at[0];
	memcpy(&length, at + 1, sizeof(length));
	*image = at + IMAGE_OVERHEAD;
	*len = length > 0 ? length : end - *image;
	return *image + *len;
}
