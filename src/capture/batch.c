/*
 * batch.c
 *	  A batch: lock, snapshot, window; and at its end the new offset.
 *
 *	  consumer's lock -> locks on the source's tree -> snapshot -> segments, listed with a newer snapshot -> rows (reader.c, net.c)
 *
 * The order is what makes it exact: a snapshot taken before the locks could miss what a TRUNCATE or a trim removed meanwhile, and segments listed
 * before the snapshot could lack one whose rows the snapshot sees.
 *
 * Several batches may share a snapshot: then all of them are locked before it is taken. A batch of a table that the same transaction writes under that
 * snapshot (the storage of a precomputed view, read by another one) is opened after the writing: its window has the own changes up to then.
 *
 * Locks: Exclusive on the consumer, AccessShare on the source's tree and on the segments, to the end of the transaction. A crash undoes offset and
 * target rows together.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/debug_point.h"
#include "base/guc.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/image.h"
#include "capture/locks.h"
#include "capture/log.h"
#include "capture/mark.h"
#include "capture/net.h"
#include "capture/reader.h"
#include "capture/segment.h"
#include "capture/tree.h"

/* What netting keeps of an image beside its bytes, and what all of it may be to a small one's bytes. */
#define NET_OVERHEAD		160
#define NET_FACTOR			16

static uint64
widen_xid(TransactionId xid, uint64 next)
{
	uint64		epoch = next >> 32;

	if (xid > (TransactionId) next)
		epoch--;
	return (epoch << 32) | xid;
}

static int
compare_uint64(const void *a, const void *b)
{
	uint64		left = *(const uint64 *) a;
	uint64		right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

EltOffset *
elt_offset_of_snapshot(Snapshot snapshot)
{
	EltOffset  *offset = palloc0(sizeof(EltOffset));
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());

	offset->xmin = widen_xid(snapshot->xmin, next);
	offset->xmax = widen_xid(snapshot->xmax, next);
	offset->xip = palloc(sizeof(uint64) * (snapshot->xcnt + 1));
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		offset->xip[offset->nxip++] = widen_xid(snapshot->xip[i], next);

	/*
	 * one's own xid is never in one's own snapshot, yet what it writes later
	 * is to come
	 */
	offset->own_xid = elt_log_position(&offset->own_serial);
	if (offset->own_xid != 0 && (uint64) offset->own_xid < offset->xmax)
	{
		offset->xip[offset->nxip++] = (uint64) offset->own_xid;
		offset->xmin = Min(offset->xmin, (uint64) offset->own_xid);
	}
	qsort(offset->xip, offset->nxip, sizeof(uint64), compare_uint64);
	return offset;
}

/* Was the row version written by a transaction that snapshot does not see? */
static bool
newer_than(TransactionId xmin, Snapshot snapshot)
{
	if (!TransactionIdIsNormal(xmin) || TransactionIdIsCurrentTransactionId(xmin))
		return false;
	return XidInMVCCSnapshot(xmin, snapshot);
}

static void
serialization_failure(const char *what, EltBatch *batch)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access because %s of %s \"%s\" changed after this transaction's snapshot",
					what, batch->consumer->kind, batch->consumer->name),
			 errhint("Run the transaction again, or use READ COMMITTED.")));
}

void
elt_batch_check_snapshot(EltBatch *batch)
{
	ListCell   *lc;

	if (!IsolationUsesXactSnapshot())
		return;
	if (newer_than(batch->consumer->xmin, batch->snapshot))
		serialization_failure("the offset", batch);
	if (newer_than(batch->capture->xmin, batch->snapshot))
		serialization_failure("the change log", batch);
	foreach(lc, elt_mark_list(batch->capture->id))
	{
		if (newer_than(((EltMark *) lfirst(lc))->xmin, batch->snapshot))
			serialization_failure("the source", batch);
	}
}

/*
 * now: the marks to look at; NULL: all. A mark that the snapshot sees counts even when it is newer than the recorded end of a window being applied in chunks: what the marked event did cannot be
 * told from the rest of that window, so the window is given up for a resynchronisation as of now.
 */
