/* How the work of a query can be divided. */
#ifndef ELT_SPLIT_H
#define ELT_SPLIT_H

#include "nodes/parsenodes.h"
#include "storage/block.h"

typedef enum EltSplitKind
{
	ELT_SPLIT_SERIAL,			/* not at all */
	ELT_SPLIT_SHARDS,			/* a task for each partition */
	ELT_SPLIT_BLOCKS,			/* a task for each range of a table's blocks */
	ELT_SPLIT_PARTIAL			/* partial aggregates by task, combined at the
								 * end */
} EltSplitKind;

typedef struct EltSplit
{
	EltSplitKind kind;
	const char *reason;			/* code, see docs/transforms.md */
	const char *detail;			/* for people */
	const char *hint;			/* what to do for more speed, or NULL */
	List	   *drivers;		/* numbers of the mentions that each task
								 * reads a part of, see elt_split_mentions */
	bool		by_partition;	/* the parts are partitions, those of all
								 * drivers in the same order; else leaves or
								 * blocks of one driver */
	bool		row_wise;		/* each row of the result comes from one of
								 * the driver's */
	Query	   *partial;		/* ELT_SPLIT_PARTIAL: what a task runs; the
								 * mentions are those of this query */
	Query	   *combine;		/* and the rest, over a CTE elt_partial that
								 * it does not have */
} EltSplit;

/* A relation that a query names, at any level. */
typedef struct EltMention
{
	Query	   *query;			/* the level that has it */
	RangeTblEntry *rte;
} EltMention;

/*
 * Decide. The query is analysed and not rewritten; what it reads is locked. Reads catalogs only, and the sizes of tables. The result and all in it are in the current
 * memory context.
 */
extern EltSplit *elt_split_choose(Query *query);

/* All mentions of relations, in an order that is the same for each analysis of the same text. */
extern List *elt_split_mentions(Query *query);

/* What a task reads of one mention: some blocks of the relation or of one that belongs to it. */
typedef struct EltPiece
{
	int32		mention;
	Oid			relid;
	BlockNumber lower;
	BlockNumber upper;			/* not included; InvalidBlockNumber: to the
								 * end */
	uint32		lower_offset;	/* within these blocks; 0: all */
	uint32		upper_offset;
} EltPiece;

typedef struct EltShard
{
	char	   *label;			/* "shard 3/8 (public.t_p3)" */
	double		weight;
	int			npieces;
	EltPiece   *pieces;
} EltShard;

/* The tasks (EltShard) for so many workers, as the partitions and sizes are now. */
extern List *elt_split_shards(const EltSplit *split, Query *query, int workers);

/* Let a query read only the pieces. The current user's right to read the whole mention is checked instead of those on the parts. */
extern void elt_split_restrict(Query *query, const EltPiece *pieces, int npieces);

#endif
