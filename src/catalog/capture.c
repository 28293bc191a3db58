/*
 * capture.c
 *	  Typed access to elt.capture, elt.capture_segment and elt.mark.
 *
 * Who may change which row is told in capture/README.md; here are only reads and writes. Each write ends with a CommandCounterIncrement, so
 * that the transaction sees it. A crash loses nothing.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/capture.h"
#include "catalog/table.h"

/* elt.capture */
#define A_ID				1
#define A_RELATION			2
#define A_KEYS_ONLY			3
#define A_PARTITION_DROP	4
#define A_COLUMNS			5
#define A_INSTALL			6
#define A_TRIMMED			7
#define A_SINCE				8

/* elt.capture_segment */
#define S_CAPTURE			1
#define S_SLOT				2
#define S_SEGNO				3
#define S_STATE				4
#define S_RELATION			5

/* elt.mark */
#define M_CAPTURE			1
#define M_ID				2
#define M_XID				3
#define M_SERIAL			4
#define M_REASON			5
#define M_AT				6

static EltCapture *
capture_from_tuple(HeapTuple tuple, TupleDesc desc)
{
	EltCapture *capture = palloc0(sizeof(EltCapture));
	Datum		values[A_SINCE];
	bool		nulls[A_SINCE];

	heap_deform_tuple(tuple, desc, values, nulls);
	capture->id = DatumGetInt32(values[A_ID - 1]);
	capture->relid = DatumGetObjectId(values[A_RELATION - 1]);
	capture->keys_only = DatumGetBool(values[A_KEYS_ONLY - 1]);
	capture->on_partition_drop = TextDatumGetCString(values[A_PARTITION_DROP - 1]);
	capture->columns = TextDatumGetCString(values[A_COLUMNS - 1]);
	capture->install = *DatumGetUUIDP(values[A_INSTALL - 1]);
	capture->trimmed = DatumGetInt32(values[A_TRIMMED - 1]);
	capture->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	return capture;
}