static void
find_resync(EltBatch *batch, EltOffset *now)
{
	ListCell   *lc;

	foreach(lc, elt_mark_list(batch->capture->id))
	{
		EltMark    *mark = lfirst(lc);

		if (batch->consumer->only_adds && strcmp(mark->reason, ELT_MARK_TRUNCATE) == 0)
			continue;
		if ((now == NULL || elt_offset_contains(now, mark->xid, mark->serial)) &&
			!elt_offset_contains(batch->consumer->offset, mark->xid, mark->serial))
		{
			batch->resync = mark->reason;
			batch->rows_hidden |= elt_mark_hides_rows(mark->reason);
		}
	}
}

/*
 * By what net.c finds a row's chunk, as text: the primary key's columns and their collations, or the whole row without the columns dropped by now.
 */
static char *
chunk_key(Relation root)
{
	TupleDesc	desc = RelationGetDescr(root);
	Bitmapset  *attrs = RelationGetIndexAttrBitmap(root, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	bool		by_key = elt_net_by_key(root);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (by_key && bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, attrs))
			appendStringInfo(&text, "%d:%u ", att->attnum, att->attcollation);
		else if (!by_key && att->attisdropped)
			appendStringInfo(&text, "-%d ", att->attnum);
	}
	return text.data;
}

/* Decide where the window ends: where it was recorded to end, else now. */
static void
find_window(EltBatch *batch)
{
	EltOffset  *now = elt_offset_of_snapshot(batch->snapshot);
	EltConsumer *consumer = batch->consumer;

	now->passed = elt_segment_passed(batch->capture->id, batch->snapshot);
	if (consumer->offset != NULL)
	{
		now->passed = Max(now->passed, consumer->offset->passed);
		find_resync(batch, now);

		/*
		 * under another key, rows of the chunks to come are in those that
		 * were applied; new rows alone are not told by key
		 */
		if (!consumer->only_adds && consumer->end != NULL && strcmp(consumer->chunk_key, chunk_key(batch->root)) != 0)
			batch->resync = "the primary key was changed, or a column of a table without one was dropped";
	}
	batch->fresh = consumer->end == NULL || batch->resync != NULL;
	batch->to = batch->fresh ? now : consumer->end;
	batch->chunks = batch->fresh ? 0 : consumer->chunks;
	batch->chunk = batch->fresh ? 0 : consumer->chunks_done;
}

void
elt_batch_resync(EltBatch *batch, const char *reason)
{
	int32		passed = elt_segment_passed(batch->capture->id, batch->snapshot);

	batch->resync = reason;
	batch->to = elt_offset_of_snapshot(batch->snapshot);
	batch->to->passed = Max(passed, batch->consumer->offset->passed);
	batch->fresh = true;
	batch->chunks = batch->chunk = 0;
}

static void
lock_segments(EltBatch *batch)
{
	int32		passed = batch->consumer->offset->passed;
	ListCell   *lc;

	foreach(lc, elt_segment_list(batch->capture->id, NULL))
	{
		EltSegment *segment = lfirst(lc);

		if (segment->state == ELT_SEGMENT_FREE || segment->segno <= passed)
			continue;
		LockRelationOid(segment->relid, AccessShareLock);
		batch->segments = lappend(batch->segments, segment);
	}
}

EltCapture *
elt_consumer_capture(EltConsumer *consumer)
{
	EltCapture *capture = elt_capture_by_id(consumer->capture);

	if (!elt_install_is(&consumer->install) || (capture != NULL && !elt_install_is(&capture->install)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the offset of %s \"%s\" comes from another database", consumer->kind, consumer->name),
				 errdetail("It was dumped there and restored here, where the change log begins anew."),
				 errhint("Drop the %s and create it anew.", consumer->kind)));
	if (capture == NULL || get_rel_name(capture->relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the source of %s \"%s\" was dropped or is no longer tracked", consumer->kind, consumer->name),
				 errhint("Drop the %s, then create it anew on the table that is there now.", consumer->kind)));
	return capture;
}

Snapshot
elt_snapshot_push(void)
{
	PushCopiedSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
	UpdateActiveSnapshotCommandId();
	return GetActiveSnapshot();
}

