/*
 * follow.c
 *	  What changed in the table since the shards were filled, written to the shards.
 *
 *	  change log -> window of our consumer -> netted: rows removed, rows added -> each row's parent (by its partition bound) and shard (by the key's hash)
 *	  -> all removed rows deleted, then all added ones inserted, with their indexes
 *
 * A removed row is found by the primary key where there is one, else by going through its shard for a row that is the same byte for byte. A row that is not found is an error: then the
 * shards would not be what the table is.
 *
 * Rows go as they are, past defaults, generated columns and constraints, which the table has applied to them already. The shards are nobody else's yet.
 *
 * Locks: those of a batch (capture/batch.c), RowExclusive on the shards. A crash undoes rows and offset together.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/partition.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/net.h"
#include "shard/follow.h"

/* A removed row that has to be looked for. */
typedef struct Wanted
{
	struct Wanted *next;		/* same bucket */
	MinimalTuple tuple;
	uint32		hash;
} Wanted;

typedef struct Shard
{
	Relation	rel;			/* NULL: no row so far */
	ResultRelInfo *info;
	Relation	key;			/* index of the primary key, or NULL */
	TupleTableSlot *row;		/* a changed row, in the shard's layout */
	TupleTableSlot *found;
	List	   *removed;		/* MinimalTuple, where there is no key */
} Shard;

/* What is below one parent. */
typedef struct Parent
{
	ExprState  *bound;			/* NULL: all rows */
	AttrMap    *map;			/* from the root's columns; NULL: same layout */
	Shard	   *shards;
} Parent;

typedef struct Follow
{
	EltSharding *sharding;
	EltBatch   *batch;
	Tuplestorestate *removed;
	Tuplestorestate *added;
	EltShardKey *key;			/* in the root's columns */
	EState	   *estate;
	TupleTableSlot *root;		/* a changed row */
	Parent	   *parents;
} Follow;

static void
put_rows(Tuplestorestate *store, Follow *follow, List *tuples)
{
	ListCell   *lc;

	foreach(lc, tuples)
	{
		ExecForceStoreMinimalTuple(lfirst(lc), follow->root, false);
		tuplestore_puttupleslot(store, follow->root);
	}
	ExecClearTuple(follow->root);
}

static void
emit(void *arg, List *removed, List *added)
{
	Follow	   *follow = arg;

	put_rows(follow->removed, follow, removed);
	put_rows(follow->added, follow, added);
}

static Shard *
open_shard(Follow *follow, int parent, int number)
{
	Shard	   *shard = &follow->parents[parent].shards[number];

	if (shard->rel != NULL)
		return shard;
	shard->rel = table_open(elt_sharding_tables(follow->sharding, parent)[number], RowExclusiveLock);
	shard->info = makeNode(ResultRelInfo);
	InitResultRelInfo(shard->info, shard->rel, 1, NULL, 0);
	ExecOpenIndices(shard->info, false);
	shard->row = table_slot_create(shard->rel, NULL);
	shard->found = table_slot_create(shard->rel, NULL);
	list_free(RelationGetIndexList(shard->rel));
	if (OidIsValid(shard->rel->rd_pkindex))
		shard->key = index_open(shard->rel->rd_pkindex, RowExclusiveLock);
	return shard;
}

static void
close_shard(Shard *shard)
{
	if (shard->rel == NULL)
		return;
	if (shard->key != NULL)
		index_close(shard->key, NoLock);
	ExecDropSingleTupleTableSlot(shard->row);
	ExecDropSingleTupleTableSlot(shard->found);
	ExecCloseIndices(shard->info);
	table_close(shard->rel, NoLock);
}

static void
open_parents(Follow *follow)
{
	EltSharding *sharding = follow->sharding;
	Relation	root = follow->batch->root;

	follow->parents = palloc0(sizeof(Parent) * sharding->nparents);
	for (int i = 0; i < sharding->nparents; i++)
	{
		Parent	   *parent = &follow->parents[i];
		Relation	rel = table_open(elt_sharding_parents(sharding)[i], AccessShareLock);
		Relation	sample = table_open(elt_sharding_tables(sharding, i)[0], AccessShareLock);
		List	   *bound = list_copy(RelationGetPartitionQual(rel));

		if (bound != NIL)
			parent->bound = ExecPrepareQual(map_partition_varattnos(bound, 1, root, rel), follow->estate);
		parent->map = elt_attrmap_if_needed(RelationGetDescr(root), RelationGetDescr(sample));
		parent->shards = palloc0(sizeof(Shard) * sharding->shards);
		table_close(sample, NoLock);
		table_close(rel, NoLock);
	}
}

static void
close_parents(Follow *follow)
{
	for (int i = 0; i < follow->sharding->nparents; i++)
	{
		for (int j = 0; j < follow->sharding->shards; j++)
			close_shard(&follow->parents[i].shards[j]);
	}
}

/* -1: none that is being sharded */
static int
parent_of(Follow *follow)
{
	ExprContext *econtext = GetPerTupleExprContext(follow->estate);

	econtext->ecxt_scantuple = follow->root;
	for (int i = 0; i < follow->sharding->nparents; i++)
	{
		if (follow->parents[i].bound == NULL || ExecQual(follow->parents[i].bound, econtext))
			return i;
	}
	return -1;
}

