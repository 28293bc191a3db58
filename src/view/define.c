/*
 * define.c
 *	  elt.create_view.
 *
 * Locks: Exclusive on the name, then the node; those of CREATE and DROP; of elt_track_for on tables that were not tracked. A crash undoes all of it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "catalog/pg_authid.h"

#include "base/args.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "catalog/table.h"
#include "view/aggregate.h"
#include "view/block.h"
#include "view/stack.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_create_view);

EltView *
elt_view_find(const char *name)
{
	Oid			relid;
	EltView    *view;

	/*
	 * nothing is locked that would have told of another session's DROP and
	 * CREATE
	 */
	AcceptInvalidationMessages();
	relid = RangeVarGetRelid(makeRangeVarFromNameList(elt_name_list(name)), NoLock, true);
	view = OidIsValid(relid) ? elt_view_by_relation(relid) : NULL;

	return view != NULL && view->relid == relid ? view : NULL;
}

static bool
is_other_relation(const char *name)
{
	return OidIsValid(RangeVarGetRelid(makeRangeVarFromNameList(elt_name_list(name)), NoLock, true));
}

EltView *
elt_view_get(const char *name)
{
	EltView    *view = elt_view_find(name);

	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("precomputed view \"%s\" does not exist", name),
				 is_other_relation(name) ? errdetail("There is another relation of this name.") : 0,
				 errhint("elt.views lists the views; elt.create_view makes one.")));
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(view->node.owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of view \"%s\" was dropped", name),
				 errhint("A superuser can drop the view; then create it anew.")));
	elt_view_follow_relation(view);
	elt_node_check_owner(&view->node);
	return view;
}

/* What the query reads, at any level. */
static bool
relations_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && get_rel_persistence(rte->relid) == RELPERSISTENCE_TEMP)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("query of view \"%s\" reads temporary relation \"%s\"", (char *) context, get_rel_name(rte->relid)),
					 errhint("Read permanent tables and views only.")));
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, relations_walker, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, relations_walker, context);
}

static void
check_columns(const char *name, Query *query)
{
	ListCell   *lc;

	elt_query_check_columns("view", name, query);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && strncmp(tle->resname, "_elt_", 5) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("query of view \"%s\" has an output column \"%s\"", name, tle->resname),
					 errdetail("Names that begin with \"_elt_\" are reserved."),
					 errhint("Name the column otherwise.")));
		if (!tle->resjunk && SystemAttributeByName(tle->resname) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("query of view \"%s\" has an output column \"%s\"", name, tle->resname),
					 errdetail("It is the name of a system column."),
					 errhint("Name the column otherwise.")));
	}
	if (list_length(query->targetList) > MaxHeapAttributeNumber / 3)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("query of view \"%s\" has more than %d columns", name, MaxHeapAttributeNumber / 3),
				 errhint("Split it into several views.")));
}

Query *
elt_view_accept_query(const char *name, const char *text)
{
	Query	   *query = elt_query_parse("view", name, text, false);

	check_columns(name, query);
	(void) relations_walker((Node *) query, unconstify(char *, name));
	return query;
}

/* The name in full; an error where it cannot be had. */
static char *
qualified_new_name(const char *name)
{
	RangeVar   *range = makeRangeVarFromNameList(elt_name_list(name));
	Oid			schema = RangeVarGetCreationNamespace(range);
	Oid			existing = get_relname_relid(range->relname, schema);

	if (isAnyTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot create temporary precomputed view \"%s\"", name),
				 errhint("Create it in a permanent schema.")));
	if (OidIsValid(existing) && elt_view_by_relation(existing) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", name),
				 errhint("Choose another name for the view, or drop or rename the relation.")));
	return quote_qualified_identifier(get_namespace_name(schema), range->relname);
}

const char *
elt_view_full_reason(EltShape *shape)
{
	ListCell   *lc;

	if (shape->reason != NULL)
		return shape->reason;
	foreach(lc, shape->parts)
		if (((EltPart *) lfirst(lc))->method == ELT_FULL && ((EltPart *) lfirst(lc))->reason != NULL)
		return ((EltPart *) lfirst(lc))->reason;
	return NULL;
}

static void
check_incremental(EltView *view, EltShape *shape)
{
	const char *reason = elt_view_full_reason(shape);

	if (strcmp(view->refresh_mode, "incremental") != 0 || reason == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("view \"%s\" cannot be refreshed incrementally: %s", view->node.name, reason),
			 shape->detail != NULL ? errdetail("It is because of %s.", shape->detail) : 0,
			 errhint("Use refresh_mode => 'auto', or change the query; elt.explain_view tells what each part of it does.")));
}

