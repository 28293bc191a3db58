/*
 * convert.c
 *	  The swap: a plain table becomes a partitioned one, with its shards below it, and keeps its OID.
 *
 *	  storage, toast table and the files of the indexes go (at commit) -> pg_class says "partitioned" -> a partition key
 *	  -> for each shard: CHECK of its bound, which we know to hold; foreign keys, which held for the same rows; ATTACH PARTITION; drop the CHECK
 *
 * PostgreSQL has no command for the first line, and whoever looks at the table must wait until all of it is committed. Everything that refers to the table or its indexes by OID
 * (views, constraints, grants, comments, change logs) goes on referring to it. Statistics of the table become those of the tree.
 *
 * Locks: the caller has AccessExclusive on the tree from its root on, so that no statement anywhere has a partition descriptor or a plan that knows the
 * table as a leaf. ShareRowExclusive on tables that foreign keys refer to. A crash undoes it: storage is removed at commit.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/multixact.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_statistic_ext_data.h"
#include "catalog/storage.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "partitioning/partbounds.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/tree.h"
#include "shard/shard.h"

#define BOUND_CHECK		"elt_shard_bound"

/* Write a relation's new kind, without storage; returns the toast table that it had. */
static Oid
set_kind(Oid relid, char relkind)
{
	Relation	rel = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
	bool		is_table = relkind == RELKIND_PARTITIONED_TABLE;
	Datum		values[Natts_pg_class] = {0};
	bool		nulls[Natts_pg_class] = {false};
	bool		replaces[Natts_pg_class] = {false};
	HeapTuple	changed;
	Form_pg_class form;
	Oid			toast;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);

	/*
	 * storage parameters: only the shards can have them; those of an index
	 * stay
	 */
	nulls[Anum_pg_class_reloptions - 1] = true;
	replaces[Anum_pg_class_reloptions - 1] = is_table;
	changed = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replaces);
	form = (Form_pg_class) GETSTRUCT(changed);
	toast = form->reltoastrelid;
	form->relkind = relkind;
	form->relfilenode = InvalidOid;
	form->reltoastrelid = InvalidOid;
	if (is_table)
		form->relam = InvalidOid;
	form->relpages = 0;
	form->relallvisible = 0;
	form->relfrozenxid = InvalidTransactionId;
	form->relminmxid = InvalidMultiXactId;
	elt_clear_all_frozen(form);
	CatalogTupleUpdate(rel, &changed->t_self, changed);
	heap_freetuple(changed);
	heap_freetuple(tuple);
	table_close(rel, RowExclusiveLock);
	return toast;
}

