/*
 * segment.c
 *	  The life of change log segments: open -> closed -> sealed -> free -> open.
 *
 * README.md tells why each step is safe. Nothing here waits: what cannot be locked at once is left for the next time.
 *
 * Locks: conditional Exclusive on the capture's maintenance lock; for a trim also on its trim lock, and AccessExclusive on the segment; all to the end of the
 * transaction. A crash undoes what was not committed, nothing else.
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/debug_point.h"
#include "base/guc.h"
#include "base/sql.h"
#include "capture/locks.h"
#include "capture/segment.h"
#include "catalog/capture.h"
#include "catalog/consumer.h"

/* Create the table of one slot, a member of the extension without dependency on its source. */
static Oid
create_table(int32 capture, int32 slot)
{
	char	   *name = psprintf("c%d_%d", capture, slot);
	ObjectAddress table;
	ObjectAddress extension;

	/* log.c lays out heap tuples; what fits a page stays in it */
	elt_sql_run_as_extension(psprintf("CREATE TABLE elt_log.%s (xid bigint NOT NULL, serial bigint NOT NULL, "
									  "images integer NOT NULL, changes integer NOT NULL, data bytea NOT NULL) USING heap "
									  "WITH (toast_tuple_target = %d, autovacuum_enabled = false, toast.autovacuum_enabled = false)",
									  name, (int) TOAST_TUPLE_TARGET_MAIN));
	/* values inside an image are compressed already where that pays */
	elt_sql_run_as_extension(psprintf("ALTER TABLE elt_log.%s ALTER COLUMN data SET STORAGE EXTERNAL", name));

	ObjectAddressSet(table, RelationRelationId,
					 get_relname_relid(name, get_namespace_oid("elt_log", false)));
	ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid("elt", false));
	recordDependencyOn(&table, &extension, DEPENDENCY_EXTENSION);
	CommandCounterIncrement();
	return table.objectId;
}

void
elt_segment_create_first(int32 capture)
{
	EltSegment	segment = {.capture = capture,.slot = 1,.segno = 1,.state = ELT_SEGMENT_OPEN};

	segment.relid = create_table(capture, 1);
	elt_segment_insert(&segment);
}

