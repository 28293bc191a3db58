/*
 * image.c
 *	  Row images: what the change log keeps of a row.
 *
 * An image is the tuple's own bytes, so that making one is a copy. Only rows with external (toasted) values, and keys that are not the table's first
 * columns, are taken apart and formed anew: an external value is fetched, because the table may lose it before the log is read, or stays a pointer
 * where the update left it as it was (README.md tells why such a pointer can always be followed).
 *
 * No locks beyond those of fetching a toasted value; a crash loses nothing.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "capture/image.h"

#define KEPT_INFOMASK	(HEAP_HASNULL | HEAP_HASVARWIDTH | HEAP_HASEXTERNAL)

static inline Size
trailer_size(int ntags)
{
	return ntags > 0 ? ntags * sizeof(EltImageTag) + sizeof(uint16) : 0;
}

/* Set the image's bytes aside from what the heap notes in a tuple's header. */
static void
image_finish(EltImage *image, uint16 flags)
{
	MinimalTuple tuple = image->tuple;

	tuple->t_infomask2 = (tuple->t_infomask2 & HEAP_NATTS_MASK) | flags;
	tuple->t_infomask &= KEPT_INFOMASK;
	image->len = tuple->t_len - MINIMAL_TUPLE_DATA_OFFSET + trailer_size(image->ntags);
}

/* Do two rows share this very toasted value? */
static bool
same_pointer(Datum a, Datum b)
{
	struct varatt_external left;
	struct varatt_external right;

	if (!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(a)) ||
		!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(b)))
		return false;
	VARATT_EXTERNAL_GET_POINTER(left, DatumGetPointer(a));
	VARATT_EXTERNAL_GET_POINTER(right, DatumGetPointer(b));
	return memcmp(&left, &right, sizeof(left)) == 0;
}

static void
add_tag(EltImage *image, int natts, AttrNumber attnum, Datum value)
{
	EltImageTag *tag;

	if (!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)))
		return;
	if (image->tags == NULL)
		image->tags = palloc0(sizeof(EltImageTag) * natts);
	tag = &image->tags[image->ntags++];
	VARATT_EXTERNAL_GET_POINTER(tag->pointer, DatumGetPointer(value));
	tag->attnum = attnum;
}

/* Form the image anew from the row's values. */
static void
image_form(EltImage *image, TupleTableSlot *slot, TupleTableSlot *partner, bool tag)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	int			natts = desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	uint16		flags = 0;

	slot_getallattrs(slot);
	if (partner != NULL)
		slot_getallattrs(partner);

	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Datum		value = slot->tts_values[i];

		values[i] = value;
		nulls[i] = slot->tts_isnull[i] || att->attisdropped;
		if (nulls[i] || att->attlen != -1 || !VARATT_IS_EXTERNAL(DatumGetPointer(value)))
			continue;
		if (partner != NULL && !partner->tts_isnull[i] &&
			same_pointer(value, partner->tts_values[i]))
		{
			flags |= ELT_IMAGE_POINTERS;
			continue;
		}
		if (tag)
			add_tag(image, natts, i + 1, value);
		values[i] = PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(value)));
	}
	image->tuple = elt_form_minimal_tuple(desc, values, nulls);
	image_finish(image, flags | (image->ntags > 0 ? ELT_IMAGE_TAGGED : 0));
}

void
elt_image_make(EltImage *image, TupleTableSlot *slot, TupleTableSlot *partner, bool tag)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	MinimalTuple tuple;
	bool		owned;

	image->tags = NULL;
	image->ntags = 0;

	if (TTS_IS_MINIMALTUPLE(slot))
	{
		tuple = ExecFetchSlotMinimalTuple(slot, &owned);

		/*
		 * a row older than an added column takes the column's value as of
		 * now: later VACUUM FULL may forget it
		 */
		if ((tuple->t_infomask & HEAP_HASEXTERNAL) == 0 &&
			(tuple->t_infomask2 & HEAP_NATTS_MASK) == desc->natts)
		{
			image->tuple = tuple;
			image_finish(image, 0);
			return;
		}
	}
	image_form(image, slot, partner, tag);
}

/*
 * Where the key's columns are the table's first, none is NULL and the row has no toasted value, the key is the first bytes of the row's data: copy them.
 * The slot is deformed just up to them, so it knows where they end.
 */
