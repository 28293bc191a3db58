/* Rows as images: what they hold, whatever form it is stored in. */
#ifndef ELT_ROW_H
#define ELT_ROW_H

#include "access/tupdesc.h"

/*
 * A 64-bit hash of a row's image, whatever form its toasted values have; and whether two rows have the same image. The same on every server of the machine's
 * kind: generated columns store it. NULLs at the end change nothing, so that a composite type can get another attribute.
 */
extern uint64 elt_row_hash(TupleDesc desc, Datum *values, bool *nulls, int ncolumns);
extern bool elt_row_same(TupleDesc desc, Datum *a, bool *anulls, Datum *b, bool *bnulls, int ncolumns);

/* How the values of a column are compared; found once for many rows. In the current memory context. */
typedef enum EltValueKind
{
	ELT_VALUE_PLAIN,			/* by its bytes */
	ELT_VALUE_COMPOSITE,		/* field by field */
	ELT_VALUE_ARRAY				/* of composites: element by element */
} EltValueKind;

extern EltValueKind *elt_row_kinds(TupleDesc desc);
extern uint64 elt_value_hash(TupleDesc desc, const EltValueKind *kinds, int column, Datum value);
extern bool elt_value_same(TupleDesc desc, const EltValueKind *kinds, int column, Datum a, bool anull, Datum b, bool bnull);

/* The hash of a row, or of some of its columns: begins with 0, takes the hash of each value that is not NULL. */
static inline uint64
elt_hash_combine(uint64 hash, uint64 value, int column)
{
	hash ^= value + UINT64CONST(0x9e3779b97f4a7c15) * (uint64) (column + 1);
	hash = (hash ^ (hash >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	hash = (hash ^ (hash >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return hash ^ (hash >> 31);
}

/* The first columns of desc, then columns of the given names and types. In the current memory context. */
extern TupleDesc elt_row_desc(TupleDesc desc, int ncolumns, int nmore, const char *const *names, const Oid *types);

#endif