static bool
reads_whole_row(Node *condition)
{
	ListCell   *lc;

	foreach(lc, pull_var_clause(condition, 0))
		if (lfirst_node(Var, lc)->varattno == 0)
		return true;
	return false;
}

/*
 * The condition for rows that are final, read over the view's columns by the caller, as text for anybody.
 */
static char *
canonical_frozen(EltView *view, const char *text)
{
	char	   *sql = psprintf("SELECT 1 AS one FROM %s AS v WHERE (%s)", view->node.name, text);
	Query	   *query = elt_query_parse("view", view->node.name, sql, false);
	Node	   *condition = query->jointree->quals;

	if (list_length(query->rtable) != 1 || list_length(query->targetList) != 1 || condition == NULL || query->hasSubLinks || query->hasAggs ||
		elt_is_heavy(query) || contain_volatile_functions(condition) || reads_whole_row(condition))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("frozen_where of view \"%s\" is not a condition on a row", view->node.name),
				 errdetail("It has subqueries, aggregates, volatile functions or the whole row, or is none at all."),
				 errhint("Write a condition on the view's columns, such as day < current_date - 30.")));
	elt_pin_sql_settings();
	return deparse_expression(condition, deparse_context_for("v", view->relid), false, false);
}

/* Keys are told apart by their bytes: the first one of which equal values can differ, or NULL. */
static EltColumn *
inexact_key(EltPart *part)
{
	for (int i = 0; i < part->nkeys; i++)
	{
		EltColumn  *column = &part->columns[part->key_columns[i]];

		if (!elt_is_exact_type(column->type, column->typmod, column->collation) && !(column->type == NUMERICOID && column->typmod >= 0))
			return column;
	}
	return NULL;
}

static void
check_frozen(EltView *view, EltShape *shape)
{
	EltPart    *part = llast(shape->parts);
	EltColumn  *inexact;

	if (view->frozen_where == NULL)
		return;
	if (part->unique && part->nkeys > 0 && part->kind != ELT_PART_TOP)
	{
		inexact = inexact_key(part);
		if (inexact == NULL)
			return;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("view \"%s\" cannot have frozen rows: \"%s\" tells its rows apart", view->node.name, inexact->name),
				 errdetail("Values of type %s can be equal and differ.", format_type_with_typemod(inexact->type, inexact->typmod)),
				 errhint("Cast it to a type whose equal values are the same, for example numeric(20, 2) or text.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("view \"%s\" cannot have frozen rows: nothing tells its rows apart", view->node.name),
			 errdetail("A frozen row keeps the place of those that would have the same key."),
			 errhint("Give the query the primary keys of its tables as columns, or GROUP BY.")));
}

void
elt_view_check_shape(EltView *view, EltShape *shape)
{
	check_incremental(view, shape);
	check_frozen(view, shape);
}

void
elt_view_set_frozen(EltView *view, const char *text)
{
	EltSecContext context;
	int			nest = NewGUCNestLevel();

	view->frozen_where = text !=NULL ? canonical_frozen(view, text) : NULL;

	AtEOXact_GUC(false, nest);
	if (text == NULL)
		return;
	elt_become(&context, view->node.owner);
	check_frozen(view, elt_view_shape(view));
	elt_restore(&context);
}

/* wanted: what the caller gave; its frozen_where is not canonical */
static bool
existing_view(const char *name, EltView *wanted, const char *if_exists)
{
	EltView    *view = elt_view_find(name);

	if (view == NULL)
		return false;
	if (strcmp(if_exists, "skip") == 0)
	{
		ereport(NOTICE,
				(errmsg("view \"%s\" already exists, skipping", name)));
		return true;
	}
	if (strcmp(if_exists, "alter") == 0)
	{
		EltViewChange change = {wanted->query, wanted->settings, wanted->refresh_mode, wanted->on_schema_change,
		true, wanted->target_lag, true, wanted->frozen_where};

		elt_view_alter(elt_view_get(name), &change);
		return true;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("view \"%s\" already exists", name),
			 errhint("Choose another name, drop it with elt.drop_view, or pass if_exists => 'skip' or 'alter'.")));
	return false;
}

/* The name is free, or had by something that has lost or changed it where no event trigger saw that. */
static void
free_name(const char *name)
{
	EltView    *other = elt_view_by_name(name);

	if (other == NULL)
		return;
	elt_view_follow_relation(other);
	if (get_rel_name(other->relid) == NULL)
		elt_view_remove(other, false);
}

