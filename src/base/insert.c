/*
 * insert.c
 *	  Rows of a statement, written to tables in batches.
 *
 *	  row -> leaf of the target, by its partition key -> generated columns, constraints of the leaf -> buffer of the leaf
 *	      -> table_multi_insert into the leaf, or into the table that stands in for it -> indexes
 *
 * One WAL record a page instead of one a row, and no checks of partition constraints: two thirds of what INSERT ... SELECT costs. A leaf's buffer is written when it
 * has MAX_ROWS rows or MAX_BYTES bytes, so memory is bounded by the number of leaves.
 *
 * Locks: RowExclusive on what is written to. A crash undoes the transaction; frozen rows stay in a table that whoever made it drops.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/clauses.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/insert.h"

#define MAX_ROWS	1000
#define MAX_BYTES	65536

/* The rows on their way to one table. */
typedef struct Sink
{
	ResultRelInfo *target;		/* whose constraints count */
	Relation	into;
	ResultRelInfo *indexes;		/* of into, or NULL */
	BulkInsertState bulk;
	TupleTableSlot **slots;
	int			n;
	Size		bytes;
} Sink;

typedef struct Receiver
{
	DestReceiver pub;
	Oid			target;
	EltInsertPlace *places;
	int			nplaces;
	int			flags;
	int64		rows;
	int64		bytes;

	/* from startup on */
	MemoryContext context;
	MemoryContext batch;
	EState	   *estate;
	Relation	rel;
	ModifyTableState *mtstate;
	PartitionTupleRouting *routing; /* NULL: not partitioned */
	List	   *sinks;
	Sink	   *last;
	CommandId	cid;
} Receiver;

static Oid
place_of(Receiver *receiver, Oid target)
{
	for (int i = 0; i < receiver->nplaces; i++)
		if (receiver->places[i].target == target)
			return receiver->places[i].into;
	if (receiver->nplaces > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition \"%s\" came while rows were being written", get_rel_name(target)),
				 errhint("Try again.")));
	return target;
}

static int
insert_options(Receiver *receiver)
{
	return ((receiver->flags & ELT_INSERT_FROZEN) ? TABLE_INSERT_FROZEN : 0) |
		((receiver->flags & ELT_INSERT_NEW_PAGES) ? TABLE_INSERT_SKIP_FSM : 0);
}

static Sink *
sink_open(Receiver *receiver, ResultRelInfo *target)
{
	Sink	   *sink = palloc0(sizeof(Sink));

	sink->target = target;
	sink->into = table_open(place_of(receiver, RelationGetRelid(target->ri_RelationDesc)), RowExclusiveLock);
	sink->bulk = GetBulkInsertState();
	sink->slots = palloc0(sizeof(TupleTableSlot *) * MAX_ROWS);
	if (receiver->flags & ELT_INSERT_INDEXES)
	{
		sink->indexes = makeNode(ResultRelInfo);
		InitResultRelInfo(sink->indexes, sink->into, 0, NULL, 0);
		ExecOpenIndices(sink->indexes, false);
	}
	receiver->sinks = lappend(receiver->sinks, sink);
	return sink;
}

static Sink *
sink_of(Receiver *receiver, ResultRelInfo *target)
{
	ListCell   *lc;

	if (receiver->last != NULL && receiver->last->target == target)
		return receiver->last;
	foreach(lc, receiver->sinks)
	{
		if (((Sink *) lfirst(lc))->target == target)
			return receiver->last = lfirst(lc);
	}
	return receiver->last = sink_open(receiver, target);
}

static void
sink_flush(Receiver *receiver, Sink *sink)
{
	MemoryContext old;

	if (sink->n == 0)
		return;
	CHECK_FOR_INTERRUPTS();
	old = MemoryContextSwitchTo(receiver->batch);
	table_multi_insert(sink->into, sink->slots, sink->n, receiver->cid, insert_options(receiver), sink->bulk);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < sink->n; i++)
	{
		if (sink->indexes != NULL && sink->indexes->ri_NumIndices > 0)
		{
			ResetPerTupleExprContext(receiver->estate);
			list_free(elt_insert_index_tuples(sink->indexes, sink->slots[i], receiver->estate));
		}
		ExecClearTuple(sink->slots[i]);
	}
	MemoryContextReset(receiver->batch);
	sink->n = 0;
	sink->bytes = 0;
}

