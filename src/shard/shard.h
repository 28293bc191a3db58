/* What the files of this room share: turning tables into hash-sharded ones. */
#ifndef ELT_SHARD_H
#define ELT_SHARD_H

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "partitioning/partdefs.h"
#include "pg_config_manual.h"
#include "storage/block.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#define ELT_MAX_SHARDS	1024

/*
 * One table that is to be sharded: what was asked for, and which tables there are. Flat, so that it can be handed to workers as it is: see elt_sharding_size.
 */
typedef struct EltSharding
{
	Oid			root;			/* what the user named */
	int32		capture;		/* while changes are followed: of root */
	int32		consumer;		/* and our own */
	bool		tracked;		/* for others, too: the shards need the
								 * triggers of change tracking */
	int			patience;		/* ms, for a lock on the table */
	TimestampTz since;			/* from then on; 0: from when the lock is
								 * wanted */
	int			shards;			/* of each parent */
	int			ncolumns;
	NameData	columns[PARTITION_MAX_KEYS];
	int			nparents;
	Oid			oids[FLEXIBLE_ARRAY_MEMBER];	/* parents, then the shards of
												 * each in turn, once they are
												 * there */
} EltSharding;

/* The plain tables that become partitioned: the root itself, or its leaves. */
static inline Oid *
elt_sharding_parents(EltSharding *sharding)
{
	return sharding->oids;
}

/* The tables with the rows of a parent, by shard number. */
static inline Oid *
elt_sharding_tables(EltSharding *sharding, int parent)
{
	return sharding->oids + sharding->nparents + (Size) parent * sharding->shards;
}

static inline int
elt_sharding_ntables(const EltSharding *sharding)
{
	return sharding->nparents * sharding->shards;
}

extern Size elt_sharding_size(int nparents, int shards);

/* key.c: the shard key of one table */
typedef struct EltShardKey
{
	int			ncolumns;
	AttrNumber	attnums[PARTITION_MAX_KEYS];
	Oid			types[PARTITION_MAX_KEYS];
	Oid			opclasses[PARTITION_MAX_KEYS];
	Oid			collations[PARTITION_MAX_KEYS];
	FmgrInfo	hash[PARTITION_MAX_KEYS];
} EltShardKey;

/* Errors: 42703, 42701, 22023, 0A000, 42704 for columns that cannot be a key. In the current memory context. */
extern EltShardKey *elt_shard_key(Relation rel, EltSharding *sharding);

/* The shard of the row in a slot that has the key's columns. */
extern int	elt_shard_of(EltShardKey *key, int shards, TupleTableSlot *slot);

/* 0A000 unless every unique index has the whole key among its columns. */
extern void elt_shard_check_unique(Relation rel, EltShardKey *key);

/* check.c */

/* Is it a table, of the current user's? Before it is locked. */
extern void elt_shard_check_root(Oid relid);

/* What the user named, checked; errors for whatever cannot be sharded. *locked: what it has taken AccessShareLock on, once each: the table and all below it. */
extern EltSharding *elt_shard_plan(Oid relid, List *columns, int shards, List **locked);

/* Text that changes when something is altered that the shards have been made after. Takes no lock. */
extern char *elt_shard_definition(EltSharding *sharding);

/* The text that a query of the catalogs gives for $1, as they are now; NULL where it is none. search_path is the caller's affair. */
extern char *elt_shard_lookup(const char *query, Oid relid);

/*
 * lock.c: lock the tree from its root on. Waits briefly, again and again, so that others do not queue behind for long; between, `meanwhile` is called, unless it is NULL.
 * False, or 55P03, when the patience (ms) is at its end.
 */
extern bool elt_shard_try_lock(Oid root, LOCKMODE mode, int patience, void (*meanwhile) (void *arg), void *arg);
extern void elt_shard_lock(EltSharding *sharding, LOCKMODE mode, void (*meanwhile) (void *arg), void *arg);

/* create.c: the shards, as tables by themselves */
extern void elt_shard_create(EltSharding *sharding);

/* The indexes of one shard, and what refers to them; then its statistics. */
extern void elt_shard_index(EltSharding *sharding, int parent, int shard);

/* copy.c: rows of these blocks of a parent that the active snapshot sees; returns how many */
extern int64 elt_shard_copy(EltSharding *sharding, int parent, BlockNumber first, BlockNumber end);

/* convert.c: make the parents partitioned and attach the shards. The caller has AccessExclusiveLock on the whole tree. */
extern void elt_shard_convert(EltSharding *sharding);

#endif
