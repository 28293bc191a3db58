/*
 * table.c
 *	  Direct access to the extension's own tables, without SPI.
 *
 * Rows are read under the latest snapshot unless the caller says otherwise, and written with the catalog routines; no
 * privileges, search_path or user-defined operators are involved.
 *
 * Locks: AccessShare or RowExclusive on the table, as a query would take. Rows that two sessions might change are guarded by object locks (see
 * capture/README.md). A crash loses nothing: these are ordinary tables.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/table.h"

bool
elt_installed(void)
{
	Oid			schema = get_namespace_oid("elt", true);

	return OidIsValid(schema) && OidIsValid(get_relname_relid("install", schema));
}

Oid
elt_table_oid(const char *name)
{
	Oid			schema = get_namespace_oid("elt", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"elt\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION elt.")));
	return relid;
}

Relation
elt_table_open(const char *name, LOCKMODE mode)
{
	return table_open(elt_table_oid(name), mode);
}

SysScanDesc
elt_table_scan(Relation rel, const char *index, int nkeys, ScanKey keys,
			   Snapshot snapshot)
{
	return systable_beginscan(rel, elt_table_oid(index), true, snapshot, nkeys, keys);
}

void
elt_key_int4(ScanKey key, AttrNumber attno, int32 value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(value));
}

void
elt_key_int8(ScanKey key, AttrNumber attno, int64 value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(value));
}

void
elt_key_oid(ScanKey key, AttrNumber attno, Oid value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
}

void
elt_table_delete(const char *name, const char *index, int nkeys, ScanKey keys)
{
	Relation	rel = elt_table_open(name, RowExclusiveLock);
	SysScanDesc scan = elt_table_scan(rel, index, nkeys, keys, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

List *
elt_strings_of_array(Datum array)
{
	List	   *result = NIL;
	Datum	   *elements;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		result = lappend(result, makeString(TextDatumGetCString(elements[i])));
	return result;
}

Datum
elt_array_of_strings(List *strings)
{
	Datum	   *elements = palloc(sizeof(Datum) * (list_length(strings) + 1));
	int			count = 0;
	ListCell   *lc;

	foreach(lc, strings)
		elements[count++] = CStringGetTextDatum(strVal(lfirst(lc)));
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

List *
elt_oids_of_array(Datum array)
{
	List	   *result = NIL;
	Datum	   *elements;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(array), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		result = lappend_oid(result, DatumGetObjectId(elements[i]));
	return result;
}

Datum
elt_array_of_oids(List *oids)
{
	Datum	   *elements = palloc(sizeof(Datum) * (list_length(oids) + 1));
	int			count = 0;
	ListCell   *lc;

	foreach(lc, oids)
		elements[count++] = ObjectIdGetDatum(lfirst_oid(lc));
	return PointerGetDatum(construct_array(elements, count, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

int64
elt_sequence_next(const char *name)
{
	return nextval_internal(elt_table_oid(name), false);
}

pg_uuid_t
elt_install_id(void)
{
	Relation	rel = elt_table_open("install", AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	pg_uuid_t	id;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table elt.install is empty"),
				 errhint("Run CREATE EXTENSION elt again, then track the tables anew.")));
	id = *DatumGetUUIDP(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return id;
}

bool
elt_install_is(const pg_uuid_t *id)
{
	pg_uuid_t	here = elt_install_id();

	return memcmp(&here, id, sizeof(here)) == 0;
}

Datum
elt_uuid_datum(const pg_uuid_t *id)
{
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	*copy = *id;
	return UUIDPGetDatum(copy);
}
