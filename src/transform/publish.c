/*
 * publish.c
 *	  The target gets the files of the staging tables.
 *
 *	  lock		AccessExclusive on the target, then on its leaves, each for PATIENCE ms at most: who waits longer stands in the way of all readers behind him
 *	  swap		in pg_class, for each leaf, its TOAST table and its indexes: files, sizes, oldest transaction
 *
 * So the target keeps its OID, rights, views, constraints and indexes. The rows are frozen: a transaction whose snapshot is older sees the new content,
 * whole, where it would see an empty table otherwise.
 *
 * Locks: the above, to the end of the transaction. A crash undoes it; the files that are not used any more go with it or with the staging tables.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/toast_internals.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/attempt.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/guc.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "transform/transform.h"

/* how long a request for the lock may wait, and the longest pause before the next one, ms */
#define PATIENCE		"50ms"
#define PAUSE_MOST		1000

static bool
is_permanent(Oid relid)
{
	return get_rel_relkind(relid) != RELKIND_RELATION || get_rel_persistence(relid) == RELPERSISTENCE_PERMANENT;
}

/* what copies of indexes cannot do */
static bool
has_exclusion_constraint(Oid target)
{
	Relation	rel = table_open(target, AccessShareLock);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found = found || index->rd_index->indisexclusion;
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
	return found;
}

const char *
elt_publish_refusal(Oid target)
{
	const char *why = elt_insert_refusal(target);
	ListCell   *lc;

	if (why == NULL && get_rel_relkind(target) == RELKIND_RELATION && has_subclass(target))
		why = "inheritance";
	foreach(lc, find_all_inheritors(target, AccessShareLock, NULL))
	{
		if (why == NULL && has_exclusion_constraint(lfirst_oid(lc)))
			why = "exclusion_constraint";
		if (why == NULL && !is_permanent(lfirst_oid(lc)))
			why = "unlogged";
	}
	return why;
}

/*
 * The lock
 */

static void
lock_tree(void *arg)
{
	EltTransform *transform = arg;

	LockRelationOid(transform->target, AccessExclusiveLock);
	if (get_rel_name(transform->target) != NULL)
		(void) find_all_inheritors(transform->target, AccessExclusiveLock, NULL);
}

static bool
is_not_available(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

static void
pause_for(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Who prevents it is somebody's open transaction. */
static void
raise_not_available(EltTransform *transform)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("transform \"%s\" could not lock its target \"%s\" to publish the rows", transform->node.name, get_rel_name(transform->target)),
			 errdetail("Other transactions have used it for longer than elt.publish_timeout (%d ms).", elt_publish_timeout),
			 errhint("End them, raise elt.publish_timeout, or use publish => 'mvcc', which blocks no readers and waits for none.")));
}

void
elt_publish_lock(EltTransform *transform)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), elt_publish_timeout);
	int			pause = 10;
	ErrorData  *error;

	for (;;)
	{
		int			nest = NewGUCNestLevel();
		bool		done;

		elt_pin_setting("lock_timeout", PATIENCE);
		done = elt_attempt(lock_tree, transform, is_not_available, &error);
		AtEOXact_GUC(false, nest);
		if (done)
			return;
		FreeErrorData(error);
		if (elt_publish_timeout > 0 && GetCurrentTimestamp() >= give_up)
			raise_not_available(transform);
		pause_for(pause);
		pause = Min(pause * 2, PAUSE_MOST);
	}
}

/*
 * The swap
 */

static HeapTuple
class_row(Oid relid)
{
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return tuple;
}

/* A TOAST table goes with the file whose values it has. */
static void
own_toast(Oid toast, Oid relid)
{
	ObjectAddress base;
	ObjectAddress object;

	if (!OidIsValid(toast))
		return;
	ObjectAddressSet(base, RelationRelationId, relid);
	ObjectAddressSet(object, RelationRelationId, toast);
	if (deleteDependencyRecordsFor(RelationRelationId, toast, false) != 1)
		elog(ERROR, "unexpected dependencies of TOAST table %u", toast);
	recordDependencyOn(&object, &base, DEPENDENCY_INTERNAL);
}

static void
exchange(Relation classes, CatalogIndexState indexes, Oid a, Oid b)
{
	HeapTuple	tuple_a = class_row(a);
	HeapTuple	tuple_b = class_row(b);
	Form_pg_class form_a = (Form_pg_class) GETSTRUCT(tuple_a);
	Form_pg_class form_b = (Form_pg_class) GETSTRUCT(tuple_b);

	if (!OidIsValid(form_a->relfilenode) || !OidIsValid(form_b->relfilenode) || form_a->relam != form_b->relam || form_a->relpersistence != form_b->relpersistence)
		elog(ERROR, "files of relations %u and %u cannot be exchanged", a, b);
	elt_exchange_files(form_a, form_b);
	CatalogTupleUpdateWithInfo(classes, &tuple_a->t_self, tuple_a, indexes);
	CatalogTupleUpdateWithInfo(classes, &tuple_b->t_self, tuple_b, indexes);
	if (form_a->relkind == RELKIND_RELATION)
	{
		own_toast(form_a->reltoastrelid, a);
		own_toast(form_b->reltoastrelid, b);
	}
	CacheInvalidateRelcacheByTuple(tuple_a);
	CacheInvalidateRelcacheByTuple(tuple_b);
	heap_freetuple(tuple_a);
	heap_freetuple(tuple_b);
}

