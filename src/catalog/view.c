/*
 * view.c
 *	  Typed access to elt.view, elt.view_part and elt.view_source.
 *
 * Locks and crash behaviour are an ordinary table's; a view's rows are changed by who holds its node's lock (elt_node_lock).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/consumer.h"
#include "catalog/table.h"
#include "catalog/view.h"

/* elt.view */
#define V_NODE				1
#define V_RELATION			2
#define V_STORAGE			3
#define V_DEFINITION		4
#define V_QUERY				5
#define V_REFRESH_MODE		6
#define V_ON_SCHEMA_CHANGE	7
#define V_FROZEN_WHERE		8
#define V_TARGET_LAG		9
#define V_SETTINGS			10
#define V_POPULATED			11
#define V_AS_OF				12
#define V_REFRESHED			13
#define V_STRATEGY			14
#define V_REASON			15
#define V_BODIES				16
#define V_LAST_MS			17
#define V_FULL_MS			18
#define V_FULL_COST			19
#define V_DELTA_MS			20
#define V_DELTA_COST		21
#define V_SINCE_FULL		22

/* elt.view_part */
#define P_NODE				1
#define P_PART				2
#define P_STORAGE			3
#define P_SHAPE				4
#define P_COMPLETE			5

/* elt.view_source */
#define S_NODE				1
#define S_SOURCE			2
#define S_CONSUMER			3
#define S_COLUMNS			4

static char *
text_or_null(Datum *values, bool *nulls, AttrNumber attno)
{
	return nulls[attno - 1] ? NULL : TextDatumGetCString(values[attno - 1]);
}

static void
set_text_or_null(Datum *values, bool *nulls, AttrNumber attno, const char *text)
{
	nulls[attno - 1] = text == NULL;
	values[attno - 1] = text !=NULL ? CStringGetTextDatum(text) : (Datum) 0;
}

static void
set_time_or_null(Datum *values, bool *nulls, AttrNumber attno, TimestampTz time)
{
	nulls[attno - 1] = time == 0;
	values[attno - 1] = TimestampTzGetDatum(time);
}

/* All but the node, of which the id only. */
static EltView *
view_from_tuple(HeapTuple tuple, TupleDesc desc)
{
	EltView    *view = palloc0(sizeof(EltView));
	Datum		values[V_SINCE_FULL];
	bool		nulls[V_SINCE_FULL];

	heap_deform_tuple(tuple, desc, values, nulls);
	view->node.id = DatumGetInt32(values[V_NODE - 1]);
	view->relid = DatumGetObjectId(values[V_RELATION - 1]);
	view->storage = DatumGetObjectId(values[V_STORAGE - 1]);
	view->definition = nulls[V_DEFINITION - 1] ? InvalidOid : DatumGetObjectId(values[V_DEFINITION - 1]);
	view->query = TextDatumGetCString(values[V_QUERY - 1]);
	view->refresh_mode = TextDatumGetCString(values[V_REFRESH_MODE - 1]);
	view->on_schema_change = TextDatumGetCString(values[V_ON_SCHEMA_CHANGE - 1]);
	view->frozen_where = text_or_null(values, nulls, V_FROZEN_WHERE);
	view->target_lag = text_or_null(values, nulls, V_TARGET_LAG);
	view->settings = elt_strings_of_array(values[V_SETTINGS - 1]);
	view->populated = DatumGetBool(values[V_POPULATED - 1]);
	view->as_of = nulls[V_AS_OF - 1] ? 0 : DatumGetTimestampTz(values[V_AS_OF - 1]);
	view->refreshed = nulls[V_REFRESHED - 1] ? 0 : DatumGetTimestampTz(values[V_REFRESHED - 1]);
	view->strategy = text_or_null(values, nulls, V_STRATEGY);
	view->reason = text_or_null(values, nulls, V_REASON);
	view->bodies = text_or_null(values, nulls, V_BODIES);
	view->last_ms = DatumGetFloat8(values[V_LAST_MS - 1]);
	view->full_ms = DatumGetFloat8(values[V_FULL_MS - 1]);
	view->full_cost = DatumGetFloat8(values[V_FULL_COST - 1]);
	view->delta_ms = DatumGetFloat8(values[V_DELTA_MS - 1]);
	view->delta_cost = DatumGetFloat8(values[V_DELTA_COST - 1]);
	view->since_full = DatumGetInt32(values[V_SINCE_FULL - 1]);
	return view;
}