static void
sink_close(Receiver *receiver, Sink *sink)
{
	sink_flush(receiver, sink);
	for (int i = 0; i < MAX_ROWS && sink->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(sink->slots[i]);
	if (sink->indexes != NULL)
		ExecCloseIndices(sink->indexes);
	FreeBulkInsertState(sink->bulk);
	table_finish_bulk_insert(sink->into, insert_options(receiver));
	table_close(sink->into, NoLock);
}

static void
start(Receiver *receiver)
{
	MemoryContext old;
	ResultRelInfo *root;

	receiver->context = AllocSetContextCreate(CurrentMemoryContext, "elt insert", ALLOCSET_DEFAULT_SIZES);
	receiver->batch = AllocSetContextCreate(receiver->context, "elt insert batch", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(receiver->context);
	receiver->estate = CreateExecutorState();
	receiver->rel = table_open(receiver->target, RowExclusiveLock);
	root = makeNode(ResultRelInfo);
	InitResultRelInfo(root, receiver->rel, 0, NULL, 0);
	receiver->mtstate = makeNode(ModifyTableState);
	receiver->mtstate->ps.state = receiver->estate;
	receiver->mtstate->operation = CMD_INSERT;
	receiver->mtstate->mt_nrels = 1;
	receiver->mtstate->resultRelInfo = root;
	receiver->mtstate->rootResultRelInfo = root;
	if (receiver->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		receiver->routing = ExecSetupPartitionTupleRouting(receiver->estate, receiver->rel);
	receiver->cid = GetCurrentCommandId(true);
	/* none can be assigned while parallel workers give the rows */
	(void) GetCurrentTransactionId();
	MemoryContextSwitchTo(old);
}

static void
insert_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	start((Receiver *) self);
}

/* The leaf for a row, and the row as the leaf has its columns. */
static ResultRelInfo *
route(Receiver *receiver, TupleTableSlot **slot)
{
	ResultRelInfo *root = receiver->mtstate->rootResultRelInfo;
	ResultRelInfo *leaf;
	TupleConversionMap *map;

	if (receiver->routing == NULL)
		return root;
	leaf = ExecFindPartition(receiver->mtstate, root, receiver->routing, *slot, receiver->estate);
	map = elt_root_to_child_map(leaf, receiver->estate);
	if (map != NULL)
		*slot = execute_attr_map_slot(map->attrMap, *slot, leaf->ri_PartitionTupleSlot);
	return leaf;
}

/* The row in the next place of the buffer, complete and checked. */
static void
put(Receiver *receiver, Sink *sink, TupleTableSlot *row)
{
	TupleConstr *constraints = RelationGetDescr(sink->target->ri_RelationDesc)->constr;
	TupleTableSlot *slot = sink->slots[sink->n];

	if (slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(receiver->context);

		slot = sink->slots[sink->n] = table_slot_create(sink->into, NULL);
		MemoryContextSwitchTo(old);
	}
	ExecCopySlot(slot, row);
	if (constraints != NULL)
	{
		slot->tts_tableOid = RelationGetRelid(sink->target->ri_RelationDesc);
		if (constraints->has_generated_stored)
			ExecComputeStoredGenerated(sink->target, receiver->estate, slot, CMD_INSERT);
		ExecConstraints(sink->target, slot, receiver->estate);
	}
	if (sink->target->ri_RelationDesc->rd_rel->relispartition && receiver->routing == NULL)
		ExecPartitionCheck(sink->target, slot, receiver->estate, true);
}

static bool
insert_receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);
	Sink	   *sink;
	Size		size;

	ResetPerTupleExprContext(receiver->estate);
	sink = sink_of(receiver, route(receiver, &slot));
	put(receiver, sink, slot);
	if (receiver->flags & ELT_INSERT_CHECK)
	{
		ExecClearTuple(sink->slots[sink->n]);
		MemoryContextSwitchTo(old);
		return true;
	}
	size = ExecFetchSlotHeapTuple(sink->slots[sink->n], true, NULL)->t_len;
	sink->n++;
	sink->bytes += size;
	receiver->rows++;
	receiver->bytes += size;
	if (sink->n == MAX_ROWS || sink->bytes >= MAX_BYTES)
		sink_flush(receiver, sink);
	MemoryContextSwitchTo(old);
	return true;
}

