/*
 * check.c
 *	  What can be sharded: the table that the user named is looked at from all sides before anything is done.
 *
 * A parent keeps its OID when it becomes partitioned (convert.c), so views, rules, policies, grants, comments, publications that show the root, statement triggers and change logs
 * are not touched. What means something else for a partitioned table, or is impossible there, is refused by name.
 *
 * Locks: AccessShare on the whole tree, to the end of the (sub)transaction. Reads only.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "partitioning/partbounds.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/tree.h"
#include "catalog/table.h"
#include "shard/shard.h"

/* One thing that a table may have and a partitioned one cannot, or not in the same sense. */
typedef struct Refusal
{
	const char *query;			/* gives the names, of those that $1 has */
	const char *what;			/* the name is put into it */
	const char *hint;
} Refusal;

static const Refusal refusals[] = {
	{"SELECT conname || '\" of table \"' || conrelid::pg_catalog.regclass FROM pg_constraint WHERE confrelid = $1 AND contype = 'f' AND conparentid = 0",
		"foreign key \"%s\" refers to it",
	"Drop the foreign key, shard the table, and create the foreign key anew."},
	{"SELECT conname FROM pg_constraint WHERE conrelid = $1 AND contype = 'x'",
		"it has the exclusion constraint \"%s\"",
	"Rows of different shards could not be compared; drop the constraint first."},
	{"SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indrelid = $1 AND indisexclusion",
		"it has the index \"%s\" of an exclusion constraint",
	"Rows of different shards could not be compared; drop the constraint first."},
	{"SELECT conname FROM pg_constraint WHERE conrelid = $1 AND NOT convalidated",
		"its constraint \"%s\" is not valid",
	"Run ALTER TABLE ... VALIDATE CONSTRAINT, or drop the constraint, first."},
	{"SELECT conname FROM pg_constraint WHERE conrelid = $1 AND connoinherit AND contype IN ('c', 'n')",
		"its constraint \"%s\" is declared NO INHERIT, which a partitioned table cannot have",
	"Create the constraint anew without NO INHERIT."},
	{"SELECT tgname FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgtype & 1 = 1 AND tgfoid NOT IN ("
		"SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'elt'::regnamespace)",
		"it has the row trigger \"%s\", which would fire otherwise for rows that move between shards",
	"Use a statement trigger with transition tables, or drop the trigger first."},
	{"SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indrelid = $1 AND NOT indisvalid",
		"its index \"%s\" is not valid",
	"Run REINDEX INDEX, or drop the index, first."},
	{"SELECT pubname FROM pg_publication WHERE puballtables",
		"publication \"%s\" publishes all tables, so shards would be published while they are filled",
	"Publish the tables by name, with publish_via_partition_root = true."},
	{"SELECT pubname FROM pg_publication AS p JOIN pg_publication_namespace ON pnpubid = p.oid JOIN pg_class AS c ON relnamespace = pnnspid WHERE c.oid = $1",
		"publication \"%s\" publishes its schema, so shards would be published while they are filled",
	"Publish the tables by name, with publish_via_partition_root = true."},
	{"SELECT pubname FROM pg_publication AS p JOIN pg_publication_rel ON prpubid = p.oid WHERE prrelid = $1 AND NOT pubviaroot",
		"publication \"%s\" would publish its shards instead of it",
	"Run ALTER PUBLICATION ... SET (publish_via_partition_root = true) first."},
	{"SELECT subname FROM pg_subscription AS s JOIN pg_subscription_rel ON srsubid = s.oid WHERE srrelid = $1",
		"subscription \"%s\" writes to it",
	"Remove the table from the subscription first."},
	{"SELECT e.extname FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = refobjid WHERE d.classid = 'pg_class'::regclass AND d.objid = $1 "
		"AND d.deptype = 'e' AND refclassid = 'pg_extension'::regclass",
		"it belongs to extension \"%s\"",
	"Only users' tables can be sharded."},
};

static void
refuse(Oid relid, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot shard \"%s\": %s", get_rel_name(relid), why),
			 errhint("%s", hint)));
}

static void
refuse_state(Oid relid, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot shard \"%s\": %s", get_rel_name(relid), why),
			 errhint("%s", hint)));
}

