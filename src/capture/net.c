/*
 * net.c
 *	  Nets a window: images of rows that came and went within it cancel, what is left are the rows that it removed and added.
 *
 * Changes are grouped by primary key (by the whole row where there is none). Within a group a removed and an added image cancel when
 * they are the same image, not when they are merely equal: 1.0 -> 1.00 is a change. Neither the order of the log nor that of commits matters: which
 * statement logs first is up to nested triggers, so order could not be trusted.
 *
 * Memory: the images of one pass over the window. A window that needs more than elt.batch_memory is read in several passes, each taking a share of
 * the keys by their hash; the chunks of batch.c are shares of the same kind. The types' equality and hash functions run as the current user, who has to be
 * the consumer's owner. Locks: none of its own.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "access/detoast.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/guc.h"
#include "capture/image.h"
#include "capture/log.h"
#include "capture/net.h"
#include "capture/reader.h"
#include "capture/toast.h"

typedef struct NetImage
{
	struct NetImage *next;
	MinimalTuple tuple;
	bool		added;
	bool		cancelled;
} NetImage;

typedef struct NetGroup
{
	struct NetGroup *chain;		/* same bucket */
	struct NetGroup *next;		/* in order of arrival */
	uint32		hash;
	int			nimages;
	NetImage   *first;
	NetImage   *last;
} NetGroup;

typedef struct NetKey
{
	AttrNumber	attno;
	Oid			collation;
	FmgrInfo   *hash;
	FmgrInfo   *equal;
} NetKey;

typedef struct Netter
{
	EltBatch   *batch;
	EltNetMode	mode;
	TupleDesc	desc;
	int			nkeys;			/* 0: no primary key */
	NetKey	   *keys;
	EltToast   *toast;
	int			passes;
	int			pass;
	int64		nevents;
	bool		lost;			/* a value that the log pointed to */
	MemoryContext context;		/* of one pass */
	NetGroup  **buckets;
	uint32		mask;
	NetGroup   *first;
	NetGroup   *last;
	Datum	   *values[2];		/* scratch for comparisons */
	bool	   *nulls[2];
} Netter;

/* The source's primary key, as far as its types can be hashed; else rows are grouped by image. */
static void
find_keys(Netter *netter)
{
	Bitmapset  *attrs = RelationGetIndexAttrBitmap(netter->batch->root,
												   INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			attr = -1;

	netter->keys = palloc0(sizeof(NetKey) * (bms_num_members(attrs) + 1));
	while ((attr = bms_next_member(attrs, attr)) >= 0)
	{
		AttrNumber	attno = attr + FirstLowInvalidHeapAttributeNumber;
		Form_pg_attribute att = TupleDescAttr(netter->desc, attno - 1);
		TypeCacheEntry *type = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR_FINFO |
												 TYPECACHE_HASH_PROC_FINFO);
		NetKey	   *key = &netter->keys[netter->nkeys++];

		if (!OidIsValid(type->hash_proc_finfo.fn_oid) || !OidIsValid(type->eq_opr_finfo.fn_oid))
		{
			netter->nkeys = 0;
			return;
		}
		key->attno = attno;
		key->collation = att->attcollation;
		key->hash = &type->hash_proc_finfo;
		key->equal = &type->eq_opr_finfo;
	}
}

/* May be null: the log can be older than the primary key. */
static Datum
key_value(Netter *netter, int key, MinimalTuple tuple, bool *isnull)
{
	HeapTupleData view;

	elt_tuple_of_minimal(tuple, &view);
	return heap_getattr(&view, netter->keys[key].attno, netter->desc, isnull);
}

/* Take the image apart into scratch arrays number `side`. */
static void
deform(Netter *netter, MinimalTuple tuple, int side)
{
	HeapTupleData view;

	elt_tuple_of_minimal(tuple, &view);
	heap_deform_tuple(&view, netter->desc, netter->values[side], netter->nulls[side]);
}

/* The hash of a column's value, whether the image holds it or a pointer to it. */
static uint32
hash_value(Netter *netter, MinimalTuple tuple, int column, Datum value)
{
	Form_pg_attribute att = TupleDescAttr(netter->desc, column);
	Datum		whole = value;
	uint32		hash;

	if (att->attlen == -1)
		whole = elt_toast_resolve(netter->toast, tuple, column + 1, value);
	if (att->attlen == -1 && whole == (Datum) 0)
		return 0;				/* lost: nothing will come of this */
	hash = datum_image_hash(whole, att->attbyval, att->attlen);
	if (whole != value)
		pfree(DatumGetPointer(whole));
	return hash;
}

