/*
 * quarantine.c
 *	  on_error 'quarantine': a task finds the rows of its table that cannot be transformed, and keeps them.
 *
 *	  all of the piece in a subtransaction -- works: written
 *	                                       -- a row's error: halve, and each half again, down to single rows
 *
 * Pieces are ranges of TIDs. What goes to a staging table is first evaluated, checked and kept, and written when that has worked, for rows that are frozen could not be undone.
 * What goes to the target is written in the subtransaction, so that its indexes and triggers have their say too.
 *
 * Locks: none of its own. A crash undoes the task's transaction; what the tasks of a failed run have put aside goes with it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "base/attempt.h"
#include "base/sql.h"
#include "catalog/key.h"
#include "catalog/load.h"
#include "transform/transform.h"

/* TIDs as numbers */
#define OFFSETS		(MaxHeapTuplesPerPage + 2)

/* A range of them, being tried. */
typedef struct Try
{
	EltQuarantine *task;
	EltPiece	piece;
	Tuplestorestate *store;
	TupleDesc	desc;			/* of what is stored */
	MemoryContext memory;		/* for that */
	int64		rows;
} Try;

/* Rows into a tuplestore that outlives the subtransaction, checked before. */
typedef struct Keeper
{
	DestReceiver pub;
	Try		   *try;
	DestReceiver *check;		/* or NULL */
} Keeper;

static void
keeper_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	Keeper	   *keeper = (Keeper *) self;
	MemoryContext old = MemoryContextSwitchTo(keeper->try->memory);

	keeper->try->desc = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(old);
	if (keeper->check != NULL)
		keeper->check->rStartup(keeper->check, operation, desc);
}

static bool
keeper_receive(TupleTableSlot *slot, DestReceiver *self)
{
	Keeper	   *keeper = (Keeper *) self;

	if (keeper->check != NULL)
		(void) keeper->check->receiveSlot(slot, keeper->check);
	tuplestore_puttupleslot(keeper->try->store, slot);
	return true;
}

static void
keeper_shutdown(DestReceiver *self)
{
	Keeper	   *keeper = (Keeper *) self;

	if (keeper->check != NULL)
		keeper->check->rShutdown(keeper->check);
}

static void
keeper_destroy(DestReceiver *self)
{
}

static DestReceiver *
checker(EltQuarantine *task)
{
	return elt_insert_receiver(task->transform->target, NULL, 0, ELT_INSERT_CHECK);
}

static void
evaluate(Try *try)
{
	EltQuarantine *task = try->task;
	Keeper		keeper = {{keeper_receive, keeper_startup, keeper_shutdown, keeper_destroy, DestNone}, try, NULL};

	if (task->into_bag)
	{
		/* its rows are not the target's yet */
		if (elt_insert_refusal(task->transform->target) == NULL)
			elt_exec_changed(elt_statement_insert(task->transform, task->transform->query), task->restrict_insert, &try->piece, checker(task), NULL);
		elt_exec_changed(task->sql, task->restrict_whole, &try->piece, &keeper.pub, NULL);
		return;
	}
	keeper.check = checker(task);
	elt_exec_changed(task->sql, task->restrict_insert, &try->piece, &keeper.pub, NULL);
}

static void
attempt(void *arg)
{
	Try		   *try = arg;
	EltQuarantine *task = try->task;
	EltExecCounts counts = {0};
	DestReceiver *dest = NULL;

	if (!task->direct)
	{
		evaluate(try);
		return;
	}
	if (task->dest != NULL)
		dest = elt_insert_receiver(task->transform->target, NULL, 0, ELT_INSERT_INDEXES);
	elt_exec_changed(task->sql, task->restrict_insert, &try->piece, dest, &counts);
	try->rows = dest != NULL ? elt_insert_rows(dest) : (int64) counts.processed;
}

