/*
 * row.c
 *	  Rows as images: what they hold, whatever form it is stored in.
 *
 * Two values have the same image when they have the same bytes, once fetched and decompressed and without their length words: 1.0 and 1.00 differ. That is what
 * record_image_eq compares (*=), which however takes a nested composite as it lies there. Its fields can be compressed or not, and have long or short
 * headers, depending on where the value comes from: an image that was logged against a row that was read. So composites, and arrays of them, are compared
 * field by field. (Arrays and ranges have one form only for the other types.)
 *
 * No locks; nothing to lose in a crash.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "view/row.h"

PG_FUNCTION_INFO_V1(elt_sql_row_hash);

/* A composite or an array, taken apart. */
typedef struct Parts
{
	int			n;
	Datum	   *values;
	bool	   *nulls;
	TupleDesc	desc;			/* of a composite */
	ArrayType  *array;			/* of an array */
	void	   *copy;			/* made of the value, to be freed */
} Parts;

/* What elt.row_hash knows of the rows that it was called with last. */
typedef struct RowHashCache
{
	Oid			type;
	int32		typmod;
	EltValueKind *kinds;
} RowHashCache;

static uint64 hash_value(Datum value, int16 len, bool byval, EltValueKind kind);
static bool same_value(Datum a, Datum b, int16 len, bool byval, EltValueKind kind);

static EltValueKind
kind_of(Oid type, int16 len)
{
	Oid			base;
	Oid			element;

	if (len != -1)
		return ELT_VALUE_PLAIN;
	base = getBaseType(type);
	if (base == RECORDOID || get_typtype(base) == TYPTYPE_COMPOSITE)
		return ELT_VALUE_COMPOSITE;
	element = get_element_type(base);
	if (OidIsValid(element) && kind_of(element, get_typlen(element)) != ELT_VALUE_PLAIN)
		return ELT_VALUE_ARRAY;
	return ELT_VALUE_PLAIN;
}

EltValueKind *
elt_row_kinds(TupleDesc desc)
{
	EltValueKind *kinds = palloc(sizeof(EltValueKind) * Max(desc->natts, 1));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		kinds[i] = att->attisdropped ? ELT_VALUE_PLAIN : kind_of(att->atttypid, att->attlen);
	}
	return kinds;
}

static void
open_composite(Datum value, Parts *parts)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	HeapTupleData tuple;

	parts->desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	parts->array = NULL;
	parts->copy = (Pointer) header != DatumGetPointer(value) ? header : NULL;
	parts->n = parts->desc->natts;
	parts->values = palloc(sizeof(Datum) * Max(parts->n, 1));
	parts->nulls = palloc(sizeof(bool) * Max(parts->n, 1));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, parts->desc, parts->values, parts->nulls);
	for (int i = 0; i < parts->n; i++)
		if (TupleDescAttr(parts->desc, i)->attisdropped)
			parts->nulls[i] = true;
}

static void
open_array(Datum value, Parts *parts)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &len, &byval, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), len, byval, align, &parts->values, &parts->nulls, &parts->n);
	parts->desc = NULL;
	parts->array = array;
	parts->copy = (Pointer) array != DatumGetPointer(value) ? array : NULL;
}

static void
open_parts(Datum value, EltValueKind kind, Parts *parts)
{
	check_stack_depth();
	if (kind == ELT_VALUE_COMPOSITE)
		open_composite(value, parts);
	else
		open_array(value, parts);
}

static void
close_parts(Parts *parts)
{
	if (parts->desc != NULL)
		ReleaseTupleDesc(parts->desc);
	pfree(parts->values);
	pfree(parts->nulls);
	if (parts->copy != NULL)
		pfree(parts->copy);
}

/* How the i-th part is stored and compared. */
static EltValueKind
part_kind(Parts *parts, int i, int16 *len, bool *byval)
{
	if (parts->desc != NULL)
	{
		Form_pg_attribute att = TupleDescAttr(parts->desc, i);

		*len = att->attlen;
		*byval = att->attbyval;
		return kind_of(att->atttypid, *len);
	}
	/* arrays are only taken apart where the elements are composites */
	*len = -1;
	*byval = false;
	return kind_of(ARR_ELEMTYPE(parts->array), *len);
}

static uint64
hash_parts(Datum value, EltValueKind kind)
{
	Parts		parts;
	uint64		hash = 0;

	open_parts(value, kind, &parts);
	if (parts.array != NULL)
		hash = hash_bytes_extended((const unsigned char *) ARR_DIMS(parts.array), sizeof(int) * 2 * ARR_NDIM(parts.array), 0);
	for (int i = 0; i < parts.n; i++)
	{
		int16		len;
		bool		byval;
		EltValueKind part;

		if (parts.nulls[i])
			continue;
		part = part_kind(&parts, i, &len, &byval);
		hash = elt_hash_combine(hash, hash_value(parts.values[i], len, byval, part), i);
	}
	close_parts(&parts);
	return hash;
}