/* The shard of the row in follow->root, which gets the row; NULL where it belongs to a partition that has shards already. */
static Shard *
route(Follow *follow)
{
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(follow->estate));
	int			number = elt_shard_of(follow->key, follow->sharding->shards, follow->root);
	int			parent = parent_of(follow);
	Shard	   *shard;

	MemoryContextSwitchTo(old);
	if (parent < 0)
		return NULL;
	shard = open_shard(follow, parent, number);
	slot_getallattrs(follow->root);
	if (follow->parents[parent].map != NULL)
		execute_attr_map_slot(follow->parents[parent].map, follow->root, shard->row);
	else
	{
		ExecClearTuple(shard->row);
		memcpy(shard->row->tts_values, follow->root->tts_values, sizeof(Datum) * shard->row->tts_tupleDescriptor->natts);
		memcpy(shard->row->tts_isnull, follow->root->tts_isnull, sizeof(bool) * shard->row->tts_tupleDescriptor->natts);
		ExecStoreVirtualTuple(shard->row);
	}
	return shard;
}

/* Delete the row with the key of shard->row; false where there is none. */
static bool
delete_by_key(Follow *follow, Shard *shard)
{
	int			nkeys = IndexRelationGetNumberOfKeyAttributes(shard->key);
	ScanKeyData keys[INDEX_MAX_KEYS];
	IndexScanDesc scan;
	bool		found;

	for (int i = 0; i < nkeys; i++)
	{
		Oid			type = shard->key->rd_opcintype[i];
		Oid			equal = get_opfamily_member(shard->key->rd_opfamily[i], type, type, BTEqualStrategyNumber);
		bool		isnull;
		Datum		value = slot_getattr(shard->row, shard->key->rd_index->indkey.values[i], &isnull);

		if (isnull)
			elog(ERROR, "a changed row of \"%s\" has no key", RelationGetRelationName(follow->batch->root));
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, type, shard->key->rd_indcollation[i],
							   get_opcode(equal), value);
	}
	scan = elt_index_beginscan(shard->rel, shard->key, follow->batch->snapshot, nkeys);
	index_rescan(scan, keys, nkeys, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, shard->found);
	if (found)
		simple_table_tuple_delete(shard->rel, &shard->found->tts_tid, follow->batch->snapshot);
	index_endscan(scan);
	ExecClearTuple(shard->found);
	return found;
}

static uint32
hash_row(TupleTableSlot *slot)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	uint32		hash = 0;

	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && !slot->tts_isnull[i])
			hash = hash_combine(hash, datum_image_hash(slot->tts_values[i], att->attbyval, att->attlen) + i);
	}
	return hash;
}

static bool
same_row(TupleTableSlot *a, TupleTableSlot *b)
{
	TupleDesc	desc = a->tts_tupleDescriptor;

	slot_getallattrs(a);
	slot_getallattrs(b);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (a->tts_isnull[i] || b->tts_isnull[i])
		{
			if (a->tts_isnull[i] != b->tts_isnull[i])
				return false;
		}
		else if (!datum_image_eq(a->tts_values[i], b->tts_values[i], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

static Wanted **
bucket_rows(Follow *follow, Shard *shard, TupleTableSlot *slot, uint32 mask)
{
	Wanted	  **buckets = palloc0(sizeof(Wanted *) * ((Size) mask + 1));
	ListCell   *lc;

	foreach(lc, shard->removed)
	{
		Wanted	   *wanted = palloc(sizeof(Wanted));
		MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(follow->estate));

		wanted->tuple = lfirst(lc);
		ExecForceStoreMinimalTuple(wanted->tuple, slot, false);
		wanted->hash = hash_row(slot);
		wanted->next = buckets[wanted->hash & mask];
		buckets[wanted->hash & mask] = wanted;
		MemoryContextSwitchTo(old);
		ResetPerTupleExprContext(follow->estate);
	}
	return buckets;
}

/* Take a wanted row that is the same as this one out of its bucket; false where there is none. */
static bool
take_wanted(Wanted **bucket, uint32 hash, TupleTableSlot *found, TupleTableSlot *slot)
{
	for (Wanted **at = bucket; *at != NULL; at = &(*at)->next)
	{
		if ((*at)->hash != hash)
			continue;
		ExecForceStoreMinimalTuple((*at)->tuple, slot, false);
		if (same_row(found, slot))
		{
			*at = (*at)->next;
			return true;
		}
	}
	return false;
}

/* Delete a row for each of shard->removed, in one scan; returns how many were not found. */
static int
delete_by_image(Follow *follow, Shard *shard)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(shard->rel), &TTSOpsMinimalTuple);
	uint32		mask = pg_nextpower2_32(Max(list_length(shard->removed), 16)) - 1;
	Wanted	  **buckets = bucket_rows(follow, shard, slot, mask);
	int			left = list_length(shard->removed);
	TableScanDesc scan = table_beginscan(shard->rel, follow->batch->snapshot, 0, NULL);

	while (left > 0 && table_scan_getnextslot(scan, ForwardScanDirection, shard->found))
	{
		MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(follow->estate));
		uint32		hash = hash_row(shard->found);

		CHECK_FOR_INTERRUPTS();
		if (take_wanted(&buckets[hash & mask], hash, shard->found, slot))
		{
			simple_table_tuple_delete(shard->rel, &shard->found->tts_tid, follow->batch->snapshot);
			left--;
		}
		MemoryContextSwitchTo(old);
		ResetPerTupleExprContext(follow->estate);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return left;
}

