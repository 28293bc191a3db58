/*
 * delta.c
 *	  Bags of rows with weights, netted by image.
 *
 *   rows added -> row set, each with its weight and its hash -> table by image, weights summed -> bag of rows and _elt_w
 *
 * Values that are stored elsewhere are fetched as rows are added, for rows outlive what a pointer to them means. Memory and files: see rowset.c; the bag is a
 * tuplestore, too. No locks; nothing to lose in a crash.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "view/delta.h"
#include "view/rowset.h"

/* the tail, counted from the end */
#define TAIL_HASH 1
#define TAIL_WEIGHT 2

struct EltDelta
{
	MemoryContext context;
	EltRowSet  *rows;			/* added since it was netted last */
	TupleDesc	desc;			/* of the bag */
	Tuplestorestate *netted;
	int64		count;
	bool		has_removed;
	bool		has_added;
	Bitmapset  *were_null;		/* attribute numbers of NULLs in removed rows */
};

typedef struct DeltaEntry
{
	EltRowEntry row;
	int64		weight;
} DeltaEntry;

EltDelta *
elt_delta_begin(TupleDesc desc)
{
	static const char *const tail[] = {ELT_WEIGHT_COLUMN, "_elt_hash"};
	static const char *const weight[] = {ELT_WEIGHT_COLUMN};
	static const Oid types[] = {INT8OID};
	EltDelta   *delta = palloc0(sizeof(EltDelta));

	delta->context = CurrentMemoryContext;
	delta->rows = elt_rowset_begin(desc, 2, tail);
	delta->desc = elt_row_desc(desc, desc->natts, 1, weight, types);
	return delta;
}

EltDelta *
elt_delta_begin_like(EltDelta *delta)
{
	MemoryContext old = MemoryContextSwitchTo(delta->context);
	TupleDesc	desc = elt_row_desc(delta->desc, delta->rows->ncolumns, 0, NULL, NULL);
	EltDelta   *like = elt_delta_begin(desc);

	FreeTupleDesc(desc);
	MemoryContextSwitchTo(old);
	return like;
}

/* Add the row that is in rows->values. */
static void
put(EltDelta *delta, int64 weight)
{
	EltRowSet  *rows = delta->rows;
	uint64		hash = 0;

	if (weight == 0)
		return;
	elt_rowset_flatten(rows);
	for (int i = 0; i < rows->ncolumns; i++)
		if (!rows->nulls[i])
			hash = elt_hash_combine(hash, elt_value_hash(rows->desc, rows->kinds, i, rows->values[i]), i);
	rows->values[rows->ncolumns] = Int64GetDatum(weight);
	rows->values[rows->ncolumns + 1] = Int64GetDatum((int64) hash);
	rows->nulls[rows->ncolumns] = rows->nulls[rows->ncolumns + 1] = false;
	elt_rowset_put(rows);
}

void
elt_delta_add(EltDelta *delta, MinimalTuple tuple, int64 weight)
{
	/* the tail's columns are not in it: they come out as NULL */
	elt_rowset_deform(delta->rows, tuple, delta->rows->values, delta->rows->nulls);
	put(delta, weight);
}

void
elt_delta_add_slot(EltDelta *delta, TupleTableSlot *slot, int64 weight)
{
	EltRowSet  *rows = delta->rows;

	slot_getsomeattrs(slot, rows->ncolumns);
	memcpy(rows->values, slot->tts_values, sizeof(Datum) * rows->ncolumns);
	memcpy(rows->nulls, slot->tts_isnull, sizeof(bool) * rows->ncolumns);
	put(delta, weight);
}

