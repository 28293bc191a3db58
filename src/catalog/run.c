/*
 * run.c
 *	  Typed access to elt.node_run and elt.run_shard.
 *
 * Locks and crash behaviour are an ordinary table's. A run's row is changed by the session that runs the node, a shard's also by the worker that does it:
 * not at the same time, for the session does so before workers start and after they have ended.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/run.h"
#include "catalog/table.h"

/* elt.node_run */
#define R_ID			1
#define R_NODE			2
#define R_STATE			3
#define R_SPLIT			4
#define R_REASON		5
#define R_WORKERS		6
#define R_STARTED		7
#define R_ENDED			8
#define R_ROWS			9
#define R_REJECTED		10
#define R_SQLSTATE		11
#define R_MESSAGE		12
#define R_DEFINITION	13
#define R_PUBLISH		14
#define R_STAGING		15
#define R_TARGETS		16
#define R_FIRST_REJECTED	17

/* elt.run_shard */
#define S_RUN			1
#define S_SHARD			2
#define S_LABEL			3
#define S_PIECES		4
#define S_STATE			5
#define S_ATTEMPTS		6
#define S_WORKER		7
#define S_ROWS			8
#define S_BYTES			9
#define S_REJECTED		10
#define S_BUFFERS_HIT	11
#define S_BUFFERS_READ	12
#define S_BUFFERS_WRITTEN	13
#define S_TEMP_BYTES	14
#define S_WAL_BYTES		15
#define S_USER_MS		16
#define S_SYSTEM_MS		17
#define S_ELAPSED_MS	18
#define S_MESSAGE		19

