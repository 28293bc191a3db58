/*
 * run.c
 *	  Running a load: one batch (elt.run_batch), batches until it has caught up (for CALL elt.run), and rejected rows once more (elt.retry_rejected).
 *
 *	  become the owner -> elt_batch_begin: lock, snapshot, window -> first time, or changes do not suffice: copy.c
 *	                                                              -> else net the window -> rows -> apply.c, quarantine.c
 *	                   -> elt_batch_end: store the offset, in the same transaction
 *
 * A window that is too big for one batch is applied in chunks by hash of the key; its end is recorded, so each chunk continues where the last one
 * ended. Only one session runs a load at a time: others wait for the consumer's lock.
 *
 * Locks: Exclusive on the consumer, AccessShare on the source, RowExclusive on the target, to the end of the transaction. A crash, an error or a cancel
 * undoes a batch wholly.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/secctx.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/progress.h"
#include "base/sql.h"
#include "capture/image.h"
#include "capture/locks.h"
#include "capture/net.h"
#include "capture/segment.h"
#include "capture/track.h"
#include "catalog/table.h"
#include "load/load.h"
#include "load/query.h"

PG_FUNCTION_INFO_V1(elt_sql_run_batch);
PG_FUNCTION_INFO_V1(elt_sql_retry_rejected);
PG_FUNCTION_INFO_V1(elt_sql_load_pending);

/* What a batch tells its caller. */
typedef struct Outcome
{
	EltLoadCounts counts;
	int64		pending;		/* changes still to load; 0: caught up as of
								 * the batch's snapshot */
	bool		began;			/* the window ends at this batch's snapshot */
	bool		complete;		/* and has been applied to its end */
	int32		capture;
} Outcome;

static EltLoad *
find_load(const char *name)
{
	EltLoad    *load = elt_load_by_name(name);

	if (load == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("load \"%s\" does not exist", name),
				 errhint("elt.loads lists the loads; elt.create_load makes one.")));
	return load;
}

EltLoad *
elt_load_get(const char *name)
{
	EltLoad    *load = find_load(name);

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(load->node.owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of load \"%s\" was dropped", name),
				 errhint("A superuser can drop the load; then create it anew.")));
	elt_node_check_owner(&load->node);

	/* it may be dropped, and made anew, while this waits */
	elt_lock_consumer(load->consumer);
	return find_load(name);
}

static void
check_relations(EltLoad *load)
{
	if (elt_consumer_by_id(load->consumer) == NULL || get_rel_name(load->source) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the source of load \"%s\" was dropped or is no longer tracked", load->node.name),
				 errhint("Drop the load with elt.drop_load(%s), then create it anew on the table that is there now.",
						 quote_literal_cstr(load->node.name))));
	if (get_rel_name(load->target) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the target of load \"%s\" was dropped", load->node.name),
				 errhint("Drop the load with elt.drop_load(%s), then create it anew with a table that is there now.",
						 quote_literal_cstr(load->node.name))));
}

static EltKey *
target_key(EltLoad *load)
{
	Relation	target = relation_open(load->target, AccessShareLock);
	Oid			index = elt_key_index(target, load->key);

	relation_close(target, NoLock);
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("the key of load \"%s\" is no longer unique and not null in \"%s\"", load->node.name, get_rel_name(load->target)),
				 errhint("Restore the primary key or unique constraint of the target, or drop the load.")));
	return elt_key_of_index(index);
}

static EltKey *
primary_key(Relation rel)
{
	list_free(RelationGetIndexList(rel));	/* fills in rd_pkindex */
	return OidIsValid(rel->rd_pkindex) ? elt_key_of_index(rel->rd_pkindex) : NULL;
}

/* Say which load it was, and what a cardinality violation means here. */
static void
run_error_context(void *arg)
{
	EltLoad    *load = arg;

	if (geterrcode() == ERRCODE_CARDINALITY_VIOLATION && load->key != NIL)
		errhint("No two rows of the query's result may have the same key, and a subquery used as an expression may return one row only.");
	errcontext("load \"%s\"", load->node.name);
}

/* A mirror that finds what to delete by the source's key must not go on by columns that are no key any more. */
static void
check_owned(EltLoadRun *run)
{
	EltLoad    *load = run->load;

	if (!run->mirror || !run->owned || OidIsValid(elt_key_index(run->batch->root, load->owned_source)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the key of table \"%s\" was changed since load \"%s\" was made", get_rel_name(load->source), load->node.name),
			 errdetail("The load finds the rows to delete by columns that tell the table's rows apart no more."),
			 errhint("Restore the primary key, or drop the load with elt.drop_load(%s) and create it anew.", quote_literal_cstr(load->node.name))));
}

