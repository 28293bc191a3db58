/*
 * copy.c
 *	  A load's first batch, and each one for which changes do not suffice (TRUNCATE, DDL): bring the target to what the query gives over the whole
 *	  source, in one transaction, under the batch's snapshot. The offset stored with it is that snapshot, so the tail begins exactly there.
 *
 *	  on_error 'stop'        one INSERT ... SELECT over the source; mirror: then one DELETE of what the query does not give. Where no row can be
 *	                         in the way, and the target is nothing but a table: its rows by parallel workers, written in batches
 *	  on_error 'quarantine'  the same in a subtransaction; if a row is bad, once more in chunks of rows, read by a cursor, with bisection
 *
 * Writers go on meanwhile. Locks: AccessShare on the source, RowExclusive on the target. A crash, or a cancel, leaves target and offset as they were.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/attempt.h"
#include "base/compat.h"
#include "base/insert.h"
#include "base/progress.h"
#include "base/sql.h"
#include "load/load.h"
#include "worker/worker.h"

/* source rows that are tried together where there are bad ones */
#define CHUNK_ROWS		4096
#define FETCH_ROWS		1000

/* Counts the rows that a statement returns, tells the progress now and then, and hands them on. */
typedef struct CountReceiver
{
	DestReceiver pub;
	DestReceiver *next;			/* or NULL */
	int64		done;
	int64		total;
} CountReceiver;

static bool
count_row(TupleTableSlot *slot, DestReceiver *self)
{
	CountReceiver *counter = (CountReceiver *) self;

	if (++counter->done % 10000 == 0)
		elt_progress_rows(counter->done, Max(counter->total, counter->done));
	return counter->next == NULL || counter->next->receiveSlot(slot, counter->next);
}

static void
count_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	CountReceiver *counter = (CountReceiver *) self;

	if (counter->next != NULL)
		counter->next->rStartup(counter->next, operation, desc);
}

static void
count_shutdown(DestReceiver *self)
{
	CountReceiver *counter = (CountReceiver *) self;

	if (counter->next != NULL)
		counter->next->rShutdown(counter->next);
}

static void
count_destroy(DestReceiver *self)
{
}

static int64
estimated_rows(Relation source)
{
	BlockNumber pages;
	double		tuples;
	double		allvisible;

	if (source->rd_rel->relkind != RELKIND_RELATION)
		return Max((int64) source->rd_rel->reltuples, 0);
	estimate_rel_size(source, NULL, &pages, &tuples, &allvisible);
	return (int64) tuples;
}

/* Is there nothing that a mirror would have to delete? Others need not know, and may lack the right to look. */
static bool
nothing_to_delete(EltLoadRun *run)
{
	uint64		nrows;
	Tuplestorestate *out;

	if (!run->mirror)
		return true;
	out = tuplestore_begin_heap(false, false, work_mem);
	elt_exec_into(psprintf("SELECT 1 FROM %s LIMIT 1", elt_apply_target(run)), NULL, 0, out, NULL, &nrows);
	tuplestore_end(out);
	return nrows == 0;
}

static void
run_counted(EltLoadRun *run, const char *sql, DestReceiver *dest)
{
	EltExecCounts counts;

	elt_exec(sql, NULL, 0, NULL, dest, &counts);
	run->counts.inserted += counts.inserted;
	run->counts.updated += counts.updated;
	run->counts.deleted += counts.deleted;
	run->counts.rows_read += counts.offered;
}

/* Is there no row that another one could meet? */
static bool
is_empty(Oid relid)
{
	bool		empty = true;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);

		if (RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
			empty &= RelationGetNumberOfBlocks(rel) == 0;
		table_close(rel, AccessShareLock);
	}
	return empty;
}

static void
without_conflicts(Query *query, void *arg)
{
	query->onConflict = NULL;
}

typedef struct Fill
{
	EltLoadRun *run;
	const char *sql;
	CountReceiver *counter;
	EltLoadCounts counts;
} Fill;

static void
fill_in_batches(void *arg)
{
	Fill	   *fill = arg;
	DestReceiver *receiver = elt_insert_receiver(fill->run->load->target, NULL, 0, ELT_INSERT_INDEXES);
	EltExecCounts counts;
	EltReserved reserved;

	fill->counter->next = receiver;
	elt_reserve_begin(&reserved);
	elt_exec_changed(fill->sql, without_conflicts, NULL, &fill->counter->pub, &counts);
	elt_reserve_end(&reserved);
	fill->counts.inserted = fill->counts.rows_read = elt_insert_rows(receiver);
	receiver->rDestroy(receiver);
}

static bool
is_unique_violation(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_UNIQUE_VIOLATION;
}

