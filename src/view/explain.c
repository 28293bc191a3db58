/*
 * explain.c
 *	  elt.explain_view: how a view, or a query that could be one, follows changes.
 *
 *	  name -> its definition and storages         -> shape -> a row for all of it, then one for each part: strategy, reason, advice,
 *	  text -> analysed, storages only in the mind              generated SQL with all sources taken as changed, what the planner says of it
 *
 * For the planner, deltas are bags of as many rows as are pending, or of 100; storages that do not exist are bags as well.
 *
 * Nothing is run or written. Locks: AccessShareLock on what is read. An existing view is explained with its owner's rights, a text with the caller's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "base/args.h"
#include "base/compat.h"
#include "base/exec.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "catalog/table.h"
#include "view/advice.h"
#include "view/block.h"
#include "view/delta.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_explain_view);

/* changes of a source, where it is not known how many there are */
#define SUPPOSED_CHANGES	100

/* columns of the result */
#define C_PART				0
#define C_WHAT				1
#define C_STRATEGY			2
#define C_REASON			3
#define C_DETAIL			4
#define C_HINT				5
#define C_HIDDEN			6
#define C_SQL				7
#define C_COST				8
#define C_LAST_MS			9
#define C_PENDING			10
#define C_FRESH				11
#define NCOLUMNS			12

typedef struct Explain
{
	EltView    *view;			/* NULL: it is a text */
	Query	   *query;
	EltShape   *shape;
	EltPlaces	places;
	Bitmapset  *changed;		/* all */
	TimestampTz then;
	double	   *changes;		/* by source number */
	EltBag	   *bags;
	int			nbags;
	ReturnSetInfo *result;
} Explain;

static Datum
text_datum(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/*
 * Bags for the planner
 */

static TupleDesc
columns_desc(EltColumn *columns, int n, bool weighted)
{
	TupleDesc	desc = CreateTemplateTupleDesc(n + (weighted ? 1 : 0));

	for (int i = 0; i < n; i++)
	{
		TupleDescInitEntry(desc, i + 1, columns[i].name, columns[i].type, columns[i].typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, columns[i].collation);
	}
	if (weighted)
		TupleDescInitEntry(desc, n + 1, ELT_WEIGHT_COLUMN, INT8OID, -1, 0);
	return desc;
}

static TupleDesc
table_desc(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	int			n = RelationGetNumberOfAttributes(rel);
	TupleDesc	desc = CreateTemplateTupleDesc(n + 1);

	for (int i = 1; i <= n; i++)
		TupleDescCopyEntry(desc, i, RelationGetDescr(rel), i);
	TupleDescInitEntry(desc, n + 1, ELT_WEIGHT_COLUMN, INT8OID, -1, 0);
	table_close(rel, NoLock);
	return desc;
}

static void
add_bag(Explain *e, const char *name, TupleDesc desc, double ntuples)
{
	EltBag		bag = {name, InvalidOid, desc, NULL, ntuples};

	e->bags[e->nbags++] = bag;
}

static void
add_delta(Explain *e, EltSource *source, TupleDesc desc, double changes)
{
	elt_expect_changes(source, changes);
	add_bag(e, psprintf("elt_delta_%d", source->number), desc, changes);
	add_bag(e, psprintf("elt_removed_%d", source->number), desc, changes / 2);
	add_bag(e, psprintf("elt_added_%d", source->number), desc, ELT_ADDED_TUPLES);
}

static double
pending_of(Explain *e, Oid relid)
{
	ListCell   *lc;

	if (e->view == NULL)
		return 0;
	foreach(lc, elt_view_sources(e->view->node.id))
	{
		EltViewSource *source = lfirst(lc);

		if (source->relid == relid)
			return Max(elt_view_source_pending(source->consumer), 0);
	}
	return 0;
}

/* Deltas of all sources; those of parts are at most as large as what they come from. */
static void
add_deltas(Explain *e)
{
	double		all = 0;
	ListCell   *lc;

	foreach(lc, e->shape->sources)
	{
		EltSource  *source = lfirst(lc);

		e->changed = bms_add_member(e->changed, source->number);
		if (source->part != NULL)
			continue;
		e->changes[source->number] = pending_of(e, source->relid);
		if (e->changes[source->number] <= 0)
			e->changes[source->number] = SUPPOSED_CHANGES;
		all += e->changes[source->number];
		add_delta(e, source, table_desc(source->relid), e->changes[source->number]);
	}
	foreach(lc, e->shape->sources)
	{
		EltSource  *source = lfirst(lc);

		if (source->part != NULL)
			add_delta(e, source, columns_desc(source->part->columns, source->part->noutput, true), all);
	}
}

static void
add_keys(Explain *e, EltPart *part)
{
	EltColumn  *columns = palloc0(sizeof(EltColumn) * (part->nkeys + 1));
	double		all = 0;
	ListCell   *lc;

	foreach(lc, part->leaves)
		all += Max(e->changes[((EltLeaf *) lfirst(lc))->source->number], 1);
	for (int i = 0; i < part->nkeys; i++)
	{
		columns[i] = part->input[i];
		columns[i].name = psprintf("k%d", i + 1);
	}
	add_bag(e, "elt_keys", columns_desc(columns, part->nkeys, false), all);
}

static EltPlan *
plan(Explain *e, const char *sql)
{
	return elt_plan(sql, e->bags, e->nbags);
}

/*
 * Parts
 */

static const char *
method_name(EltMethod method)
{
	static const char *const names[] = {"linear", "counters", "keys", "full"};

	return names[method];
}

/* A table; a view by its own name, and not by that of what is stored of it. */
static char *
source_name(Oid relid)
{
	EltView    *view = elt_view_by_relation(relid);

	return elt_qualified_name(view != NULL ? view->relid : relid);
}

/* The tables and parts that a part reads. */
static char *
sources_text(EltPart *part)
{
	StringInfoData text;
	List	   *seen = NIL;
	ListCell   *lc;

	initStringInfo(&text);
	foreach(lc, part->leaves)
	{
		EltSource  *source = ((EltLeaf *) lfirst(lc))->source;

		if (list_member_ptr(seen, source))
			continue;
		seen = lappend(seen, source);
		appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : " of ",
						 source->part != NULL ? psprintf("part %d", source->part->number) : source_name(source->relid));
	}
	return text.data;
}

