/* Rows that spill to disk, and tables to find them by image. */
#ifndef ELT_ROWSET_H
#define ELT_ROWSET_H

#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "utils/tuplestore.h"

#include "view/row.h"

/*
 * Rows of some columns and a tail: int8 columns, never NULL, the last of which is a hash that tells which rows belong together. To put one, fill values and
 * nulls.
 */
typedef struct EltRowSet
{
	MemoryContext context;		/* where it lives */
	MemoryContext scratch;		/* for what values refer to until put */
	TupleDesc	desc;			/* with the tail */
	EltValueKind *kinds;
	int			ncolumns;		/* without it */
	int			ntail;
	Datum	   *values;
	bool	   *nulls;
	List	   *stores;			/* Tuplestorestate; the last is added to */
	int64		nrows;
	int64		bytes;
	TupleTableSlot *slot;
} EltRowSet;

extern EltRowSet *elt_rowset_begin(TupleDesc desc, int ntail, const char *const *names);

/* Fetch the values that are elsewhere, into scratch. Compressed ones stay compressed. */
extern void elt_rowset_flatten(EltRowSet *set);

/* Add the row; resets scratch. */
extern void elt_rowset_put(EltRowSet *set);

/* Take over another set's rows; that one lives in the same context, and is freed. */
extern void elt_rowset_join(EltRowSet *set, EltRowSet *from);

/*
 * The rows in parts that fit into elt.batch_memory, rows with the same hash in one: a list of lists of tuplestores. They are the caller's, and the set is empty.
 * entry: memory that a row needs beside its own.
 */
extern List *elt_rowset_take_parts(EltRowSet *set, Size entry);
extern int64 elt_rowset_count(List *stores);
extern void elt_rowset_clear(EltRowSet *set);
extern void elt_rowset_free(EltRowSet *set);

/* An error unless a statement gave rows of the expected columns, by type or binary-coercible. */
extern void elt_rowset_check_desc(TupleDesc desc, TupleDesc expected);

/* Go to the store's first row, whoever has read it. */
extern void elt_rowset_rewind(Tuplestorestate *store);

/* The next row, good until the call after it, or NULL. */
static inline MinimalTuple
elt_rowset_next(Tuplestorestate *store, TupleTableSlot *slot)
{
	bool		ours;

	if (!tuplestore_gettupleslot(store, true, false, slot))
		return NULL;
	return ExecFetchSlotMinimalTuple(slot, &ours);
}

/* The tail's i-th column from the end, from 1: its bytes are the tuple's last ones. */
static inline int64
elt_tail_get(MinimalTuple tuple, int i)
{
	int64		value;

	memcpy(&value, (char *) tuple + tuple->t_len - sizeof(int64) * i, sizeof(int64));
	return value;
}

static inline void
elt_tail_set(MinimalTuple tuple, int i, int64 value)
{
	memcpy((char *) tuple + tuple->t_len - sizeof(int64) * i, &value, sizeof(int64));
}

extern void elt_rowset_deform(EltRowSet *set, MinimalTuple tuple, Datum *values, bool *nulls);

/* Have two rows the same image? */
extern bool elt_rowset_same(EltRowSet *set, MinimalTuple a, MinimalTuple b);

/* The start of what a user of a table keeps for each row that is not the same as another. */
typedef struct EltRowEntry
{
	struct EltRowEntry *chain;	/* same bucket */
	struct EltRowEntry *next;	/* in order of arrival */
	uint64		hash;
	MinimalTuple tuple;
} EltRowEntry;

/* A hash table in memory, of rows or, with keys, of rows that differ in these columns' images. */
typedef struct EltRowTable
{
	EltRowSet  *set;
	const int  *keys;
	int			nkeys;			/* 0: all columns */
	Size		entry;			/* size of one */
	MemoryContext context;		/* of the entries, reset by elt_rowtable_start */
	EltRowEntry **buckets;
	uint64		mask;
	EltRowEntry *first;
	EltRowEntry *last;
	Datum	   *values[2];
	bool	   *nulls[2];
} EltRowTable;

extern EltRowTable *elt_rowtable_begin(EltRowSet *set, const int *keys, int nkeys, Size entry);
extern void elt_rowtable_start(EltRowTable *table, int64 nrows);

/*
 * The row's entry. A new one is zeroed but for its start; its tuple is a copy, unless the row stays where it is.
 */
extern EltRowEntry *elt_rowtable_find(EltRowTable *table, MinimalTuple tuple, bool stays, bool *found);
extern void *elt_rowtable_alloc(EltRowTable *table, Size size);
extern MinimalTuple elt_rowtable_keep(EltRowTable *table, MinimalTuple tuple, bool stays);
extern void elt_rowtable_free(EltRowTable *table);

#endif