static bool
same_parts(Datum x, Datum y, EltValueKind kind)
{
	Parts		a;
	Parts		b;
	bool		same;

	open_parts(x, kind, &a);
	open_parts(y, kind, &b);
	same = a.n == b.n;
	if (a.desc != NULL)
		same = same && a.desc->tdtypeid == b.desc->tdtypeid && a.desc->tdtypmod == b.desc->tdtypmod;
	else
		same = same && ARR_NDIM(a.array) == ARR_NDIM(b.array) && ARR_ELEMTYPE(a.array) == ARR_ELEMTYPE(b.array) &&
			memcmp(ARR_DIMS(a.array), ARR_DIMS(b.array), sizeof(int) * 2 * ARR_NDIM(a.array)) == 0;
	for (int i = 0; i < a.n && same; i++)
	{
		int16		len;
		bool		byval;
		EltValueKind part;

		same = a.nulls[i] == b.nulls[i];
		if (!same || a.nulls[i])
			continue;
		part = part_kind(&a, i, &len, &byval);
		same = same_value(a.values[i], b.values[i], len, byval, part);
	}
	close_parts(&a);
	close_parts(&b);
	return same;
}

/* The bits that a value passed by value has: the others depend on who made it. */
static inline uint64
value_bits(Datum value, int16 len)
{
	switch (len)
	{
		case 1:
			return (uint8) value;
		case 2:
			return (uint16) value;
		case 4:
			return (uint32) value;
		default:
			return (uint64) value;
	}
}

static uint64
hash_value(Datum value, int16 len, bool byval, EltValueKind kind)
{
	struct varlena *whole;
	uint64		hash;

	if (byval)
		return elt_hash_combine(0, value_bits(value, len), 0);
	if (kind != ELT_VALUE_PLAIN)
		return hash_parts(value, kind);
	if (len == -2)
		return hash_bytes_extended((const unsigned char *) DatumGetCString(value), (int) strlen(DatumGetCString(value)), 0);
	if (len > 0)
		return hash_bytes_extended((const unsigned char *) DatumGetPointer(value), len, 0);
	whole = PG_DETOAST_DATUM_PACKED(value);
	hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(whole), VARSIZE_ANY_EXHDR(whole), 0);
	if ((Pointer) whole != DatumGetPointer(value))
		pfree(whole);
	return hash;
}

static bool
same_value(Datum a, Datum b, int16 len, bool byval, EltValueKind kind)
{
	if (byval)
		return value_bits(a, len) == value_bits(b, len);
	return datum_image_eq(a, b, false, len) || (kind != ELT_VALUE_PLAIN && same_parts(a, b, kind));
}

uint64
elt_value_hash(TupleDesc desc, const EltValueKind *kinds, int column, Datum value)
{
	Form_pg_attribute att = TupleDescAttr(desc, column);

	return hash_value(value, att->attlen, att->attbyval, kinds[column]);
}

bool
elt_value_same(TupleDesc desc, const EltValueKind *kinds, int column, Datum a, bool anull, Datum b, bool bnull)
{
	Form_pg_attribute att = TupleDescAttr(desc, column);

	if (anull || bnull)
		return anull == bnull;
	return same_value(a, b, att->attlen, att->attbyval, kinds[column]);
}

uint64
elt_row_hash(TupleDesc desc, Datum *values, bool *nulls, int ncolumns)
{
	EltValueKind *kinds = elt_row_kinds(desc);
	uint64		hash = 0;

	for (int i = 0; i < ncolumns; i++)
		if (!nulls[i] && !TupleDescAttr(desc, i)->attisdropped)
			hash = elt_hash_combine(hash, elt_value_hash(desc, kinds, i, values[i]), i);
	pfree(kinds);
	return hash;
}

bool
elt_row_same(TupleDesc desc, Datum *a, bool *anulls, Datum *b, bool *bnulls, int ncolumns)
{
	EltValueKind *kinds = elt_row_kinds(desc);
	bool		same = true;

	for (int i = 0; i < ncolumns && same; i++)
		same = TupleDescAttr(desc, i)->attisdropped || elt_value_same(desc, kinds, i, a[i], anulls[i], b[i], bnulls[i]);
	pfree(kinds);
	return same;
}

TupleDesc
elt_row_desc(TupleDesc desc, int ncolumns, int nmore, const char *const *names, const Oid *types)
{
	TupleDesc	result = CreateTemplateTupleDesc(ncolumns + nmore);

	for (int i = 1; i <= ncolumns; i++)
		TupleDescCopyEntry(result, i, desc, i);
	for (int i = 0; i < nmore; i++)
		TupleDescInitEntry(result, ncolumns + i + 1, names[i], types[i], -1, 0);
	return result;
}

/* elt.row_hash(record): the hash of elt_row_hash */
Datum
elt_sql_row_hash(PG_FUNCTION_ARGS)
{
	RowHashCache *cache = fcinfo->flinfo->fn_extra;
	uint64		hash = 0;
	Parts		row;

	open_composite(PG_GETARG_DATUM(0), &row);
	if (cache == NULL || cache->type != row.desc->tdtypeid || cache->typmod != row.desc->tdtypmod)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (cache == NULL)
			fcinfo->flinfo->fn_extra = cache = palloc0(sizeof(RowHashCache));
		cache->type = row.desc->tdtypeid;
		cache->typmod = row.desc->tdtypmod;
		cache->kinds = elt_row_kinds(row.desc);
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < row.n; i++)
		if (!row.nulls[i])
			hash = elt_hash_combine(hash, elt_value_hash(row.desc, cache->kinds, i, row.values[i]), i);
	close_parts(&row);
	PG_RETURN_INT64((int64) hash);
}
