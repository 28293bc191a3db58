/*
 * change.c
 *	  The change of a part's storage: what is there, against what is to be there.
 *
 *   old rows, new rows -> row set (weight, place, hash of the image, hash of the key)
 *     -> table by key, under each key its images with the sum of their weights and the places of the rows that are there
 *     -> bags of deletes, updates, inserts (write.c), and the change of the output
 *
 * Without a key each image is a key of its own. Nothing is written before all of it is known, so that a storage that is not what it should be is left as it
 * is. Memory and files: see rowset.c; rows are dealt out by key. Old rows keep pointers to their toasted values: an update gives them back, and
 * then the value is not written again.
 *
 * Locks: those of the statements; the caller holds the view, so that no row moves between being read and being written. A crash loses nothing.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "view/change.h"
#include "view/rowset.h"
#include "view/write.h"

/* the tail, counted from the end; place is 0 for a new row */
#define TAIL_KEY 1
#define TAIL_HASH 2
#define TAIL_PLACE 3
#define TAIL_WEIGHT 4

#define PLACE_OLD (INT64CONST(1) << 48)
#define PLACE_FROZEN (INT64CONST(1) << 49)

/* A row that is there. */
typedef struct ChangeOld
{
	struct ChangeOld *next;
	ItemPointerData tid;
	MinimalTuple tuple;
} ChangeOld;

/* Rows of one image. The table's entry is the first of its key; the others with the same key hang on it. */
typedef struct ChangeImage
{
	EltRowEntry row;
	struct ChangeImage *sibling;
	uint64		hash;
	int64		weight;
	int64		nfrozen;
	int64		nold;			/* that are not frozen */
	ChangeOld  *old;			/* in order of arrival */
	ChangeOld  *last;
} ChangeImage;

struct EltChange
{
	const EltChangeTarget *target;
	EltRowSet  *rows;
	bool	   *is_key;			/* of each column; without a key all are */
	EltRowTable *table;
	EltWrite   *write;
	EltDelta   *out;			/* NULL: not wanted */
	Datum	   *values[2];		/* of a removed and of an added row; with room
								 * for a tid */
	bool	   *nulls[2];
	TupleTableSlot *slots[2];	/* the same, as virtual tuples of the output */
};

EltChange *
elt_change_begin(const EltChangeTarget *target, TupleDesc desc)
{
	static const char *const tail[] = {ELT_WEIGHT_COLUMN, "_elt_place", "_elt_hash", "_elt_key"};
	EltChange  *change = palloc0(sizeof(EltChange));

	if (desc->natts != target->ncolumns)
		elog(ERROR, "\"%s\" has %d columns, its rows have %d", target->label, target->ncolumns, desc->natts);
	change->target = target;
	change->rows = elt_rowset_begin(desc, 4, tail);
	change->is_key = palloc0(sizeof(bool) * target->ncolumns);
	for (int i = 0; i < target->nkeys; i++)
		change->is_key[target->keys[i]] = true;
	return change;
}

/* Add the row that is in rows->values. */
static void
put(EltChange *change, int64 weight, int64 place)
{
	EltRowSet  *rows = change->rows;
	uint64		hash = 0;
	uint64		key = 0;
	int			n = rows->ncolumns;

	for (int i = 0; i < n; i++)
	{
		uint64		value;

		if (rows->nulls[i])
			continue;
		value = elt_value_hash(rows->desc, rows->kinds, i, rows->values[i]);
		hash = elt_hash_combine(hash, value, i);
		if (change->is_key[i])
			key = elt_hash_combine(key, value, i);
	}
	rows->values[n] = Int64GetDatum(weight);
	rows->values[n + 1] = Int64GetDatum(place);
	rows->values[n + 2] = Int64GetDatum((int64) hash);
	rows->values[n + 3] = Int64GetDatum((int64) (change->target->nkeys > 0 ? key : hash));
	elt_rowset_put(rows);
}