/* The rows of elt.capture that match one key (NULL: all). */
static List *
capture_scan(const char *index, ScanKey key)
{
	Relation	rel = elt_table_open("capture", AccessShareLock);
	SysScanDesc scan = elt_table_scan(rel, index, key ? 1 : 0, key, NULL);
	List	   *result = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend(result, capture_from_tuple(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

EltCapture *
elt_capture_by_id(int32 id)
{
	ScanKeyData key;
	List	   *found;

	elt_key_int4(&key, A_ID, id);
	found = capture_scan("capture_pkey", &key);
	return found == NIL ? NULL : linitial(found);
}

EltCapture *
elt_capture_by_relation(Oid relid)
{
	ScanKeyData key;
	List	   *found;

	elt_key_oid(&key, A_RELATION, relid);
	found = capture_scan("capture_relation_key", &key);
	return found == NIL ? NULL : linitial(found);
}

List *
elt_capture_all(void)
{
	return capture_scan("capture_pkey", NULL);
}

/* Is anything tracked? */
bool
elt_capture_any(void)
{
	Relation	rel = elt_table_open("capture", AccessShareLock);
	SysScanDesc scan = elt_table_scan(rel, "capture_pkey", 0, NULL, NULL);
	bool		any = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return any;
}

int32
elt_capture_insert(const EltCapture *capture)
{
	Relation	rel = elt_table_open("capture", RowExclusiveLock);
	int32		id = (int32) elt_sequence_next("capture_id_seq");
	Datum		values[A_SINCE];
	bool		nulls[A_SINCE] = {false};

	values[A_ID - 1] = Int32GetDatum(id);
	values[A_RELATION - 1] = ObjectIdGetDatum(capture->relid);
	values[A_KEYS_ONLY - 1] = BoolGetDatum(capture->keys_only);
	values[A_PARTITION_DROP - 1] = CStringGetTextDatum(capture->on_partition_drop);
	values[A_COLUMNS - 1] = CStringGetTextDatum(capture->columns);
	values[A_INSTALL - 1] = elt_uuid_datum(&capture->install);
	values[A_TRIMMED - 1] = Int32GetDatum(0);
	values[A_SINCE - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return id;
}

/* Set one column of a capture. */
static void
capture_set(int32 id, AttrNumber attno, Datum value)
{
	Relation	rel = elt_table_open("capture", RowExclusiveLock);
	Datum		values[A_SINCE] = {0};
	bool		nulls[A_SINCE] = {false};
	bool		replace[A_SINCE] = {false};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, A_ID, id);
	scan = elt_table_scan(rel, "capture_pkey", 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "capture %d does not exist", id);
	values[attno - 1] = value;
	replace[attno - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_capture_set_trimmed(int32 id, int32 segno)
{
	capture_set(id, A_TRIMMED, Int32GetDatum(segno));
}

void
elt_capture_set_columns(int32 id, const char *columns)
{
	capture_set(id, A_COLUMNS, CStringGetTextDatum(columns));
}

/* Delete the rows of a table whose first column is id. */
static void
delete_rows(const char *table, const char *index, int32 id)
{
	Relation	rel = elt_table_open(table, RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, 1, id);
	scan = elt_table_scan(rel, index, 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_capture_delete(int32 id)
{
	delete_rows("capture", "capture_pkey", id);
}

List *
elt_member_list(int32 capture)
{
	Relation	rel = elt_table_open("capture_member", AccessShareLock);
	List	   *result = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	elt_key_int4(&key, 1, capture);
	scan = elt_table_scan(rel, "capture_member_pkey", 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend_oid(result, DatumGetObjectId(heap_getattr(tuple, 2, RelationGetDescr(rel),
																   &isnull)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

List *
elt_member_captures(Oid relid)
{
	Relation	rel = elt_table_open("capture_member", AccessShareLock);
	List	   *result = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	elt_key_oid(&key, 2, relid);
	scan = elt_table_scan(rel, "capture_member_relation_idx", 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend_int(result, DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

void
elt_member_insert(int32 capture, Oid relid)
{
	Relation	rel = elt_table_open("capture_member", RowExclusiveLock);
	Datum		values[2] = {Int32GetDatum(capture), ObjectIdGetDatum(relid)};
	bool		nulls[2] = {false};

	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_member_delete(int32 capture, Oid relid)
{
	Relation	rel = elt_table_open("capture_member", RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&keys[0], 1, capture);
	elt_key_oid(&keys[1], 2, relid);
	scan = elt_table_scan(rel, "capture_member_pkey", 2, keys, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_member_delete_all(int32 capture)
{
	delete_rows("capture_member", "capture_member_pkey", capture);
}

static int
compare_segments(const ListCell *a, const ListCell *b)
{
	const EltSegment *left = lfirst(a);
	const EltSegment *right = lfirst(b);
	bool		left_free = left->state == ELT_SEGMENT_FREE;
	bool		right_free = right->state == ELT_SEGMENT_FREE;

	if (left_free != right_free)
		return left_free ? 1 : -1;
	return left->segno < right->segno ? -1 : left->segno > right->segno;
}

List *
elt_segment_list(int32 capture, Snapshot snapshot)
{
	Relation	rel = elt_table_open("capture_segment", AccessShareLock);
	List	   *result = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, S_CAPTURE, capture);
	scan = elt_table_scan(rel, "capture_segment_pkey", 1, &key, snapshot);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		EltSegment *segment = palloc(sizeof(EltSegment));
		Datum		values[S_RELATION];
		bool		nulls[S_RELATION];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		segment->capture = capture;
		segment->slot = DatumGetInt32(values[S_SLOT - 1]);
		segment->segno = DatumGetInt32(values[S_SEGNO - 1]);
		segment->state = DatumGetChar(values[S_STATE - 1]);
		segment->relid = DatumGetObjectId(values[S_RELATION - 1]);
		segment->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		result = lappend(result, segment);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	list_sort(result, compare_segments);
	return result;
}

/* The segment that takes new rows, InvalidOid where the log is gone. */
Oid
elt_segment_open_relid(int32 capture)
{
	List	   *segments = elt_segment_list(capture, NULL);
	Oid			relid = InvalidOid;
	ListCell   *lc;

	foreach(lc, segments)
	{
		EltSegment *segment = lfirst(lc);

		if (segment->state == ELT_SEGMENT_OPEN)
			relid = segment->relid;
	}
	list_free_deep(segments);
	return relid;
}

static HeapTuple
segment_tuple(Relation rel, const EltSegment *segment)
{
	Datum		values[S_RELATION];
	bool		nulls[S_RELATION] = {false};

	values[S_CAPTURE - 1] = Int32GetDatum(segment->capture);
	values[S_SLOT - 1] = Int32GetDatum(segment->slot);
	values[S_SEGNO - 1] = Int32GetDatum(segment->segno);
	values[S_STATE - 1] = CharGetDatum(segment->state);
	values[S_RELATION - 1] = ObjectIdGetDatum(segment->relid);
	return heap_form_tuple(RelationGetDescr(rel), values, nulls);
}

void
elt_segment_insert(const EltSegment *segment)
{
	Relation	rel = elt_table_open("capture_segment", RowExclusiveLock);

	CatalogTupleInsert(rel, segment_tuple(rel, segment));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_segment_update(const EltSegment *segment)
{
	Relation	rel = elt_table_open("capture_segment", RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&keys[0], S_CAPTURE, segment->capture);
	elt_key_int4(&keys[1], S_SLOT, segment->slot);
	scan = elt_table_scan(rel, "capture_segment_pkey", 2, keys, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "segment %d of capture %d does not exist", segment->slot, segment->capture);
	CatalogTupleUpdate(rel, &tuple->t_self, segment_tuple(rel, segment));
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_segment_delete_all(int32 capture)
{
	delete_rows("capture_segment", "capture_segment_pkey", capture);
}

void
elt_mark_insert(int32 capture, int64 xid, int64 serial, const char *reason)
{
	Relation	rel = elt_table_open("mark", RowExclusiveLock);
	Datum		values[M_AT];
	bool		nulls[M_AT] = {false};

	values[M_CAPTURE - 1] = Int32GetDatum(capture);
	values[M_ID - 1] = Int64GetDatum(elt_sequence_next("mark_id_seq"));
	values[M_XID - 1] = Int64GetDatum(xid);
	values[M_SERIAL - 1] = Int64GetDatum(serial);
	values[M_REASON - 1] = CStringGetTextDatum(reason);
	values[M_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

List *
elt_mark_list(int32 capture)
{
	Relation	rel = elt_table_open("mark", AccessShareLock);
	List	   *result = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, M_CAPTURE, capture);
	scan = elt_table_scan(rel, "mark_pkey", 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		EltMark    *mark = palloc(sizeof(EltMark));
		Datum		values[M_AT];
		bool		nulls[M_AT];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		mark->id = DatumGetInt64(values[M_ID - 1]);
		mark->xid = DatumGetInt64(values[M_XID - 1]);
		mark->serial = DatumGetInt64(values[M_SERIAL - 1]);
		mark->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		mark->reason = TextDatumGetCString(values[M_REASON - 1]);
		result = lappend(result, mark);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

void
elt_mark_delete(int32 capture, int64 id)
{
	Relation	rel = elt_table_open("mark", RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&keys[0], M_CAPTURE, capture);
	ScanKeyInit(&keys[1], M_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = elt_table_scan(rel, "mark_pkey", 2, keys, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_mark_delete_all(int32 capture)
{
	delete_rows("mark", "mark_pkey", capture);
}