/* A column dropped and added again, or another one of a row that is read as a whole: rows that did not change give something else than before. */
static void
check_source_columns(EltLoadRun *run)
{
	EltLoad    *load = run->load;

	run->source_columns = elt_load_query_check(load->query, load->source, load->node.name);
	if (!run->append && run->batch->consumer->offset != NULL && strcmp(run->source_columns, load->source_columns) != 0)
		elt_batch_resync(run->batch, "columns that the query reads were added or dropped");
}

/* Become the owner and begin a batch. */
static EltLoadRun *
begin_run(EltLoad *load)
{
	EltLoadRun *run = palloc0(sizeof(EltLoadRun));

	check_relations(load);
	run->load = load;
	run->append = strcmp(load->mode, "append") == 0;
	run->mirror = strcmp(load->mode, "mirror") == 0;
	run->owned = load->owned_target != NIL;
	run->guarded = strcmp(load->on_error, "quarantine") == 0;
	elt_progress_begin(load->node.id, load->node.owner);
	elt_become(&run->context, load->node.owner);
	elt_settings_pin(load->settings);
	run->batch = elt_batch_begin(load->consumer);
	run->desc = CreateTupleDescCopy(RelationGetDescr(run->batch->root));
	elt_check_row_security(load->source);
	elt_check_row_security(load->target);
	check_source_columns(run);
	check_owned(run);
	run->source_key = primary_key(run->batch->root);
	if (!run->append)
		run->key = target_key(load);
	run->supersede = run->guarded && !run->append && elt_rejected_count(load->node.id, 1) > 0;
	return run;
}

static void
end_run(EltLoadRun *run)
{
	elt_restore(&run->context);
	elt_progress_end();
}

static EltLoadRows *
begin_rows(EltLoadRun *run)
{
	return elt_rows_begin(run->desc, run->mirror || run->supersede, run->guarded);
}

static void
put_change(void *arg, List *removed, List *added)
{
	elt_rows_put(arg, removed, added);
}

/* Add what a statement gives, rows with the source's columns: as new, and as old too where as_removed. */
static void
put_result(EltLoadRows *rows, const char *sql, EltBag *keys, bool as_removed, bool as_added)
{
	Tuplestorestate *out = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rows->desc, &TTSOpsMinimalTuple);

	elt_exec_into(sql, keys, 1, out, NULL, NULL);
	while (tuplestore_gettupleslot(out, true, false, slot))
	{
		MinimalTuple tuple = ExecCopySlotMinimalTuple(slot);
		List	   *row = list_make1(tuple);

		elt_rows_put(rows, as_removed ? row : NIL, as_added ? row : NIL);
		list_free(row);
		pfree(tuple);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(out);
}

/* All columns of an alias, with a NULL in the place of each dropped one. */
static char *
columns_with_dropped(TupleDesc desc, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			appendStringInfo(&sql, "%sNULL::pg_catalog.int4", i > 0 ? ", " : "");
		else
			appendStringInfo(&sql, "%s%s.%s", i > 0 ? ", " : "", alias, quote_identifier(NameStr(att->attname)));
	}
	return sql.data;
}

/* The log has keys only: read the rows that are there now. A row that is there still stands for its own old version. */
static EltLoadRows *
read_rows_again(EltLoadRun *run, EltLoadRows *touched)
{
	EltLoadRows *rows = begin_rows(run);
	EltBag		keys = {"elt_keys", InvalidOid, run->desc, touched->added, touched->nadded};
	List	   *columns = elt_key_columns(run->source_key);
	char	   *match = elt_key_match(run->source_key, "elt_s", columns, "elt_k", columns);

	put_result(rows, psprintf("SELECT %s FROM %s WHERE EXISTS (SELECT FROM elt_keys AS elt_k WHERE %s)",
							  columns_with_dropped(run->desc, "elt_s"), elt_apply_source(run), match),
			   &keys, true, true);
	if (rows->wants_removed)
		put_result(rows, psprintf("SELECT %s FROM elt_keys AS elt_k WHERE NOT EXISTS (SELECT FROM %s WHERE %s)",
								  columns_with_dropped(run->desc, "elt_k"), elt_apply_source(run), match),
				   &keys, true, false);
	elt_rows_free(touched);
	return rows;
}