char *
elt_shard_lookup(const char *query, Oid relid)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[1] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(relid)};
	char	   *text = NULL;

	/* not the statement's snapshot, which may be from long ago */
	PushCopiedSnapshot(GetLatestSnapshot());
	UpdateActiveSnapshotCommandId();
	SPI_connect();
	if (SPI_execute_with_args(query, 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed: %s", query);
	if (SPI_processed > 0)
		text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

	if (text !=NULL)
		text = MemoryContextStrdup(caller, text);

	SPI_finish();
	PopActiveSnapshot();
	return text;
}

/* The query's first result, in alphabetical order; NULL where it has none. */
static char *
first_name(const char *query, Oid relid)
{
	return elt_shard_lookup(psprintf("SELECT name::text FROM (%s) AS names (name) ORDER BY 1 LIMIT 1", query), relid);
}

static void
check_refusals(Oid relid)
{
	for (int i = 0; i < lengthof(refusals); i++)
	{
		char	   *name = first_name(refusals[i].query, relid);

		if (name != NULL)
			refuse_state(relid, psprintf(refusals[i].what, name), refusals[i].hint);
	}
}

typedef struct OnlySearch
{
	Oid			relid;
	bool		found;
} OnlySearch;

/* Is the table read, or written to, as ONLY? */
static bool
find_only(Node *node, void *arg)
{
	OnlySearch *search = arg;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		search->found |= rte->rtekind == RTE_RELATION && rte->relid == search->relid && !rte->inh;
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_only, arg, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, find_only, arg);
}

/* Statements of INSERT, and those to rules' tables, never have descendants: only what is read counts, and what UPDATE and DELETE say. */
static bool
uses_only(Oid relid, Oid rule)
{
	Relation	rel = table_open(RewriteRelationId, AccessShareLock);
	OnlySearch	search = {.relid = relid};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(rule));
	scan = systable_beginscan(rel, RewriteOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class != relid &&
		((Form_pg_rewrite) GETSTRUCT(tuple))->ev_type == '1')
	{
		bool		isnull;
		Datum		action = heap_getattr(tuple, Anum_pg_rewrite_ev_action, RelationGetDescr(rel), &isnull);

		find_only((Node *) stringToNode(TextDatumGetCString(action)), &search);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return search.found;
}

/* Views that read ONLY the table would read nothing. */
static void
check_views(Oid relid)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == RewriteRelationId && uses_only(relid, depend->objid))
			refuse_state(relid, psprintf("view \"%s\" reads ONLY that table itself, which will have no rows",
										 first_name("SELECT ev_class::regclass FROM pg_rewrite WHERE oid = $1", depend->objid)),
						 "Create the view anew without ONLY.");
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
check_kind(Oid relid, char relkind)
{
	switch (relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			refuse(relid, "it is a view", "Shard the tables that it reads.");
			break;
		case RELKIND_MATVIEW:
			refuse(relid, "it is a materialized view", "Shard the tables that it reads.");
			break;
		case RELKIND_FOREIGN_TABLE:
			refuse(relid, "it is a foreign table", "Shard it on its own server.");
			break;
		default:
			refuse(relid, "it is not a table", "Only tables and partitioned tables can be sharded.");
	}
}

/* Schemas whose tables are the system's or our own. */
static bool
is_internal_schema(Oid schema)
{
	const char *name = get_namespace_name(schema);

	return IsCatalogNamespace(schema) || IsToastNamespace(schema) || strcmp(name, "information_schema") == 0 ||
		strcmp(name, "elt") == 0 || strcmp(name, "elt_log") == 0 || strcmp(name, "elt_data") == 0;
}

/* A table of the tree, by itself. */
static void
check_table(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	Form_pg_class form = rel->rd_rel;

	check_kind(relid, form->relkind);
	if (is_internal_schema(form->relnamespace) || IsCatalogRelation(rel))
		refuse(relid, "it is a system table", "Only users' tables can be sharded.");
	if (!elt_may_create_in(form->relnamespace))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to create shards in schema \"%s\"", get_namespace_name(form->relnamespace)),
				 errhint("Ask the schema's owner for CREATE on it.")));
	if (form->relpersistence == RELPERSISTENCE_TEMP)
		refuse(relid, "it is a temporary table", "Create it as a partitioned table.");
	if (form->relpersistence == RELPERSISTENCE_UNLOGGED)
		refuse(relid, "it is an unlogged table", "Run ALTER TABLE ... SET LOGGED first.");
	if (OidIsValid(form->reloftype))
		refuse(relid, psprintf("it is a typed table, of type %s", format_type_be(form->reloftype)),
			   "Run ALTER TABLE ... NOT OF first.");
	if (form->relkind == RELKIND_RELATION && form->relam != HEAP_TABLE_AM_OID)
		refuse(relid, psprintf("its access method is \"%s\"", get_am_name(form->relam)),
			   "Only heap tables can be sharded.");
	if (form->relkind == RELKIND_RELATION && !form->relispartition &&
		(has_superclass(relid) || find_inheritance_children(relid, NoLock) != NIL))
		refuse(relid, "it is part of an inheritance tree", "Remove the inheritance with ALTER TABLE ... NO INHERIT first.");
	check_refusals(relid);
	check_views(relid);
}

