/*
 * toast.c
 *	  Follows pointers to toasted values that the change log kept.
 *
 * An update that leaves a toasted value and the row's key as they were logs just the pointer. By the time it is read:
 *
 *	  - the value was removed by a later statement: that one logged it in full, with the pointer as a tag, in a row that the snapshot sees;
 *	  - or it still is the column's value in the row of that key: it is taken from there. The pointer itself is not followed, because
 *		VACUUM FULL may have recompressed the value;
 *	  - or neither, when VACUUM FULL took the value out of the toast table: then it is lost, which the caller answers with a resynchronisation.
 *
 * What is the same value is told by its id in the toast table, which VACUUM FULL keeps. The key alone does not tell: the row may have got another
 * value since, by a statement that found the old one inlined and so tagged nothing.
 *
 * The index of tags holds places, not values. Locks: AccessShare on the source's primary key index, to the end of the transaction; reads only.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "executor/tuptable.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "capture/image.h"
#include "capture/log.h"
#include "capture/reader.h"
#include "capture/toast.h"

typedef struct ValueId
{
	Oid			toastrelid;
	Oid			valueid;
} ValueId;

typedef struct TagPlace
{
	ValueId		id;				/* hash key */
	Oid			segment;
	ItemPointerData tid;
	AttrNumber	attnum;
	Size		offset;			/* of the image in the row's data */
} TagPlace;

struct EltToast
{
	EltBatch   *batch;
	HTAB	   *places;			/* NULL: not searched yet */
	MemoryContext context;
	bool		lost;
};

EltToast *
elt_toast_begin(EltBatch *batch)
{
	EltToast   *toast = palloc0(sizeof(EltToast));

	toast->batch = batch;
	toast->context = CurrentMemoryContext;
	return toast;
}

bool
elt_toast_lost(EltToast *toast)
{
	return toast->lost;
}

static ValueId
value_id(const struct varatt_external *pointer)
{
	return (ValueId)
	{
		.toastrelid = pointer->va_toastrelid,.valueid = pointer->va_valueid
	};
}

static void
note_tags(EltToast *toast, EltChange *change)
{
	EltImageTag *tags;
	int			ntags = elt_image_read_tags(change->image, change->len, &tags);

	for (int i = 0; i < ntags; i++)
	{
		ValueId		id = value_id(&tags[i].pointer);
		TagPlace   *place = hash_search(toast->places, &id, HASH_ENTER, NULL);

		place->segment = change->segment;
		place->tid = change->tid;
		place->offset = change->offset;
		place->attnum = tags[i].attnum;
	}
	pfree(tags);
}

