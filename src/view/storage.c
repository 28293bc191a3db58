/*
 * storage.c
 *	  A view's tables and views in the catalog: storages of its parts, the internal view with its query, the relation that users read.
 *
 * They are made with the rights of the extension's owner, because schema elt_data is not everybody's, and then given to the view's owner; what users read is made
 * with the owner's own rights, in a schema where he may create.
 *
 * Locks: those of CREATE and DROP. A crash undoes all of it with the transaction.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "commands/view.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "view/advice.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_refuse_change);

/* Rows change place within their page, and dead ones are soon taken away, so that a storage stays as large as it was. */
#define STORAGE_OPTIONS "fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05"

static char *
storage_name(EltView *view, EltShape *shape, EltPart *part, int generation)
{
	StringInfoData name;

	initStringInfo(&name);
	appendStringInfo(&name, "v%d", view->node.id);
	if (generation > 0)
		appendStringInfo(&name, "r%d", generation);
	if (part->number < list_length(shape->parts))
		appendStringInfo(&name, "_%d", part->number);
	return name.data;
}

static void
append_column(StringInfo sql, EltColumn *column)
{
	appendStringInfo(sql, "%s %s", quote_identifier(column->name), format_type_with_typemod(column->type, column->typmod));
	if (OidIsValid(column->collation) && column->collation != get_typcollation(column->type))
		appendStringInfo(sql, " COLLATE %s", elt_collation_name(column->collation));
}

/* Columns and how the part is kept, as text: what a storage must have been made for. */
static char *
part_shape(EltPart *part)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%d %d %d %d %d (", part->kind, part->method, part->noutput, part->shown, part->unique);
	for (int i = 0; i < part->ncolumns; i++)
	{
		append_column(&text, &part->columns[i]);
		appendStringInfoString(&text, ", ");
	}
	for (int i = 0; i < part->nkeys && part->key_columns != NULL; i++)
		appendStringInfo(&text, "%d ", part->key_columns[i]);
	appendStringInfo(&text, "%s)", part->hash != NULL ? part->hash : "");
	if (part->kind == ELT_PART_TOP)
		appendStringInfo(&text, " %s " INT64_FORMAT " " INT64_FORMAT, part->order, part->skip, part->limit);
	return text.data;
}

/* What constraints say is not true of rows that were kept from before them. */
static bool
has_frozen_rows(EltView *view, EltShape *shape, EltPart *part)
{
	return view->frozen_where != NULL && part == llast(shape->parts);
}

static void
create_storage(EltView *view, EltShape *shape, EltPart *part, const char *name)
{
	StringInfoData sql;
	char	   *table = quote_qualified_identifier("elt_data", name);

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", table);
	for (int i = 0; i < part->ncolumns; i++)
	{
		if (i > 0)
			appendStringInfoString(&sql, ", ");
		append_column(&sql, &part->columns[i]);
		part->columns[i].notnull &= !has_frozen_rows(view, shape, part);
		if (part->columns[i].notnull)
			appendStringInfoString(&sql, " NOT NULL");
	}
	if (part->hash != NULL)
		appendStringInfo(&sql, ", _elt_h bigint GENERATED ALWAYS AS (%s) STORED", part->hash);
	if (part->method == ELT_COUNTERS && !part->global)
		appendStringInfoString(&sql, ", CONSTRAINT rows_of_a_group CHECK (_elt_n > 0)");
	appendStringInfo(&sql, ") WITH (%s)", STORAGE_OPTIONS);
	elt_sql_run(sql.data);
	elt_sql_run(psprintf("ALTER TABLE %s OWNER TO %s", table, quote_identifier(GetUserNameFromId(view->node.owner, false))));
	elt_sql_run(psprintf("COMMENT ON TABLE %s IS %s", table, quote_literal_cstr(psprintf("storage of precomputed view %s", view->node.name))));
}

static bool
is_of_any_length(EltColumn *column)
{
	return get_typlen(column->type) == -1 && column->typmod < 0 && getBaseType(column->type) != NUMERICOID;
}

/* A key column that a btree cannot have at all, or (long: values may be too long) may not be able to hold; -1: none. */
static int
column_for_hash(EltPart *part, bool too_long)
{
	for (int i = 0; i < part->nkeys; i++)
	{
		EltColumn  *column = &part->columns[part->key_columns[i]];

		if (!OidIsValid(GetDefaultOpClass(column->type, BTREE_AM_OID)) || (too_long && is_of_any_length(column)))
			return part->key_columns[i];
	}
	return -1;
}

/*
 * The index by which a part's rows are found. Indexes might come after the rows of the first refresh: it is simpler to have them from the start. too_long: some
 * key did not fit into a btree.
 */
