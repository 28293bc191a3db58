/*
 * rowset.c
 *	  Rows that spill to disk, and tables to find them by image.
 *
 * Rows are collected in a tuplestore, each with its hash at its end. To bring together those that belong together, they are read into a hash table. Where
 * all would need more than elt.batch_memory, they are first dealt out to several tuplestores by their hash: each row is written and read once more, however
 * many there are. A table keeps the order in which rows arrived, so that what is written from it lies in the order in which it was computed. Rows of a tuplestore
 * that has not spilled are not copied into the table.
 *
 * No locks; temporary files go with the transaction.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heaptoast.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/guc.h"
#include "capture/image.h"
#include "view/rowset.h"

#define MAX_TAIL 4
#define MAX_PARTS 1024

EltRowSet *
elt_rowset_begin(TupleDesc desc, int ntail, const char *const *names)
{
	static const Oid types[MAX_TAIL] = {INT8OID, INT8OID, INT8OID, INT8OID};
	EltRowSet  *set = palloc0(sizeof(EltRowSet));

	Assert(ntail <= MAX_TAIL);
	set->context = CurrentMemoryContext;
	set->scratch = AllocSetContextCreate(CurrentMemoryContext, "elt rows", ALLOCSET_DEFAULT_SIZES);
	set->ncolumns = desc->natts;
	set->ntail = ntail;
	set->desc = elt_row_desc(desc, desc->natts, ntail, names, types);
	set->kinds = elt_row_kinds(set->desc);
	set->values = palloc(sizeof(Datum) * set->desc->natts);
	set->nulls = palloc0(sizeof(bool) * set->desc->natts);
	set->slot = MakeSingleTupleTableSlot(set->desc, &TTSOpsMinimalTuple);
	return set;
}

void
elt_rowset_flatten(EltRowSet *set)
{
	for (int i = 0; i < set->ncolumns; i++)
	{
		struct varlena *value = (struct varlena *) DatumGetPointer(set->values[i]);
		MemoryContext old;

		if (set->nulls[i] || TupleDescAttr(set->desc, i)->attlen != -1 || !VARATT_IS_EXTERNAL(value))
			continue;
		old = MemoryContextSwitchTo(set->scratch);
		set->values[i] = PointerGetDatum(detoast_external_attr(value));
		MemoryContextSwitchTo(old);
	}
}

void
elt_rowset_put(EltRowSet *set)
{
	Tuplestorestate *store;

	if (set->stores == NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(set->context);

		set->stores = list_make1(tuplestore_begin_heap(true, false, work_mem));
		MemoryContextSwitchTo(old);
	}
	store = llast(set->stores);
	set->bytes += heap_compute_data_size(set->desc, set->values, set->nulls);
	set->nrows++;
	tuplestore_putvalues(store, set->desc, set->values, set->nulls);
	MemoryContextReset(set->scratch);
}

void
elt_rowset_join(EltRowSet *set, EltRowSet *from)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);

	set->stores = list_concat(set->stores, from->stores);
	set->nrows += from->nrows;
	set->bytes += from->bytes;
	from->stores = NIL;
	elt_rowset_free(from);
	MemoryContextSwitchTo(old);
}

void
elt_rowset_check_desc(TupleDesc desc, TupleDesc expected)
{
	if (desc->natts != expected->natts)
		elog(ERROR, "expected rows of %d columns, got %d", expected->natts, desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Oid			got = TupleDescAttr(desc, i)->atttypid;
		Oid			wanted = TupleDescAttr(expected, i)->atttypid;

		if (got != wanted && !IsBinaryCoercible(got, wanted) && !IsBinaryCoercible(wanted, got))
			elog(ERROR, "expected type %u of column \"%s\", got %u", wanted,
				 NameStr(TupleDescAttr(expected, i)->attname), got);
	}
}

void
elt_rowset_rewind(Tuplestorestate *store)
{
	/* those above were allocated by statements that read the bag */
	tuplestore_select_read_pointer(store, 0);
	tuplestore_rescan(store);
}

/* Deal the rows out by their hash. */
static List *
deal(EltRowSet *set, int nparts)
{
	Tuplestorestate **stores = palloc(sizeof(Tuplestorestate *) * nparts);
	List	   *parts = NIL;
	ListCell   *lc;

	for (int i = 0; i < nparts; i++)
	{
		stores[i] = tuplestore_begin_heap(true, false, Max(work_mem / nparts, 64));
		parts = lappend(parts, list_make1(stores[i]));
	}
	foreach(lc, set->stores)
	{
		Tuplestorestate *store = lfirst(lc);
		MinimalTuple tuple;

		elt_rowset_rewind(store);
		while ((tuple = elt_rowset_next(store, set->slot)) != NULL)
		{
			/* the table's buckets are by the lower bits */
			uint32		part = (uint32) ((uint64) elt_tail_get(tuple, 1) >> 32) % nparts;

			CHECK_FOR_INTERRUPTS();
			tuplestore_puttupleslot(stores[part], set->slot);
		}
		ExecClearTuple(set->slot);
		tuplestore_end(store);
	}
	list_free(set->stores);
	pfree(stores);
	return parts;
}

List *
elt_rowset_take_parts(EltRowSet *set, Size entry)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	Size		each = entry + SizeofMinimalTupleHeader + 4 * sizeof(void *);
	int64		parts = 1 + (set->bytes + set->nrows * (int64) each) / ((int64) elt_batch_memory * 1024);
	List	   *result;

	if (parts == 1)
		result = list_make1(set->stores);
	else
		result = deal(set, (int) Min(parts, MAX_PARTS));
	set->stores = NIL;
	set->nrows = set->bytes = 0;
	MemoryContextSwitchTo(old);
	return result;
}