void
elt_shard_check_root(Oid relid)
{
	if (!elt_owns_relation(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s\" to shard it", get_rel_name(relid)),
				 errhint("Ask its owner to call elt.shard_table.")));
	check_kind(relid, get_rel_relkind(relid));
	if (get_rel_relispartition(relid))
		refuse(relid, "it is a partition", "Shard the partitioned table that it belongs to.");
}

static bool
is_hash_partitioned(Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);
	bool		is_hash = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
	RelationGetPartitionKey(rel)->strategy == PARTITION_STRATEGY_HASH;

	relation_close(rel, NoLock);
	return is_hash;
}

/* A tree without what has shards already: its range partitions that have none. All are locked. */
static List *
without_sharded(Oid relid)
{
	List	   *tables = NIL;
	ListCell   *lc;

	if (is_hash_partitioned(relid))
		return NIL;
	tables = lappend_oid(tables, relid);
	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return tables;
	foreach(lc, find_inheritance_children(relid, NoLock))
		tables = list_concat(tables, without_sharded(lfirst_oid(lc)));
	return tables;
}

/* The plain tables among them, which get shards. */
static List *
find_parents(List *tables)
{
	List	   *parents = NIL;
	ListCell   *lc;

	foreach(lc, tables)
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			parents = lappend_oid(parents, lfirst_oid(lc));
	}
	return parents;
}

static EltSharding *
make_sharding(Oid root, List *columns, int shards, List *parents)
{
	EltSharding *sharding = palloc0(elt_sharding_size(list_length(parents), shards));
	ListCell   *lc;

	sharding->root = root;
	sharding->shards = shards;
	foreach(lc, columns)
		namestrcpy(&sharding->columns[sharding->ncolumns++], strVal(lfirst(lc)));
	foreach(lc, parents)
		sharding->oids[sharding->nparents++] = lfirst_oid(lc);
	return sharding;
}

EltSharding *
elt_shard_plan(Oid relid, List *columns, int shards, List **locked)
{
	EltSharding *sharding;
	List	   *members;
	List	   *tables;
	ListCell   *lc;

	LockRelationOid(relid, AccessShareLock);
	if (get_rel_name(relid) == NULL)
		elt_qualified_name(relid);
	elt_shard_check_root(relid);
	members = find_all_inheritors(relid, AccessShareLock, NULL);
	*locked = members;
	tables = without_sharded(relid);
	sharding = make_sharding(relid, columns, shards, find_parents(tables));
	foreach(lc, tables)
	{
		Relation	rel = relation_open(lfirst_oid(lc), NoLock);

		check_table(rel);
		elt_shard_check_unique(rel, elt_shard_key(rel, sharding));
		relation_close(rel, NoLock);
	}
	if (sharding->nparents == 0 && (tables == NIL || list_length(members) > list_length(tables)))
		refuse(relid, tables == NIL ? "it is hash-partitioned already" : "all its partitions are hash-partitioned already",
			   "elt.shards shows its shards.");
	if (sharding->nparents == 0)
		refuse_state(relid, "it has no partition that could be sharded", "Create its range partitions first.");
	return sharding;
}

/* What the shards have been made after: columns, constraints, indexes, storage settings; and the file, whose blocks are shared out. */
static const char definition_query[] =
"SELECT md5(string_agg(part, ' ' ORDER BY part)) FROM ("
"SELECT concat_ws(' ', attnum, attname, atttypid, atttypmod, attcollation, attnotnull, attgenerated, attidentity, attisdropped, attstorage, attcompression) FROM pg_attribute WHERE attrelid = $1 "
"UNION ALL SELECT concat_ws(' ', adnum, pg_get_expr(adbin, adrelid)) FROM pg_attrdef WHERE adrelid = $1 "
"UNION ALL SELECT concat_ws(' ', oid, conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid = $1 "
"UNION ALL SELECT concat_ws(' ', indexrelid, indisclustered, indisreplident, pg_get_indexdef(indexrelid)) FROM pg_index WHERE indrelid = $1 "
"UNION ALL SELECT concat_ws(' ', oid, relkind, relowner, reltablespace, relreplident, reloptions, relfilenode) FROM pg_class WHERE oid = $1 "
"UNION ALL SELECT concat_ws(' ', reloptions) FROM pg_class WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE oid = $1)"
") AS parts (part)";

char *
elt_shard_definition(EltSharding *sharding)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	foreach(lc, find_all_inheritors(sharding->root, NoLock, NULL))
		appendStringInfo(&text, "%u %s ", lfirst_oid(lc), elt_shard_lookup(definition_query, lfirst_oid(lc)));
	return text.data;
}