/*
 * With a fixed snapshot one's own changes can be newer than others' that it does not see, which they may rest on: a key freed by another transaction and
 * taken by this one. Those others come in a later window, where they could not be netted with the own ones any more.
 */
void
elt_batch_check_own_changes(EltBatch *batch)
{
	EltOffset  *from = batch->consumer->offset;
	EltOffset  *to = batch->to;
	EltBatch	latest = *batch;
	EltReader  *reader;
	EltChange	change;
	bool		newer = false;
	bool		own = false;

	if (!IsolationUsesXactSnapshot() || from == NULL || to->own_serial == 0 ||
		(from->own_xid == to->own_xid && from->own_serial == to->own_serial))
		return;
	latest.snapshot = RegisterSnapshot(GetLatestSnapshot());
	reader = elt_reader_begin(&latest, true);
	while (!(newer && own) && elt_reader_next(reader, &change))
	{
		own |= change.xid == to->own_xid && !elt_offset_contains(from, change.xid, change.serial);
		newer |= change.xid != to->own_xid && !elt_offset_contains(to, change.xid, change.serial);
	}
	elt_reader_end(reader);
	UnregisterSnapshot(latest.snapshot);
	if (newer && own)
		serialization_failure("the source", batch);
}

EltBatch *
elt_batch_lock(int32 consumer)
{
	EltBatch   *batch = palloc0(sizeof(EltBatch));

	elt_lock_consumer(consumer);
	batch->consumer = elt_consumer_by_id(consumer);
	if (batch->consumer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the consumer was dropped meanwhile"),
				 errhint("Create it anew.")));
	batch->capture = elt_consumer_capture(batch->consumer);

	/*
	 * not kept open: another batch of the same relation may have to be locked
	 * as well, and does not want it in use
	 */
	table_close(elt_tree_lock(batch->capture, batch->consumer->kind, batch->consumer->name), NoLock);
	elt_debug_point("batch-locked");
	return batch;
}

void
elt_batch_open(EltBatch *batch, Snapshot snapshot)
{
	/* what this transaction has written since the snapshot was pushed counts */
	if (snapshot != GetActiveSnapshot())
		elog(ERROR, "the snapshot of a batch is not the active one");
	UpdateActiveSnapshotCommandId();
	batch->snapshot = snapshot;
	batch->root = table_open(batch->capture->relid, NoLock);
	elt_batch_check_snapshot(batch);
	elt_debug_point("batch-snapshot");

	find_window(batch);
	if (batch->consumer->offset != NULL)
		lock_segments(batch);
	elt_batch_check_own_changes(batch);
}

EltBatch *
elt_batch_begin(int32 consumer)
{
	EltBatch   *batch = elt_batch_lock(consumer);

	elt_batch_open(batch, elt_snapshot_push());
	return batch;
}

/* Bytes of a segment, with those of the rows that are too large for a page. */
static int64
segment_bytes(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	int64		blocks = RelationGetNumberOfBlocks(rel);

	if (OidIsValid(rel->rd_rel->reltoastrelid))
	{
		Relation	toast = table_open(rel->rd_rel->reltoastrelid, AccessShareLock);

		blocks += RelationGetNumberOfBlocks(toast);
		table_close(toast, AccessShareLock);
	}
	table_close(rel, NoLock);
	return blocks * BLCKSZ;
}

int64
elt_batch_memory_needed(EltBatch *batch, int64 limit)
{
	int64		bytes = 0;
	int64		changes;
	EltReader  *reader;
	ListCell   *lc;

	foreach(lc, batch->segments)
		bytes += segment_bytes(((EltSegment *) lfirst(lc))->relid);
	if (bytes * NET_FACTOR < limit)
		return bytes * NET_FACTOR;
	reader = elt_reader_begin(batch, false);
	bytes += elt_reader_count(reader, &changes) * NET_OVERHEAD;
	elt_reader_end(reader);
	return bytes;
}

