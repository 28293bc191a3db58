/*
 * copy.c
 *	  The rows of a parent, as a snapshot sees them, into its shards.
 *
 *	  blocks of the parent -> row -> its shard by the key's hash -> that shard's slots -> pages at once
 *
 * Rows go as they are: defaults, generated columns and constraints are those of the parent and need no second look. Toasted values are fetched and toasted again by the shard's
 * table. Who reads other blocks may fill the same shards at the same time.
 *
 * Memory: at most COPY_MEMORY of rows that wait, over all shards. Locks: AccessShare on the parent, RowExclusive on the shards it comes across. A crash, or an error, leaves rows
 * that are not there for anybody.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "shard/shard.h"
#include "worker/worker.h"

#define COPY_MEMORY		(32 * 1024 * 1024)
#define COPY_ROWS		1000	/* of one shard at once */
#define TELL_ROWS		10000

/* Where rows of one shard wait. */
typedef struct CopyTarget
{
	Relation	rel;			/* NULL: no row so far */
	BulkInsertState bulk;
	TupleTableSlot **slots;
	int			nslots;			/* made */
	int			nrows;			/* waiting */
	Size		bytes;
} CopyTarget;

typedef struct CopyState
{
	EltSharding *sharding;
	int			parent;
	Relation	source;
	EltShardKey *key;
	AttrMap    *map;			/* NULL: shards have the parent's layout */
	CopyTarget *targets;		/* by shard */
	Size		most;			/* bytes that wait for one shard */
	MemoryContext scratch;
	int64		rows;
	int64		bytes;
} CopyState;

static void
open_target(CopyState *copy, int shard)
{
	CopyTarget *target = &copy->targets[shard];

	target->rel = table_open(elt_sharding_tables(copy->sharding, copy->parent)[shard], RowExclusiveLock);
	target->bulk = GetBulkInsertState();
	target->slots = palloc0(sizeof(TupleTableSlot *) * COPY_ROWS);
}

static void
flush(CopyState *copy, CopyTarget *target)
{
	MemoryContext old = MemoryContextSwitchTo(copy->scratch);

	if (target->nrows > 0)
		table_multi_insert(target->rel, target->slots, target->nrows, GetCurrentCommandId(true), TABLE_INSERT_SKIP_FSM,
						   target->bulk);
	MemoryContextSwitchTo(old);
	MemoryContextReset(copy->scratch);
	for (int i = 0; i < target->nrows; i++)
		ExecClearTuple(target->slots[i]);
	target->nrows = 0;
	target->bytes = 0;
}

/* Let the row wait in the next slot of its shard. */
static void
put_row(CopyState *copy, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(copy->scratch);
	int			shard = elt_shard_of(copy->key, copy->sharding->shards, row);
	CopyTarget *target = &copy->targets[shard];
	TupleTableSlot *slot;
	Size		bytes;

	MemoryContextSwitchTo(old);
	if (target->rel == NULL)
		open_target(copy, shard);
	if (target->nrows == target->nslots)
		target->slots[target->nslots++] = table_slot_create(target->rel, NULL);
	slot = target->slots[target->nrows++];
	slot_getallattrs(row);
	if (copy->map != NULL)
		execute_attr_map_slot(copy->map, row, slot);
	else
	{
		/* not the tuple: it may lack columns that were added since */
		ExecClearTuple(slot);
		memcpy(slot->tts_values, row->tts_values, sizeof(Datum) * row->tts_tupleDescriptor->natts);
		memcpy(slot->tts_isnull, row->tts_isnull, sizeof(bool) * row->tts_tupleDescriptor->natts);
		ExecStoreVirtualTuple(slot);
	}
	ExecMaterializeSlot(slot);
	bytes = ((BufferHeapTupleTableSlot *) slot)->base.tuple->t_len;
	target->bytes += bytes;
	copy->bytes += bytes;
	copy->rows++;
	if (target->nrows == COPY_ROWS || target->bytes >= copy->most)
		flush(copy, target);
}

static void
read_blocks(CopyState *copy, BlockNumber first, BlockNumber end)
{
	TupleTableSlot *slot = table_slot_create(copy->source, NULL);
	ItemPointerData from;
	ItemPointerData to;
	TableScanDesc scan;

	ItemPointerSet(&from, first, FirstOffsetNumber);
	ItemPointerSet(&to, end - 1, MaxOffsetNumber);
	scan = table_beginscan_tidrange(copy->source, GetActiveSnapshot(), &from, &to);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		put_row(copy, slot);
		if (copy->rows % TELL_ROWS == 0)
			elt_task_progress(copy->rows, copy->bytes);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

static void
close_target(CopyState *copy, CopyTarget *target)
{
	flush(copy, target);
	for (int i = 0; i < target->nslots; i++)
		ExecDropSingleTupleTableSlot(target->slots[i]);
	FreeBulkInsertState(target->bulk);
	table_finish_bulk_insert(target->rel, TABLE_INSERT_SKIP_FSM);
	table_close(target->rel, NoLock);
}

int64
elt_shard_copy(EltSharding *sharding, int parent, BlockNumber first, BlockNumber end)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "elt shard copy", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mine);
	CopyState	copy = {.sharding = sharding,.parent = parent};
	Relation	sample;
	int64		rows;

	copy.source = table_open(elt_sharding_parents(sharding)[parent], AccessShareLock);
	copy.key = elt_shard_key(copy.source, sharding);
	copy.targets = palloc0(sizeof(CopyTarget) * sharding->shards);
	copy.most = Max(COPY_MEMORY / sharding->shards, 2 * BLCKSZ);
	copy.scratch = AllocSetContextCreate(mine, "elt shard copy rows", ALLOCSET_DEFAULT_SIZES);
	sample = table_open(elt_sharding_tables(sharding, parent)[0], AccessShareLock);
	copy.map = elt_attrmap_if_needed(RelationGetDescr(copy.source), RelationGetDescr(sample));
	table_close(sample, NoLock);

	end = Min(end, RelationGetNumberOfBlocks(copy.source));
	if (first < end)
		read_blocks(&copy, first, end);
	for (int i = 0; i < sharding->shards; i++)
	{
		if (copy.targets[i].rel != NULL)
			close_target(&copy, &copy.targets[i]);
	}
	elt_task_progress(copy.rows, copy.bytes);
	rows = copy.rows;
	table_close(copy.source, NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
	return rows;
}
