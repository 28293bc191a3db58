/*
 * verify.c
 *	  elt.verify_view: is a view its query?
 *
 *	  refresh -> under the same snapshot: the view's rows and the query's, grouped by what they hold and by their text -> counts compared
 *
 * Frozen rows are no longer the query's: they are left out on both sides.
 *
 * Locks: those of a refresh. A crash or an error undoes the refresh too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/args.h"
#include "base/exec.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "view/block.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_verify_view);

typedef struct Difference
{
	int64		missing;
	int64		extra;
} Difference;

/* The distinct rows of one side, with how many there are of each. */
static char *
counted(EltPart *part, const char *from, const char *where)
{
	char	   *row = elt_column_list(part, "", part->noutput);

	return psprintf("SELECT elt.row_hash(ROW(%s)) AS hash, ROW(%s)::text AS image, count(*) AS n FROM %s WHERE %s GROUP BY 1, 2",
					row, row, from, where);
}

/* Rows of the query whose keys frozen rows have are not expected: those keep their place. */
static char *
without_frozen_keys(EltPart *part, const char *frozen, const char *stored)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "NOT COALESCE((%s), false)", frozen);
	for (int i = 0; i < part->nkeys; i++)
		if (part->key_columns[i] >= part->noutput)
			return sql.data;
	appendStringInfo(&sql, " AND NOT EXISTS (SELECT FROM (SELECT * FROM %s WHERE COALESCE((%s), false)) f WHERE true", stored, frozen);
	for (int i = 0; i < part->nkeys; i++)
	{
		const char *name = quote_identifier(part->columns[part->key_columns[i]].name);

		appendStringInfo(&sql, " AND f.%s IS NOT DISTINCT FROM q.%s", name, name);
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

static char *
comparison(EltView *view, EltShape *shape)
{
	EltPart    *part = llast(shape->parts);
	const char *query = OidIsValid(view->definition) ? psprintf("%s q", elt_qualified_name(view->definition)) :
	psprintf("(%s) q", elt_query_text(elt_view_query(view)));
	char	   *stored = psprintf("(%s) v", elt_output_sql(part, elt_qualified_name(view->storage)));
	const char *expected = "true";
	const char *thawed = "true";

	if (view->frozen_where != NULL)
	{
		thawed = psprintf("NOT COALESCE((%s), false)", view->frozen_where);
		expected = without_frozen_keys(part, view->frozen_where, stored);
	}
	return psprintf("SELECT COALESCE(sum(GREATEST(COALESCE(q.n, 0) - COALESCE(v.n, 0), 0)), 0)::bigint, "
					"COALESCE(sum(GREATEST(COALESCE(v.n, 0) - COALESCE(q.n, 0), 0)), 0)::bigint "
					"FROM (%s) q FULL JOIN (%s) v ON q.hash = v.hash AND q.image = v.image",
					counted(part, query, expected), counted(part, stored, thawed));
}

static void
compare(EltView *view, EltShape *shape, void *arg)
{
	Difference *difference = arg;
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *slot;
	TupleDesc	desc;
	bool		isnull;

	elt_exec_into(comparison(view, shape), NULL, 0, rows, &desc, NULL);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	if (!tuplestore_gettupleslot(rows, true, false, slot))
		elog(ERROR, "comparison of view \"%s\" gave nothing", view->node.name);
	difference->missing = DatumGetInt64(slot_getattr(slot, 1, &isnull));
	difference->extra = DatumGetInt64(slot_getattr(slot, 2, &isnull));
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rows);
}

Datum
elt_sql_verify_view(PG_FUNCTION_ARGS)
{
	EltView    *view = elt_view_get(elt_arg_text(fcinfo, 0, "name"));
	Difference	difference = {0};
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};

	elt_check_may_write("elt.verify_view()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	(void) elt_view_refresh_and(view, NULL, compare, &difference);
	values[0] = Int64GetDatum(difference.missing);
	values[1] = Int64GetDatum(difference.extra);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