static void
load(EltRowSet *rows, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	memcpy(rows->values, slot->tts_values, sizeof(Datum) * rows->ncolumns);
	memcpy(rows->nulls, slot->tts_isnull, sizeof(bool) * rows->ncolumns);
}

void
elt_change_old(EltChange *change, Tuplestorestate *store, TupleDesc desc, bool replaced)
{
	static const char *const names[] = {"_elt_tid", "_elt_frozen"};
	static const Oid types[] = {TIDOID, BOOLOID};
	EltRowSet  *rows = change->rows;
	int			n = rows->ncolumns;
	TupleDesc	expected = elt_row_desc(rows->desc, n, 2, names, types);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	elt_rowset_check_desc(desc, expected);
	elt_rowset_rewind(store);
	while (tuplestore_gettupleslot(store, true, false, slot))
	{
		ItemPointer tid;
		int64		place = PLACE_OLD;

		CHECK_FOR_INTERRUPTS();
		load(rows, slot);
		if (slot->tts_isnull[n])
			elog(ERROR, "a stored row of \"%s\" came without its place", change->target->label);
		tid = (ItemPointer) DatumGetPointer(slot->tts_values[n]);
		place |= (int64) ItemPointerGetBlockNumber(tid) << 16 | ItemPointerGetOffsetNumber(tid);
		if (!slot->tts_isnull[n + 1] && DatumGetBool(slot->tts_values[n + 1]))
			place |= PLACE_FROZEN;
		put(change, replaced && (place & PLACE_FROZEN) == 0 ? -1 : 0, place);
	}
	ExecDropSingleTupleTableSlot(slot);
	FreeTupleDesc(expected);
}