static char *
keys_text(EltPart *part)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < part->nkeys; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "", quote_identifier(part->columns[part->key_columns[i]].name));
	return text.data;
}

/* What a part is: its kind, its keys, and what it reads. */
static char *
what_text(EltPart *part)
{
	const char *from = sources_text(part);

	switch (part->kind)
	{
		case ELT_PART_ROWS:
			return psprintf("rows%s", from);
		case ELT_PART_GROUP:
			return part->global ? psprintf("one group%s", from) : psprintf("group%s by %s", from, keys_text(part));
		case ELT_PART_WINDOW:
			return psprintf("window%s partitioned by %s", from, part->key_columns != NULL ? keys_text(part) : "expressions");
		case ELT_PART_TOP:
			return psprintf("top%s", from);
		default:
			return psprintf("result%s", from);
	}
}

static Datum
hidden_columns(EltPart *part)
{
	Datum	   *names = palloc(sizeof(Datum) * (part->ncolumns + 1));
	int			n = 0;

	for (int i = part->noutput; i < part->ncolumns; i++)
		names[n++] = CStringGetTextDatum(part->columns[i].name);
	if (part->hash != NULL)
		names[n++] = CStringGetTextDatum("_elt_h");
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The statements by which a part follows changes. */
static List *
statements_of(Explain *e, EltPart *part)
{
	char	   *delta;

	if (part->method == ELT_FULL || (part->method == ELT_KEYS && part->nkeys == 0))
		return list_make1(elt_rows_sql(&e->places, part, NULL, 0));
	if (part->method == ELT_COUNTERS && !elt_has_extremes(part))
		delta = elt_group_delta_sql(&e->places, part, e->changed, e->shape->moving, e->then);
	else
		delta = elt_input_delta_sql(&e->places, part, e->changed, e->shape->moving, e->then);
	if (delta == NULL)
		return NIL;
	if (part->method == ELT_LINEAR || (part->method == ELT_COUNTERS && (!elt_has_extremes(part) || part->nkeys == 0)))
		return list_make1(delta);
	return list_make2(delta, elt_rows_sql(&e->places, part, "elt_keys", 0));
}

static char *
hint_of(Explain *e, EltPart *part)
{
	StringInfoData hint;
	const char *advice = elt_advice_for(part->reason);
	ListCell   *lc;

	initStringInfo(&hint);
	appendStringInfoString(&hint, advice != NULL ? advice : "");
	foreach(lc, elt_advice_indexes(e->shape, part))
		appendStringInfo(&hint, "%s%s", hint.len > 0 ? "\n" : "", (char *) lfirst(lc));
	return hint.len > 0 ? hint.data : NULL;
}

static void
put_part(Explain *e, EltPart *part)
{
	Datum		values[NCOLUMNS] = {0};
	bool		nulls[NCOLUMNS];
	StringInfoData sql;
	double		cost = 0;
	int			nbags = e->nbags;
	ListCell   *lc;

	memset(nulls, true, sizeof(nulls));
	values[C_PART] = Int32GetDatum(part->number);
	values[C_HIDDEN] = hidden_columns(part);
	nulls[C_PART] = nulls[C_HIDDEN] = false;
	values[C_WHAT] = text_datum(what_text(part), &nulls[C_WHAT]);
	values[C_STRATEGY] = text_datum(method_name(part->method), &nulls[C_STRATEGY]);
	values[C_REASON] = text_datum(part->reason, &nulls[C_REASON]);
	values[C_DETAIL] = text_datum(part->what, &nulls[C_DETAIL]);
	values[C_HINT] = text_datum(hint_of(e, part), &nulls[C_HINT]);

	initStringInfo(&sql);
	if (part->method == ELT_KEYS || part->method == ELT_COUNTERS)
		add_keys(e, part);
	foreach(lc, statements_of(e, part))
	{
		cost += elt_plan_cost(plan(e, lfirst(lc)));
		appendStringInfo(&sql, "%s%s", sql.len > 0 ? ";\n" : "", (char *) lfirst(lc));
	}
	e->nbags = nbags;
	values[C_SQL] = text_datum(sql.len > 0 ? sql.data : NULL, &nulls[C_SQL]);
	values[C_COST] = Float8GetDatum(cost);
	nulls[C_COST] = sql.len == 0;
	tuplestore_putvalues(e->result->setResult, e->result->setDesc, values, nulls);

	/*
	 * those above it read it; where it is not there, as many rows as it would
	 * have
	 */
	if (e->view == NULL)
		add_bag(e, e->places.storages[part->number], columns_desc(part->columns, part->ncolumns, false),
				elt_plan_rows(plan(e, elt_rows_sql(&e->places, part, NULL, 0))));
}

/*
 * The whole
 */

/* Tables that somebody else has to track before there can be such a view. */
static char *
track_advice(Explain *e)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	foreach(lc, e->shape->sources)
	{
		EltSource  *source = lfirst(lc);
		EltCapture *capture = source->part == NULL ? elt_capture_by_relation(source->relid) : NULL;

		if (source->part != NULL || (capture != NULL && elt_install_is(&capture->install)) || elt_owns_relation(source->relid))
			continue;
		appendStringInfo(&text, "%sThe owner of %s has to call elt.track(%s) once.", text.len > 0 ? "\n" : "",
						 elt_qualified_name(source->relid), quote_literal_cstr(elt_qualified_name(source->relid)));
	}
	return text.len > 0 ? text.data : NULL;
}