static HeapTuple
view_to_tuple(const EltView *view, TupleDesc desc)
{
	Datum		values[V_SINCE_FULL];
	bool		nulls[V_SINCE_FULL] = {false};

	values[V_NODE - 1] = Int32GetDatum(view->node.id);
	values[V_RELATION - 1] = ObjectIdGetDatum(view->relid);
	values[V_STORAGE - 1] = ObjectIdGetDatum(view->storage);
	values[V_DEFINITION - 1] = ObjectIdGetDatum(view->definition);
	nulls[V_DEFINITION - 1] = !OidIsValid(view->definition);
	values[V_QUERY - 1] = CStringGetTextDatum(view->query);
	values[V_REFRESH_MODE - 1] = CStringGetTextDatum(view->refresh_mode);
	values[V_ON_SCHEMA_CHANGE - 1] = CStringGetTextDatum(view->on_schema_change);
	set_text_or_null(values, nulls, V_FROZEN_WHERE, view->frozen_where);
	set_text_or_null(values, nulls, V_TARGET_LAG, view->target_lag);
	values[V_SETTINGS - 1] = elt_array_of_strings(view->settings);
	values[V_POPULATED - 1] = BoolGetDatum(view->populated);
	set_time_or_null(values, nulls, V_AS_OF, view->as_of);
	set_time_or_null(values, nulls, V_REFRESHED, view->refreshed);
	set_text_or_null(values, nulls, V_STRATEGY, view->strategy);
	set_text_or_null(values, nulls, V_REASON, view->reason);
	set_text_or_null(values, nulls, V_BODIES, view->bodies);
	values[V_LAST_MS - 1] = Float8GetDatum(view->last_ms);
	values[V_FULL_MS - 1] = Float8GetDatum(view->full_ms);
	values[V_FULL_COST - 1] = Float8GetDatum(view->full_cost);
	values[V_DELTA_MS - 1] = Float8GetDatum(view->delta_ms);
	values[V_DELTA_COST - 1] = Float8GetDatum(view->delta_cost);
	values[V_SINCE_FULL - 1] = Int32GetDatum(view->since_full);
	return heap_form_tuple(desc, values, nulls);
}