static void
create_index(EltPart *part, const char *name, bool too_long)
{
	StringInfoData columns;
	const char *table = quote_qualified_identifier("elt_data", name);
	const char *index = elt_view_own_index_name(name);
	int			hashed = part->hash == NULL ? column_for_hash(part, too_long) : -1;

	if (part->hash != NULL)
	{
		elt_sql_run(psprintf("CREATE INDEX %s ON %s (_elt_h)", index, table));
		return;
	}
	if (part->nkeys == 0)
		return;
	if (hashed >= 0)
	{
		elt_sql_run(psprintf("CREATE INDEX %s ON %s USING hash (%s)", index, table, quote_identifier(part->columns[hashed].name)));
		return;
	}
	initStringInfo(&columns);
	for (int i = 0; i < Min(part->nkeys, INDEX_MAX_KEYS); i++)
		appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "", quote_identifier(part->columns[part->key_columns[i]].name));
	if (part->unique && part->nkeys <= INDEX_MAX_KEYS)
		elt_sql_run(psprintf("CREATE UNIQUE INDEX %s ON %s (%s) NULLS NOT DISTINCT", index, table, columns.data));
	else
		elt_sql_run(psprintf("CREATE INDEX %s ON %s (%s)", index, table, columns.data));
	/* HAVING may leave few of many groups */
	if (part->shown >= 0)
		elt_sql_run(psprintf("CREATE INDEX %s ON %s (%s) WHERE _elt_shown", elt_view_shown_index_name(name), table, columns.data));
}

static void
drop_index(const char *name)
{
	if (OidIsValid(get_relname_relid(name, get_namespace_oid("elt_data", false))))
		elt_sql_run(psprintf("DROP INDEX elt_data.%s", name));
}

void
elt_storage_index_long_keys(EltView *view, EltShape *shape)
{
	EltSecContext context;
	Oid		   *storages = elt_storage_list(view, shape);
	ListCell   *lc;

	elt_become(&context, elt_extension_owner());
	foreach(lc, shape->parts)
	{
		EltPart    *part = lfirst(lc);
		char	   *name = get_rel_name(storages[part->number]);

		if (part->hash != NULL || column_for_hash(part, true) < 0)
			continue;
		drop_index(elt_view_own_index_name(name));
		drop_index(elt_view_shown_index_name(name));
		create_index(part, name, true);
	}
	elt_restore(&context);
	CommandCounterIncrement();
}

/* Parts above may look up rows by other columns than the key: one column each time is enough. */
static void
create_indexes_for_readers(EltShape *shape, EltPart *part, const char *name)
{
	Bitmapset  *done = NULL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, elt_advice_part_indexes(shape, part))
	{
		foreach(lc2, (List *) lfirst(lc))
		{
			EltColumn  *column = &part->columns[lfirst_int(lc2) - 1];

			if (is_of_any_length(column) || !OidIsValid(GetDefaultOpClass(column->type, BTREE_AM_OID)))
				continue;
			if (!bms_is_member(lfirst_int(lc2), done))
				elt_sql_run(psprintf("CREATE INDEX ON %s (%s)", quote_qualified_identifier("elt_data", name), quote_identifier(column->name)));
			done = bms_add_member(done, lfirst_int(lc2));
			break;
		}
	}
}

void
elt_storage_create(EltView *view, EltShape *shape)
{
	EltSecContext context;
	Oid			schema = get_namespace_oid("elt_data", false);
	int			generation = 0;
	ListCell   *lc;

	elt_become(&context, elt_extension_owner());

	/*
	 * the caller's settings choose nothing that these rights allow; rows are
	 * found again by their ctid
	 */
	elt_pin_setting("default_tablespace", "");
	elt_pin_setting("default_table_access_method", "heap");
	while (OidIsValid(get_relname_relid(storage_name(view, shape, llast(shape->parts), generation), schema)))
		generation++;
	foreach(lc, shape->parts)
	{
		EltPart    *part = lfirst(lc);
		char	   *name = storage_name(view, shape, part, generation);
		EltViewPart row = {part->number, InvalidOid, part_shape(part), false};

		create_storage(view, shape, part, name);
		create_index(part, name, false);
		create_indexes_for_readers(shape, part, name);
		CommandCounterIncrement();
		row.storage = get_relname_relid(name, schema);
		elt_view_part_insert(view->node.id, &row);
		view->storage = row.storage;
	}
	elt_restore(&context);
	CommandCounterIncrement();
}

/* With the view's name, which PostgreSQL's messages about what the query reads then tell. */
char *
elt_storage_definition_name(EltView *view)
{
	return makeObjectName(psprintf("q%d", view->node.id), llast_node(String, elt_name_list(view->node.name))->sval, NULL);
}

/*
 * The view is made with columns only, and then its owner gives it the query: to analyse that may evaluate what the owner has defined, such as the constraint of a
 * domain in the constant of an array.
 */