void
elt_delta_add_store(EltDelta *delta, Tuplestorestate *store, TupleDesc desc)
{
	TupleTableSlot *slot;

	elt_rowset_check_desc(desc, delta->desc);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	elt_rowset_rewind(store);
	while (tuplestore_gettupleslot(store, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (!slot->tts_isnull[desc->natts - 1])
			elt_delta_add_slot(delta, slot, DatumGetInt64(slot->tts_values[desc->natts - 1]));
	}
	ExecDropSingleTupleTableSlot(slot);
}

void
elt_delta_join(EltDelta *delta, EltDelta *from)
{
	Assert(delta->context == from->context && from->netted == NULL);
	elt_rowset_join(delta->rows, from->rows);
	FreeTupleDesc(from->desc);
	pfree(from);
}

/* Add up the weights of a part. */
static void
sum_weights(EltRowTable *table, TupleTableSlot *slot, List *stores)
{
	ListCell   *lc;

	elt_rowtable_start(table, elt_rowset_count(stores));
	foreach(lc, stores)
	{
		Tuplestorestate *store = lfirst(lc);
		bool		stays = tuplestore_in_memory(store);
		MinimalTuple tuple;

		elt_rowset_rewind(store);
		while ((tuple = elt_rowset_next(store, slot)) != NULL)
		{
			bool		found;
			DeltaEntry *entry = (DeltaEntry *) elt_rowtable_find(table, tuple, stays, &found);

			CHECK_FOR_INTERRUPTS();
			if (pg_add_s64_overflow(entry->weight, elt_tail_get(tuple, TAIL_WEIGHT), &entry->weight))
				elog(ERROR, "the weight of a row is out of range");
		}
		ExecClearTuple(slot);
	}
}

static void
note_nulls(EltDelta *delta, MinimalTuple tuple)
{
	if ((tuple->t_infomask & HEAP_HASNULL) == 0)
		return;
	for (int i = 0; i < delta->desc->natts; i++)
		if (att_isnull(i, tuple->t_bits) && !bms_is_member(i + 1, delta->were_null))
			delta->were_null = bms_add_member(delta->were_null, i + 1);
}

/* What is left goes into the bag. */
static void
put_netted(EltDelta *delta, EltRowTable *table, TupleTableSlot *slot)
{
	for (EltRowEntry *row = table->first; row != NULL; row = row->next)
	{
		int64		weight = ((DeltaEntry *) row)->weight;
		MinimalTuple tuple = row->tuple;

		CHECK_FOR_INTERRUPTS();
		if (weight == 0)
			continue;
		/* the last column, the hash, is cut off */
		elt_tail_set(tuple, TAIL_WEIGHT, weight);
		tuple->t_len -= sizeof(int64);
		HeapTupleHeaderSetNatts(tuple, delta->desc->natts);
		ExecStoreMinimalTuple(tuple, slot, false);
		tuplestore_puttupleslot(delta->netted, slot);
		delta->count++;
		if (weight < 0)
			note_nulls(delta, tuple);
		delta->has_removed |= weight < 0;
		delta->has_added |= weight > 0;
	}
	ExecClearTuple(slot);
}

void
elt_delta_net(EltDelta *delta)
{
	MemoryContext old = MemoryContextSwitchTo(delta->context);
	Tuplestorestate *before = delta->netted;
	EltRowTable *table;
	TupleTableSlot *slot;
	ListCell   *part;
	ListCell   *lc;

	if (before != NULL && delta->rows->nrows == 0)
	{
		MemoryContextSwitchTo(old);
		return;
	}
	if (before != NULL)
	{
		elt_delta_add_store(delta, before, delta->desc);
		tuplestore_end(before);
	}
	delta->netted = tuplestore_begin_heap(true, false, work_mem);
	delta->count = 0;
	delta->has_removed = delta->has_added = false;
	delta->were_null = NULL;
	table = elt_rowtable_begin(delta->rows, NULL, 0, sizeof(DeltaEntry));
	slot = MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple);
	foreach(part, elt_rowset_take_parts(delta->rows, sizeof(DeltaEntry)))
	{
		sum_weights(table, delta->rows->slot, lfirst(part));
		put_netted(delta, table, slot);
		foreach(lc, (List *) lfirst(part))
			tuplestore_end((Tuplestorestate *) lfirst(lc));
	}
	ExecDropSingleTupleTableSlot(slot);
	elt_rowtable_free(table);
	MemoryContextSwitchTo(old);
}

TupleDesc
elt_delta_desc(EltDelta *delta)
{
	return delta->desc;
}

Tuplestorestate *
elt_delta_tuples(EltDelta *delta)
{
	Assert(delta->netted != NULL);
	return delta->netted;
}

int64
elt_delta_count(EltDelta *delta)
{
	return delta->count;
}

bool
elt_delta_has_removed(EltDelta *delta)
{
	return delta->has_removed;
}

bool
elt_delta_has_added(EltDelta *delta)
{
	return delta->has_added;
}

Bitmapset *
elt_delta_were_null(EltDelta *delta)
{
	return delta->were_null;
}

void
elt_delta_free(EltDelta *delta)
{
	elt_rowset_free(delta->rows);
	if (delta->netted != NULL)
		tuplestore_end(delta->netted);
	FreeTupleDesc(delta->desc);
	pfree(delta);
}
