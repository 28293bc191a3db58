/*
 * stream.c
 *	  Typed access to elt.stream.
 *
 * Locks and crash behaviour are an ordinary table's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/rel.h"

#include "catalog/consumer.h"
#include "catalog/stream.h"
#include "catalog/table.h"

#define A_CONSUMER		1
#define A_RELATION		2
#define A_ATTNUMS		3

static List *
stream_scan(const char *index, ScanKey key)
{
	Relation	rel = elt_table_open("stream", AccessShareLock);
	SysScanDesc scan = elt_table_scan(rel, index, key ? 1 : 0, key, NULL);
	List	   *result = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		EltStream  *stream = palloc(sizeof(EltStream));
		Datum		values[A_ATTNUMS];
		bool		nulls[A_ATTNUMS];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		stream->consumer = DatumGetInt32(values[A_CONSUMER - 1]);
		stream->relid = DatumGetObjectId(values[A_RELATION - 1]);
		stream->attnums = DatumGetArrayTypePCopy(values[A_ATTNUMS - 1]);
		result = lappend(result, stream);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

EltStream *
elt_stream_by_consumer(int32 consumer)
{
	ScanKeyData key;
	List	   *found;

	elt_key_int4(&key, A_CONSUMER, consumer);
	found = stream_scan("stream_pkey", &key);
	return found == NIL ? NULL : linitial(found);
}

EltStream *
elt_stream_by_relation(Oid relid)
{
	ScanKeyData key;
	List	   *found;

	elt_key_oid(&key, A_RELATION, relid);
	found = stream_scan("stream_relation_key", &key);
	return found == NIL ? NULL : linitial(found);
}

List *
elt_stream_all(void)
{
	return stream_scan("stream_pkey", NULL);
}

void
elt_stream_insert(const EltStream *stream)
{
	Relation	rel = elt_table_open("stream", RowExclusiveLock);
	Datum		values[A_ATTNUMS];
	bool		nulls[A_ATTNUMS] = {false};

	values[A_CONSUMER - 1] = Int32GetDatum(stream->consumer);
	values[A_RELATION - 1] = ObjectIdGetDatum(stream->relid);
	values[A_ATTNUMS - 1] = PointerGetDatum(stream->attnums);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_stream_delete(int32 consumer)
{
	Relation	rel = elt_table_open("stream", RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, A_CONSUMER, consumer);
	scan = elt_table_scan(rel, "stream_pkey", 1, &key, NULL);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	if (elt_consumer_by_id(consumer) != NULL)
		elt_consumer_delete(consumer);
}
