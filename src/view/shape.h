/* The shape of a view: its query, cut into parts. Made by parts.c, read by everything that runs or explains. */
#ifndef ELT_SHAPE_H
#define ELT_SHAPE_H

#include "access/attnum.h"
#include "nodes/parsenodes.h"

struct EltPart;

/* What a leaf reads: a table, or another part. Several leaves may read one source; it has one delta. */
typedef struct EltSource
{
	int			number;			/* from 1; in the names of CTEs and bags */
	Oid			relid;			/* a table; InvalidOid for a part */
	struct EltPart *part;
	List	   *names;			/* String: columns by attribute number, ""
								 * where dropped */
	List	   *key;			/* int: attribute numbers of the primary key,
								 * or of the part's key; NIL: none */
	Bitmapset  *used;			/* attribute numbers that the query reads */
	bool		appended;		/* a leaf that reads it is appended */
	double		nchanges;		/* rows of its delta, during a refresh */
	bool		only_added;		/* they are all new */
	Bitmapset  *were_null;		/* columns, of a table, that were NULL in rows
								 * which are gone, whatever constraints say by
								 * now */
	bool		flat_was;		/* its keys are never NULL, and those in its
								 * delta are few enough to be hashed: what it
								 * was can be told by a condition */
} EltSource;

/* One mention of a source in a block. The range table entry has its number as label (see elt_leaf_of). */
typedef struct EltLeaf
{
	int			number;			/* from 1, in the shape */
	EltSource  *source;
	bool		core;
	List	   *referring;		/* EltLeaf that foreign keys join to it, if it
								 * was only added to */
	bool		first;			/* it changes before the others */
} EltLeaf;

typedef struct EltColumn
{
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	bool		notnull;		/* provably */
	Oid			equals;			/* of a key: the operator by which rows are
								 * grouped */
} EltColumn;

typedef enum EltPartKind
{
	ELT_PART_ROWS,
	ELT_PART_GROUP,
	ELT_PART_WINDOW,
	ELT_PART_TOP,
	ELT_PART_FULL
} EltPartKind;

typedef enum EltMethod
{
	ELT_LINEAR,
	ELT_COUNTERS,
	ELT_KEYS,
	ELT_FULL
} EltMethod;

/* A self-maintained aggregate's hidden column, as SQL. */
typedef struct EltCounter
{
	char	   *name;
	const char *type;			/* SQL */
	Oid			oid;
	int32		typmod;
	Oid			collation;
	char	   *init;			/* aggregate over elt_in */
	char	   *delta;			/* the same, weighted, over elt_in with _elt_w */
	const char *zero;			/* of a group without rows */
	char	   *extreme;		/* NULL, or for min and max: the aggregate
								 * over the rows removed */
	char	   *beyond;			/* operator: left is more extreme than right */
} EltCounter;

/*
 * elt_in		the blocks' rows: first the keys, then what aggregates or windows read
 * elt_final	GROUP BY: keys, _elt_n, counters, and results of aggregates f1..; else the same as elt_in
 * columns		those of the storage: first the output
 */
typedef struct EltPart
{
	int			number;			/* from 1; 0 while it is made */
	EltPartKind kind;
	EltMethod	method;
	const char *reason;			/* code: why it is not followed better; NULL */
	const char *what;			/* the construct, for people */
	List	   *blocks;			/* Query: SELECTs that give elt_in, to be
								 * united */
	List	   *leaves;			/* EltLeaf of all blocks */
	EltColumn  *input;			/* of elt_in */
	int			ninput;
	int			nkeys;			/* the first ones, by which rows are grouped
								 * or partitioned */
	int		   *key_columns;	/* where the storage has them */
	Query	   *output;			/* SELECT of the storage's columns FROM
								 * elt_final */
	Query	   *aggregate;		/* SELECT keys, _elt_n, results FROM elt_in
								 * GROUP BY keys; method keys */
	List	   *counters;		/* EltCounter; method counters */
	List	   *finals;			/* String: the aggregates' results over
								 * counters, as SQL */
	EltColumn  *columns;
	int			ncolumns;
	int			noutput;
	int			shown;			/* index of _elt_shown, or -1 */
	bool		grouped;		/* has _elt_n, the rows of a group, as column
								 * after the keys */
	bool global;				/* one row always */
	bool		unique;			/* key_columns tell rows apart */
	char	   *hash;			/* SQL of the generated column _elt_h over the
								 * storage's columns, or NULL */
	Query	   *query;			/* method full: the SELECT itself */
	char	   *order;			/* kind top: ORDER BY over the storage's
								 * columns, and how many rows of it make the
								 * output */
	int64		skip;
	int64		limit;
	bool		with_ties;
	EltSource  *source;			/* as which others read it; NULL: nobody does */
} EltPart;

