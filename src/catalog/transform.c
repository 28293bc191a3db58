/*
 * transform.c
 *	  Typed access to elt.transform.
 *
 * Locks and crash behaviour are an ordinary table's; a transform's row is changed by who has locked its node.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

#include "catalog/load.h"
#include "catalog/run.h"
#include "catalog/table.h"
#include "catalog/transform.h"

#define T_NODE			1
#define T_TARGET		2
#define T_MODE			3
#define T_QUERY			4
#define T_DEFINITION	5
#define T_COLUMNS		6
#define T_KEY			7
#define T_WORKERS		8
#define T_ATOMIC		9
#define T_PUBLISH		10
#define T_REPEAT		11
#define T_ON_ERROR		12
#define T_MAX_REJECTED	13
#define T_SETTINGS		14
#define T_APPENDED		15
#define T_INSTALL		16

static void
read_transform(EltTransform *transform)
{
	Relation	rel = elt_table_open("transform", AccessShareLock);
	Datum		values[T_INSTALL];
	bool		nulls[T_INSTALL];
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, T_NODE, transform->node.id);
	scan = elt_table_scan(rel, "transform_pkey", 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "transform \"%s\" has no definition", transform->node.name);
	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
	transform->target = DatumGetObjectId(values[T_TARGET - 1]);
	transform->mode = TextDatumGetCString(values[T_MODE - 1]);
	transform->query = TextDatumGetCString(values[T_QUERY - 1]);
	transform->definition = TextDatumGetCString(values[T_DEFINITION - 1]);
	transform->columns = elt_strings_of_array(values[T_COLUMNS - 1]);
	transform->key = elt_strings_of_array(values[T_KEY - 1]);
	transform->workers = DatumGetInt32(values[T_WORKERS - 1]);
	transform->atomic = DatumGetBool(values[T_ATOMIC - 1]);
	transform->publish = TextDatumGetCString(values[T_PUBLISH - 1]);
	transform->repeat = DatumGetBool(values[T_REPEAT - 1]);
	transform->on_error = TextDatumGetCString(values[T_ON_ERROR - 1]);
	transform->max_rejected = DatumGetInt64(values[T_MAX_REJECTED - 1]);
	transform->settings = elt_strings_of_array(values[T_SETTINGS - 1]);
	transform->appended = nulls[T_APPENDED - 1] ? NULL : DatumGetCString(DirectFunctionCall1(pg_snapshot_out, values[T_APPENDED - 1]));
	transform->appended_here = elt_install_is(DatumGetUUIDP(values[T_INSTALL - 1]));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

EltTransform *
elt_transform_by_name(const char *name)
{
	EltNode    *node = elt_node_by_name(name);
	EltTransform *transform;

	if (node == NULL)
		return NULL;
	elt_node_check_kind(node, "transform");
	transform = palloc0(sizeof(EltTransform));
	transform->node = *node;
	read_transform(transform);
	return transform;
}

static void
values_of(const EltTransform *transform, Datum *values, bool *nulls)
{
	pg_uuid_t	install = elt_install_id();

	memset(nulls, 0, sizeof(bool) * T_INSTALL);
	values[T_NODE - 1] = Int32GetDatum(transform->node.id);
	values[T_TARGET - 1] = ObjectIdGetDatum(transform->target);
	values[T_MODE - 1] = CStringGetTextDatum(transform->mode);
	values[T_QUERY - 1] = CStringGetTextDatum(transform->query);
	values[T_DEFINITION - 1] = CStringGetTextDatum(transform->definition);
	values[T_COLUMNS - 1] = elt_array_of_strings(transform->columns);
	values[T_KEY - 1] = elt_array_of_strings(transform->key);
	values[T_WORKERS - 1] = Int32GetDatum(transform->workers);
	values[T_ATOMIC - 1] = BoolGetDatum(transform->atomic);
	values[T_PUBLISH - 1] = CStringGetTextDatum(transform->publish);
	values[T_REPEAT - 1] = BoolGetDatum(transform->repeat);
	values[T_ON_ERROR - 1] = CStringGetTextDatum(transform->on_error);
	values[T_MAX_REJECTED - 1] = Int64GetDatum(transform->max_rejected);
	values[T_SETTINGS - 1] = elt_array_of_strings(transform->settings);
	nulls[T_APPENDED - 1] = transform->appended == NULL;
	values[T_APPENDED - 1] = transform->appended == NULL ? (Datum) 0 : DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(transform->appended));
	values[T_INSTALL - 1] = elt_uuid_datum(&install);
}

void
elt_transform_insert(EltTransform *transform)
{
	Relation	rel = elt_table_open("transform", RowExclusiveLock);
	Datum		values[T_INSTALL];
	bool		nulls[T_INSTALL];

	elt_node_insert(&transform->node);
	values_of(transform, values, nulls);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_transform_update(const EltTransform *transform)
{
	Relation	rel = elt_table_open("transform", RowExclusiveLock);
	Datum		values[T_INSTALL];
	bool		nulls[T_INSTALL];
	bool		replace[T_INSTALL];
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, T_NODE, transform->node.id);
	scan = elt_table_scan(rel, "transform_pkey", 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "transform %d does not exist", transform->node.id);
	values_of(transform, values, nulls);
	memset(replace, true, sizeof(replace));
	tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_transform_delete(const EltTransform *transform)
{
	ScanKeyData key;

	elt_rejected_delete_all(transform->node.id);
	elt_run_delete_all(transform->node.id);
	elt_key_int4(&key, T_NODE, transform->node.id);
	elt_table_delete("transform", "transform_pkey", 1, &key);
	elt_node_delete(transform->node.id);
}