/* A partitioned index has no files, is never the one to cluster by, and is valid at any time. */
static void
convert_index(Oid indexid)
{
	Relation	index = index_open(indexid, AccessExclusiveLock);
	Relation	catalog = table_open(IndexRelationId, RowExclusiveLock);
	HeapTuple	tuple;
	Form_pg_index form;

	RelationDropStorage(index);
	index_close(index, NoLock);
	(void) set_kind(indexid, RELKIND_PARTITIONED_INDEX);
	tuple = SearchSysCacheCopy1(INDEXRELID, ObjectIdGetDatum(indexid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", indexid);
	form = (Form_pg_index) GETSTRUCT(tuple);
	form->indisclustered = false;
	form->indcheckxmin = false;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(catalog, RowExclusiveLock);
}

static void
drop_toast(Oid toast)
{
	ObjectAddress object;

	if (!OidIsValid(toast))
		return;
	deleteDependencyRecordsFor(RelationRelationId, toast, false);
	CommandCounterIncrement();
	ObjectAddressSet(object, RelationRelationId, toast);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
}

/* What ANALYZE knows of the table's rows it now knows of the tree's. */
static void
move_statistics(Oid relid)
{
	Relation	rel = table_open(StatisticRelationId, RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_statistic_starelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, StatisticRelidAttnumInhIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		HeapTuple	copy = heap_copytuple(tuple);

		if (((Form_pg_statistic) GETSTRUCT(copy))->stainherit)
			continue;
		((Form_pg_statistic) GETSTRUCT(copy))->stainherit = true;
		CatalogTupleUpdate(rel, &copy->t_self, copy);
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
}

static void
move_extended_statistics(Relation table)
{
	Relation	rel = table_open(StatisticExtDataRelationId, RowExclusiveLock);
	ListCell   *lc;

	foreach(lc, RelationGetStatExtList(table))
	{
		HeapTuple	tuple = SearchSysCacheCopy2(STATEXTDATASTXOID, ObjectIdGetDatum(lfirst_oid(lc)), BoolGetDatum(false));

		if (!HeapTupleIsValid(tuple))
			continue;
		((Form_pg_statistic_ext_data) GETSTRUCT(tuple))->stxdinherit = true;
		CatalogTupleUpdate(rel, &tuple->t_self, tuple);
		heap_freetuple(tuple);
	}
	table_close(rel, RowExclusiveLock);
}

static void
store_key(Oid relid, EltSharding *sharding)
{
	Relation	rel = table_open(relid, NoLock);
	EltShardKey *key = elt_shard_key(rel, sharding);

	StorePartitionKey(rel, PARTITION_STRATEGY_HASH, key->ncolumns, key->attnums, NIL, key->opclasses, key->collations);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* The table loses its rows, with all files, and becomes partitioned. */
static void
convert_table(Oid relid, EltSharding *sharding)
{
	Relation	rel = table_open(relid, NoLock);
	List	   *indexes = list_copy(RelationGetIndexList(rel));
	List	   *above = rel->rd_rel->relispartition ? get_partition_ancestors(relid) : NIL;
	ListCell   *lc;
	Oid			toast;

	CheckTableNotInUse(rel, "shard");
	CheckTableForSerializableConflictIn(rel);
	move_statistics(relid);
	move_extended_statistics(rel);
	RelationClearMissing(rel);
	RelationDropStorage(rel);
	table_close(rel, NoLock);
	foreach(lc, indexes)
		convert_index(lfirst_oid(lc));
	toast = set_kind(relid, RELKIND_PARTITIONED_TABLE);
	CommandCounterIncrement();
	drop_toast(toast);
	CommandCounterIncrement();
	store_key(relid, sharding);

	/* those above know it as a leaf */
	foreach(lc, above)
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
}

/* The bound of one shard, and of what is above it, as ATTACH PARTITION will want it to be implied: in the shard's columns. */
static char *
bound_expression(Relation parent, Relation shard, int modulus, int remainder)
{
	PartitionBoundSpec *bound = makeNode(PartitionBoundSpec);
	List	   *quals;

	bound->strategy = PARTITION_STRATEGY_HASH;
	bound->modulus = modulus;
	bound->remainder = remainder;
	quals = list_concat(get_qual_from_partbound(parent, bound), list_copy(RelationGetPartitionQual(parent)));
	quals = map_partition_varattnos(quals, 1, shard, parent);
	return nodeToString(make_ands_explicit(quals));
}

/* A constraint that holds, without looking: rows were put here by the same hash. */
static void
add_bound(Oid parentid, Oid relid, int modulus, int remainder)
{
	Relation	parent = table_open(parentid, NoLock);
	Relation	shard = table_open(relid, NoLock);
	Constraint *constraint = makeNode(Constraint);

	constraint->contype = CONSTR_CHECK;
	constraint->conname = BOUND_CHECK;
	constraint->location = -1;
	constraint->cooked_expr = bound_expression(parent, shard, modulus, remainder);
	constraint->skip_validation = true;
	constraint->initially_valid = true;
	elt_set_enforced(constraint);
	(void) AddRelationNewConstraints(shard, NIL, list_make1(constraint), false, true, true, NULL);
	table_close(shard, NoLock);
	table_close(parent, NoLock);
	CommandCounterIncrement();
}

static void
set_validated(Oid relid, const char *name)
{
	Relation	rel = table_open(ConstraintRelationId, RowExclusiveLock);
	Oid			constraint = get_relation_constraint_oid(relid, name, false);
	HeapTuple	tuple = SearchSysCacheCopy1(CONSTROID, ObjectIdGetDatum(constraint));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	((Form_pg_constraint) GETSTRUCT(tuple))->convalidated = true;
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(rel, RowExclusiveLock);
	CacheInvalidateRelcacheByRelid(relid);
	CommandCounterIncrement();
}

/* A parent's foreign key: its name and definition. */
typedef struct ForeignKey
{
	char	   *name;
	char	   *definition;
} ForeignKey;

static Oid
get_constraint_relation(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Oid			relid;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	relid = ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid;
	ReleaseSysCache(tuple);
	return relid;
}

static List *
foreign_keys(Oid relid)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	List	   *keys = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
		ForeignKey *found;

		/*
		 * where a partitioned table is referred to, there are more of them:
		 * for its partitions
		 */
		if (form->contype != CONSTRAINT_FOREIGN ||
			(OidIsValid(form->conparentid) && get_constraint_relation(form->conparentid) == relid))
			continue;
		found = palloc(sizeof(ForeignKey));
		found->name = pstrdup(NameStr(form->conname));
		found->definition = TextDatumGetCString(DirectFunctionCall1(pg_get_constraintdef, ObjectIdGetDatum(form->oid)));
		keys = lappend(keys, found);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return keys;
}

/* Not before now: the shard's rows may have lagged behind what other sessions did to the tables referred to. */
static void
add_foreign_keys(Oid relid, List *keys)
{
	ListCell   *lc;

	foreach(lc, keys)
	{
		ForeignKey *key = lfirst(lc);

		/*
		 * the table has it already, whatever became of the owner's rights to
		 * refer to the other one
		 */
		elt_sql_run_as_extension(psprintf("ALTER TABLE %s ADD CONSTRAINT %s %s NOT VALID", elt_qualified_name(relid),
										  quote_identifier(key->name), key->definition));
		set_validated(relid, key->name);
	}
}

static void
attach_shards(EltSharding *sharding, int number)
{
	Oid			parent = elt_sharding_parents(sharding)[number];
	Oid		   *tables = elt_sharding_tables(sharding, number);
	char	   *name = elt_qualified_name(parent);
	List	   *keys = foreign_keys(parent);

	for (int i = 0; i < sharding->shards; i++)
	{
		char	   *shard = elt_qualified_name(tables[i]);

		add_bound(parent, tables[i], sharding->shards, i);
		add_foreign_keys(tables[i], keys);
		elt_tree_run_ddl(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES WITH (MODULUS %d, REMAINDER %d)",
								  name, shard, sharding->shards, i));
		elt_tree_run_ddl(psprintf("ALTER TABLE %s DROP CONSTRAINT %s", shard, BOUND_CHECK));
	}
}

void
elt_shard_convert(EltSharding *sharding)
{
	for (int i = 0; i < sharding->nparents; i++)
		convert_table(elt_sharding_parents(sharding)[i], sharding);
	for (int i = 0; i < sharding->nparents; i++)
	{
		EltSecContext save;

		/* constraints may call functions of the owner's */
		elt_become(&save, elt_relation_owner(elt_sharding_parents(sharding)[i]));
		attach_shards(sharding, i);
		elt_restore(&save);
	}
	elt_debug_point("shard-converted");
}