/* The first rows of a table, or more of what is only added; false: it cannot be done like this. */
static bool
fill_target(EltLoadRun *run, const char *sql, CountReceiver *counter)
{
	Fill		fill = {run, sql, counter};
	ErrorData  *error;
	bool		filled;

	/* nobody adds a trigger after it was looked for */
	LockRelationOid(run->load->target, RowExclusiveLock);
	(void) find_all_inheritors(run->load->target, RowExclusiveLock, NULL);
	if (elt_insert_refusal(run->load->target) != NULL || !(run->append || is_empty(run->load->target)))
		return false;
	if (run->append)
	{
		fill_in_batches(&fill);
		filled = true;
	}
	else
	{
		/*
		 * the source may give a key twice, and somebody else may write it: an
		 * upsert knows what to do, or to say
		 */
		filled = elt_attempt(fill_in_batches, &fill, is_unique_violation, &error);
	}
	counter->next = NULL;
	counter->done = 0;
	if (!filled)
		return false;
	run->counts.inserted += fill.counts.inserted;
	run->counts.rows_read += fill.counts.rows_read;
	return true;
}

/* All rows, in as few commands as there can be. */
static void
copy_whole(EltLoadRun *run, void *arg)
{
	const char *query = psprintf("(%s) AS elt_q", run->load->query);
	CountReceiver counter = {{count_row, count_startup, count_shutdown, count_destroy, DestNone}};
	bool		only_adds = *(bool *) arg;
	char	   *sql = elt_apply_insert_sql(run, query);

	counter.total = estimated_rows(run->batch->root);
	elt_progress_rows(0, counter.total);
	if (!fill_target(run, sql, &counter))
		run_counted(run, psprintf("%s RETURNING 1", sql), &counter.pub);
	if (!only_adds)
		run_counted(run, psprintf("DELETE FROM %s WHERE NOT EXISTS (SELECT FROM %s WHERE %s)",
								  elt_apply_target(run), query,
								  elt_key_match(run->key, "elt_t", run->load->key, "elt_q", run->load->key)), NULL);
}

/* Before a mirror is filled in chunks: what no source row stands behind goes. Where rows cannot be told by the source's key: everything. */
static void
delete_without_source(EltLoadRun *run)
{
	EltLoad    *load = run->load;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s", elt_apply_target(run));
	if (run->owned)
		appendStringInfo(&sql, " WHERE NOT EXISTS (SELECT FROM %s WHERE %s)", elt_apply_source(run),
						 elt_key_match(run->key, "elt_t", load->owned_target, "elt_s", load->owned_source));
	run_counted(run, sql.data, NULL);
}

static char *
live_columns(TupleDesc desc)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&sql, "%selt_s.%s", sql.len > 0 ? ", " : "", quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	}
	return sql.data;
}

/* A source row as the batch has it: with a place for each dropped column. */
static MinimalTuple
source_row(TupleDesc desc, HeapTuple tuple, TupleDesc tuple_desc)
{
	Datum	   *values = palloc0(sizeof(Datum) * (desc->natts + 1));
	bool	   *nulls = palloc0(sizeof(bool) * (desc->natts + 1));
	int			column = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			nulls[i] = true;
		else
			values[i] = heap_getattr(tuple, ++column, tuple_desc, &nulls[i]);
	}
	return elt_form_minimal_tuple(desc, values, nulls);
}

/* Read on, up to a chunk; NULL at the end. with_removed: whatever the target has of these rows is to be replaced. */
static EltLoadRows *
read_chunk(EltLoadRun *run, Portal portal, bool with_removed, MemoryContext scratch)
{
	EltLoadRows *rows = elt_rows_begin(run->desc, with_removed, true);

	while (rows->nadded < CHUNK_ROWS)
	{
		uint64		n;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(scratch);
			List	   *row = list_make1(source_row(run->desc, SPI_tuptable->vals[i], SPI_tuptable->tupdesc));

			MemoryContextSwitchTo(old);
			elt_rows_put(rows, with_removed ? row : NIL, row);
			MemoryContextReset(scratch);
		}
		SPI_freetuptable(SPI_tuptable);
		if (n < FETCH_ROWS)
			break;
	}
	return rows;
}

static void
copy_in_chunks(EltLoadRun *run, bool only_adds)
{
	bool		replace = run->owned && !only_adds;
	int64		total = estimated_rows(run->batch->root);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "elt copy", ALLOCSET_DEFAULT_SIZES);
	Portal		portal;
	int64		done = 0;
	int64		last;

	if (!only_adds)
		delete_without_source(run);
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, psprintf("SELECT %s FROM %s", live_columns(run->desc), elt_apply_source(run)),
									   0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	do
	{
		EltLoadRows *rows = read_chunk(run, portal, replace, scratch);

		elt_progress_phase(ELT_PHASE_COPY);
		elt_apply_guarded(run, rows);
		last = rows->nadded;
		done += last;
		elt_progress_rows(done, Max(total, done));
		elt_rows_free(rows);
		CHECK_FOR_INTERRUPTS();
	} while (last >= CHUNK_ROWS);
	SPI_cursor_close(portal);
	SPI_finish();
	MemoryContextDelete(scratch);
	run->counts.rows_read += done;
}

void
elt_load_copy(EltLoadRun *run)
{
	bool		only_adds = nothing_to_delete(run);
	ErrorData  *error;

	elt_progress_phase(ELT_PHASE_COPY);
	if (!run->guarded)
		copy_whole(run, &only_adds);
	else if (!elt_load_attempt(run, copy_whole, &only_adds, &error))
		copy_in_chunks(run, only_adds);
}
