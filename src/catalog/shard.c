/*
 * shard.c
 *	  Typed access to elt.shard_run.
 *
 * A row is written by a worker, before there is anything else to find, and deleted with what it tells of. Locks and crash behaviour are an ordinary table's; an
 * object lock on the number of the sharded relation tells whether somebody is at work on it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/shard.h"
#include "catalog/table.h"

#define A_ID			1
#define A_RELATION		2
#define A_CONSUMER		3
#define A_TRACKED_HERE	4
#define A_TABLES		5
#define A_STARTED		6

static List *
oids_of_array(Datum array)
{
	List	   *result = NIL;
	Datum	   *values;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
		result = lappend_oid(result, DatumGetObjectId(values[i]));
	return result;
}

static Datum
array_of_oids(List *oids)
{
	Datum	   *values = palloc(sizeof(Datum) * (list_length(oids) + 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, oids)
		values[n++] = ObjectIdGetDatum(lfirst_oid(lc));
	return PointerGetDatum(construct_array(values, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

static List *
run_scan(const char *index, ScanKey key)
{
	Relation	rel = elt_table_open("shard_run", AccessShareLock);
	SysScanDesc scan = elt_table_scan(rel, index, key ? 1 : 0, key, NULL);
	List	   *result = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		EltShardRun *run = palloc(sizeof(EltShardRun));
		Datum		values[A_STARTED];
		bool		nulls[A_STARTED];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		run->id = DatumGetInt32(values[A_ID - 1]);
		run->relid = DatumGetObjectId(values[A_RELATION - 1]);
		run->consumer = DatumGetInt32(values[A_CONSUMER - 1]);
		run->tracked_here = DatumGetBool(values[A_TRACKED_HERE - 1]);
		run->tables = oids_of_array(values[A_TABLES - 1]);
		result = lappend(result, run);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

int32
elt_shard_run_insert(const EltShardRun *run)
{
	Relation	rel = elt_table_open("shard_run", RowExclusiveLock);
	int32		id = (int32) elt_sequence_next("shard_run_id_seq");
	Datum		values[A_STARTED];
	bool		nulls[A_STARTED] = {false};

	values[A_ID - 1] = Int32GetDatum(id);
	values[A_RELATION - 1] = ObjectIdGetDatum(run->relid);
	values[A_CONSUMER - 1] = Int32GetDatum(run->consumer);
	values[A_TRACKED_HERE - 1] = BoolGetDatum(run->tracked_here);
	values[A_TABLES - 1] = array_of_oids(run->tables);
	values[A_STARTED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return id;
}

EltShardRun *
elt_shard_run_by_relation(Oid relid)
{
	EltShardRun *latest = NULL;
	ScanKeyData key;
	ListCell   *lc;

	elt_key_oid(&key, A_RELATION, relid);
	foreach(lc, run_scan("shard_run_relation_idx", &key))
	{
		EltShardRun *run = lfirst(lc);

		if (latest == NULL || run->id > latest->id)
			latest = run;
	}
	return latest;
}

List *
elt_shard_run_all(void)
{
	return run_scan("shard_run_pkey", NULL);
}

void
elt_shard_run_delete(int32 id)
{
	ScanKeyData key;

	elt_key_int4(&key, A_ID, id);
	elt_table_delete("shard_run", "shard_run_pkey", 1, &key);
}

bool
elt_shard_run_try_lock(Oid relid)
{
	return ConditionalLockDatabaseObject(elt_table_oid("shard_run"), relid, 0, ExclusiveLock);
}