/* The whole log that the snapshot sees: what ended a value may come after the window. */
static void
search_log(EltToast *toast)
{
	HASHCTL		ctl = {.keysize = sizeof(ValueId),.entrysize = sizeof(TagPlace),
	.hcxt = toast->context};
	EltReader  *reader = elt_reader_begin(toast->batch, true);
	EltChange	change;

	toast->places = hash_create("elt toast tags", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	while (elt_reader_next(reader, &change))
	{
		uint16		flags;

		memcpy(&flags, change.image, sizeof(flags));
		if (flags & ELT_IMAGE_TAGGED)
			note_tags(toast, &change);
	}
	elt_reader_end(reader);
}

/* Fetch the value from the image that holds it; palloc'd. */
static Datum
fetch_logged(EltToast *toast, TagPlace *place)
{
	Relation	rel = table_open(place->segment, NoLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	struct varlena *data;
	const char *image;
	Size		len;
	char		op;
	HeapTupleData view;
	MinimalTuple tuple;
	uint16		flags;
	bool		isnull;
	Datum		value;

	if (!table_tuple_fetch_row_version(rel, &place->tid, toast->batch->snapshot, slot))
		elog(ERROR, "change log row of a toasted value vanished");
	data = PG_DETOAST_DATUM_PACKED(slot_getattr(slot, ELT_LOG_DATA, &isnull));
	(void) elt_log_unpack(VARDATA_ANY(data) + place->offset, VARDATA_ANY(data) + VARSIZE_ANY_EXHDR(data),
						  &op, &image, &len);
	tuple = elt_image_read(image, len, &flags);
	elt_tuple_of_minimal(tuple, &view);
	value = heap_getattr(&view, place->attnum, RelationGetDescr(toast->batch->root), &isnull);
	if (isnull)
		elog(ERROR, "change log row of a toasted value does not hold it");
	value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	pfree(tuple);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return value;
}

/* Scan keys for the row with the image's primary key; false where the table has lost its key. */
static bool
key_scan(Relation root, Relation index, MinimalTuple image, ScanKey keys)
{
	HeapTupleData view;

	elt_tuple_of_minimal(image, &view);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		Oid			type = index->rd_opcintype[i];
		Oid			equal = get_opfamily_member(index->rd_opfamily[i], type, type,
												BTEqualStrategyNumber);
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		bool		isnull;
		Datum		value = heap_getattr(&view, attnum, RelationGetDescr(root), &isnull);

		if (isnull || !OidIsValid(equal))
			return false;
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, type,
							   index->rd_indcollation[i], get_opcode(equal), value);
	}
	return true;
}

/* Is this the toasted value of that id? */
static bool
has_id(Datum value, ValueId id)
{
	struct varatt_external pointer;

	if (!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)))
		return false;
	VARATT_EXTERNAL_GET_POINTER(pointer, DatumGetPointer(value));
	return pointer.va_toastrelid == id.toastrelid && pointer.va_valueid == id.valueid;
}

/* The value in the row that has the image's key now, as a palloc'd pointer; false where that row has another one, or is gone. */
static bool
fetch_current(EltToast *toast, MinimalTuple image, AttrNumber attnum, ValueId id, Datum *value)
{
	Relation	root = toast->batch->root;
	ScanKeyData keys[INDEX_MAX_KEYS];
	TupleTableSlot *slot;
	IndexScanDesc scan;
	Relation	index;
	bool		found = false;
	Oid			pk;

	list_free(RelationGetIndexList(root));
	pk = root->rd_pkindex;

	/* a table that has become partitioned has its values in other tables now */
	if (!OidIsValid(pk) || root->rd_rel->relkind != RELKIND_RELATION)
		return false;
	index = index_open(pk, AccessShareLock);
	if (key_scan(root, index, image, keys))
	{
		int			nkeys = IndexRelationGetNumberOfKeyAttributes(index);

		slot = table_slot_create(root, NULL);
		scan = elt_index_beginscan(root, index, toast->batch->snapshot, nkeys);
		index_rescan(scan, keys, nkeys, NULL, 0);
		while (!found && index_getnext_slot(scan, ForwardScanDirection, slot))
		{
			bool		isnull;
			Datum		now = slot_getattr(slot, attnum, &isnull);

			found = !isnull && has_id(now, id);
			if (found)
				*value = datumCopy(now, false, -1);
		}
		index_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
	}
	index_close(index, NoLock);
	return found;
}

Datum
elt_toast_resolve(EltToast *toast, MinimalTuple image, AttrNumber attnum, Datum pointer)
{
	struct varatt_external external;
	TagPlace   *place;
	ValueId		id;
	Datum		value;

	if (!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(pointer)))
		return pointer;
	if (toast->places == NULL)
		search_log(toast);
	VARATT_EXTERNAL_GET_POINTER(external, DatumGetPointer(pointer));
	id = value_id(&external);
	place = hash_search(toast->places, &id, HASH_FIND, NULL);
	if (place != NULL)
		return fetch_logged(toast, place);
	if (fetch_current(toast, image, attnum, id, &value))
		return value;
	toast->lost = true;
	return (Datum) 0;
}