typedef struct EltShape
{
	List	   *parts;			/* EltPart, bottom up */
	List	   *sources;		/* EltSource */
	List	   *leaves;			/* EltLeaf */
	List	   *tables;			/* OIDs of all relations that are read, views
								 * included */
	List	   *functions;		/* OIDs of functions that are called and are
								 * not PostgreSQL's own */
	const char *reason;			/* code: why all of it is one full part; NULL */
	char	   *detail;			/* the name of the function, table, ... */
	bool		moving;			/* depends on now() */
} EltShape;

/* Stable reason codes; docs/views.md lists them. */
#define ELT_WHY_VOLATILE	"volatile_function"
#define ELT_WHY_STABLE		"stable_function"
#define ELT_WHY_RECURSIVE	"recursive_query"
#define ELT_WHY_FOREIGN		"foreign_table"
#define ELT_WHY_MATVIEW		"materialized_view"
#define ELT_WHY_CATALOG		"system_catalog"
#define ELT_WHY_SAMPLE		"tablesample"
#define ELT_WHY_INHERITANCE "inheritance"
#define ELT_WHY_SYSCOL		"system_column"
#define ELT_WHY_VIRTUAL		"virtual_column"
#define ELT_WHY_WHOLE_ROW	"whole_row"
#define ELT_WHY_SECURITY	"row_security"
#define ELT_WHY_PRIVILEGES	"view_privileges"
#define ELT_WHY_KEY_IMAGES	"key_images"
#define ELT_WHY_WINDOW		"window_without_partition"
#define ELT_WHY_NOW			"now_in_output"
#define ELT_WHY_LIMIT		"limit_without_order"
#define ELT_WHY_KEY_TYPE	"key_not_comparable"
#define ELT_WHY_AGGREGATE	"aggregate_recomputed"
#define ELT_WHY_KEY_IMAGE	"key_has_equal_values"
#define ELT_WHY_ORDER		"order_dependent"
#define ELT_WHY_COMPLEX		"too_complex"

/* The label of a leaf's range table entry; NULL: it is no leaf. */
extern EltLeaf *elt_leaf_of(EltShape *shape, RangeTblEntry *rte);

/* Type and equality of a column that is part of a source's key. */
extern void elt_source_column(EltSource *source, AttrNumber attno, Oid *type, int32 *typmod, Oid *collation, Oid *equals);

/* prepare.c: views and CTEs expanded, join columns resolved; notes what forbids incremental maintenance in shape->reason. */
extern Query *elt_prepare(EltShape *shape, Query *query);

/* Columns of joins and groups become what they stand for. */
extern Query *elt_flatten(EltShape *shape, Query *query);

/*
 * parts.c: the shape of an analysed SELECT, which is not changed. In the current memory context. Takes AccessShareLock on what is read.
 * in_full: one full part. */
extern EltShape *elt_shape_make(Query *query, bool in_full);
extern bool elt_is_correlated(Query *query);
extern void elt_part_add_hidden(EltPart *part, const char *name, Oid type, int32 typmod, Oid collation, Expr *expr);
extern Query *elt_select_from_input(const char *from, EltColumn *columns, int ncolumns);

/*
 * order.c: does what the subqueries of a block give depend on the order in which rows come? Where ORDER BY leaves it open, the block gets it settled.
 */
extern bool elt_depends_on_order(EltShape *shape, Query *block);

/* split.c: the blocks, to be united, of a query level without aggregates, windows, set operations: FULL JOIN and UNION ALL distributed. */
extern List *elt_split_blocks(Query *query);

/* A Query of `query`'s range table whose FROM is node, seen from one level further in; kept: the relids of node. */
extern Query *elt_push_down(Query *query, Node *from, List *quals);

/* Range table entries that are not in FROM any more become empty results: nothing may look into them. */
extern void elt_forget_entries(Query *query);
extern Bitmapset *elt_relids_in(Node *jointree);

typedef enum EltState
{
	ELT_NEW,
	ELT_DELTA,
	ELT_OLD,
	ELT_WAS
} EltState;

#endif
