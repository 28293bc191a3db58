/*
 * staging.c
 *	  Tables beside the target that tasks write to.
 *
 *	  shadow	one for the target or for each of its leaves, with the same columns at the same attribute numbers; owned as that is, without constraints; its
 *				indexes are copied after its rows are there
 *	  bag		one with the columns of the query, owned by the transform's owner
 *
 * They are made by the catalog's own routines, not by SQL: nothing of a user's is evaluated, no event triggers are fired. Their names are
 * t<node>_<run>_<number> in schema elt_data. A run's row lists them, in the same transaction: whatever happens, the next run finds what is left and drops it.
 *
 * Locks: those of CREATE TABLE, CREATE INDEX, DROP TABLE on the staging tables; AccessShare on the target.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/toasting.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "transform/transform.h"

static char *
staging_name(EltRun *run, int number)
{
	return psprintf("t%d_" INT64_FORMAT "_%d", run->node, run->id, number);
}

static bool
is_staging(EltRun *run, Oid relid)
{
	char	   *prefix = psprintf("t%d_" INT64_FORMAT "_", run->node, run->id);
	char	   *name = get_rel_name(relid);

	return name != NULL && strncmp(name, prefix, strlen(prefix)) == 0 &&
		get_rel_namespace(relid) == get_namespace_oid("elt_data", true);
}

static Oid
create_table(EltRun *run, TupleDesc desc, Oid owner, Oid tablespace, Oid access_method, Datum options, Oid rewrites)
{
	Oid			relid = heap_create_with_catalog(staging_name(run, list_length(run->staging) + 1), get_namespace_oid("elt_data", false),
												 tablespace, InvalidOid, InvalidOid, InvalidOid, owner, access_method, desc, NIL,
												 RELKIND_RELATION, RELPERSISTENCE_PERMANENT, false, false, ONCOMMIT_NOOP, options,
												 false, true, true, rewrites, NULL);

	CommandCounterIncrement();
	NewRelationCreateToastTable(relid, (Datum) 0);
	CommandCounterIncrement();
	return relid;
}

/* pg_class.reloptions of a relation, or null */
static Datum
options_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		isnull;
	Datum		options;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	options = isnull ? (Datum) 0 : PointerGetDatum(DatumGetArrayTypePCopy(options));
	ReleaseSysCache(tuple);
	return options;
}

static void
create_shadow(EltRun *run, Oid target)
{
	Relation	rel = table_open(target, AccessShareLock);
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(rel));
	Oid			shadow = create_table(run, desc, rel->rd_rel->relowner, rel->rd_rel->reltablespace, rel->rd_rel->relam, options_of(target), target);

	table_close(rel, NoLock);
	run->staging = lappend_oid(run->staging, shadow);
	run->targets = lappend_oid(run->targets, target);
}

void
elt_staging_create_shadows(EltRun *run, EltTransform *transform)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(transform->target, AccessShareLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			create_shadow(run, lfirst_oid(lc));
	}
}

void
elt_staging_create_bag(EltRun *run, EltTransform *transform, Query *query)
{
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(query->targetList));
	int			natts = 0;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Oid			type = exprType((Node *) tle->expr);
		Oid			collation = exprCollation((Node *) tle->expr);

		if (tle->resjunk)
			continue;
		natts++;
		TupleDescInitEntry(desc, natts, tle->resname, type, exprTypmod((Node *) tle->expr), 0);
		if (!OidIsValid(collation) && OidIsValid(get_typcollation(type)))
			collation = DEFAULT_COLLATION_OID;
		TupleDescInitEntryCollation(desc, natts, collation);
	}
	desc->natts = natts;
	run->staging = lappend_oid(run->staging, create_table(run, desc, transform->node.owner, InvalidOid, HEAP_TABLE_AM_OID, (Datum) 0, InvalidOid));
	run->targets = lappend_oid(run->targets, InvalidOid);
}

void
elt_staging_drop(EltRun *run)
{
	ListCell   *lc;

	foreach(lc, run->staging)
	{
		ObjectAddress object;

		/* the name, for OIDs are used again */
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
		if (!is_staging(run, lfirst_oid(lc)))
		{
			UnlockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
			continue;
		}
		ObjectAddressSet(object, RelationRelationId, lfirst_oid(lc));
		performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	}
	run->staging = run->targets = NIL;
}

EltInsertPlace *
elt_staging_places(EltRun *run)
{
	EltInsertPlace *places = palloc(sizeof(EltInsertPlace) * (list_length(run->staging) + 1));

	for (int i = 0; i < list_length(run->staging); i++)
	{
		places[i].target = list_nth_oid(run->targets, i);
		places[i].into = list_nth_oid(run->staging, i);
	}
	return places;
}

/*
 * Indexes
 */

List *
elt_staging_index_tasks(EltRun *run)
{
	List	   *tasks = NIL;
	ListCell   *lc;
	ListCell   *lc2;
	ListCell   *lc3;

	forboth(lc, run->staging, lc2, run->targets)
	{
		Relation	target;

		if (!OidIsValid(lfirst_oid(lc2)))
			continue;
		target = table_open(lfirst_oid(lc2), AccessShareLock);
		foreach(lc3, RelationGetIndexList(target))
		{
			EltIndexTask *task = palloc0(sizeof(EltIndexTask));

			task->staging = lfirst_oid(lc);
			task->index = lfirst_oid(lc3);
			task->owner = target->rd_rel->relowner;
			snprintf(task->name, NAMEDATALEN, "%s_%u", get_rel_name(lfirst_oid(lc)), lfirst_oid(lc3));
			tasks = lappend(tasks, task);
		}
		table_close(target, NoLock);
	}
	return tasks;
}

static void
context_of_index(void *arg)
{
	const EltIndexTask *task = arg;

	errcontext("index \"%s\" of the new rows", get_rel_name(task->index));
}

/* As the owner of the target, because the expressions of an index are his, and reading them may evaluate them. */
void
elt_staging_build_index(const EltIndexTask *task, bool parallel)
{
	ErrorContextCallback callback = {error_context_stack, context_of_index, unconstify(EltIndexTask *, task)};
	EltSecContext context;
	Relation	staging;
	Relation	index;
	IndexInfo  *info;
	Oid			indexid;

	error_context_stack = &callback;
	elt_become(&context, task->owner);
	staging = table_open(task->staging, ShareLock);
	indexid = index_concurrently_create_copy(staging, task->index, get_rel_tablespace(task->index), task->name);
	CommandCounterIncrement();
	index = index_open(indexid, AccessExclusiveLock);
	info = BuildIndexInfo(index);
	info->ii_Concurrent = false;
	index_build(staging, index, info, false, parallel);
	index_close(index, NoLock);
	table_close(staging, NoLock);
	CommandCounterIncrement();
	elt_restore(&context);
	error_context_stack = callback.previous;
}
