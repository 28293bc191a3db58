/*
 * stream.c
 *	  Streams: a view of the net changes of a table that were not consumed yet.
 *
 *	  SELECT ... FROM <stream view> -> elt.stream_rows(consumer) -> window, pinned by the transaction's first read -> net.c -> rows
 *	  elt.advance_stream            -> the offset becomes the end of the pinned window
 *
 * A pin holds a snapshot and the window's two ends. Later reads of the transaction return the same rows; ROLLBACK TO a savepoint before the pin
 * undoes it, and one that undoes an advance brings the pin back. Readers do not exclude each other: of two that read the same window, the second to
 * advance gets 40001.
 *
 * Locks: AccessShare on the source's tree and the segments while reading; Exclusive on the consumer to advance. A crash undoes the offset with the transaction.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"
#include "catalog/objectaddress.h"

#include "base/args.h"
#include "base/compat.h"
#include "base/exec.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/locks.h"
#include "capture/image.h"
#include "capture/net.h"
#include "capture/segment.h"
#include "capture/track.h"
#include "capture/tree.h"
#include "catalog/stream.h"

PG_FUNCTION_INFO_V1(elt_sql_create_stream);
PG_FUNCTION_INFO_V1(elt_sql_drop_stream);
PG_FUNCTION_INFO_V1(elt_sql_advance_stream);
PG_FUNCTION_INFO_V1(elt_sql_stream_rows);

/* What this transaction has read of a stream. */
typedef struct Pin
{
	MemoryContext context;		/* of this struct and what it points to */
	int32		consumer;
	SubTransactionId subid;
	SubTransactionId advanced;	/* where the stream was advanced to the pin,
								 * else invalid */
	Snapshot	snapshot;
	EltConsumer *start;			/* as it was read */
	EltOffset  *to;
} Pin;

static List *pins = NIL;		/* in TopTransactionContext */
static bool callbacks_registered = false;

static void
drop_pin(Pin *pin)
{
	pins = list_delete_ptr(pins, pin);
	UnregisterSnapshotFromOwner(pin->snapshot, TopTransactionResourceOwner);
	MemoryContextDelete(pin->context);
}

/* The stream was advanced to the pin: done with, unless a rollback to a savepoint after the read undoes that. */
static void
retire_pin(Pin *pin, SubTransactionId subid)
{
	if (pin->subid == subid)
		drop_pin(pin);
	else
		pin->advanced = subid;
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			while (pins != NIL)
				drop_pin(linitial(pins));
			break;
		case XACT_EVENT_ABORT:
			/* the resource owner has let the snapshots go */
			pins = NIL;
			break;
		default:
			break;
	}
}

/* What happened in a subtransaction becomes its parent's, or did not happen. */
static void
end_subxact(Pin *pin, bool commit, SubTransactionId subid, SubTransactionId parent)
{
	if (pin->subid == subid)
	{
		if (commit)
			pin->subid = parent;
		else
			drop_pin(pin);
	}
	else if (pin->advanced == subid)
	{
		if (commit)
			retire_pin(pin, parent);
		else
			pin->advanced = InvalidSubTransactionId;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	/* backwards, because the one at hand may go */
	for (int i = list_length(pins) - 1; i >= 0; i--)
		end_subxact(list_nth(pins, i), event == SUBXACT_EVENT_COMMIT_SUB, subid, parent);
}

static Pin *
find_pin(int32 consumer)
{
	ListCell   *lc;

	foreach(lc, pins)
	{
		Pin		   *pin = lfirst(lc);

		if (pin->consumer == consumer && pin->advanced == InvalidSubTransactionId)
			return pin;
	}
	return NULL;
}

/* Keep what was read to the end of the transaction. start and to are in `context`, which the pin takes over. */
static void
make_pin(MemoryContext context, EltConsumer *start, Snapshot snapshot, EltOffset *to)
{
	Pin		   *pin = MemoryContextAllocZero(context, sizeof(Pin));
	MemoryContext old;

	if (!callbacks_registered)
	{
		RegisterXactCallback(xact_callback, NULL);
		RegisterSubXactCallback(subxact_callback, NULL);
		callbacks_registered = true;
	}
	pin->context = context;
	pin->consumer = start->id;
	pin->subid = GetCurrentSubTransactionId();
	pin->advanced = InvalidSubTransactionId;
	pin->start = start;
	pin->to = to;
	MemoryContextSetParent(context, TopTransactionContext);
	old = MemoryContextSwitchTo(TopTransactionContext);
	pins = lappend(pins, pin);
	MemoryContextSwitchTo(old);
	pin->snapshot = RegisterSnapshotOnOwner(snapshot, TopTransactionResourceOwner);
}

static bool
same_offset(const EltOffset *a, const EltOffset *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a->xmin == b->xmin && a->xmax == b->xmax && a->nxip == b->nxip &&
		a->own_xid == b->own_xid && a->own_serial == b->own_serial &&
		memcmp(a->xip, b->xip, sizeof(uint64) * a->nxip) == 0;
}

static void
raise_moved(EltConsumer *consumer)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("stream \"%s\" was advanced by another transaction meanwhile", consumer->name),
			 errhint("Run the transaction again.")));
}