int64
elt_rowset_count(List *stores)
{
	int64		n = 0;
	ListCell   *lc;

	foreach(lc, stores)
		n += tuplestore_tuple_count((Tuplestorestate *) lfirst(lc));
	return n;
}

void
elt_rowset_clear(EltRowSet *set)
{
	ListCell   *lc;

	foreach(lc, set->stores)
		tuplestore_end((Tuplestorestate *) lfirst(lc));
	list_free(set->stores);
	set->stores = NIL;
	set->nrows = set->bytes = 0;
}

void
elt_rowset_free(EltRowSet *set)
{
	elt_rowset_clear(set);
	ExecDropSingleTupleTableSlot(set->slot);
	MemoryContextDelete(set->scratch);
	FreeTupleDesc(set->desc);
	pfree(set->kinds);
	pfree(set->values);
	pfree(set->nulls);
	pfree(set);
}

void
elt_rowset_deform(EltRowSet *set, MinimalTuple tuple, Datum *values, bool *nulls)
{
	HeapTupleData view;

	elt_tuple_of_minimal(tuple, &view);
	heap_deform_tuple(&view, set->desc, values, nulls);
}

/* Are the columns the same to the byte? */
static inline bool
same_bytes(EltRowSet *set, MinimalTuple a, MinimalTuple b)
{
	Size		start = offsetof(MinimalTupleData, t_infomask2);

	return a->t_len == b->t_len &&
		memcmp((char *) a + start, (char *) b + start, a->t_len - start - sizeof(int64) * set->ntail) == 0;
}

static bool
same_row(EltRowTable *table, MinimalTuple a, MinimalTuple b)
{
	EltRowSet  *set = table->set;
	int			n = table->nkeys > 0 ? table->nkeys : set->ncolumns;

	if (same_bytes(set, a, b))
		return true;
	elt_rowset_deform(set, a, table->values[0], table->nulls[0]);
	elt_rowset_deform(set, b, table->values[1], table->nulls[1]);
	for (int i = 0; i < n; i++)
	{
		int			column = table->nkeys > 0 ? table->keys[i] : i;

		if (!elt_value_same(set->desc, set->kinds, column, table->values[0][column], table->nulls[0][column],
							table->values[1][column], table->nulls[1][column]))
			return false;
	}
	return true;
}

bool
elt_rowset_same(EltRowSet *set, MinimalTuple a, MinimalTuple b)
{
	EltRowTable all = {.set = set};
	bool		same;

	if (same_bytes(set, a, b))
		return true;
	for (int i = 0; i < 2; i++)
	{
		all.values[i] = palloc(sizeof(Datum) * set->desc->natts);
		all.nulls[i] = palloc(sizeof(bool) * set->desc->natts);
	}
	same = same_row(&all, a, b);
	for (int i = 0; i < 2; i++)
	{
		pfree(all.values[i]);
		pfree(all.nulls[i]);
	}
	return same;
}

EltRowTable *
elt_rowtable_begin(EltRowSet *set, const int *keys, int nkeys, Size entry)
{
	EltRowTable *table = palloc0(sizeof(EltRowTable));

	table->set = set;
	table->keys = keys;
	table->nkeys = nkeys;
	table->entry = entry;
	table->context = GenerationContextCreate(CurrentMemoryContext, "elt row table", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < 2; i++)
	{
		table->values[i] = palloc(sizeof(Datum) * set->desc->natts);
		table->nulls[i] = palloc(sizeof(bool) * set->desc->natts);
	}
	return table;
}

void
elt_rowtable_start(EltRowTable *table, int64 nrows)
{
	uint64		nbuckets = pg_nextpower2_64((uint64) Max(nrows, 16));

	MemoryContextReset(table->context);
	table->mask = nbuckets - 1;
	table->buckets = MemoryContextAllocHuge(table->context, sizeof(EltRowEntry *) * nbuckets);
	memset(table->buckets, 0, sizeof(EltRowEntry *) * nbuckets);
	table->first = table->last = NULL;
}

void *
elt_rowtable_alloc(EltRowTable *table, Size size)
{
	return MemoryContextAllocZero(table->context, size);
}

MinimalTuple
elt_rowtable_keep(EltRowTable *table, MinimalTuple tuple, bool stays)
{
	MinimalTuple copy;

	if (stays)
		return tuple;
	copy = MemoryContextAllocHuge(table->context, tuple->t_len);
	memcpy(copy, tuple, tuple->t_len);
	return copy;
}

EltRowEntry *
elt_rowtable_find(EltRowTable *table, MinimalTuple tuple, bool stays, bool *found)
{
	uint64		hash = (uint64) elt_tail_get(tuple, 1);
	EltRowEntry **bucket = &table->buckets[hash & table->mask];
	EltRowEntry *entry;

	*found = true;
	for (entry = *bucket; entry != NULL; entry = entry->chain)
		if (entry->hash == hash && same_row(table, entry->tuple, tuple))
			return entry;
	*found = false;
	entry = elt_rowtable_alloc(table, table->entry);
	entry->hash = hash;
	entry->tuple = elt_rowtable_keep(table, tuple, stays);
	entry->chain = *bucket;
	*bucket = entry;
	if (table->last == NULL)
		table->first = entry;
	else
		table->last->next = entry;
	table->last = entry;
	return entry;
}

void
elt_rowtable_free(EltRowTable *table)
{
	MemoryContextDelete(table->context);
	for (int i = 0; i < 2; i++)
	{
		pfree(table->values[i]);
		pfree(table->nulls[i]);
	}
	pfree(table);
}