static bool
copy_key(EltImage *image, TupleTableSlot *slot, TupleDesc keydesc, const bool *keys)
{
	const Size	start = MAXALIGN(SizeofMinimalTupleHeader);
	MinimalTuple row;
	Size		len;

	if (!TTS_IS_MINIMALTUPLE(slot) || slot->tts_nvalid != keydesc->natts)
		return false;
	row = ((MinimalTupleTableSlot *) slot)->mintuple;
	len = ((MinimalTupleTableSlot *) slot)->off;
	if ((row->t_infomask & HEAP_HASEXTERNAL) != 0 ||
		(row->t_infomask2 & HEAP_NATTS_MASK) < keydesc->natts)
		return false;
	for (int i = 0; i < keydesc->natts; i++)
	{
		if (!keys[i] || slot->tts_isnull[i])
			return false;
	}
	image->tuple = start + len <= sizeof(image->small) ? &image->small.tuple : palloc(start + len);
	memset(image->tuple, 0, start);
	image->tuple->t_len = start + len;
	image->tuple->t_infomask2 = keydesc->natts;
	image->tuple->t_infomask = row->t_infomask & HEAP_HASVARWIDTH;
	image->tuple->t_hoff = start + MINIMAL_TUPLE_OFFSET;
	memcpy((char *) image->tuple + start, (char *) row - MINIMAL_TUPLE_OFFSET + row->t_hoff, len);
	return true;
}

/* The key's columns, wherever they are. */
static void
form_key(EltImage *image, TupleTableSlot *slot, TupleDesc keydesc, const bool *keys)
{
	int			natts = keydesc->natts;
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);

	for (int i = 0; i < natts; i++)
	{
		values[i] = slot->tts_values[i];
		nulls[i] = slot->tts_isnull[i] || !keys[i];
		if (!nulls[i] && TupleDescAttr(keydesc, i)->attlen == -1 &&
			VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
			values[i] = PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(values[i])));
	}
	image->tuple = elt_form_minimal_tuple(keydesc, values, nulls);
}

void
elt_image_make_key(EltImage *image, TupleTableSlot *slot, TupleDesc keydesc, const bool *keys)
{
	image->tags = NULL;
	image->ntags = 0;
	slot_getsomeattrs(slot, keydesc->natts);
	if (!copy_key(image, slot, keydesc, keys))
		form_key(image, slot, keydesc, keys);
	image_finish(image, 0);
}

bool
elt_image_same(const EltImage *a, const EltImage *b)
{
	return a->len == b->len && a->ntags == 0 && b->ntags == 0 &&
		memcmp(&a->tuple->t_infomask2, &b->tuple->t_infomask2, a->len) == 0;
}

bool
elt_image_same_bytes(TupleTableSlot *a, TupleTableSlot *b)
{
	MinimalTuple left = ((MinimalTupleTableSlot *) a)->mintuple;
	MinimalTuple right = ((MinimalTupleTableSlot *) b)->mintuple;
	const Size	start = offsetof(MinimalTupleData, t_hoff);

	Assert(TTS_IS_MINIMALTUPLE(a) && TTS_IS_MINIMALTUPLE(b));
	return left->t_len == right->t_len &&
		((left->t_infomask2 ^ right->t_infomask2) & HEAP_NATTS_MASK) == 0 &&
		((left->t_infomask ^ right->t_infomask) & KEPT_INFOMASK) == 0 &&
		memcmp((char *) left + start, (char *) right + start, left->t_len - start) == 0;
}

void
elt_image_write(const EltImage *image, char *dest)
{
	Size		body = image->tuple->t_len - MINIMAL_TUPLE_DATA_OFFSET;

	memcpy(dest, (const char *) image->tuple + MINIMAL_TUPLE_DATA_OFFSET, body);
	if (image->ntags > 0)
	{
		uint16		ntags = image->ntags;

		memcpy(dest + body, image->tags, ntags * sizeof(EltImageTag));
		memcpy(dest + body + ntags * sizeof(EltImageTag), &ntags, sizeof(ntags));
	}
}

MinimalTuple
elt_image_read(const char *data, Size len, uint16 *flags)
{
	MinimalTuple tuple;
	uint16		ntags = 0;
	uint16		infomask2;
	Size		body;

	memcpy(&infomask2, data, sizeof(infomask2));
	*flags = infomask2 & (ELT_IMAGE_TAGGED | ELT_IMAGE_POINTERS);
	if (*flags & ELT_IMAGE_TAGGED)
		memcpy(&ntags, data + len - sizeof(ntags), sizeof(ntags));
	body = len - trailer_size(ntags);

	tuple = palloc(body + MINIMAL_TUPLE_DATA_OFFSET);
	memset(tuple, 0, MINIMAL_TUPLE_DATA_OFFSET);
	tuple->t_len = body + MINIMAL_TUPLE_DATA_OFFSET;
	memcpy((char *) tuple + MINIMAL_TUPLE_DATA_OFFSET, data, body);
	tuple->t_infomask2 &= HEAP_NATTS_MASK;
	return tuple;
}

/* The trailer of a tagged image; *tags is palloc'd. */
int
elt_image_read_tags(const char *data, Size len, EltImageTag **tags)
{
	uint16		ntags;

	memcpy(&ntags, data + len - sizeof(ntags), sizeof(ntags));
	*tags = palloc(ntags * sizeof(EltImageTag));
	memcpy(*tags, data + len - trailer_size(ntags), ntags * sizeof(EltImageTag));
	return ntags;
}