/* What the reason is about. */
static const char *
detail_of(EltShape *shape, const char *reason)
{
	ListCell   *lc;

	if (shape->detail != NULL)
		return shape->detail;
	foreach(lc, shape->parts)
	{
		EltPart    *part = lfirst(lc);

		if (reason != NULL && part->reason != NULL && strcmp(part->reason, reason) == 0)
			return part->what;
	}
	return NULL;
}

static void
put_whole(Explain *e)
{
	Datum		values[NCOLUMNS] = {0};
	bool		nulls[NCOLUMNS];
	bool		asked = e->view != NULL && strcmp(e->view->refresh_mode, "full") == 0;
	const char *reason = elt_view_full_reason(e->shape);
	bool		full = asked || (reason != NULL && list_length(e->shape->parts) == 1);
	char	   *sql = elt_query_text(copyObject(e->query));
	EltPlan    *whole = plan(e, sql);
	const char *hint;
	int64		pending = e->view != NULL ? elt_view_pending(e->view) : -1;

	if (e->view == NULL)
		elt_plan_check_permissions(whole);
	if (asked && reason == NULL)
		reason = "refresh_mode";
	hint = reason != NULL ? elt_advice_for(reason) : NULL;
	if (e->view == NULL && track_advice(e) != NULL)
		hint = hint == NULL ? track_advice(e) : psprintf("%s\n%s", hint, track_advice(e));
	memset(nulls, true, sizeof(nulls));
	values[C_PART] = Int32GetDatum(0);
	nulls[C_PART] = false;
	values[C_WHAT] = text_datum(e->view != NULL ? psprintf("view %s", e->view->node.name) : "query", &nulls[C_WHAT]);
	values[C_STRATEGY] = text_datum(full ? "full" : "incremental", &nulls[C_STRATEGY]);
	values[C_REASON] = text_datum(reason, &nulls[C_REASON]);
	values[C_DETAIL] = text_datum(detail_of(e->shape, reason), &nulls[C_DETAIL]);
	values[C_HINT] = text_datum(hint, &nulls[C_HINT]);
	values[C_SQL] = text_datum(sql, &nulls[C_SQL]);
	values[C_COST] = Float8GetDatum(elt_plan_cost(whole));
	nulls[C_COST] = false;
	if (e->view != NULL && e->view->refreshed != 0)
	{
		values[C_LAST_MS] = Float8GetDatum(e->view->last_ms);
		values[C_FRESH] = TimestampTzGetDatum(e->view->as_of);
		nulls[C_LAST_MS] = nulls[C_FRESH] = false;
	}
	values[C_PENDING] = Int64GetDatum(pending);
	nulls[C_PENDING] = pending < 0;
	tuplestore_putvalues(e->result->setResult, e->result->setDesc, values, nulls);
}