/* The batch's chunk of the window, netted; NULL where the log lacks a value. */
static EltLoadRows *
read_rows(EltLoadRun *run)
{
	bool		keys_only = run->batch->capture->keys_only;
	EltNetMode	mode = run->append ? ELT_NET_EVENTS : keys_only ? ELT_NET_KEYS : ELT_NET_ROWS;
	EltLoadRows *rows = keys_only ? elt_rows_begin(run->desc, false, false) : begin_rows(run);
	bool		lost;

	elt_progress_phase(ELT_PHASE_READ);
	run->counts.rows_read += elt_net_each(run->batch, mode, put_change, rows, &lost);
	if (lost)
	{
		elt_rows_free(rows);
		return NULL;
	}
	return keys_only && rows->nadded > 0 ? read_rows_again(run, rows) : rows;
}

/* May the window be applied in chunks? Not where one chunk could delete what another has written. */
static void
split_window(EltLoadRun *run)
{
	EltBatch   *batch = run->batch;

	if (run->mirror && (!run->owned || !elt_net_by_key(batch->root)) && batch->chunks == 0)
		batch->chunks = 1;
	elt_batch_split(batch, run->load->batch_rows);
}

static void
raise_not_appendable(EltLoadRun *run, const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("load \"%s\" cannot append what happened to table \"%s\"", run->load->node.name, get_rel_name(run->load->source)),
			 errdetail("The change log does not tell the rows: %s.", reason),
			 errhint("Drop the load and create it anew with initial => 'none', after you have added what is missing by hand. "
					 "A load that has caught up before such a change goes on.")));
}

/* Why the target has to be brought up to date from the whole source, or NULL. */
static const char *
reason_to_copy(EltLoadRun *run)
{
	EltBatch   *batch = run->batch;

	if (batch->consumer->offset == NULL)
		return "initial";
	if (batch->resync == NULL || !run->append)
		return batch->resync;
	/* what was loaded already need not be read again */
	if (batch->rows_hidden || elt_batch_pending(batch) > 0)
		raise_not_appendable(run, batch->resync);
	return NULL;
}

static void
copy_all(EltLoadRun *run)
{
	run->batch->chunks = 1;
	/* whatever was rejected is read again */
	if (run->supersede)
		elt_rejected_delete_all(run->load->node.id);
	elt_load_copy(run);
	if (strcmp(run->source_columns, run->load->source_columns) != 0)
		elt_load_set_source_columns(run->load->node.id, run->source_columns);
}

/* Apply the batch's changes; false where a copy is needed after all. */
static bool
apply_changes(EltLoadRun *run)
{
	EltLoadRows *rows;

	split_window(run);
	rows = read_rows(run);
	if (rows == NULL)
	{
		if (run->append)
			raise_not_appendable(run, "a value is gone");
		return false;
	}
	elt_progress_phase(ELT_PHASE_APPLY);
	elt_progress_rows(0, rows->nremoved + rows->nadded);
	elt_reject_superseded(run, rows);
	elt_apply_guarded(run, rows);
	elt_progress_rows(rows->nremoved + rows->nadded, rows->nremoved + rows->nadded);
	elt_rows_free(rows);
	return true;
}

/* Changes that are left after this batch. A window that ended earlier than the snapshot may have more behind it. */
static int64
pending_after(EltLoadRun *run, bool complete)
{
	EltBatch   *batch = run->batch;
	EltConsumer consumer = *batch->consumer;

	if (!complete)
		return Max(run->counts.rows_read, 1) * (batch->chunks - batch->chunk - 1);
	if (batch->fresh)
		return 0;
	consumer.offset = batch->to;
	return elt_consumer_pending(&consumer, batch->capture);
}

static void
run_one_batch(EltLoad *load, Outcome *outcome)
{
	ErrorContextCallback context = {error_context_stack, run_error_context, load};
	EltLoadRun *run;
	EltBatch   *batch;
	bool		copied;

	error_context_stack = &context;
	run = begin_run(load);
	batch = run->batch;
	copied = reason_to_copy(run) != NULL;
	if (copied || !apply_changes(run))
	{
		copy_all(run);
		copied = true;
	}
	outcome->began = batch->fresh;
	outcome->complete = batch->chunk + 1 >= batch->chunks;
	outcome->pending = pending_after(run, outcome->complete);
	outcome->counts = run->counts;
	outcome->capture = batch->capture->id;
	if (!copied && batch->fresh && batch->chunks == 1 && run->counts.rows_read == 0 && batch->resync == NULL &&
		batch->to->passed == batch->consumer->offset->passed)
		elt_batch_cancel(batch);
	else
		elt_batch_end(batch);
	end_run(run);
	error_context_stack = context.previous;
}