/* What was kept goes to where it belongs. */
static void
write_kept(Try *try)
{
	DestReceiver *dest = try->task->dest;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(try->desc, &TTSOpsMinimalTuple);

	dest->rStartup(dest, CMD_SELECT, try->desc);
	while (tuplestore_gettupleslot(try->store, true, false, slot))
		(void) dest->receiveSlot(slot, dest);
	dest->rShutdown(dest);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Rejection
 */

/* {"a": 1} of the primary key's columns, as SQL over elt_s. */
static char *
key_as_json(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	StringInfoData sql;
	ListCell   *lc;

	list_free(RelationGetIndexList(rel));	/* fills in rd_pkindex */
	initStringInfo(&sql);
	if (OidIsValid(rel->rd_pkindex))
	{
		appendStringInfoString(&sql, "(SELECT pg_catalog.to_jsonb(elt_k) FROM (SELECT ");
		foreach(lc, elt_key_columns(elt_key_of_index(rel->rd_pkindex)))
			appendStringInfo(&sql, "%selt_s.%s", foreach_current_index(lc) > 0 ? ", " : "", quote_identifier(strVal(lfirst(lc))));
		appendStringInfoString(&sql, ") AS elt_k)");
	}
	else
		appendStringInfoString(&sql, "NULL::pg_catalog.jsonb");
	relation_close(rel, NoLock);
	return sql.data;
}

/* Is there a row that the task can see? Then *rejected says what it is. */
static bool
describe_row(const EltPiece *piece, EltRejected *rejected)
{
	Tuplestorestate *out = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *slot;
	TupleDesc	desc;
	bool		found;
	bool		isnull;
	Datum		value;

	elt_exec_into(psprintf("SELECT CAST(%s AS pg_catalog.text), CAST(pg_catalog.to_jsonb(elt_s) AS pg_catalog.text) FROM ONLY %s AS elt_s"
						   " WHERE elt_s.ctid OPERATOR(pg_catalog.=) '(%u,%u)'::pg_catalog.tid",
						   key_as_json(piece->relid), elt_qualified_name(piece->relid), piece->lower, piece->lower_offset),
				  NULL, 0, out, &desc, NULL);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	found = tuplestore_gettupleslot(out, true, false, slot);
	if (found)
	{
		value = slot_getattr(slot, 1, &isnull);
		rejected->key = isnull ? NULL : TextDatumGetCString(value);
		value = slot_getattr(slot, 2, &isnull);
		rejected->row = TextDatumGetCString(value);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(out);
	return found;
}

static void
reject(Try *try, ErrorData *error)
{
	EltQuarantine *task = try->task;
	EltRejected rejected = {.image = ""};

	/* nothing there: whatever failed does not hang on a row */
	if (!describe_row(&try->piece, &rejected))
		ReThrowError(error);
	rejected.sqlstate = unpack_sql_state(error->sqlerrcode);
	rejected.message = error->message;
	elt_rejected_insert(task->transform->node.id, &rejected);
	if (++task->rejected > task->transform->max_rejected)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("transform \"%s\" has rejected more than %lld rows", task->transform->node.name, (long long) task->transform->max_rejected),
				 errdetail("The last one: %s (SQLSTATE %s)", error->message, unpack_sql_state(error->sqlerrcode)),
				 errhint("Correct the rows, the query's functions or the target, then run the transform again.")));
}

/*
 * Halving
 */

static void
set_range(EltPiece *piece, int64 from, int64 to)
{
	piece->lower = (BlockNumber) (from / OFFSETS);
	piece->lower_offset = (uint32) (from % OFFSETS);
	piece->upper = (BlockNumber) (to / OFFSETS);
	piece->upper_offset = (uint32) (to % OFFSETS);
}

static void
work_on(EltQuarantine *task, int64 from, int64 to)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "elt quarantine", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mine);
	Try			try = {.task = task,.piece = task->piece,.memory = mine};
	ErrorData  *error;
	bool		done;

	CHECK_FOR_INTERRUPTS();
	set_range(&try.piece, from, to);
	try.store = tuplestore_begin_heap(false, false, work_mem);
	done = elt_attempt(attempt, &try, elt_is_row_error, &error);
	if (done && !task->direct)
		write_kept(&try);
	task->rows += try.rows;
	tuplestore_end(try.store);
	if (!done && to - from <= 1)
		reject(&try, error);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
	if (!done && to - from > 1)
	{
		work_on(task, from, from + (to - from) / 2);
		work_on(task, from + (to - from) / 2, to);
	}
}

void
elt_quarantine_task(EltQuarantine *task)
{
	BlockNumber upper = task->piece.upper;

	/* the present end has all that the task's snapshot sees */
	if (upper == InvalidBlockNumber)
	{
		Relation	rel = relation_open(task->piece.relid, AccessShareLock);

		upper = RelationGetNumberOfBlocks(rel);
		relation_close(rel, NoLock);
	}
	if (upper > task->piece.lower)
		work_on(task, (int64) task->piece.lower * OFFSETS, (int64) upper * OFFSETS);
}
