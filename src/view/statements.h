/* The statements by which a part is computed and follows changes, as SQL. */
#ifndef ELT_STATEMENTS_H
#define ELT_STATEMENTS_H

#include "datatype/timestamp.h"

#include "view/shape.h"

/* Where things are. */
typedef struct EltPlaces
{
	EltShape   *shape;
	char	  **storages;		/* SQL names by part number */
	char	   *frozen;			/* SQL over the last part's output, or NULL */
} EltPlaces;

/*
 * For the planner, of elt_added_n: it is read once, into a hash table, and not, as the planner would have it of more rows, each time that rows are looked up.
 */
#define ELT_ADDED_TUPLES	1

/*
 * Bit i: key i is NULL. Keys that are NULL are looked up by IS NULL, and the others by =, so that indexes serve both. Keys beyond those that have a bit are
 * compared both ways.
 */
typedef uint64 EltNulls;

#define ELT_NULLS_KEYS		64

/*
 * The rows of the part's storage, all or (keys: the name of a bag with columns k1..) those of some keys.
 */
extern char *elt_rows_sql(EltPlaces *places, EltPart *part, const char *keys, EltNulls nulls);

/* The change of elt_in: its columns and _elt_w. NULL: nothing of it can change. */
extern char *elt_input_delta_sql(EltPlaces *places, EltPart *part, Bitmapset *changed, bool moved, TimestampTz then);

/*
 * The same added up by group: k1.., _elt_n, a weighted sum d1.. for each counter, and for extremes what was removed, r1... netted: from the bag elt_rows, which has
 * what elt_input_delta_sql gave, netted.
 */
extern char *elt_group_delta_sql(EltPlaces *places, EltPart *part, Bitmapset *changed, bool moved, TimestampTz then);
extern char *elt_group_netted_sql(EltPart *part);

/* Has it a counter that is an extreme? An extreme has to be taken of netted rows: of others, one may never have been there. */
extern bool elt_has_extremes(EltPart *part);

/* Rows of groups after the bag elt_d has been added; and the keys k1.. of those that must be computed anew. */
extern char *elt_merged_rows_sql(EltPlaces *places, EltPart *part, EltNulls nulls);

/* The same written at once, without a look at what changes: MERGE. */
extern char *elt_merge_sql(EltPlaces *places, EltPart *part, EltNulls nulls);
extern char *elt_dirty_keys_sql(EltPlaces *places, EltPart *part, EltNulls nulls);

/* Stored rows, with _elt_tid and _elt_frozen: all, or those with the keys in a bag, or with the hashes of the removed rows of the bag elt_rows. */
extern char *elt_stored_sql(EltPlaces *places, EltPart *part, const char *keys, EltNulls nulls);
extern char *elt_stored_by_hash_sql(EltPlaces *places, EltPart *part);

/* The distinct keys k1.. of a bag with the columns of elt_in; or of one with the columns of the storage. */
extern char *elt_keys_sql(EltPart *part, const char *bag, bool of_storage);

/* "a, b, c" of the storage's columns that are written */
extern char *elt_column_list(EltPart *part, const char *prefix, int n);

/* Kind top: the rows of the bag elt_rows that come no later than the last one stored; how many are stored; rows beyond those that are needed. */
extern char *elt_within_stored_sql(EltPlaces *places, EltPart *part);
extern char *elt_trim_stored_sql(EltPlaces *places, EltPart *part);
extern int64 elt_rows_to_store(EltPart *part);

/* What readers of the part see of its storage. */
extern char *elt_output_sql(EltPart *part, const char *storage);

/* Does the statement have this name, which ends with a number? */
extern bool elt_mentions(const char *sql, const char *name);

extern char *elt_operator_equals(const EltColumn *column);

#endif