static EltStream *
stream_by_name(const char *name)
{
	RangeVar   *var = makeRangeVarFromNameList(elt_name_list(name));
	Oid			relid = RangeVarGetRelid(var, NoLock, true);
	EltStream  *stream = OidIsValid(relid) ? elt_stream_by_relation(relid) : NULL;

	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stream \"%s\" does not exist", name),
				 errhint("Create it with elt.create_stream.")));
	return stream;
}

static void
check_stream_owner(EltStream *stream)
{
	if (!elt_owns_relation(stream->relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of stream \"%s\"", get_rel_name(stream->relid)),
				 errhint("Become a member of role \"%s\", which owns its view.",
						 GetUserNameFromId(elt_relation_owner(stream->relid), false))));
}

/* The stream's owner must be allowed to read its source, without row security. */
static void
check_source(Oid source, Oid owner, const char *stream)
{
	if (pg_class_aclcheck(source, owner, ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of stream \"%s\" may not read table \"%s\"", stream, get_rel_name(source)),
				 errhint("Grant SELECT on the table to the stream's owner.")));
	if (check_enable_rls(source, owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row-level security of table \"%s\" is active for the owner of stream \"%s\"",
						get_rel_name(source), stream),
				 errhint("Let a role that bypasses row security own the stream.")));
}

/* CREATE VIEW with the table's columns and _elt_op, over elt.stream_rows. */
static void
create_stream_view(const char *qualified, Relation source, int32 consumer)
{
	TupleDesc	desc = RelationGetDescr(source);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE VIEW %s AS SELECT * FROM elt.stream_rows(%d) AS changes(", qualified, consumer);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		appendStringInfo(&sql, "%s %s", quote_identifier(NameStr(att->attname)),
						 format_type_extended(att->atttypid, att->atttypmod,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
			appendStringInfo(&sql, " COLLATE %s", elt_collation_name(att->attcollation));
		appendStringInfoString(&sql, ", ");
	}
	appendStringInfoString(&sql, "_elt_op pg_catalog.text)");
	elt_sql_run(sql.data);
}

static ArrayType *
live_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *attnums = palloc(sizeof(Datum) * (desc->natts + 1));
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			attnums[n++] = Int16GetDatum(i + 1);
	}
	return construct_array(attnums, n, INT2OID, sizeof(int16), true, TYPALIGN_SHORT);
}

Datum
elt_sql_create_stream(PG_FUNCTION_ARGS)
{
	char	   *name = elt_arg_text(fcinfo, 0, "name");
	Oid			source = elt_arg_relation(fcinfo, 1, "relation");
	bool		initial = elt_arg_bool(fcinfo, 2, "initial_rows");
	RangeVar   *var = makeRangeVarFromNameList(elt_name_list(name));
	Oid			schema = RangeVarGetCreationNamespace(var);
	char	   *qualified = quote_qualified_identifier(get_namespace_name(schema), var->relname);
	EltStream	stream;
	EltCapture *capture;
	Relation	rel;

	elt_check_may_write("elt.create_stream()");
	if (isAnyTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("stream \"%s\" cannot be temporary", name),
				 errhint("Name another schema: its offset outlives the session.")));
	if (OidIsValid(get_relname_relid(var->relname, schema)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", var->relname),
				 errhint("Choose another name for the stream, or drop what has this one.")));
	capture = elt_track_for(source, name);
	check_source(source, GetUserId(), name);
	if (capture->keys_only)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("only the keys of table \"%s\" are tracked", get_rel_name(source)),
				 errhint("A stream needs elt.track(%s, images => 'row').", quote_literal_cstr(elt_qualified_name(source)))));

	rel = table_open(source, AccessShareLock);
	if (get_attnum(source, "_elt_op") != InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("table \"%s\" has a column \"_elt_op\", the name of the stream's own", get_rel_name(source)),
				 errhint("Rename the column.")));
	stream.consumer = elt_consumer_create(capture->id, "stream", name, !initial, false);
	create_stream_view(qualified, rel, stream.consumer);
	stream.relid = get_relname_relid(var->relname, schema);
	stream.attnums = live_columns(rel);
	elt_stream_insert(&stream);
	table_close(rel, NoLock);
	PG_RETURN_OID(stream.relid);
}