void
elt_segment_drop_all(int32 capture)
{
	ListCell   *lc;

	foreach(lc, elt_segment_list(capture, NULL))
	{
		EltSegment *segment = lfirst(lc);
		ObjectAddress table;

		/* gone already where the extension's schema is being dropped */
		if (get_rel_name(segment->relid) == NULL)
			continue;
		deleteDependencyRecordsForClass(RelationRelationId, segment->relid,
										ExtensionRelationId, DEPENDENCY_EXTENSION);
		CommandCounterIncrement();
		ObjectAddressSet(table, RelationRelationId, segment->relid);
		performDeletion(&table, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	}
	elt_segment_delete_all(capture);
}

int32
elt_segment_passed(int32 capture, Snapshot snapshot)
{
	int32		passed = 0;
	ListCell   *lc;

	foreach(lc, elt_segment_list(capture, snapshot))
	{
		EltSegment *segment = lfirst(lc);

		if (segment->state == ELT_SEGMENT_FREE)
			passed = Max(passed, segment->segno);
		else if (segment->state != ELT_SEGMENT_SEALED)
			break;

		/*
		 * sealed after this transaction's snapshot, which may lack the last
		 * writers: in REPEATABLE READ it is still the same one
		 */
		else if (TransactionIdIsCurrentTransactionId(segment->xmin))
			break;
		else
			passed = Max(passed, segment->segno);
	}
	return passed;
}

/*
 * A closed segment without a writer is sealed. One that this very transaction has closed is not: its writers have not been told yet.
 */
static void
seal(EltSegment *segment)
{
	Relation	rel;
	bool		mine;

	if (TransactionIdIsCurrentTransactionId(segment->xmin) ||
		!ConditionalLockRelationOid(segment->relid, ShareLock))
		return;
	/* one's own locks do not conflict with each other */
	rel = table_open(segment->relid, NoLock);
	mine = CheckRelationLockedByMe(rel, RowExclusiveLock, false);
	table_close(rel, NoLock);
	UnlockRelationOid(segment->relid, ShareLock);
	if (mine)
		return;
	segment->state = ELT_SEGMENT_SEALED;
	elt_segment_update(segment);
}

/* The highest segment number that every consumer has passed. */
static int32
passed_by_all(int32 capture)
{
	int32		passed = PG_INT32_MAX;
	ListCell   *lc;

	foreach(lc, elt_consumer_list(capture))
	{
		EltConsumer *consumer = lfirst(lc);

		/* one that has read nothing yet may be about to */
		passed = Min(passed, consumer->offset ? consumer->offset->passed : 0);
	}
	return passed;
}

/* Delete the marks that every consumer has got over. */
static void
trim_marks(int32 capture)
{
	List	   *consumers = elt_consumer_list(capture);
	ListCell   *lc;

	foreach(lc, elt_mark_list(capture))
	{
		EltMark    *mark = lfirst(lc);
		bool		needed = false;
		ListCell   *lc2;

		foreach(lc2, consumers)
		{
			EltConsumer *consumer = lfirst(lc2);

			needed |= consumer->offset != NULL &&
				!elt_offset_contains(consumer->offset, mark->xid, mark->serial);
		}
		if (!needed)
			elt_mark_delete(capture, mark->id);
	}
}

static void
trim(int32 capture, List *segments)
{
	int32		passed;
	int32		trimmed = 0;
	ListCell   *lc;

	if (!elt_try_lock_capture(capture, ELT_LOCK_TRIM, ExclusiveLock))
		return;
	passed = passed_by_all(capture);
	foreach(lc, segments)
	{
		EltSegment *segment = lfirst(lc);

		if (segment->state != ELT_SEGMENT_SEALED || segment->segno > passed ||
			TransactionIdIsCurrentTransactionId(segment->xmin) ||
			!ConditionalLockRelationOid(segment->relid, AccessExclusiveLock))
			continue;
		elt_sql_run_as_extension(psprintf("TRUNCATE ONLY %s", elt_qualified_name(segment->relid)));
		segment->state = ELT_SEGMENT_FREE;
		elt_segment_update(segment);
		trimmed = Max(trimmed, segment->segno);
	}
	if (trimmed > 0)
		elt_capture_set_trimmed(capture, trimmed);
	trim_marks(capture);
}

static int64
table_size(Oid relid)
{
	return DatumGetInt64(DirectFunctionCall1(pg_table_size, ObjectIdGetDatum(relid)));
}

/* Close the open segment when it is large, and open a free or a new one. */
static void
rotate(int32 capture, List *segments)
{
	EltSegment *open = NULL;
	EltSegment *next = NULL;
	int32		slot = 0;
	Oid			opened;
	ListCell   *lc;

	foreach(lc, segments)
	{
		EltSegment *segment = lfirst(lc);

		slot = Max(slot, segment->slot);
		if (segment->state == ELT_SEGMENT_OPEN)
			open = segment;
		else if (segment->state == ELT_SEGMENT_FREE && next == NULL &&
				 !TransactionIdIsCurrentTransactionId(segment->xmin))
			next = segment;
	}
	if (open == NULL || table_size(open->relid) < (int64) elt_segment_size * 1024)
		return;

	open->state = ELT_SEGMENT_CLOSED;
	elt_segment_update(open);
	if (next != NULL)
	{
		next->segno = open->segno + 1;
		next->state = ELT_SEGMENT_OPEN;
		elt_segment_update(next);
		opened = next->relid;
	}
	else
	{
		EltSegment	fresh = {.capture = capture,.slot = slot + 1,.segno = open->segno + 1,
		.state = ELT_SEGMENT_OPEN};

		fresh.relid = create_table(capture, fresh.slot);
		elt_segment_insert(&fresh);
		opened = fresh.relid;
	}

	/*
	 * writers that have cached the closed one look again; where this is
	 * rolled back, so does who has cached the new one: ourselves
	 */
	CacheInvalidateRelcacheByRelid(open->relid);
	CacheInvalidateRelcacheByRelid(opened);
}

void
elt_segment_maintain(int32 capture)
{
	List	   *segments;
	ListCell   *lc;

	/*
	 * in a serializable transaction it would conflict with writers, which
	 * read the segments' table
	 */
	if (IsolationIsSerializable() ||
		!elt_try_lock_capture(capture, ELT_LOCK_MAINTENANCE, ExclusiveLock))
		return;
	elt_debug_point("maintain");
	segments = elt_segment_list(capture, NULL);
	foreach(lc, segments)
	{
		EltSegment *segment = lfirst(lc);

		if (segment->state == ELT_SEGMENT_CLOSED)
			seal(segment);
	}
	segments = elt_segment_list(capture, NULL);
	trim(capture, segments);
	rotate(capture, elt_segment_list(capture, NULL));
}