static uint32
hash_row(Netter *netter, MinimalTuple tuple)
{
	uint32		hash = 0;

	deform(netter, tuple, 0);
	for (int i = 0; i < netter->desc->natts; i++)
	{
		if (TupleDescAttr(netter->desc, i)->attisdropped || netter->nulls[0][i])
			continue;
		hash = hash_combine(hash, hash_value(netter, tuple, i, netter->values[0][i]) + i);
	}
	return hash;
}

static uint32
hash_tuple(Netter *netter, MinimalTuple tuple)
{
	uint32		hash = 0;

	if (netter->nkeys == 0)
		return murmurhash32(hash_row(netter, tuple));
	for (int i = 0; i < netter->nkeys; i++)
	{
		NetKey	   *key = &netter->keys[i];
		bool		isnull;
		Datum		value = key_value(netter, i, tuple, &isnull);

		if (!isnull)
			hash = hash_combine(hash, DatumGetUInt32(FunctionCall1Coll(key->hash, key->collation,
																	   value)));
	}
	return murmurhash32(hash);
}

static bool
same_value(Netter *netter, MinimalTuple left, MinimalTuple right, int column)
{
	Form_pg_attribute att = TupleDescAttr(netter->desc, column);
	Datum		a = netter->values[0][column];
	Datum		b = netter->values[1][column];

	if (att->attisdropped)
		return true;
	if (netter->nulls[0][column] || netter->nulls[1][column])
		return netter->nulls[0][column] == netter->nulls[1][column];
	if (att->attlen == -1)
	{
		if (VARATT_IS_EXTERNAL(DatumGetPointer(a)) && VARATT_IS_EXTERNAL(DatumGetPointer(b)) &&
			memcmp(DatumGetPointer(a), DatumGetPointer(b), VARSIZE_EXTERNAL(DatumGetPointer(a))) == 0)
			return true;
		if (toast_raw_datum_size(a) != toast_raw_datum_size(b))
			return false;
		a = elt_toast_resolve(netter->toast, left, column + 1, a);
		b = elt_toast_resolve(netter->toast, right, column + 1, b);
		if (a == (Datum) 0 || b == (Datum) 0)
			return false;
	}
	return datum_image_eq(a, b, att->attbyval, att->attlen);
}

static bool
same_image(Netter *netter, MinimalTuple a, MinimalTuple b)
{
	if (a->t_len == b->t_len && memcmp(a, b, a->t_len) == 0)
		return true;
	deform(netter, a, 0);
	deform(netter, b, 1);
	for (int i = 0; i < netter->desc->natts; i++)
	{
		if (!same_value(netter, a, b, i))
			return false;
	}
	return true;
}

static bool
same_group(Netter *netter, NetGroup *group, MinimalTuple tuple)
{
	if (netter->nkeys == 0)
		return same_image(netter, group->first->tuple, tuple);
	for (int i = 0; i < netter->nkeys; i++)
	{
		NetKey	   *key = &netter->keys[i];
		bool		null_a;
		bool		null_b;
		Datum		a = key_value(netter, i, group->first->tuple, &null_a);
		Datum		b = key_value(netter, i, tuple, &null_b);

		if (null_a != null_b)
			return false;
		if (!null_a && !DatumGetBool(FunctionCall2Coll(key->equal, key->collation, a, b)))
			return false;
	}
	return true;
}

static void
grow_buckets(Netter *netter)
{
	uint32		nbuckets = (netter->mask + 1) * 4;

	netter->buckets = repalloc_huge(netter->buckets, sizeof(NetGroup *) * nbuckets);
	memset(netter->buckets, 0, sizeof(NetGroup *) * nbuckets);
	netter->mask = nbuckets - 1;
	for (NetGroup *group = netter->first; group != NULL; group = group->next)
	{
		group->chain = netter->buckets[group->hash & netter->mask];
		netter->buckets[group->hash & netter->mask] = group;
	}
}

