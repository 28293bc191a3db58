/*
 * statements.c
 *	  The SQL of transforms.
 *
 *	  task, swap or direct		INSERT INTO target (columns) SELECT columns FROM (query) AS elt_q
 *	  task, move				query, or its partial aggregates
 *	  leader, move				INSERT INTO target (columns) SELECT columns FROM (rows of the bag, or what combines them) AS elt_q [ON CONFLICT ...]
 *
 * All names are qualified, and text is written under pinned settings. Pure functions.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "transform/transform.h"

char *
elt_statement_text(Query *query)
{
	int			nest = NewGUCNestLevel();
	char	   *sql;

	elt_pin_sql_settings();
	elt_pin_setting("quote_all_identifiers", "off");
	elt_pin_setting("DateStyle", "ISO");
	elt_pin_setting("IntervalStyle", "postgres");
	elt_pin_setting("extra_float_digits", "1");
	sql = elt_deparse(query);
	AtEOXact_GUC(false, nest);
	return sql;
}

char *
elt_statement_insert(EltTransform *transform, const char *query)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS elt_t (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM (%s) AS elt_q",
					 elt_qualified_name(transform->target), elt_column_names(transform->columns, ""), elt_column_names(transform->columns, "elt_q."), query);
	if (strcmp(transform->mode, "upsert") == 0)
		elt_append_on_conflict(&sql, transform->key, list_difference(transform->columns, transform->key));
	return sql.data;
}

char *
elt_statement_over_bag(EltTransform *transform, Oid bag, const char *combine)
{
	char	   *rows = psprintf("SELECT * FROM %s", elt_qualified_name(bag));

	if (combine != NULL)
		rows = psprintf("WITH elt_partial AS (%s) %s", rows, combine);
	return elt_statement_insert(transform, rows);
}

/* What a task reads. */
char *
elt_statement_generated(EltTransform *transform, EltSplit *split, const EltShard *shard)
{
	Query	   *query;

	if (split->partial != NULL)
		query = copyObject(split->partial);
	else
		query = elt_query_parse("transform", transform->node.name, transform->query, true);
	if (shard->npieces > 0)
		elt_split_restrict(query, shard->pieces, shard->npieces);
	return elt_statement_text(query);
}