void
elt_batch_split(EltBatch *batch, int64 max_rows)
{
	int64		memory = (int64) elt_batch_memory * 1024;
	int64		needed = 0;
	int64		rows;

	if (batch->chunks > 0)
		return;
	batch->chunks = 1;
	if (max_rows == 0)
		needed = elt_batch_memory_needed(batch, memory);
	if (max_rows == 0 && needed <= memory)
		return;
	rows = elt_batch_pending(batch);
	if (max_rows == 0)
		max_rows = Max((int64) (rows * ((double) memory / needed)), 1);
	batch->chunks = (int) Min(rows / max_rows + (rows % max_rows > 0 ? 1 : 0), 10000);
	batch->chunks = Max(batch->chunks, 1);
}

int64
elt_batch_pending(EltBatch *batch)
{
	EltReader  *reader = elt_reader_begin(batch, false);
	int64		changes;

	(void) elt_reader_count(reader, &changes);
	elt_reader_end(reader);
	return changes;
}

EltBatch *
elt_batch_peek(EltConsumer *consumer, EltCapture *capture, Snapshot snapshot, EltOffset *to)
{
	EltBatch   *batch = palloc0(sizeof(EltBatch));

	batch->consumer = consumer;
	batch->capture = capture;
	batch->snapshot = snapshot;
	batch->to = to;
	batch->chunks = 1;
	if (consumer->offset != NULL)
	{
		lock_segments(batch);
		find_resync(batch, NULL);
	}
	return batch;
}

int64
elt_consumer_pending(EltConsumer *consumer, EltCapture *capture)
{
	Snapshot	snapshot = GetActiveSnapshot();

	return elt_batch_pending(elt_batch_peek(consumer, capture, snapshot,
											elt_offset_of_snapshot(snapshot)));
}

bool
elt_consumer_has_pointers(EltConsumer *consumer, EltCapture *capture)
{
	Snapshot	snapshot = GetActiveSnapshot();
	EltReader  *reader = elt_reader_begin(elt_batch_peek(consumer, capture, snapshot, elt_offset_of_snapshot(snapshot)), false);
	bool		found = false;
	EltChange	change;

	while (!found && elt_reader_next(reader, &change))
	{
		uint16		flags;

		memcpy(&flags, change.image, sizeof(flags));
		found = (flags & ELT_IMAGE_POINTERS) != 0;
	}
	elt_reader_end(reader);
	return found;
}

void
elt_batch_store(EltBatch *batch)
{
	EltConsumer *consumer = batch->consumer;

	if (batch->chunks > 1 && batch->chunk + 1 < batch->chunks)
	{
		consumer->end = batch->to;
		consumer->chunks = batch->chunks;
		consumer->chunks_done = batch->chunk + 1;
		consumer->chunk_key = chunk_key(batch->root);
	}
	else
	{
		consumer->offset = batch->to;
		consumer->end = NULL;
		consumer->chunk_key = NULL;
		consumer->chunks = consumer->chunks_done = 0;
	}
	elt_consumer_update(consumer);
	table_close(batch->root, NoLock);
	elt_debug_point("batch-stored");
}

void
elt_batch_close(EltBatch *batch)
{
	table_close(batch->root, NoLock);
}

void
elt_batch_end(EltBatch *batch)
{
	PopActiveSnapshot();
	elt_batch_store(batch);
}

void
elt_batch_cancel(EltBatch *batch)
{
	PopActiveSnapshot();
	elt_batch_close(batch);
}

int32
elt_consumer_create(int32 capture, const char *kind, const char *name, bool from_now, bool only_adds)
{
	EltConsumer consumer = {0};

	consumer.capture = capture;
	consumer.kind = pstrdup(kind);
	consumer.name = pstrdup(name);
	consumer.install = elt_install_id();
	consumer.only_adds = only_adds;
	elt_lock_capture(capture, ELT_LOCK_TRIM, ShareLock);
	if (from_now)
	{
		Snapshot	snapshot = RegisterSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
		EltBatch	batch = {.consumer = &consumer,.capture = elt_capture_by_id(capture),.snapshot = snapshot};

		elt_batch_check_snapshot(&batch);
		consumer.offset = elt_offset_of_snapshot(snapshot);
		consumer.offset->passed = elt_segment_passed(capture, snapshot);
		UnregisterSnapshot(snapshot);
	}
	/* writers look again how they are to log */
	if (only_adds)
		CacheInvalidateRelcacheByRelid(elt_capture_by_id(capture)->relid);
	return elt_consumer_insert(&consumer);
}
