/*
 * index.c
 *	  elt.create_view_index: indexes that users want on a view, which are in truth on the storage of its last part.
 *
 *	  definition -> CREATE INDEX ON storage <definition>: one statement, just that -> created -> does it read visible columns only?
 *
 * The definition is read and run as the view's owner, never with the rights of the extension's: constants and functions of the owner's choice can be evaluated
 * as soon as an expression is analysed. What schema elt_data allows is not asked. Names are those that the caller's search_path gives.
 *
 * When a storage is made anew, all indexes but our own, which are known by their name, are made again.
 *
 * Locks: the node's, Share on the storage. A crash undoes it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_index.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_utilcmd.h"
#include "storage/lmgr.h"
#include "access/sysattr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "base/args.h"
#include "base/compat.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_create_view_index);

char *
elt_view_own_index_name(const char *storage)
{
	return psprintf("%s_elt_idx", storage);
}

char *
elt_view_shown_index_name(const char *storage)
{
	return psprintf("%s_elt_shown_idx", storage);
}

static List *
indexes_of(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *result = list_copy(RelationGetIndexList(rel));

	table_close(rel, NoLock);
	return result;
}

/* An expression that the catalog has of the index, as it stands there: what the relation cache gives is evaluated as far as it is constant, by whoever asks. */
static Node *
stored_expression(Relation index, AttrNumber attno)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, attno, &isnull);

	return isnull ? NULL : stringToNode(TextDatumGetCString(value));
}

/* The first column that it reads and that users do not see; NULL: there is none. */
static char *
hidden_column(Oid indexid)
{
	Relation	index = index_open(indexid, AccessShareLock);
	Oid			table = index->rd_index->indrelid;
	Bitmapset  *columns = NULL;
	int			i = -1;
	char	   *hidden = NULL;

	for (int k = 0; k < index->rd_index->indnatts; k++)
		if (index->rd_index->indkey.values[k] != 0)
			columns = bms_add_member(columns, index->rd_index->indkey.values[k] - FirstLowInvalidHeapAttributeNumber);
	pull_varattnos(stored_expression(index, Anum_pg_index_indexprs), 1, &columns);
	pull_varattnos(stored_expression(index, Anum_pg_index_indpred), 1, &columns);
	index_close(index, NoLock);
	while (hidden == NULL && (i = bms_next_member(columns, i)) >= 0)
	{
		AttrNumber	attno = i + FirstLowInvalidHeapAttributeNumber;

		/* a whole row has them all */
		hidden = attno == 0 ? pstrdup("_elt_") : attno < 0 ? NULL : get_attname(table, attno, false);
		if (hidden != NULL && strncmp(hidden, "_elt_", 5) != 0)
			hidden = NULL;
	}
	return hidden;
}

static void
refuse_definition(const char *definition, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("\"%s\" is not the definition of an index", definition),
			 errdetail("%s", detail),
			 errhint("Write what follows the table's name in CREATE INDEX, such as '(day, region)' or 'USING brin (day)'.")));
}

static void
definition_error_context(void *arg)
{
	const char *sql = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(sql);
	}
}

/* CREATE INDEX as the current user, the owner: one statement, and just that. */
static Oid
create_index(const char *sql, const char *definition, Oid storage)
{
	ErrorContextCallback context = {error_context_stack, definition_error_context, unconstify(char *, sql)};
	List	   *parsed;
	IndexStmt  *statement;
	Oid			indexid;

	error_context_stack = &context;
	parsed = pg_parse_query(sql);
	if (list_length(parsed) != 1)
		refuse_definition(definition, psprintf("It has %d statements.", list_length(parsed)));
	statement = (IndexStmt *) linitial_node(RawStmt, parsed)->stmt;
	if (!IsA(statement, IndexStmt) || statement->relation == NULL || statement->relation->schemaname == NULL ||
		strcmp(statement->relation->schemaname, get_namespace_name(get_rel_namespace(storage))) != 0 ||
		strcmp(statement->relation->relname, get_rel_name(storage)) != 0)
		refuse_definition(definition, "It is another command.");
	if (statement->tableSpace != NULL && definition != sql)
		refuse_definition(definition, "It names a tablespace: the index is stored in the default one.");
	LockRelationOid(storage, ShareLock);
	indexid = elt_define_index(storage, transformIndexStmt(storage, statement, sql));
	CommandCounterIncrement();
	error_context_stack = context.previous;
	return indexid;
}

Datum
elt_sql_create_view_index(PG_FUNCTION_ARGS)
{
	char	   *name = elt_arg_text(fcinfo, 0, "name");
	char	   *definition = elt_arg_text(fcinfo, 1, "definition");
	EltView    *view = elt_view_get(name);
	char	   *search_path = pstrdup(namespace_search_path);
	EltSecContext context;
	Oid			indexid;
	char	   *hidden;

	elt_check_may_write("elt.create_view_index()");
	elt_node_lock(view->node.id);
	view = elt_view_get(name);
	elt_become(&context, view->node.owner);
	elt_pin_setting("search_path", search_path);
	elt_pin_setting("default_tablespace", "");
	indexid = create_index(psprintf("CREATE INDEX ON %s %s", elt_qualified_name(view->storage), definition), definition, view->storage);
	elt_restore(&context);
	hidden = hidden_column(indexid);
	if (hidden != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("index on view \"%s\" reads hidden column \"%s\"", view->node.name, hidden),
				 errhint("Name columns that the view shows.")));
	PG_RETURN_OID(indexid);
}

/* "CREATE INDEX name ON table ...", with another table and a new name. */
static char *
moved_definition(Oid indexid, Oid from, Oid to)
{
	char	   *sql = pg_get_indexdef_string(indexid);
	Relation	index = index_open(indexid, AccessShareLock);
	const char *create = index->rd_index->indisunique ? "CREATE UNIQUE INDEX" : "CREATE INDEX";
	char	   *prefix = psprintf("%s %s ON %s ", create, quote_identifier(RelationGetRelationName(index)), elt_qualified_name(from));

	index_close(index, NoLock);
	if (strncmp(sql, prefix, strlen(prefix)) != 0)
		elog(ERROR, "unexpected index definition: %s", sql);
	return psprintf("%s ON %s %s", create, elt_qualified_name(to), sql + strlen(prefix));
}

void
elt_view_index_copy(Oid from, Oid to)
{
	char	   *own = elt_view_own_index_name(get_rel_name(from));
	ListCell   *lc;

	foreach(lc, indexes_of(from))
	{
		Oid			indexid = lfirst_oid(lc);

		if (strcmp(get_rel_name(indexid), own) != 0 && hidden_column(indexid) == NULL)
		{
			char	   *sql = moved_definition(indexid, from, to);

			(void) create_index(sql, sql, to);
		}
	}
}