/* Find or make the tuple's group; a new one holds no image yet. */
static NetGroup *
group_of(Netter *netter, uint32 hash, MinimalTuple tuple, uint32 *ngroups)
{
	NetGroup   *group;

	for (group = netter->buckets[hash & netter->mask]; group != NULL; group = group->chain)
	{
		if (group->hash == hash && same_group(netter, group, tuple))
			return group;
	}
	if (++*ngroups > netter->mask)
		grow_buckets(netter);
	group = palloc0(sizeof(NetGroup));
	group->hash = hash;
	group->chain = netter->buckets[hash & netter->mask];
	netter->buckets[hash & netter->mask] = group;
	if (netter->last == NULL)
		netter->first = group;
	else
		netter->last->next = group;
	netter->last = group;
	return group;
}

static void
add_image(NetGroup *group, MinimalTuple tuple, bool added)
{
	NetImage   *image = palloc(sizeof(NetImage));

	image->next = NULL;
	image->tuple = tuple;
	image->added = added;
	image->cancelled = false;
	if (group->last == NULL)
		group->first = image;
	else
		group->last->next = image;
	group->last = image;
	group->nimages++;
}

/* Is this change in the batch's chunk and in this pass? */
static bool
is_ours(Netter *netter, uint32 hash)
{
	uint32		chunks = Max(netter->batch->chunks, 1);

	if (hash % chunks != (uint32) netter->batch->chunk)
		return false;
	return (hash / chunks) % netter->passes == (uint32) netter->pass;
}

static inline bool
is_added(char op)
{
	return op == ELT_OP_INSERT || op == ELT_OP_NEW || op == ELT_OP_UPDATE;
}

/* Read the window and group what is ours. */
static void
collect(Netter *netter)
{
	EltReader  *reader = elt_reader_begin(netter->batch, false);
	uint32		ngroups = 0;
	EltChange	change;

	netter->first = netter->last = NULL;
	netter->mask = 1023;
	netter->buckets = palloc0(sizeof(NetGroup *) * (netter->mask + 1));
	while (elt_reader_next(reader, &change))
	{
		uint16		flags;
		MinimalTuple tuple = elt_image_read(change.image, change.len, &flags);
		uint32		hash = hash_tuple(netter, tuple);
		NetGroup   *group;

		if (!is_ours(netter, hash))
		{
			pfree(tuple);
			continue;
		}
		netter->nevents += change.op != ELT_OP_NEW;
		if (netter->mode == ELT_NET_ROWS && change.op == ELT_OP_UPDATE)
		{
			/* removed and added are the same image */
			pfree(tuple);
			continue;
		}
		group = group_of(netter, hash, tuple, &ngroups);
		if (netter->mode == ELT_NET_KEYS && group->nimages > 0)
			pfree(tuple);
		else
			add_image(group, tuple, is_added(change.op));
	}
	elt_reader_end(reader);
}

/* Cancel each removed image against one added image that is the same. */
static void
cancel_images(Netter *netter, NetGroup *group)
{
	if (group->nimages < 2)
		return;
	for (NetImage *a = group->first; a != NULL; a = a->next)
	{
		for (NetImage *b = a->next; b != NULL && !a->cancelled; b = b->next)
		{
			if (b->cancelled || a->added == b->added || !same_image(netter, a->tuple, b->tuple))
				continue;
			a->cancelled = b->cancelled = true;
		}
		CHECK_FOR_INTERRUPTS();
	}
}

/* Without a key all images of a group are the same one: count instead of comparing. */
static void
cancel_counts(NetGroup *group)
{
	NetImage   *left = group->first;
	NetImage   *right = group->first;

	for (;;)
	{
		while (left != NULL && !left->added)
			left = left->next;
		while (right != NULL && right->added)
			right = right->next;
		if (left == NULL || right == NULL)
			return;
		left->cancelled = right->cancelled = true;
		left = left->next;
		right = right->next;
	}
}

/* Make the image complete: values that only the log still has are put in, columns added since get their default. */
static MinimalTuple
complete_image(Netter *netter, MinimalTuple tuple)
{
	TupleDesc	desc = netter->desc;
	bool		changed = HeapTupleHeaderGetNatts(tuple) < desc->natts;

	if (!changed && (tuple->t_infomask & HEAP_HASEXTERNAL) == 0)
		return tuple;
	deform(netter, tuple, 0);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Datum		value = netter->values[0][i];

		if (att->attisdropped)
			netter->nulls[0][i] = true;
		if (netter->nulls[0][i] || att->attlen != -1)
			continue;
		netter->values[0][i] = elt_toast_resolve(netter->toast, tuple, i + 1, value);
		if (netter->values[0][i] == (Datum) 0)
			netter->nulls[0][i] = true;
		changed |= netter->values[0][i] != value;
	}
	return changed ? elt_form_minimal_tuple(desc, netter->values[0], netter->nulls[0]) : tuple;
}