Oid
elt_storage_create_definition(EltView *view, const char *sql)
{
	EltSecContext context;
	char	   *name = elt_storage_definition_name(view);
	char	   *qualified = quote_qualified_identifier("elt_data", name);
	Query	   *query = elt_query_parse("view", view->node.name, sql, false);
	StringInfoData columns;
	Oid			relid;
	ListCell   *lc;

	initStringInfo(&columns);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Oid			type = exprType((Node *) tle->expr);
		Oid			collation = exprCollation((Node *) tle->expr);

		if (tle->resjunk)
			continue;
		appendStringInfo(&columns, "%sNULL::%s", columns.len > 0 ? ", " : "", format_type_with_typemod(type, exprTypmod((Node *) tle->expr)));
		if (OidIsValid(collation) && collation != get_typcollation(type))
			appendStringInfo(&columns, " COLLATE %s", elt_collation_name(collation));
		appendStringInfo(&columns, " AS %s", quote_identifier(tle->resname));
	}
	elt_become(&context, elt_extension_owner());
	elt_sql_run(psprintf("CREATE VIEW %s AS SELECT %s", qualified, columns.data));
	elt_sql_run(psprintf("ALTER VIEW %s OWNER TO %s", qualified, quote_identifier(GetUserNameFromId(view->node.owner, false))));
	CommandCounterIncrement();
	relid = get_relname_relid(name, get_namespace_oid("elt_data", false));
	elt_restore(&context);
	StoreViewQuery(relid, query, true);
	CommandCounterIncrement();
	return relid;
}

Oid
elt_storage_show(EltView *view, EltShape *shape, const char *qualified_name)
{
	EltPart    *part = llast(shape->parts);
	List	   *names = elt_name_list(qualified_name);
	RangeVar   *range = makeRangeVarFromNameList(names);
	bool		is_new = !OidIsValid(RangeVarGetRelid(range, NoLock, true));

	elt_sql_run(psprintf("CREATE %sVIEW %s AS %s", OidIsValid(view->relid) ? "OR REPLACE " : "", qualified_name,
						 elt_output_sql(part, elt_qualified_name(view->storage))));
	/* else PostgreSQL would let writes to it through to the storage */
	if (is_new)
	{
		CommandCounterIncrement();
		elt_sql_run(psprintf("CREATE TRIGGER elt_read_only INSTEAD OF INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION elt.refuse_change()",
							 qualified_name));
	}
	CommandCounterIncrement();
	return RangeVarGetRelid(range, NoLock, false);
}

Datum
elt_sql_refuse_change(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "not called by a trigger");
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot change the rows of precomputed view \"%s\"", RelationGetRelationName(((TriggerData *) fcinfo->context)->tg_relation)),
			 errhint("Change the tables that its query reads, then call elt.refresh.")));
	PG_RETURN_NULL();
}

/*
 * Columns of a storage can have been NULL before a constraint of a table came, and changes of such rows may not have been followed yet: only what the storage was
 * made for is taken for certain. false: it was made for a constraint that is gone.
 */
static bool
agree_on_nulls(EltPart *part, Oid storage)
{
	for (int i = 0; i < part->ncolumns; i++)
	{
		bool		stored = elt_attribute_is_notnull(storage, i + 1);

		if (stored && !part->columns[i].notnull)
			return false;
		part->columns[i].notnull = stored;
	}
	return true;
}

bool
elt_storage_fits(EltView *view, EltShape *shape)
{
	List	   *stored = elt_view_parts(view->node.id);
	ListCell   *lc1;
	ListCell   *lc2;

	if (list_length(stored) != list_length(shape->parts))
		return false;
	forboth(lc1, stored, lc2, shape->parts)
	{
		EltViewPart *part = lfirst(lc1);

		if (get_rel_name(part->storage) == NULL || strcmp(part->shape, part_shape(lfirst(lc2))) != 0 ||
			!agree_on_nulls(lfirst(lc2), part->storage))
			return false;
	}
	return true;
}

Oid *
elt_storage_list(EltView *view, EltShape *shape)
{
	Oid		   *storages = palloc0(sizeof(Oid) * (list_length(shape->parts) + 1));
	ListCell   *lc;

	foreach(lc, elt_view_parts(view->node.id))
	{
		EltViewPart *part = lfirst(lc);

		if (part->part <= list_length(shape->parts))
			storages[part->part] = part->storage;
	}
	return storages;
}

bool
elt_storage_outgrew_statistics(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	double		known = rel->rd_rel->relpages;
	double		pages = RelationGetNumberOfBlocks(rel);
	bool		outgrown = rel->rd_rel->reltuples < 0 || fabs(pages - known) > known / 5;

	table_close(rel, NoLock);
	return outgrown;
}
