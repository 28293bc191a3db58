/*
 * load.c
 *	  Typed access to elt.load and elt.rejected_row.
 *
 * Locks and crash behaviour are an ordinary table's; a load's rows are changed by who holds its consumer's lock.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/consumer.h"
#include "catalog/load.h"
#include "catalog/table.h"

/* elt.load */
#define L_NODE			1
#define L_CONSUMER		2
#define L_SOURCE		3
#define L_TARGET		4
#define L_MODE			5
#define L_QUERY			6
#define L_DEFINITION	7
#define L_COLUMNS		8
#define L_KEY			9
#define L_OWNED_TARGET	10
#define L_OWNED_SOURCE	11
#define L_BATCH_ROWS	12
#define L_ON_ERROR		13
#define L_MAX_REJECTED	14
#define L_SETTINGS		15
#define L_SOURCE_COLUMNS	16

/* elt.rejected_row */
#define R_LOAD			1
#define R_ID			2
#define R_AT			3
#define R_SQLSTATE		4
#define R_MESSAGE		5
#define R_KEY			6
#define R_ROW			7
#define R_IMAGE			8

static void
read_load(EltLoad *load)
{
	Relation	rel = elt_table_open("load", AccessShareLock);
	Datum		values[L_SOURCE_COLUMNS];
	bool		nulls[L_SOURCE_COLUMNS];
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, L_NODE, load->node.id);
	scan = elt_table_scan(rel, "load_pkey", 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "load \"%s\" has no definition", load->node.name);
	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
	load->consumer = DatumGetInt32(values[L_CONSUMER - 1]);
	load->source = DatumGetObjectId(values[L_SOURCE - 1]);
	load->target = DatumGetObjectId(values[L_TARGET - 1]);
	load->mode = TextDatumGetCString(values[L_MODE - 1]);
	load->query = TextDatumGetCString(values[L_QUERY - 1]);
	load->definition = TextDatumGetCString(values[L_DEFINITION - 1]);
	load->columns = elt_strings_of_array(values[L_COLUMNS - 1]);
	load->key = elt_strings_of_array(values[L_KEY - 1]);
	load->owned_target = elt_strings_of_array(values[L_OWNED_TARGET - 1]);
	load->owned_source = elt_strings_of_array(values[L_OWNED_SOURCE - 1]);
	load->batch_rows = DatumGetInt32(values[L_BATCH_ROWS - 1]);
	load->on_error = TextDatumGetCString(values[L_ON_ERROR - 1]);
	load->max_rejected = DatumGetInt64(values[L_MAX_REJECTED - 1]);
	load->settings = elt_strings_of_array(values[L_SETTINGS - 1]);
	load->source_columns = TextDatumGetCString(values[L_SOURCE_COLUMNS - 1]);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

EltLoad *
elt_load_by_name(const char *name)
{
	EltNode    *node = elt_node_by_name(name);
	EltLoad    *load;

	if (node == NULL)
		return NULL;
	elt_node_check_kind(node, "load");
	load = palloc0(sizeof(EltLoad));
	load->node = *node;
	read_load(load);
	return load;
}