void
elt_change_new(EltChange *change, Tuplestorestate *store, TupleDesc desc)
{
	static const char *const names[] = {ELT_WEIGHT_COLUMN};
	static const Oid types[] = {INT8OID};
	EltRowSet  *rows = change->rows;
	int			n = rows->ncolumns;
	TupleDesc	expected = elt_row_desc(rows->desc, n, 1, names, types);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	elt_rowset_check_desc(desc, expected);
	elt_rowset_rewind(store);
	while (tuplestore_gettupleslot(store, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		load(rows, slot);
		if (slot->tts_isnull[n] || DatumGetInt64(slot->tts_values[n]) == 0)
			continue;
		elt_rowset_flatten(rows);
		put(change, DatumGetInt64(slot->tts_values[n]), 0);
	}
	ExecDropSingleTupleTableSlot(slot);
	FreeTupleDesc(expected);
}

/* The row's image among those of its key. */
static ChangeImage *
find_image(EltChange *change, MinimalTuple tuple, bool stays)
{
	EltRowTable *table = change->table;
	uint64		hash = (uint64) elt_tail_get(tuple, TAIL_HASH);
	bool		found;
	ChangeImage *first = (ChangeImage *) elt_rowtable_find(table, tuple, stays, &found);
	ChangeImage *image;

	if (!found)
		first->hash = hash;
	if (!found || change->target->nkeys == 0)
		return first;
	for (image = first; image != NULL; image = image->sibling)
	{
		CHECK_FOR_INTERRUPTS();
		if (image->hash == hash && elt_rowset_same(change->rows, image->row.tuple, tuple))
			return image;
	}
	image = elt_rowtable_alloc(table, sizeof(ChangeImage));
	image->hash = hash;
	image->row.tuple = elt_rowtable_keep(table, tuple, stays);
	image->sibling = first->sibling;
	first->sibling = image;
	return image;
}

static void
add_old(EltChange *change, ChangeImage *image, MinimalTuple tuple, bool stays)
{
	int64		place = elt_tail_get(tuple, TAIL_PLACE);
	ChangeOld  *old;

	if ((place & PLACE_FROZEN) != 0)
	{
		image->nfrozen++;
		return;
	}
	old = elt_rowtable_alloc(change->table, sizeof(ChangeOld));
	ItemPointerSet(&old->tid, (BlockNumber) (place >> 16), (OffsetNumber) place);
	/* only pointers tell it from other rows of the image */
	if ((tuple->t_infomask & HEAP_HASEXTERNAL) != 0 &&
		(image->nold + image->nfrozen > 0 || (image->row.tuple->t_infomask & HEAP_HASEXTERNAL) == 0))
		old->tuple = elt_rowtable_keep(change->table, tuple, stays);
	else
		old->tuple = image->row.tuple;
	if (image->last == NULL)
		image->old = old;
	else
		image->last->next = old;
	image->last = old;
	image->nold++;
}

static void
collect(EltChange *change, List *stores)
{
	ListCell   *lc;

	elt_rowtable_start(change->table, elt_rowset_count(stores));
	foreach(lc, stores)
	{
		Tuplestorestate *store = lfirst(lc);
		bool		stays = tuplestore_in_memory(store);
		MinimalTuple tuple;

		elt_rowset_rewind(store);
		while ((tuple = elt_rowset_next(store, change->rows->slot)) != NULL)
		{
			ChangeImage *image = find_image(change, tuple, stays);

			CHECK_FOR_INTERRUPTS();
			if (pg_add_s64_overflow(image->weight, elt_tail_get(tuple, TAIL_WEIGHT), &image->weight))
				elog(ERROR, "the weight of a row is out of range");
			if (elt_tail_get(tuple, TAIL_PLACE) != 0)
				add_old(change, image, tuple, stays);
		}
		ExecClearTuple(change->rows->slot);
	}
}

/* Tell the output that the row of that side (0 removed, 1 added) goes or comes. */
static void
put_out(EltChange *change, int side, int64 weight)
{
	int			shown = change->target->shown;
	TupleTableSlot *slot = change->slots[side];

	if (change->out == NULL)
		return;
	if (shown >= 0 && (change->nulls[side][shown] || !DatumGetBool(change->values[side][shown])))
		return;
	ExecClearTuple(slot);
	memcpy(slot->tts_values, change->values[side], sizeof(Datum) * change->target->noutput);
	memcpy(slot->tts_isnull, change->nulls[side], sizeof(bool) * change->target->noutput);
	ExecStoreVirtualTuple(slot);
	elt_delta_add_slot(change->out, slot, weight);
}

static void
put_delete(EltChange *change, ChangeOld *old)
{
	Datum		tid = PointerGetDatum(&old->tid);
	bool		isnull = false;

	elt_write_put(&change->write->deletes, &tid, &isnull);
	if (change->out == NULL)
		return;
	elt_rowset_deform(change->rows, old->tuple, change->values[0], change->nulls[0]);
	put_out(change, 0, -1);
}

static void
put_insert(EltChange *change, ChangeImage *image, int64 n)
{
	elt_rowset_deform(change->rows, image->row.tuple, change->values[1], change->nulls[1]);
	put_out(change, 1, n);
	for (; n > 0; n--)
	{
		CHECK_FOR_INTERRUPTS();
		elt_write_put(&change->write->inserts, change->values[1], change->nulls[1]);
	}
}

static void
put_update(EltChange *change, ChangeOld *old, ChangeImage *image)
{
	EltRowSet  *rows = change->rows;
	int			n = rows->ncolumns;

	elt_rowset_deform(rows, old->tuple, change->values[0], change->nulls[0]);
	elt_rowset_deform(rows, image->row.tuple, change->values[1], change->nulls[1]);
	put_out(change, 0, -1);
	put_out(change, 1, 1);
	for (int i = 0; i < n && (old->tuple->t_infomask & HEAP_HASEXTERNAL) != 0; i++)
	{
		Datum		value = change->values[0][i];

		if (change->nulls[0][i] || change->nulls[1][i] || TupleDescAttr(rows->desc, i)->attlen != -1 ||
			!VARATT_IS_EXTERNAL(DatumGetPointer(value)))
			continue;
		if (elt_value_same(rows->desc, rows->kinds, i, value, false, change->values[1][i], false))
			change->values[1][i] = value;
	}
	change->values[1][n] = PointerGetDatum(&old->tid);
	change->nulls[1][n] = false;
	elt_write_put(&change->write->updates, change->values[1], change->nulls[1]);
}

/* The first image from this one on of which rows are to be added, or NULL. */
static ChangeImage *
next_added(ChangeImage *image)
{
	while (image != NULL && image->weight <= 0)
		image = image->sibling;
	return image;
}

/* What becomes of the rows of one key; uses up the weights. False: rows to remove are not there. */
static bool
resolve(EltChange *change, ChangeImage *first)
{
	bool		frozen = false;
	ChangeImage *added;

	for (ChangeImage *image = first; image != NULL; image = image->sibling)
		frozen |= image->nfrozen > 0;
	/* what a frozen row has kept out of its place is not there */
	for (ChangeImage *image = first; image != NULL && !(frozen && change->target->nkeys > 0); image = image->sibling)
		if (image->weight < 0 && image->weight + image->nold + image->nfrozen < 0)
			return false;
	/* without a key, equal rows may stand beside each other */
	added = frozen && change->target->nkeys > 0 ? NULL : next_added(first);
	for (ChangeImage *image = first; image != NULL; image = image->sibling)
	{
		for (ChangeOld *old = image->old; old != NULL && image->weight < 0; old = old->next)
		{
			CHECK_FOR_INTERRUPTS();
			image->weight++;
			if (added == NULL)
			{
				put_delete(change, old);
				continue;
			}
			put_update(change, old, added);
			added->weight--;
			added = next_added(added);
		}
	}
	for (; added != NULL; added = next_added(added->sibling))
		put_insert(change, added, added->weight);
	return true;
}

static bool
resolve_all(EltChange *change)
{
	bool		good = true;
	List	   *parts = elt_rowset_take_parts(change->rows, sizeof(ChangeImage) + sizeof(ChangeOld) + 2 * sizeof(void *));
	ListCell   *part;
	ListCell   *lc;

	foreach(part, parts)
	{
		if (good)
			collect(change, lfirst(part));
		for (EltRowEntry *row = good ? change->table->first : NULL; row != NULL && good; row = row->next)
		{
			CHECK_FOR_INTERRUPTS();
			good = resolve(change, (ChangeImage *) row);
		}
		foreach(lc, (List *) lfirst(part))
			tuplestore_end((Tuplestorestate *) lfirst(lc));
	}
	return good;
}

static void
begin_apply(EltChange *change, EltDelta *out)
{
	const EltChangeTarget *target = change->target;
	TupleDesc	desc = change->rows->desc;

	change->table = elt_rowtable_begin(change->rows, target->keys, target->nkeys, sizeof(ChangeImage));
	change->write = elt_write_begin(target, desc);
	change->out = out != NULL ? elt_delta_begin_like(out) : NULL;
	for (int i = 0; i < 2; i++)
	{
		change->values[i] = palloc(sizeof(Datum) * desc->natts);
		change->nulls[i] = palloc(sizeof(bool) * desc->natts);
		change->slots[i] = MakeSingleTupleTableSlot(elt_row_desc(desc, target->noutput, 0, NULL, NULL), &TTSOpsVirtual);
	}
}

static void
end_apply(EltChange *change)
{
	elt_rowtable_free(change->table);
	elt_write_end(change->write);
	for (int i = 0; i < 2; i++)
		ExecDropSingleTupleTableSlot(change->slots[i]);
	elt_rowset_free(change->rows);
	pfree(change->is_key);
	pfree(change);
}

bool
elt_change_apply(EltChange *change, EltDelta *out, EltChangeCounts *counts)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "elt change", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mine);
	bool		good;

	*counts = (EltChangeCounts)
	{
		0
	};
	begin_apply(change, out);
	good = resolve_all(change);
	if (good)
	{
		elt_write_run(change->write);
		counts->deleted = change->write->deletes.n;
		counts->updated = change->write->updates.n;
		counts->inserted = change->write->inserts.n;
	}
	if (good && out != NULL)
		elt_delta_join(out, change->out);
	else if (out != NULL)
		elt_delta_free(change->out);
	end_apply(change);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
	return good;
}
