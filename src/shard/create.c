/*
 * create.c
 *	  The shards as tables by themselves: like their parent in whatever a partition has of its own. What a partitioned table answers for (grants, comments,
 *	  identity, policies, statement triggers) stays with the parent.
 *
 *	  before the rows   columns, defaults, generated columns, CHECK and NOT NULL, storage, compression, reloptions, tablespace, statistics objects and targets
 *	  after the rows    indexes with their constraints, replica identity, clustering; ANALYZE
 *
 * Locks: AccessShare on the parent, those of the commands on the shards. A crash undoes what was not committed; run.c knows what was.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/cluster.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/parse_utilcmd.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/tree.h"
#include "shard/shard.h"

/* name = value, ... of the table, and of its toast table */
static const char options_query[] =
"SELECT string_agg(prefix || quote_ident(split_part(option, '=', 1)) || ' = ' || quote_literal(substr(option, strpos(option, '=') + 1)), ', ') FROM ("
"SELECT '', unnest(reloptions) FROM pg_class WHERE oid = $1 UNION ALL "
"SELECT 'toast.', unnest(t.reloptions) FROM pg_class AS t JOIN pg_class AS c ON t.oid = c.reltoastrelid WHERE c.oid = $1) AS options (prefix, option)";

/* what LIKE does not take along of the columns */
static const char columns_query[] =
"SELECT string_agg(action, ', ') FROM ("
"SELECT format('ALTER COLUMN %I SET STATISTICS %s', attname, attstattarget) FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attstattarget >= 0 UNION ALL "
"SELECT format('ALTER COLUMN %I SET (%s)', attname, string_agg(option, ', ')) FROM pg_attribute, unnest(attoptions) AS option "
"WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND option LIKE 'n\\_distinct%' GROUP BY attname) AS actions (action)";

static const char owner_query[] =
"SELECT format('OWNER TO %I', pg_get_userbyid(relowner)) FROM pg_class WHERE oid = $1 AND pg_get_userbyid(relowner) <> current_user";

/* what the default privileges of who creates it have given away of a shard: with it one could read past the parent's grants and policies */
static const char grants_query[] =
"SELECT format('REVOKE ALL ON %s FROM %s', $1::regclass, string_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, ', ')) "
"FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = $1 AND grantee <> relowner HAVING count(*) > 0";

static char *
tablespace_clause(Oid relid)
{
	Oid			tablespace = get_rel_tablespace(relid);

	return OidIsValid(tablespace) ? psprintf(" TABLESPACE %s", quote_identifier(get_tablespace_name(tablespace))) : "";
}

static void
run_if(const char *table, const char *actions)
{
	if (actions != NULL)
		elt_sql_run(psprintf("ALTER TABLE %s %s", table, actions));
}

static void
set_replica_identity(Oid parent, const char *table)
{
	Relation	rel = table_open(parent, NoLock);
	char		identity = rel->rd_rel->relreplident;

	table_close(rel, NoLock);
	if (identity == REPLICA_IDENTITY_FULL)
		elt_sql_run(psprintf("ALTER TABLE %s REPLICA IDENTITY FULL", table));
	else if (identity == REPLICA_IDENTITY_NOTHING)
		elt_sql_run(psprintf("ALTER TABLE %s REPLICA IDENTITY NOTHING", table));
}

static void
revoke_grants(Oid relid)
{
	char	   *statement = elt_shard_lookup(grants_query, relid);

	if (statement != NULL)
		elt_sql_run(statement);
}

/* One parent's shards. Names are the parent's and a number, shortened where they are too long, and moved on where they are taken. */
static void
create_shards(EltSharding *sharding, int number)
{
	Oid			parent = elt_sharding_parents(sharding)[number];
	Oid		   *tables = elt_sharding_tables(sharding, number);
	char	   *name = elt_qualified_name(parent);
	Oid			schema = get_rel_namespace(parent);
	char	   *options = elt_shard_lookup(options_query, parent);
	char	   *columns = elt_shard_lookup(columns_query, parent);
	char	   *owner = elt_shard_lookup(owner_query, parent);

	for (int i = 0; i < sharding->shards; i++)
	{
		char	   *chosen = ChooseRelationName(get_rel_name(parent), NULL, psprintf("s%d", i), schema, false);
		char	   *table = quote_qualified_identifier(get_namespace_name(schema), chosen);

		CHECK_FOR_INTERRUPTS();
		elt_sql_run(psprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE "
							 "INCLUDING COMPRESSION INCLUDING STATISTICS)%s%s%s%s", table, name,
							 options ? " WITH (" : "", options ? options : "", options ? ")" : "", tablespace_clause(parent)));
		tables[i] = get_relname_relid(chosen, schema);
		run_if(table, columns);
		set_replica_identity(parent, table);
		run_if(table, owner);
		CommandCounterIncrement();
		revoke_grants(tables[i]);
		CommandCounterIncrement();
	}
}

void
elt_shard_create(EltSharding *sharding)
{
	EltSecContext save;

	elt_become(&save, GetUserId());
	elt_pin_setting("default_tablespace", "");
	elt_pin_setting("default_table_access_method", "heap");
	for (int i = 0; i < sharding->nparents; i++)
		create_shards(sharding, i);
	elt_restore(&save);
}

/* The statement that makes a parent's index for a shard. */
static IndexStmt *
index_statement(Oid relid, Relation parent, Relation index)
{
	Relation	table = table_open(relid, NoLock);
	AttrMap    *map = elt_attrmap_by_name(RelationGetDescr(table), RelationGetDescr(parent));
	Oid			constraint;
	IndexStmt  *statement = generateClonedIndexStmt(NULL, index, map, &constraint);

	table_close(table, NoLock);
	return statement;
}

/* The same index on a shard. */
static void
clone_index(Oid relid, Relation parent, Oid source)
{
	Relation	index = index_open(source, AccessShareLock);
	Oid			made = elt_define_index(relid, index_statement(relid, parent, index));

	CommandCounterIncrement();
	if (index->rd_index->indisclustered)
	{
		Relation	table = table_open(relid, NoLock);

		mark_index_clustered(table, made, true);
		table_close(table, NoLock);
	}
	if (index->rd_index->indisreplident)
		elt_sql_run(psprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", elt_qualified_name(relid),
							 quote_identifier(get_rel_name(made))));
	CommandCounterIncrement();
	index_close(index, NoLock);
}

void
elt_shard_index(EltSharding *sharding, int parent, int shard)
{
	Oid			relid = elt_sharding_tables(sharding, parent)[shard];
	Relation	from = table_open(elt_sharding_parents(sharding)[parent], AccessShareLock);
	EltSecContext save;
	ListCell   *lc;

	/* expressions and predicates may call functions of the owner's */
	elt_become(&save, elt_relation_owner(RelationGetRelid(from)));
	LockRelationOid(relid, AccessExclusiveLock);
	foreach(lc, RelationGetIndexList(from))
	{
		CHECK_FOR_INTERRUPTS();
		clone_index(relid, from, lfirst_oid(lc));
	}
	table_close(from, NoLock);
	if (sharding->tracked)
		elt_tree_add_triggers(relid);
	elt_sql_run(psprintf("ANALYZE %s", elt_qualified_name(relid)));
	elt_restore(&save);
}