static char *
text_or_null(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

static Datum
datum_of_text(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static EltRun *
run_of_tuple(HeapTuple tuple, TupleDesc desc)
{
	EltRun	   *run = palloc0(sizeof(EltRun));
	Datum		values[R_FIRST_REJECTED];
	bool		nulls[R_FIRST_REJECTED];

	heap_deform_tuple(tuple, desc, values, nulls);
	run->id = DatumGetInt64(values[R_ID - 1]);
	run->node = DatumGetInt32(values[R_NODE - 1]);
	run->state = TextDatumGetCString(values[R_STATE - 1]);
	run->split = TextDatumGetCString(values[R_SPLIT - 1]);
	run->reason = TextDatumGetCString(values[R_REASON - 1]);
	run->workers = DatumGetInt32(values[R_WORKERS - 1]);
	run->started = DatumGetTimestampTz(values[R_STARTED - 1]);
	run->ended = nulls[R_ENDED - 1] ? 0 : DatumGetTimestampTz(values[R_ENDED - 1]);
	run->rows = DatumGetInt64(values[R_ROWS - 1]);
	run->rejected = DatumGetInt64(values[R_REJECTED - 1]);
	run->sqlstate = text_or_null(values[R_SQLSTATE - 1], nulls[R_SQLSTATE - 1]);
	run->message = text_or_null(values[R_MESSAGE - 1], nulls[R_MESSAGE - 1]);
	run->definition = TextDatumGetCString(values[R_DEFINITION - 1]);
	run->publish = TextDatumGetCString(values[R_PUBLISH - 1]);
	run->staging = elt_oids_of_array(values[R_STAGING - 1]);
	run->targets = elt_oids_of_array(values[R_TARGETS - 1]);
	run->first_rejected = DatumGetInt64(values[R_FIRST_REJECTED - 1]);
	return run;
}

static HeapTuple
tuple_of_run(const EltRun *run, TupleDesc desc)
{
	Datum		values[R_FIRST_REJECTED];
	bool		nulls[R_FIRST_REJECTED] = {false};

	values[R_ID - 1] = Int64GetDatum(run->id);
	values[R_NODE - 1] = Int32GetDatum(run->node);
	values[R_STATE - 1] = CStringGetTextDatum(run->state);
	values[R_SPLIT - 1] = CStringGetTextDatum(run->split);
	values[R_REASON - 1] = CStringGetTextDatum(run->reason);
	values[R_WORKERS - 1] = Int32GetDatum(run->workers);
	values[R_STARTED - 1] = TimestampTzGetDatum(run->started);
	values[R_ENDED - 1] = TimestampTzGetDatum(run->ended);
	nulls[R_ENDED - 1] = run->ended == 0;
	values[R_ROWS - 1] = Int64GetDatum(run->rows);
	values[R_REJECTED - 1] = Int64GetDatum(run->rejected);
	values[R_SQLSTATE - 1] = datum_of_text(run->sqlstate, &nulls[R_SQLSTATE - 1]);
	values[R_MESSAGE - 1] = datum_of_text(run->message, &nulls[R_MESSAGE - 1]);
	values[R_DEFINITION - 1] = CStringGetTextDatum(run->definition);
	values[R_PUBLISH - 1] = CStringGetTextDatum(run->publish);
	values[R_STAGING - 1] = elt_array_of_oids(run->staging);
	values[R_TARGETS - 1] = elt_array_of_oids(run->targets);
	values[R_FIRST_REJECTED - 1] = Int64GetDatum(run->first_rejected);
	return heap_form_tuple(desc, values, nulls);
}

/* All runs of a node, the newest first. */
static List *
runs_of(int32 node)
{
	Relation	rel = elt_table_open("node_run", AccessShareLock);
	List	   *result = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, R_NODE, node);
	scan = elt_table_scan(rel, "node_run_node_idx", 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lcons(run_of_tuple(tuple, RelationGetDescr(rel)), result);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

EltRun *
elt_run_last(int32 node)
{
	List	   *runs = runs_of(node);

	return runs == NIL ? NULL : linitial(runs);
}

void
elt_run_insert(EltRun *run)
{
	Relation	rel = elt_table_open("node_run", RowExclusiveLock);

	run->id = elt_sequence_next("run_id_seq");
	run->first_rejected = elt_sequence_next("rejected_id_seq");
	CatalogTupleInsert(rel, tuple_of_run(run, RelationGetDescr(rel)));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_run_update(const EltRun *run)
{
	Relation	rel = elt_table_open("node_run", RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int8(&key, R_ID, run->id);
	scan = elt_table_scan(rel, "node_run_pkey", 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "run " INT64_FORMAT " does not exist", run->id);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple_of_run(run, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static EltRunShard *
shard_of_tuple(HeapTuple tuple, TupleDesc desc)
{
	EltRunShard *shard = palloc0(sizeof(EltRunShard));
	Datum		values[S_MESSAGE];
	bool		nulls[S_MESSAGE];
	bytea	   *pieces;

	heap_deform_tuple(tuple, desc, values, nulls);
	pieces = DatumGetByteaPCopy(values[S_PIECES - 1]);
	shard->shard = DatumGetInt32(values[S_SHARD - 1]);
	shard->label = TextDatumGetCString(values[S_LABEL - 1]);
	shard->size = VARSIZE(pieces) - VARHDRSZ;
	shard->pieces = palloc(shard->size + 1);
	memcpy(shard->pieces, VARDATA(pieces), shard->size);
	shard->state = TextDatumGetCString(values[S_STATE - 1]);
	shard->attempts = DatumGetInt32(values[S_ATTEMPTS - 1]);
	shard->worker = nulls[S_WORKER - 1] ? -1 : DatumGetInt32(values[S_WORKER - 1]);
	shard->rows = DatumGetInt64(values[S_ROWS - 1]);
	shard->bytes = DatumGetInt64(values[S_BYTES - 1]);
	shard->rejected = DatumGetInt64(values[S_REJECTED - 1]);
	shard->buffers_hit = DatumGetInt64(values[S_BUFFERS_HIT - 1]);
	shard->buffers_read = DatumGetInt64(values[S_BUFFERS_READ - 1]);
	shard->buffers_written = DatumGetInt64(values[S_BUFFERS_WRITTEN - 1]);
	shard->temp_bytes = DatumGetInt64(values[S_TEMP_BYTES - 1]);
	shard->wal_bytes = DatumGetInt64(values[S_WAL_BYTES - 1]);
	shard->user_ms = DatumGetFloat8(values[S_USER_MS - 1]);
	shard->system_ms = DatumGetFloat8(values[S_SYSTEM_MS - 1]);
	shard->elapsed_ms = DatumGetFloat8(values[S_ELAPSED_MS - 1]);
	shard->message = text_or_null(values[S_MESSAGE - 1], nulls[S_MESSAGE - 1]);
	return shard;
}

static HeapTuple
tuple_of_shard(int64 run, const EltRunShard *shard, TupleDesc desc)
{
	Datum		values[S_MESSAGE];
	bool		nulls[S_MESSAGE] = {false};
	bytea	   *pieces = palloc(shard->size + VARHDRSZ);

	SET_VARSIZE(pieces, shard->size + VARHDRSZ);
	if (shard->size > 0)
		memcpy(VARDATA(pieces), shard->pieces, shard->size);
	values[S_RUN - 1] = Int64GetDatum(run);
	values[S_SHARD - 1] = Int32GetDatum(shard->shard);
	values[S_LABEL - 1] = CStringGetTextDatum(shard->label);
	values[S_PIECES - 1] = PointerGetDatum(pieces);
	values[S_STATE - 1] = CStringGetTextDatum(shard->state);
	values[S_ATTEMPTS - 1] = Int32GetDatum(shard->attempts);
	values[S_WORKER - 1] = Int32GetDatum(shard->worker);
	nulls[S_WORKER - 1] = shard->worker < 0;
	values[S_ROWS - 1] = Int64GetDatum(shard->rows);
	values[S_BYTES - 1] = Int64GetDatum(shard->bytes);
	values[S_REJECTED - 1] = Int64GetDatum(shard->rejected);
	values[S_BUFFERS_HIT - 1] = Int64GetDatum(shard->buffers_hit);
	values[S_BUFFERS_READ - 1] = Int64GetDatum(shard->buffers_read);
	values[S_BUFFERS_WRITTEN - 1] = Int64GetDatum(shard->buffers_written);
	values[S_TEMP_BYTES - 1] = Int64GetDatum(shard->temp_bytes);
	values[S_WAL_BYTES - 1] = Int64GetDatum(shard->wal_bytes);
	values[S_USER_MS - 1] = Float8GetDatum(shard->user_ms);
	values[S_SYSTEM_MS - 1] = Float8GetDatum(shard->system_ms);
	values[S_ELAPSED_MS - 1] = Float8GetDatum(shard->elapsed_ms);
	values[S_MESSAGE - 1] = datum_of_text(shard->message, &nulls[S_MESSAGE - 1]);
	return heap_form_tuple(desc, values, nulls);
}

List *
elt_run_shards(int64 run)
{
	Relation	rel = elt_table_open("run_shard", AccessShareLock);
	List	   *result = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int8(&key, S_RUN, run);
	scan = elt_table_scan(rel, "run_shard_pkey", 1, &key, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend(result, shard_of_tuple(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

void
elt_run_shard_insert(int64 run, const EltRunShard *shard)
{
	Relation	rel = elt_table_open("run_shard", RowExclusiveLock);

	CatalogTupleInsert(rel, tuple_of_shard(run, shard, RelationGetDescr(rel)));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* What is done stays done: the worker has said so, whatever became of it then. */
static void
take_counts(EltRunShard *shard, const EltRunShard *from)
{
	bool		done = strcmp(shard->state, "done") == 0;
	EltRunShard before = *shard;

	*shard = *from;
	if (!done)
		return;
	shard->state = before.state;
	shard->rows = before.rows;
	shard->bytes = before.bytes;
	shard->rejected = before.rejected;
	shard->message = NULL;
}

/* Replace the shard's row by what `change` makes of it; NULL: by *whole. */
static void
update_shard(int64 run, int32 number, const EltRunShard *whole, void (*change) (EltRunShard *shard, void *arg), void *arg)
{
	Relation	rel = elt_table_open("run_shard", RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	EltRunShard *shard;

	elt_key_int8(&keys[0], S_RUN, run);
	elt_key_int4(&keys[1], S_SHARD, number);
	scan = elt_table_scan(rel, "run_shard_pkey", 2, keys, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "run " INT64_FORMAT " has no shard %d", run, number);
	shard = shard_of_tuple(tuple, RelationGetDescr(rel));
	if (change != NULL)
		change(shard, arg);
	else
		take_counts(shard, whole);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple_of_shard(run, shard, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_run_shard_update(int64 run, const EltRunShard *shard)
{
	update_shard(run, shard->shard, shard, NULL, NULL);
}

static void
complete(EltRunShard *shard, void *arg)
{
	int64	   *counts = arg;

	if (strcmp(shard->state, "running") != 0)
		elog(ERROR, "shard %d is %s, and was to be completed", shard->shard, shard->state);
	shard->state = "done";
	shard->rows = counts[0];
	shard->bytes = counts[1];
	shard->rejected = counts[2];
}

void
elt_run_shard_complete(int64 run, int32 shard, int64 rows, int64 bytes, int64 rejected)
{
	int64		counts[3] = {rows, bytes, rejected};

	update_shard(run, shard, NULL, complete, counts);
}

static void
delete_run(int64 id)
{
	ScanKeyData key;

	elt_key_int8(&key, S_RUN, id);
	elt_table_delete("run_shard", "run_shard_pkey", 1, &key);
	elt_key_int8(&key, R_ID, id);
	elt_table_delete("node_run", "node_run_pkey", 1, &key);
}

void
elt_run_purge(int32 node, int keep, TimestampTz before)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, runs_of(node))
	{
		EltRun	   *run = lfirst(lc);

		if (++n > Max(keep, 1) || (n > 1 && run->ended != 0 && run->ended < before))
			delete_run(run->id);
	}
}

void
elt_run_delete_all(int32 node)
{
	ListCell   *lc;

	foreach(lc, runs_of(node))
		delete_run(((EltRun *) lfirst(lc))->id);
}