static void
raise_altered(Oid target)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" was altered while its new rows were being prepared", get_rel_name(target)),
			 errhint("Run the transform again.")));
}

/* The columns are those that the rows were written with. */
static void
check_columns(Relation target, Relation staging)
{
	TupleDesc	a = RelationGetDescr(target);
	TupleDesc	b = RelationGetDescr(staging);
	bool		same = a->natts == b->natts;

	for (int i = 0; same && i < a->natts; i++)
	{
		Form_pg_attribute one = TupleDescAttr(a, i);
		Form_pg_attribute other = TupleDescAttr(b, i);

		same = one->attisdropped == other->attisdropped && one->atttypid == other->atttypid && one->attlen == other->attlen &&
			one->attalign == other->attalign && (one->attisdropped || one->atttypmod == other->atttypmod);
	}
	if (!same)
		raise_altered(RelationGetRelid(target));
}

static void
exchange_indexes(Relation classes, CatalogIndexState indexes, Relation target, Relation staging)
{
	List	   *copies = RelationGetIndexList(staging);
	Oid			schema = RelationGetNamespace(staging);
	ListCell   *lc;

	if (list_length(copies) != list_length(RelationGetIndexList(target)))
		raise_altered(RelationGetRelid(target));
	foreach(lc, RelationGetIndexList(target))
	{
		Oid			copy = get_relname_relid(psprintf("%s_%u", RelationGetRelationName(staging), lfirst_oid(lc)), schema);

		if (!list_member_oid(copies, copy))
			raise_altered(RelationGetRelid(target));
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
		LockRelationOid(copy, AccessExclusiveLock);
		exchange(classes, indexes, lfirst_oid(lc), copy);
	}
}

static void
swap_table(Relation classes, CatalogIndexState indexes, Oid target, Oid staging)
{
	Relation	rel = table_open(target, NoLock);
	Relation	other = table_open(staging, AccessExclusiveLock);

	CheckTableNotInUse(rel, "CALL elt.run");
	check_columns(rel, other);
	/* predicate locks on pages and rows become locks on the table */
	TransferPredicateLocksToHeapRelation(rel);
	exchange_indexes(classes, indexes, rel, other);
	exchange(classes, indexes, target, staging);
	table_close(other, NoLock);
	table_close(rel, NoLock);
}

/* After the old one is gone: TOAST tables are named after their table. */
static void
name_toast(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			toast = rel->rd_rel->reltoastrelid;
	Oid			index;

	table_close(rel, NoLock);
	if (!OidIsValid(toast))
		return;
	index = toast_get_valid_index(toast, NoLock);
	RenameRelationInternal(toast, psprintf("pg_toast_%u", relid), true, false);
	RenameRelationInternal(index, psprintf("pg_toast_%u_index", relid), true, true);
	CommandCounterIncrement();
	ResetRelRewrite(toast);
}

/* A partition that came meanwhile would keep its rows. */
static void
check_leaves(EltRun *run, EltTransform *transform)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(transform->target, NoLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION && !list_member_oid(run->targets, lfirst_oid(lc)))
			raise_altered(transform->target);
	}
}

void
elt_publish_swap(EltRun *run, EltTransform *transform, const char *rules)
{
	List	   *targets = run->targets;
	Relation	classes = table_open(RelationRelationId, RowExclusiveLock);
	CatalogIndexState indexes = CatalogOpenIndexes(classes);
	ListCell   *lc;
	ListCell   *lc2;

	check_leaves(run, transform);

	/*
	 * constraints, triggers and others that came meanwhile know nothing of
	 * the new rows
	 */
	if (elt_publish_refusal(transform->target) != NULL || strcmp(elt_transform_rules(transform->target), rules) != 0)
		raise_altered(transform->target);
	forboth(lc, run->targets, lc2, run->staging)
	{
		if (!OidIsValid(lfirst_oid(lc)))
			continue;
		if (get_rel_name(lfirst_oid(lc)) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a partition of the target was dropped while its new rows were being prepared"),
					 errhint("Run the transform again.")));
		swap_table(classes, indexes, lfirst_oid(lc), lfirst_oid(lc2));
	}
	CatalogCloseIndexes(indexes);
	table_close(classes, NoLock);
	CommandCounterIncrement();
	elt_debug_point("transform-swapped");
	elt_staging_drop(run);
	CommandCounterIncrement();
	foreach(lc, targets)
	{
		if (OidIsValid(lfirst_oid(lc)))
			name_toast(lfirst_oid(lc));
	}
}