static void
check_found(Follow *follow, bool found)
{
	if (!found)
		elog(ERROR, "a shard of \"%s\" lacks a row that was removed", RelationGetRelationName(follow->batch->root));
}

static void
delete_removed(Follow *follow)
{
	while (tuplestore_gettupleslot(follow->removed, true, false, follow->root))
	{
		Shard	   *shard = route(follow);

		CHECK_FOR_INTERRUPTS();
		if (shard == NULL)
			continue;
		if (shard->key != NULL)
			check_found(follow, delete_by_key(follow, shard));
		else
			shard->removed = lappend(shard->removed, ExecCopySlotMinimalTuple(shard->row));
		ExecClearTuple(shard->row);
		ResetPerTupleExprContext(follow->estate);
	}
	for (int i = 0; i < elt_sharding_ntables(follow->sharding); i++)
	{
		Shard	   *shard = &follow->parents[i / follow->sharding->shards].shards[i % follow->sharding->shards];

		if (shard->removed != NIL)
			check_found(follow, delete_by_image(follow, shard) == 0);
	}
}

static void
insert_added(Follow *follow)
{
	while (tuplestore_gettupleslot(follow->added, true, false, follow->root))
	{
		Shard	   *shard = route(follow);

		CHECK_FOR_INTERRUPTS();
		if (shard == NULL)
			continue;
		ExecMaterializeSlot(shard->row);
		simple_table_tuple_insert(shard->rel, shard->row);
		if (shard->info->ri_NumIndices > 0)
			list_free(elt_insert_index_tuples(shard->info, shard->row, follow->estate));
		ExecClearTuple(shard->row);
		ResetPerTupleExprContext(follow->estate);
	}
}

static void
apply(Follow *follow)
{
	follow->estate = CreateExecutorState();
	follow->key = elt_shard_key(follow->batch->root, follow->sharding);
	open_parents(follow);
	delete_removed(follow);
	CommandCounterIncrement();
	insert_added(follow);
	ExecClearTuple(follow->root);
	close_parents(follow);
	FreeExecutorState(follow->estate);
	CommandCounterIncrement();
}

/* Nothing has happened to the table that changes do not tell. */
static void
check_marks(EltBatch *batch)
{
	bool		marked = batch->resync != NULL;
	ListCell   *lc;

	foreach(lc, elt_mark_list(batch->capture->id))
	{
		EltMark    *mark = lfirst(lc);

		marked |= !elt_offset_contains(batch->consumer->offset, mark->xid, mark->serial);
	}
	if (marked)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("table \"%s\" was altered or truncated while it was being sharded", RelationGetRelationName(batch->root)),
				 errhint("Call elt.shard_table again.")));
}

static void
net(Follow *follow)
{
	bool		lost = false;

	follow->removed = tuplestore_begin_heap(false, false, work_mem);
	follow->added = tuplestore_begin_heap(false, false, work_mem);
	follow->root = MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(follow->batch->root)), &TTSOpsMinimalTuple);
	(void) elt_net_each(follow->batch, ELT_NET_ROWS, emit, follow, &lost);
	if (lost)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a changed value of table \"%s\" is gone", RelationGetRelationName(follow->batch->root)),
				 errdetail("VACUUM FULL or CLUSTER took it away while the table was being sharded."),
				 errhint("Call elt.shard_table again.")));
}

int64
elt_shard_follow(EltSharding *sharding, const EltOffset *from)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "elt shard follow", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mine);
	Follow		follow = {.sharding = sharding};
	EltSecContext save;
	int64		changes;

	/* expressions of indexes are the owner's */
	elt_become(&save, elt_relation_owner(sharding->root));
	follow.batch = elt_batch_lock(sharding->consumer);
	if (from != NULL)
	{
		int32		passed = follow.batch->consumer->offset->passed;

		follow.batch->consumer->offset = palloc(sizeof(EltOffset));
		*follow.batch->consumer->offset = *from;
		follow.batch->consumer->offset->passed = passed;
	}
	elt_batch_open(follow.batch, elt_snapshot_push());
	check_marks(follow.batch);
	net(&follow);
	changes = tuplestore_tuple_count(follow.removed) + tuplestore_tuple_count(follow.added);
	if (changes > 0)
		apply(&follow);
	ExecDropSingleTupleTableSlot(follow.root);
	tuplestore_end(follow.removed);
	tuplestore_end(follow.added);
	elt_debug_point("shard-followed");
	elt_batch_end(follow.batch);
	elt_restore(&save);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
	return changes;
}