Datum
elt_sql_create_view(PG_FUNCTION_ARGS)
{
	EltView    *view = palloc0(sizeof(EltView));
	char	   *name = elt_arg_text(fcinfo, 0, "name");
	char	   *text = elt_arg_text(fcinfo, 1, "query");
	bool		with_data = elt_arg_bool(fcinfo, 4, "with_data");
	char	   *if_exists;
	Query	   *query;
	EltShape   *shape;
	EltSecContext context;

	elt_check_may_write("elt.create_view()");
	view->target_lag = elt_view_lag_text(fcinfo, 2);
	if (view->target_lag != NULL && view->target_lag[0] == '-')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("target lag %s of view \"%s\" is negative", view->target_lag, name),
				 errhint("Give the longest time that the view may be behind, or NULL.")));
	view->refresh_mode = elt_arg_choice(fcinfo, 3, "refresh_mode", "auto", "incremental", "full", NULL);
	view->on_schema_change = elt_arg_choice(fcinfo, 5, "on_schema_change", "refuse", "suspend", NULL);
	view->frozen_where = elt_arg_text_or_null(fcinfo, 6);
	if_exists = elt_arg_choice(fcinfo, 7, "if_exists", "error", "skip", "alter", NULL);
	view->node.name = qualified_new_name(name);
	view->node.kind = "view";
	view->node.owner = GetUserId();
	elt_node_lock_name(view->node.name);

	query = elt_view_accept_query(view->node.name, text);
	view->query = elt_query_canonical("view", view->node.name, query);
	view->settings = elt_settings_note();
	if (existing_view(name, view, if_exists))
		PG_RETURN_OID(elt_view_find(name)->relid);
	free_name(view->node.name);

	elt_become(&context, view->node.owner);
	elt_node_insert(&view->node);
	if (strcmp(view->on_schema_change, "refuse") == 0)
		view->definition = elt_storage_create_definition(view, view->query);
	shape = elt_view_shape(view);
	check_incremental(view, shape);
	elt_storage_create(view, shape);
	view->relid = elt_storage_show(view, shape, view->node.name);
	/* read by the caller, with his search_path */
	elt_restore(&context);
	elt_view_set_frozen(view, view->frozen_where);
	elt_become(&context, view->node.owner);
	elt_view_insert(view);
	elt_view_sync_sources(view, shape);
	elt_restore(&context);
	if (with_data)
		(void) elt_view_refresh(view, "initial");
	PG_RETURN_OID(view->relid);
}

/* The columns that both storages have, and a last one that shows the row, for rows that are no longer the query's. */
static void
carry_frozen(EltView *view, EltPart *part, Oid from)
{
	StringInfoData columns;
	bool		shown = part->shown < 0;

	initStringInfo(&columns);
	for (int i = 0; i < part->ncolumns; i++)
	{
		AttrNumber	attno = get_attnum(from, part->columns[i].name);

		if (attno == InvalidAttrNumber || get_atttype(from, attno) != part->columns[i].type)
			continue;
		appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "", quote_identifier(part->columns[i].name));
		shown |= i == part->shown;
	}
	elt_sql_run(psprintf("INSERT INTO %s (%s%s) SELECT %s%s FROM %s WHERE COALESCE((%s), false)",
						 elt_qualified_name(view->storage), columns.data, shown ? "" : ", _elt_shown",
						 columns.data, shown ? "" : ", true", elt_qualified_name(from), view->frozen_where));
}

void
elt_view_rebuild_if_needed(EltView *view, EltShape *shape)
{
	List	   *old = elt_view_parts(view->node.id);
	Oid			from = view->storage;
	ListCell   *lc;

	if (elt_storage_fits(view, shape))
		return;
	elt_view_part_delete_all(view->node.id);
	elt_storage_create(view, shape);
	if (get_rel_name(from) != NULL)
	{
		elt_view_index_copy(from, view->storage);
		if (view->frozen_where != NULL)
			carry_frozen(view, llast(shape->parts), from);
	}
	(void) elt_storage_show(view, shape, elt_qualified_name(view->relid));
	view->populated = false;
	/* before the drops: what has no row any more is not taken for the view's */
	elt_view_update(view);
	foreach(lc, old)
		if (get_rel_name(((EltViewPart *) lfirst(lc))->storage) != NULL)
		elt_sql_run_as_extension(psprintf("DROP TABLE %s", elt_qualified_name(((EltViewPart *) lfirst(lc))->storage)));
	CommandCounterIncrement();
}