/* The views, by id, or that of one node; with their nodes. */
static List *
read_views(ScanKey key)
{
	Relation	rel = elt_table_open("view", AccessShareLock);
	SysScanDesc scan = elt_table_scan(rel, "view_pkey", key != NULL ? 1 : 0, key, NULL);
	List	   *views = NIL;
	HeapTuple	tuple;
	ListCell   *lc;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		views = lappend(views, view_from_tuple(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	foreach(lc, views)
	{
		EltView    *view = lfirst(lc);
		EltNode    *node = elt_node_by_id(view->node.id);

		/* a parallel restore comes to the tables' rows in any order */
		if (node == NULL)
		{
			views = foreach_delete_current(views, lc);
			continue;
		}
		view->node = *node;
	}
	return views;
}

bool
elt_view_is_newer(int32 node, Snapshot snapshot)
{
	Relation	rel = elt_table_open("view", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	TransactionId xmin = InvalidTransactionId;

	elt_key_int4(&key, V_NODE, node);
	scan = elt_table_scan(rel, "view_pkey", 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin) && XidInMVCCSnapshot(xmin, snapshot);
}

EltView *
elt_view_by_id(int32 node)
{
	ScanKeyData key;
	List	   *found;

	elt_key_int4(&key, V_NODE, node);
	found = read_views(&key);
	return found == NIL ? NULL : linitial(found);
}

EltView *
elt_view_by_name(const char *name)
{
	EltNode    *node = elt_node_by_name(name);
	EltView    *view;

	if (node == NULL)
		return NULL;
	elt_node_check_kind(node, "view");
	view = elt_view_by_id(node->id);
	if (view == NULL)
		elog(ERROR, "view \"%s\" has no definition", name);
	return view;
}

List *
elt_view_all(void)
{
	return read_views(NULL);
}

/* The first column, the node, of a row that an index finds by a relation; 0: there is none. */
static int32
node_by_relation(const char *table, const char *index, AttrNumber attno, Oid relid)
{
	Relation	rel = elt_table_open(table, AccessShareLock);
	int32		node = 0;
	bool		isnull;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_oid(&key, attno, relid);
	scan = elt_table_scan(rel, index, 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		node = DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return node;
}

EltView *
elt_view_by_relation(Oid relid)
{
	int32		node = node_by_relation("view_part", "view_part_storage_idx", P_STORAGE, relid);

	if (node == 0)
		node = node_by_relation("view", "view_relation_idx", V_RELATION, relid);
	if (node == 0)
		node = node_by_relation("view", "view_definition_idx", V_DEFINITION, relid);
	return node == 0 ? NULL : elt_view_by_id(node);
}

void
elt_view_insert(EltView *view)
{
	Relation	rel = elt_table_open("view", RowExclusiveLock);

	view->node.kind = pstrdup("view");
	CatalogTupleInsert(rel, view_to_tuple(view, RelationGetDescr(rel)));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_view_update(const EltView *view)
{
	Relation	rel = elt_table_open("view", RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	old;

	elt_key_int4(&key, V_NODE, view->node.id);
	scan = elt_table_scan(rel, "view_pkey", 1, &key, NULL);
	old = systable_getnext(scan);
	if (!HeapTupleIsValid(old))
		elog(ERROR, "view %d does not exist", view->node.id);
	CatalogTupleUpdate(rel, &old->t_self, view_to_tuple(view, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_view_delete(const EltView *view)
{
	ScanKeyData key;
	ListCell   *lc;

	foreach(lc, elt_view_sources(view->node.id))
		elt_view_source_delete(view->node.id, ((EltViewSource *) lfirst(lc))->relid);
	elt_view_part_delete_all(view->node.id);
	elt_key_int4(&key, V_NODE, view->node.id);
	elt_table_delete("view", "view_pkey", 1, &key);
	elt_node_delete(view->node.id);
}

List *
elt_view_parts(int32 node)
{
	Relation	rel = elt_table_open("view_part", AccessShareLock);
	List	   *parts = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, P_NODE, node);
	scan = elt_table_scan(rel, "view_part_pkey", 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		EltViewPart *part = palloc(sizeof(EltViewPart));
		Datum		values[P_COMPLETE];
		bool		nulls[P_COMPLETE];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		part->part = DatumGetInt32(values[P_PART - 1]);
		part->storage = DatumGetObjectId(values[P_STORAGE - 1]);
		part->shape = TextDatumGetCString(values[P_SHAPE - 1]);
		part->complete = DatumGetBool(values[P_COMPLETE - 1]);
		parts = lappend(parts, part);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return parts;
}

void
elt_view_part_insert(int32 node, const EltViewPart *part)
{
	Relation	rel = elt_table_open("view_part", RowExclusiveLock);
	Datum		values[P_COMPLETE];
	bool		nulls[P_COMPLETE] = {false};

	values[P_NODE - 1] = Int32GetDatum(node);
	values[P_PART - 1] = Int32GetDatum(part->part);
	values[P_STORAGE - 1] = ObjectIdGetDatum(part->storage);
	values[P_SHAPE - 1] = CStringGetTextDatum(part->shape);
	values[P_COMPLETE - 1] = BoolGetDatum(part->complete);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_view_part_set_complete(int32 node, int32 part, bool complete)
{
	Relation	rel = elt_table_open("view_part", RowExclusiveLock);
	Datum		values[P_COMPLETE] = {0};
	bool		nulls[P_COMPLETE] = {false};
	bool		replace[P_COMPLETE] = {false};
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&keys[0], P_NODE, node);
	elt_key_int4(&keys[1], P_PART, part);
	scan = elt_table_scan(rel, "view_part_pkey", 2, keys, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "part %d of view %d does not exist", part, node);
	values[P_COMPLETE - 1] = BoolGetDatum(complete);
	replace[P_COMPLETE - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_view_part_delete_all(int32 node)
{
	ScanKeyData key;

	elt_key_int4(&key, P_NODE, node);
	elt_table_delete("view_part", "view_part_pkey", 1, &key);
}

List *
elt_view_sources(int32 node)
{
	Relation	rel = elt_table_open("view_source", AccessShareLock);
	List	   *sources = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, S_NODE, node);
	scan = elt_table_scan(rel, "view_source_pkey", 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		EltViewSource *source = palloc(sizeof(EltViewSource));
		Datum		values[S_COLUMNS];
		bool		nulls[S_COLUMNS];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		source->relid = DatumGetObjectId(values[S_SOURCE - 1]);
		source->consumer = DatumGetInt32(values[S_CONSUMER - 1]);
		source->columns = TextDatumGetCString(values[S_COLUMNS - 1]);
		sources = lappend(sources, source);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return sources;
}

void
elt_view_source_insert(int32 node, const EltViewSource *source)
{
	Relation	rel = elt_table_open("view_source", RowExclusiveLock);
	Datum		values[S_COLUMNS];
	bool		nulls[S_COLUMNS] = {false};

	values[S_NODE - 1] = Int32GetDatum(node);
	values[S_SOURCE - 1] = ObjectIdGetDatum(source->relid);
	values[S_CONSUMER - 1] = Int32GetDatum(source->consumer);
	values[S_COLUMNS - 1] = CStringGetTextDatum(source->columns);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Find the row of a view's source; the caller ends the scan. */
static HeapTuple
find_source(Relation rel, int32 node, Oid relid, SysScanDesc *scan)
{
	ScanKeyData keys[2];
	HeapTuple	tuple;

	elt_key_int4(&keys[0], S_NODE, node);
	elt_key_oid(&keys[1], S_SOURCE, relid);
	*scan = elt_table_scan(rel, "view_source_pkey", 2, keys, NULL);
	tuple = systable_getnext(*scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "relation %u is not a source of view %d", relid, node);
	return tuple;
}

void
elt_view_source_set_columns(int32 node, Oid relid, const char *columns)
{
	Relation	rel = elt_table_open("view_source", RowExclusiveLock);
	Datum		values[S_COLUMNS] = {0};
	bool		nulls[S_COLUMNS] = {false};
	bool		replace[S_COLUMNS] = {false};
	SysScanDesc scan;
	HeapTuple	tuple = find_source(rel, node, relid, &scan);

	values[S_COLUMNS - 1] = CStringGetTextDatum(columns);
	replace[S_COLUMNS - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_view_source_delete(int32 node, Oid relid)
{
	Relation	rel = elt_table_open("view_source", RowExclusiveLock);
	SysScanDesc scan;
	HeapTuple	tuple = find_source(rel, node, relid, &scan);
	bool		isnull;
	int32		consumer = DatumGetInt32(heap_getattr(tuple, S_CONSUMER, RelationGetDescr(rel), &isnull));

	CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	/* dropping or untracking a table takes its consumers along */
	if (elt_consumer_by_id(consumer) != NULL)
		elt_consumer_delete(consumer);
}