Datum
elt_sql_drop_stream(PG_FUNCTION_ARGS)
{
	EltStream  *stream = stream_by_name(elt_arg_text(fcinfo, 0, "name"));

	elt_check_may_write("elt.drop_stream()");
	check_stream_owner(stream);
	elt_lock_consumer(stream->consumer);
	elt_sql_run(psprintf("DROP VIEW %s", elt_qualified_name(stream->relid)));

	/*
	 * the event trigger for drops has removed the rest, if it was there to do
	 * so
	 */
	elt_stream_delete(stream->consumer);
	PG_RETURN_VOID();
}

Datum
elt_sql_advance_stream(PG_FUNCTION_ARGS)
{
	EltStream  *stream = stream_by_name(elt_arg_text(fcinfo, 0, "name"));
	Pin		   *pin = find_pin(stream->consumer);
	EltConsumer *consumer;
	int32		capture;

	elt_check_may_write("elt.advance_stream()");
	check_stream_owner(stream);
	if (pin == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this transaction has not read stream \"%s\"", get_rel_name(stream->relid)),
				 errhint("Read the stream and advance it in one transaction.")));
	elt_lock_consumer(stream->consumer);
	consumer = elt_consumer_by_id(stream->consumer);
	if (consumer == NULL || !same_offset(consumer->offset, pin->start->offset))
		raise_moved(pin->start);
	consumer->offset = pin->to;
	capture = consumer->capture;
	elt_consumer_update(consumer);
	retire_pin(pin, GetCurrentSubTransactionId());
	elt_segment_maintain(capture);
	PG_RETURN_VOID();
}

/* Where a stream's rows go. */
typedef struct RowSink
{
	Tuplestorestate *store;
	TupleDesc	desc;			/* of the result */
	TupleDesc	source;
	int16	   *attnums;
	int			ncolumns;
} RowSink;

/*
 * Can the source's values be handed out as the result's columns? Whoever calls elt.stream_rows names the result's types, and the source's may have
 * changed since the view was made.
 */
static bool
columns_match(RowSink *sink)
{
	if (sink->desc->natts != sink->ncolumns + 1 ||
		TupleDescAttr(sink->desc, sink->ncolumns)->atttypid != TEXTOID)
		return false;
	for (int i = 0; i < sink->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(sink->source, sink->attnums[i] - 1);

		if (!att->attisdropped && !IsBinaryCoercible(att->atttypid, TupleDescAttr(sink->desc, i)->atttypid))
			return false;
	}
	return true;
}

static void
put_row(RowSink *sink, MinimalTuple tuple, const char *op)
{
	HeapTupleData view;
	Datum	   *values = palloc(sizeof(Datum) * (sink->ncolumns + 1));
	bool	   *nulls = palloc(sizeof(bool) * (sink->ncolumns + 1));

	elt_tuple_of_minimal(tuple, &view);
	for (int i = 0; i < sink->ncolumns; i++)
	{
		if (TupleDescAttr(sink->source, sink->attnums[i] - 1)->attisdropped)
			nulls[i] = true;
		else
			values[i] = heap_getattr(&view, sink->attnums[i], sink->source, &nulls[i]);
	}
	values[sink->ncolumns] = CStringGetTextDatum(op);
	nulls[sink->ncolumns] = false;
	tuplestore_putvalues(sink->store, sink->desc, values, nulls);
}

static void
put_changes(void *arg, List *removed, List *added)
{
	RowSink    *sink = arg;
	ListCell   *lc;

	if (list_length(removed) == 1 && list_length(added) == 1)
	{
		put_row(sink, linitial(added), "update");
		return;
	}
	foreach(lc, removed)
		put_row(sink, lfirst(lc), "delete");
	foreach(lc, added)
		put_row(sink, lfirst(lc), "insert");
}

/* The present rows of the source, as inserts. */
static void
put_initial_rows(RowSink *sink, Oid source, Oid owner)
{
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	EltSecContext save;
	TupleDesc	desc;
	TupleTableSlot *slot;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < sink->ncolumns; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 TupleDescAttr(sink->source, sink->attnums[i] - 1)->attisdropped ? "NULL" :
						 quote_identifier(NameStr(TupleDescAttr(sink->source, sink->attnums[i] - 1)->attname)));
	appendStringInfo(&sql, ", 'insert'::pg_catalog.text FROM %s", elt_qualified_name(source));
	elt_become(&save, owner);
	elt_exec_into(sql.data, NULL, 0, rows, &desc, NULL);
	elt_restore(&save);

	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		slot_getallattrs(slot);
		tuplestore_putvalues(sink->store, sink->desc, slot->tts_values, slot->tts_isnull);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rows);
}

