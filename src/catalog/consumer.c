/*
 * consumer.c
 *	  Typed access to elt.consumer, and the offset stored there.
 *
 * A consumer's row is changed only by who holds its object lock (capture/batch.c). Each write ends with a CommandCounterIncrement. A crash loses nothing: an
 * offset commits with what was done with its rows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/consumer.h"
#include "catalog/table.h"

#define A_ID			1
#define A_CAPTURE		2
#define A_KIND			3
#define A_NAME			4
#define A_INSTALL		5
#define A_ONLY_ADDS		6
#define A_SNAPSHOT		7
#define A_OWN_XID		8
#define A_OWN_SERIAL	9
#define A_PASSED		10
#define A_END_SNAPSHOT	11
#define A_END_OWN_XID	12
#define A_END_OWN_SERIAL	13
#define A_END_PASSED	14
#define A_CHUNKS		15
#define A_CHUNKS_DONE	16
#define A_CHUNK_KEY		17
#define A_ADVANCED		18

/* pg_snapshot's text form, xmin:xmax:xip,... , is its only public one. */
static EltOffset *
offset_from_text(const char *text)
{
	EltOffset  *offset = palloc0(sizeof(EltOffset));
	char	   *at;
	const char *p;
	int			commas = 1;

	for (p = text; *p; p++)
		commas += *p == ',';
	offset->xip = palloc(sizeof(uint64) * commas);

	offset->xmin = strtou64(text, &at, 10);
	offset->xmax = strtou64(at + 1, &at, 10);
	while (*at != '\0' && at[1] != '\0')
		offset->xip[offset->nxip++] = strtou64(at + 1, &at, 10);
	return offset;
}

static Datum
offset_to_snapshot(const EltOffset *offset)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, UINT64_FORMAT ":" UINT64_FORMAT ":", offset->xmin, offset->xmax);
	for (int i = 0; i < offset->nxip; i++)
		appendStringInfo(&buf, "%s" UINT64_FORMAT, i > 0 ? "," : "", offset->xip[i]);
	return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(buf.data));
}

static EltOffset *
offset_from_columns(Datum *values, bool *nulls, AttrNumber first)
{
	EltOffset  *offset;

	if (nulls[first - 1])
		return NULL;
	offset = offset_from_text(DatumGetCString(DirectFunctionCall1(pg_snapshot_out,
																  values[first - 1])));
	offset->own_xid = DatumGetInt64(values[first]);
	offset->own_serial = DatumGetInt64(values[first + 1]);
	offset->passed = DatumGetInt32(values[first + 2]);
	return offset;
}

static void
offset_to_columns(const EltOffset *offset, Datum *values, bool *nulls, AttrNumber first)
{
	nulls[first - 1] = offset == NULL;
	values[first - 1] = offset ? offset_to_snapshot(offset) : (Datum) 0;
	values[first] = Int64GetDatum(offset ? offset->own_xid : 0);
	values[first + 1] = Int64GetDatum(offset ? offset->own_serial : 0);
	values[first + 2] = Int32GetDatum(offset ? offset->passed : 0);
}

static EltConsumer *
consumer_from_tuple(HeapTuple tuple, TupleDesc desc)
{
	EltConsumer *consumer = palloc0(sizeof(EltConsumer));
	Datum		values[A_ADVANCED];
	bool		nulls[A_ADVANCED];

	heap_deform_tuple(tuple, desc, values, nulls);
	consumer->id = DatumGetInt32(values[A_ID - 1]);
	consumer->capture = DatumGetInt32(values[A_CAPTURE - 1]);
	consumer->kind = TextDatumGetCString(values[A_KIND - 1]);
	consumer->name = TextDatumGetCString(values[A_NAME - 1]);
	consumer->install = *DatumGetUUIDP(values[A_INSTALL - 1]);
	consumer->only_adds = DatumGetBool(values[A_ONLY_ADDS - 1]);
	consumer->offset = offset_from_columns(values, nulls, A_SNAPSHOT);
	consumer->end = offset_from_columns(values, nulls, A_END_SNAPSHOT);
	consumer->chunks = DatumGetInt32(values[A_CHUNKS - 1]);
	consumer->chunks_done = DatumGetInt32(values[A_CHUNKS_DONE - 1]);
	consumer->chunk_key = nulls[A_CHUNK_KEY - 1] ? NULL : TextDatumGetCString(values[A_CHUNK_KEY - 1]);
	consumer->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	return consumer;
}