Datum
elt_sql_run_batch(PG_FUNCTION_ARGS)
{
	EltLoad    *load = elt_load_get(elt_arg_text(fcinfo, 0, "name"));
	Outcome		outcome = {0};
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {false};

	elt_check_may_write("elt.run_batch()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	run_one_batch(load, &outcome);
	elt_segment_maintain(outcome.capture);
	values[0] = Int64GetDatum(outcome.counts.rows_read);
	values[1] = Int64GetDatum(outcome.counts.inserted);
	values[2] = Int64GetDatum(outcome.counts.updated);
	values[3] = Int64GetDatum(outcome.counts.deleted);
	values[4] = Int64GetDatum(outcome.counts.rejected);
	values[5] = Int64GetDatum(outcome.pending);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static void
commit_and_begin(void)
{
	PopActiveSnapshot();
	SPI_commit();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* In a transaction each: batches, up to the end of a window that began in this call. */
static int32
run_until_caught_up(const char *name)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "elt run", ALLOCSET_DEFAULT_SIZES);
	bool		began = false;
	Outcome		outcome;

	do
	{
		MemoryContext old = MemoryContextSwitchTo(mine);

		memset(&outcome, 0, sizeof(outcome));
		run_one_batch(elt_load_get(name), &outcome);
		began |= outcome.began;
		MemoryContextSwitchTo(old);
		commit_and_begin();
		MemoryContextReset(mine);
		CHECK_FOR_INTERRUPTS();
	} while (!(began && outcome.complete));
	MemoryContextDelete(mine);
	return outcome.capture;
}

void
elt_load_run(const char *name)
{
	elt_segment_maintain(run_until_caught_up(name));
}

/* All rejected rows of a load as rows to load, and no longer rejected. */
static EltLoadRows *
take_rejected(EltLoadRun *run, int64 *taken)
{
	EltLoadRows *rows = elt_rows_begin(run->desc, false, true);
	ListCell   *lc;

	foreach(lc, elt_rejected_list(run->load->node.id))
	{
		elt_rows_put(rows, NIL, list_make1(elt_rejected_tuple(run, lfirst(lc))));
		(*taken)++;
	}
	elt_rejected_delete_all(run->load->node.id);
	return rows;
}

Datum
elt_sql_retry_rejected(PG_FUNCTION_ARGS)
{
	EltLoad    *load = elt_load_get(elt_arg_text(fcinfo, 0, "name"));
	ErrorContextCallback context = {error_context_stack, run_error_context, load};
	EltLoadRun *run;
	EltLoadRows *rows;
	int64		taken = 0;

	elt_check_may_write("elt.retry_rejected()");
	error_context_stack = &context;
	run = begin_run(load);
	/* the images are read with the columns that the source has now */
	if (run->batch->resync != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rejected rows of load \"%s\" cannot be retried before the load has run", load->node.name),
				 errdetail("Table \"%s\" was altered since: %s.", get_rel_name(load->source), run->batch->resync),
				 errhint("CALL elt.run(%s) first.", quote_literal_cstr(load->node.name))));
	rows = take_rejected(run, &taken);
	elt_apply_guarded(run, rows);
	elt_rows_free(rows);
	elt_batch_cancel(run->batch);
	end_run(run);
	error_context_stack = context.previous;
	PG_RETURN_INT64(taken - run->counts.rejected);
}

Datum
elt_sql_load_pending(PG_FUNCTION_ARGS)
{
	EltConsumer *consumer = elt_consumer_by_id(PG_GETARG_INT32(0));
	EltCapture *capture = consumer != NULL && consumer->offset != NULL ? elt_capture_by_id(consumer->capture) : NULL;
	int64		pending;

	if (capture == NULL || !elt_install_is(&consumer->install) || !elt_track_lock_source(capture))
		PG_RETURN_NULL();
	pending = elt_consumer_pending(consumer, capture);
	/* the part of a window in chunks that is loaded: about */
	if (consumer->chunks > 0)
		pending -= pending * consumer->chunks_done / consumer->chunks;
	PG_RETURN_INT64(pending);
}