static void
insert_shutdown(DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;
	ListCell   *lc;

	foreach(lc, receiver->sinks)
		sink_close(receiver, lfirst(lc));
	if (receiver->routing != NULL)
		ExecCleanupTupleRouting(receiver->mtstate, receiver->routing);
	table_close(receiver->rel, NoLock);
	ExecResetTupleTable(receiver->estate->es_tupleTable, false);
	FreeExecutorState(receiver->estate);
	MemoryContextDelete(receiver->context);
	receiver->sinks = NIL;
	receiver->last = NULL;
	receiver->routing = NULL;
}

static void
insert_destroy(DestReceiver *self)
{
	pfree(self);
}

DestReceiver *
elt_insert_receiver(Oid target, const EltInsertPlace *places, int nplaces, int flags)
{
	Receiver   *receiver = palloc0(sizeof(Receiver));

	receiver->pub.receiveSlot = insert_receive;
	receiver->pub.rStartup = insert_startup;
	receiver->pub.rShutdown = insert_shutdown;
	receiver->pub.rDestroy = insert_destroy;
	receiver->pub.mydest = DestNone;
	receiver->target = target;
	receiver->nplaces = nplaces;
	receiver->places = palloc(sizeof(EltInsertPlace) * (nplaces + 1));
	if (nplaces > 0)
		memcpy(receiver->places, places, sizeof(EltInsertPlace) * nplaces);
	receiver->flags = flags;
	return &receiver->pub;
}

int64
elt_insert_rows(DestReceiver *receiver)
{
	return ((Receiver *) receiver)->rows;
}

int64
elt_insert_bytes(DestReceiver *receiver)
{
	return ((Receiver *) receiver)->bytes;
}

static const char *
table_refusal(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	const char *why = NULL;
	char		kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		why = "foreign_partition";
	else if (kind == RELKIND_RELATION && rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		why = "access_method";
	else if (rel->trigdesc != NULL)
		why = "triggers";
	else if (rel->rd_rules != NULL)
		why = "rules";
	else if (rel->rd_rel->relrowsecurity || rel->rd_rel->relforcerowsecurity)
		why = "row_security";
	table_close(rel, NoLock);
	return why;
}

const char *
elt_insert_refusal(Oid target)
{
	const char *why = NULL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(target, AccessShareLock, NULL))
	{
		if (why == NULL)
			why = table_refusal(lfirst_oid(lc));
	}
	return why;
}

/* All expressions of one table, in a query that has nothing else. */
static bool
table_is_parallel_safe(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	TupleConstr *constraints = desc->constr;
	Query	   *query = makeNode(Query);
	List	   *expressions = NIL;
	bool		domains = false;
	ListCell   *lc;

	for (int i = 0; i < desc->natts; i++)
		domains = domains || (!TupleDescAttr(desc, i)->attisdropped && DomainHasConstraints(TupleDescAttr(desc, i)->atttypid));
	for (int i = 0; constraints != NULL && i < constraints->num_check; i++)
		expressions = lappend(expressions, stringToNode(constraints->check[i].ccbin));
	for (int i = 0; constraints != NULL && i < constraints->num_defval; i++)
		if (TupleDescAttr(desc, constraints->defval[i].adnum - 1)->attgenerated != '\0')
			expressions = lappend(expressions, stringToNode(constraints->defval[i].adbin));
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		expressions = list_concat(expressions, RelationGetPartitionKey(rel)->partexprs);
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		expressions = list_concat(expressions, RelationGetIndexExpressions(index));
		expressions = list_concat(expressions, RelationGetIndexPredicate(index));
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
	query->commandType = CMD_SELECT;
	query->jointree = makeFromExpr(NIL, (Node *) expressions);
	return !domains && (expressions == NIL || max_parallel_hazard(query) != PROPARALLEL_UNSAFE);
}

bool
elt_insert_is_parallel_safe(Oid target)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(target, AccessShareLock, NULL))
		if (!table_is_parallel_safe(lfirst_oid(lc)))
		return false;
	return true;
}