static HeapTuple
consumer_to_tuple(const EltConsumer *consumer, TupleDesc desc)
{
	Datum		values[A_ADVANCED];
	bool		nulls[A_ADVANCED] = {false};

	values[A_ID - 1] = Int32GetDatum(consumer->id);
	values[A_CAPTURE - 1] = Int32GetDatum(consumer->capture);
	values[A_KIND - 1] = CStringGetTextDatum(consumer->kind);
	values[A_NAME - 1] = CStringGetTextDatum(consumer->name);
	values[A_INSTALL - 1] = elt_uuid_datum(&consumer->install);
	values[A_ONLY_ADDS - 1] = BoolGetDatum(consumer->only_adds);
	offset_to_columns(consumer->offset, values, nulls, A_SNAPSHOT);
	offset_to_columns(consumer->end, values, nulls, A_END_SNAPSHOT);
	values[A_CHUNKS - 1] = Int32GetDatum(consumer->chunks);
	values[A_CHUNKS_DONE - 1] = Int32GetDatum(consumer->chunks_done);
	nulls[A_CHUNK_KEY - 1] = consumer->chunk_key == NULL;
	values[A_CHUNK_KEY - 1] = consumer->chunk_key ? CStringGetTextDatum(consumer->chunk_key) : (Datum) 0;
	values[A_ADVANCED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	return heap_form_tuple(desc, values, nulls);
}

static List *
consumer_scan(const char *index, AttrNumber attno, int32 value)
{
	Relation	rel = elt_table_open("consumer", AccessShareLock);
	List	   *result = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, attno, value);
	scan = elt_table_scan(rel, index, 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend(result, consumer_from_tuple(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

EltConsumer *
elt_consumer_by_id(int32 id)
{
	List	   *found = consumer_scan("consumer_pkey", A_ID, id);

	return found == NIL ? NULL : linitial(found);
}

/* The consumers of a capture. */
List *
elt_consumer_list(int32 capture)
{
	return consumer_scan("consumer_capture_idx", A_CAPTURE, capture);
}

/* Insert a consumer (its id is not looked at) and return the id it got. */
int32
elt_consumer_insert(const EltConsumer *consumer)
{
	Relation	rel = elt_table_open("consumer", RowExclusiveLock);
	EltConsumer row = *consumer;

	row.id = (int32) elt_sequence_next("consumer_id_seq");
	CatalogTupleInsert(rel, consumer_to_tuple(&row, RelationGetDescr(rel)));
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return row.id;
}

/* Find the row to change; the caller ends the scan. */
static HeapTuple
consumer_find(Relation rel, int32 id, SysScanDesc *scan)
{
	ScanKeyData key;
	HeapTuple	tuple;

	elt_key_int4(&key, A_ID, id);
	*scan = elt_table_scan(rel, "consumer_pkey", 1, &key, NULL);
	tuple = systable_getnext(*scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the load or stream was dropped while its changes were read"),
				 errhint("Do not drop it in a trigger or function that its own batch calls.")));
	return tuple;
}

void
elt_consumer_update(const EltConsumer *consumer)
{
	Relation	rel = elt_table_open("consumer", RowExclusiveLock);
	SysScanDesc scan;
	HeapTuple	old = consumer_find(rel, consumer->id, &scan);

	CatalogTupleUpdate(rel, &old->t_self, consumer_to_tuple(consumer, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_consumer_delete(int32 id)
{
	Relation	rel = elt_table_open("consumer", RowExclusiveLock);
	SysScanDesc scan;
	HeapTuple	old = consumer_find(rel, id, &scan);

	CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static int
compare_xids(const void *a, const void *b)
{
	uint64		left = *(const uint64 *) a;
	uint64		right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

bool
elt_offset_contains(const EltOffset *offset, int64 xid, int64 serial)
{
	uint64		full = (uint64) xid;

	if (full < offset->xmin)
		return true;
	if (xid == offset->own_xid && serial <= offset->own_serial)
		return true;
	if (full >= offset->xmax)
		return false;
	return bsearch(&full, offset->xip, offset->nxip, sizeof(uint64), compare_xids) == NULL;
}