static void
emit_group(Netter *netter, NetGroup *group, EltNetEmit emit, void *arg)
{
	List	   *removed = NIL;
	List	   *added = NIL;

	if (netter->mode == ELT_NET_ROWS)
	{
		if (netter->nkeys == 0)
			cancel_counts(group);
		else
			cancel_images(netter, group);
	}
	for (NetImage *image = group->first; image != NULL; image = image->next)
	{
		if (image->cancelled)
			continue;
		if (image->added || netter->mode == ELT_NET_KEYS)
			added = lappend(added, complete_image(netter, image->tuple));
		else
			removed = lappend(removed, complete_image(netter, image->tuple));
	}
	if (removed != NIL || added != NIL)
		emit(arg, removed, added);
}

static void
run_pass(Netter *netter, EltNetEmit emit, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(netter->context);
	MemoryContext scratch = AllocSetContextCreate(netter->context, "elt net emit",
												  ALLOCSET_DEFAULT_SIZES);

	netter->toast = elt_toast_begin(netter->batch);
	collect(netter);
	MemoryContextSwitchTo(scratch);
	for (NetGroup *group = netter->first; group != NULL; group = group->next)
	{
		CHECK_FOR_INTERRUPTS();
		emit_group(netter, group, emit, arg);
		MemoryContextReset(scratch);
	}
	netter->lost |= elt_toast_lost(netter->toast);
	MemoryContextSwitchTo(old);
	MemoryContextReset(netter->context);
}

/* How often the window is read so that one pass fits into memory. */
static int
count_passes(EltBatch *batch)
{
	int64		limit = (int64) elt_batch_memory * 1024 * Max(batch->chunks, 1);

	return (int) Min(1 + elt_batch_memory_needed(batch, limit) / limit, 1000);
}

/* Every new image as it was logged; nothing is kept in memory. */
static void
each_event(Netter *netter, EltNetEmit emit, void *arg)
{
	EltReader  *reader = elt_reader_begin(netter->batch, false);
	EltChange	change;

	netter->toast = elt_toast_begin(netter->batch);
	while (!netter->lost && elt_reader_next(reader, &change))
	{
		MemoryContext old;
		MinimalTuple tuple;
		uint16		flags;

		if (!is_ours(netter, hash_bytes((const unsigned char *) &change.serial,
										sizeof(change.serial))))
			continue;
		netter->nevents += change.op != ELT_OP_NEW;
		if (!is_added(change.op))
			continue;
		old = MemoryContextSwitchTo(netter->context);
		tuple = elt_image_read(change.image, change.len, &flags);
		emit(arg, NIL, list_make1(complete_image(netter, tuple)));
		MemoryContextSwitchTo(old);
		MemoryContextReset(netter->context);
		netter->lost = elt_toast_lost(netter->toast);
	}
	elt_reader_end(reader);
}

int64
elt_net_each(EltBatch *batch, EltNetMode mode, EltNetEmit emit, void *arg, bool *lost)
{
	Netter		netter = {.batch = batch,.mode = mode,.passes = 1};

	/*
	 * images of keys end with the key: what lacks is NULL and not the
	 * column's default for older rows
	 */
	netter.desc = mode == ELT_NET_KEYS ? CreateTupleDescCopy(RelationGetDescr(batch->root)) :
		RelationGetDescr(batch->root);
	for (int i = 0; i < 2; i++)
	{
		netter.values[i] = palloc(sizeof(Datum) * (netter.desc->natts + 1));
		netter.nulls[i] = palloc(sizeof(bool) * (netter.desc->natts + 1));
	}
	netter.context = AllocSetContextCreate(CurrentMemoryContext, "elt net", ALLOCSET_DEFAULT_SIZES);
	if (mode == ELT_NET_EVENTS)
		each_event(&netter, emit, arg);
	else
	{
		find_keys(&netter);
		netter.passes = count_passes(batch);
		for (netter.pass = 0; netter.pass < netter.passes; netter.pass++)
			run_pass(&netter, emit, arg);
	}
	MemoryContextDelete(netter.context);
	*lost = netter.lost;
	return netter.nevents;
}

bool
elt_net_by_key(Relation root)
{
	EltBatch	batch = {.root = root};
	Netter		netter = {.batch = &batch,.desc = RelationGetDescr(root)};

	find_keys(&netter);
	return netter.nkeys > 0;
}