/* A snapshot for a first read, registered. */
static Snapshot
take_snapshot(void)
{
	Snapshot	snapshot = RegisterSnapshot(elt_snapshot_push());

	PopActiveSnapshot();
	return snapshot;
}

/* Lock what the consumer's window needs, then find its end: the pin's, or now. Without a pin the batch's snapshot is registered. */
static EltBatch *
open_window(EltConsumer *consumer, Pin *pin)
{
	EltCapture *capture = elt_consumer_capture(consumer);
	Relation	root = elt_tree_lock(capture, consumer->kind, consumer->name);
	Snapshot	snapshot = pin ? pin->snapshot : take_snapshot();
	EltOffset  *to = pin ? pin->to : elt_offset_of_snapshot(snapshot);
	EltBatch   *batch;

	if (pin == NULL)
		to->passed = Max(elt_segment_passed(capture->id, snapshot),
						 consumer->offset ? consumer->offset->passed : 0);
	batch = elt_batch_peek(consumer, capture, snapshot, to);
	batch->root = root;
	elt_batch_check_snapshot(batch);
	if (pin == NULL)
		elt_batch_check_own_changes(batch);
	return batch;
}

/* Read a window that ends now, and pin it. */
static EltBatch *
pin_window(int32 id)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "elt stream pin", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EltConsumer *start = elt_consumer_by_id(id);
	EltConsumer *now;
	EltBatch   *batch;

	if (start == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the stream was dropped meanwhile"),
				 errhint("Create it anew with elt.create_stream.")));
	batch = open_window(start, NULL);

	/*
	 * the segments were locked after the offset was read: were they trimmed
	 * in between?
	 */
	now = elt_consumer_by_id(id);
	if (now == NULL || !same_offset(now->offset, start->offset))
		raise_moved(start);
	MemoryContextSwitchTo(old);
	make_pin(context, start, batch->snapshot, batch->to);
	UnregisterSnapshot(batch->snapshot);
	return batch;
}

static void
check_not_stale(EltBatch *batch)
{
	if (batch->resync == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("stream \"%s\" is stale: %s", batch->consumer->name, batch->resync),
			 errdetail("Row changes alone do not tell the state of table \"%s\" any more.",
					   RelationGetRelationName(batch->root)),
			 errhint("Drop the stream and create it anew, with initial_rows => true to begin with the present rows.")));
}

Datum
elt_sql_stream_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EltStream  *stream = elt_stream_by_consumer(PG_GETARG_INT32(0));
	RowSink		sink;
	EltBatch   *batch;
	Pin		   *pin;
	Oid			owner;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (stream == NULL || get_rel_name(stream->relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stream %d does not exist", PG_GETARG_INT32(0)),
				 errhint("Create it anew with elt.create_stream.")));
	if (pg_class_aclcheck(stream->relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_VIEW, get_rel_name(stream->relid));

	pin = find_pin(stream->consumer);
	batch = pin ? open_window(pin->start, pin) : pin_window(stream->consumer);
	owner = elt_relation_owner(stream->relid);
	check_source(batch->capture->relid, owner, batch->consumer->name);
	check_not_stale(batch);
	sink.store = rsinfo->setResult;
	sink.desc = rsinfo->setDesc;
	sink.source = RelationGetDescr(batch->root);
	sink.attnums = (int16 *) ARR_DATA_PTR(stream->attnums);
	sink.ncolumns = ArrayGetNItems(ARR_NDIM(stream->attnums), ARR_DIMS(stream->attnums));
	if (!columns_match(&sink))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the columns of stream \"%s\" are not those of table \"%s\" any more",
						batch->consumer->name, RelationGetRelationName(batch->root)),
				 errhint("Drop the stream and create it anew.")));

	PushActiveSnapshot(batch->snapshot);
	if (batch->consumer->offset == NULL)
		put_initial_rows(&sink, batch->capture->relid, owner);
	else
	{
		EltSecContext save;
		bool		lost;

		elt_become(&save, owner);
		elt_net_each(batch, ELT_NET_ROWS, put_changes, &sink, &lost);
		elt_restore(&save);
		if (lost)
			batch->resync = "a toasted value was moved by VACUUM FULL";
		check_not_stale(batch);
	}
	PopActiveSnapshot();
	table_close(batch->root, NoLock);
	return (Datum) 0;
}