char *
elt_load_mirror_of(Oid target)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *name = NULL;
	bool		isnull;

	LockDatabaseObject(elt_table_oid("load"), target, 0, ExclusiveLock);
	rel = elt_table_open("load", AccessShareLock);
	elt_key_oid(&key, L_TARGET, target);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (name == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (strcmp(TextDatumGetCString(heap_getattr(tuple, L_MODE, RelationGetDescr(rel), &isnull)), "mirror") == 0)
			name = elt_node_name(DatumGetInt32(heap_getattr(tuple, L_NODE, RelationGetDescr(rel), &isnull)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return name;
}

void
elt_load_insert(EltLoad *load)
{
	Relation	rel = elt_table_open("load", RowExclusiveLock);
	Datum		values[L_SOURCE_COLUMNS];
	bool		nulls[L_SOURCE_COLUMNS] = {false};

	elt_node_insert(&load->node);
	values[L_NODE - 1] = Int32GetDatum(load->node.id);
	values[L_CONSUMER - 1] = Int32GetDatum(load->consumer);
	values[L_SOURCE - 1] = ObjectIdGetDatum(load->source);
	values[L_TARGET - 1] = ObjectIdGetDatum(load->target);
	values[L_MODE - 1] = CStringGetTextDatum(load->mode);
	values[L_QUERY - 1] = CStringGetTextDatum(load->query);
	values[L_DEFINITION - 1] = CStringGetTextDatum(load->definition);
	values[L_COLUMNS - 1] = elt_array_of_strings(load->columns);
	values[L_KEY - 1] = elt_array_of_strings(load->key);
	values[L_OWNED_TARGET - 1] = elt_array_of_strings(load->owned_target);
	values[L_OWNED_SOURCE - 1] = elt_array_of_strings(load->owned_source);
	values[L_BATCH_ROWS - 1] = Int32GetDatum(load->batch_rows);
	values[L_ON_ERROR - 1] = CStringGetTextDatum(load->on_error);
	values[L_MAX_REJECTED - 1] = Int64GetDatum(load->max_rejected);
	values[L_SETTINGS - 1] = elt_array_of_strings(load->settings);
	values[L_SOURCE_COLUMNS - 1] = CStringGetTextDatum(load->source_columns);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_load_set_source_columns(int32 node, const char *columns)
{
	Relation	rel = elt_table_open("load", RowExclusiveLock);
	Datum		values[L_SOURCE_COLUMNS] = {0};
	bool		nulls[L_SOURCE_COLUMNS] = {false};
	bool		replace[L_SOURCE_COLUMNS] = {false};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, L_NODE, node);
	scan = elt_table_scan(rel, "load_pkey", 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "load %d does not exist", node);
	values[L_SOURCE_COLUMNS - 1] = CStringGetTextDatum(columns);
	replace[L_SOURCE_COLUMNS - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_load_delete(const EltLoad *load)
{
	ScanKeyData key;

	elt_rejected_delete_all(load->node.id);
	elt_key_int4(&key, 1, load->node.id);
	elt_table_delete("load", "load_pkey", 1, &key);
	elt_node_delete(load->node.id);
	if (elt_consumer_by_id(load->consumer) != NULL)
		elt_consumer_delete(load->consumer);
}

void
elt_rejected_insert(int32 node, const EltRejected *rejected)
{
	Relation	rel = elt_table_open("rejected_row", RowExclusiveLock);
	bytea	   *image = palloc(rejected->len + VARHDRSZ);
	Datum		values[R_IMAGE];
	bool		nulls[R_IMAGE] = {false};

	SET_VARSIZE(image, rejected->len + VARHDRSZ);
	memcpy(VARDATA(image), rejected->image, rejected->len);
	values[R_LOAD - 1] = Int32GetDatum(node);
	values[R_ID - 1] = Int64GetDatum(elt_sequence_next("rejected_id_seq"));
	values[R_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[R_SQLSTATE - 1] = CStringGetTextDatum(rejected->sqlstate);
	values[R_MESSAGE - 1] = CStringGetTextDatum(rejected->message);
	nulls[R_KEY - 1] = rejected->key == NULL;
	values[R_KEY - 1] = rejected->key == NULL ? (Datum) 0 :
		DirectFunctionCall1(jsonb_in, CStringGetDatum(rejected->key));
	values[R_ROW - 1] = DirectFunctionCall1(jsonb_in, CStringGetDatum(rejected->row));
	values[R_IMAGE - 1] = PointerGetDatum(image);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* The rejected rows of a load, oldest first. */
List *
elt_rejected_list(int32 node)
{
	Relation	rel = elt_table_open("rejected_row", AccessShareLock);
	List	   *result = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, R_LOAD, node);
	scan = elt_table_scan(rel, "rejected_row_pkey", 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		EltRejected *rejected = palloc0(sizeof(EltRejected));
		Datum		values[R_IMAGE];
		bool		nulls[R_IMAGE];
		bytea	   *image;

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		image = DatumGetByteaPCopy(values[R_IMAGE - 1]);
		rejected->id = DatumGetInt64(values[R_ID - 1]);
		rejected->image = VARDATA(image);
		rejected->len = VARSIZE(image) - VARHDRSZ;
		if (!nulls[R_KEY - 1])
			rejected->key = DatumGetCString(DirectFunctionCall1(jsonb_out, values[R_KEY - 1]));
		rejected->row = DatumGetCString(DirectFunctionCall1(jsonb_out, values[R_ROW - 1]));
		result = lappend(result, rejected);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* How many rows a load has rejected, counted up to a limit. */
int64
elt_rejected_count(int32 node, int64 limit)
{
	Relation	rel = elt_table_open("rejected_row", AccessShareLock);
	int64		count = 0;
	ScanKeyData key;
	SysScanDesc scan;

	elt_key_int4(&key, R_LOAD, node);
	scan = elt_table_scan(rel, "rejected_row_pkey", 1, &key, NULL);
	while (count < limit && HeapTupleIsValid(systable_getnext(scan)))
		count++;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return count;
}

void
elt_rejected_delete(int32 node, int64 id)
{
	ScanKeyData keys[2];

	elt_key_int4(&keys[0], R_LOAD, node);
	ScanKeyInit(&keys[1], R_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	elt_table_delete("rejected_row", "rejected_row_pkey", 2, keys);
}

void
elt_rejected_delete_all(int32 node)
{
	ScanKeyData key;

	elt_key_int4(&key, R_LOAD, node);
	elt_table_delete("rejected_row", "rejected_row_pkey", 1, &key);
}

void
elt_rejected_delete_range(int32 node, int64 from, int64 before)
{
	ScanKeyData keys[3];

	elt_key_int4(&keys[0], R_LOAD, node);
	ScanKeyInit(&keys[1], R_ID, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
	ScanKeyInit(&keys[2], R_ID, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(before));
	elt_table_delete("rejected_row", "rejected_row_pkey", 3, keys);
}