/* storages: those of the view by part number; NULL: there are none */
static void
explain(Explain *e, Oid *storages)
{
	int			nparts = list_length(e->shape->parts);
	int			nsources = list_length(e->shape->sources);
	ListCell   *lc;

	e->places.shape = e->shape;
	e->places.storages = palloc0(sizeof(char *) * (nparts + 1));
	e->changes = palloc0(sizeof(double) * (nsources + 1));
	e->bags = palloc0(sizeof(EltBag) * (nparts + 3 * nsources + 1));
	for (int i = 1; i <= nparts; i++)
		e->places.storages[i] = storages != NULL ? elt_qualified_name(storages[i]) : psprintf("elt_part_%d", i);
	add_deltas(e);
	put_whole(e);
	foreach(lc, e->shape->parts)
		put_part(e, lfirst(lc));
}

static void
explain_view(Explain *e, EltView *view)
{
	EltSecContext context;
	Oid		   *storages;

	elt_become(&context, view->node.owner);
	elt_settings_pin(view->settings);
	e->view = view;
	e->query = elt_view_query(view);
	e->shape = elt_view_shape(view);
	e->then = view->as_of;
	/* storages that do not fit will be made anew by the next refresh */
	if (!elt_storage_fits(view, e->shape))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view \"%s\" has to be stored in another way than it is", view->node.name),
				 errdetail("What it reads was altered, or the extension."),
				 errhint("Call elt.refresh(%s) first.", quote_literal_cstr(view->node.name))));
	storages = elt_storage_list(view, e->shape);
	e->places.frozen = view->frozen_where;
	explain(e, storages);
	elt_restore(&context);
}

Datum
elt_sql_explain_view(PG_FUNCTION_ARGS)
{
	char	   *text = elt_arg_text(fcinfo, 0, "name_or_query");
	Explain		e = {0};
	List	   *names;

	InitMaterializedSRF(fcinfo, 0);
	e.result = (ReturnSetInfo *) fcinfo->resultinfo;
	if (SplitIdentifierString(pstrdup(text), '.', &names))
		explain_view(&e, elt_view_get(text));
	else
	{
		int			nest;

		e.query = elt_view_accept_query("explain_view", text);
		e.then = GetCurrentTransactionStartTimestamp();
		nest = NewGUCNestLevel();
		elt_pin_sql_settings();
		e.shape = elt_shape_make(e.query, false);
		explain(&e, NULL);
		AtEOXact_GUC(false, nest);
	}
	return (Datum) 0;
}
