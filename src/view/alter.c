/*
 * alter.c
 *	  elt.alter_view, and what elt.create_view does with if_exists => 'alter'.
 *
 *	  what changes -> the row; the definition made anew where the query or on_schema_change is another one
 *	               -> shape: the columns that users read stay, others may follow -> storages made anew only where they do not fit
 *	               -> sources -> filled again, if it was
 *
 * The relation that users read keeps its OID, grants and comments. Frozen rows and users' indexes move to new storages.
 *
 * Locks: the node's; AccessExclusive on storages and definitions that are replaced; those of a refresh. A crash undoes all of it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_alter_view);

char *
elt_view_lag_text(FunctionCallInfo fcinfo, int n)
{
	int			nest = NewGUCNestLevel();
	char	   *text = NULL;

	elt_pin_setting("IntervalStyle", "postgres");
	if (!PG_ARGISNULL(n))
		text = DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)));

	AtEOXact_GUC(false, nest);
	return text;
}

/* What users read keeps its columns; more may follow. */
static void
check_output(EltView *view, EltShape *shape)
{
	EltPart    *part = llast(shape->parts);
	char	   *name;
	char	   *why = NULL;

	for (int i = 1; why == NULL && (name = get_attname(view->relid, i, true)) != NULL; i++)
	{
		EltColumn  *column = &part->columns[i - 1];
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(view->relid, i, &type, &typmod, &collation);
		if (i > part->noutput)
			why = psprintf("Column \"%s\" is missing.", name);
		else if (strcmp(name, column->name) != 0)
			why = psprintf("Column %d is \"%s\", and would be \"%s\".", i, name, column->name);
		else if (type != column->type || typmod != column->typmod)
			why = psprintf("Column \"%s\" is of type %s, and would be %s.", name, format_type_with_typemod(type, typmod),
						   format_type_with_typemod(column->type, column->typmod));
		else if (collation != column->collation)
			why = psprintf("Column \"%s\" would have another collation.", name);
	}
	if (why != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("query does not give the columns of view \"%s\"", view->node.name),
				 errdetail_internal("%s", why),
				 errhint("Columns can be added at the end only. For others, drop the view with elt.drop_view and create it anew.")));
}

/* The query as it reads now, renames included. Where PostgreSQL (up to 15) lists OLD and NEW in a view's query, names would be written otherwise than a user's are. */
static char *
present_query(EltView *view)
{
	Query	   *query;

	if (!OidIsValid(view->definition))
		return view->query;
	query = elt_view_query(view);
	while (query->rtable != NIL && linitial_node(RangeTblEntry, query->rtable)->relid == view->definition)
	{
		query->rtable = list_delete_first(query->rtable);
		OffsetVarNodes((Node *) query, -1, 0);
	}
	return elt_query_canonical("view", view->node.name, query);
}

/* Keep the query as on_schema_change says. */
static void
define_anew(EltView *view)
{
	Oid			old = view->definition;

	view->definition = InvalidOid;
	/* before the drop: what has no row any more is not taken for the view's */
	elt_view_update(view);
	if (OidIsValid(old))
		elt_sql_run_as_extension(psprintf("DROP VIEW %s", elt_qualified_name(old)));
	CommandCounterIncrement();
	if (strcmp(view->on_schema_change, "refuse") == 0)
		view->definition = elt_storage_create_definition(view, view->query);
}

/* Make storages and sources fit the query. */
static void
reshape(EltView *view)
{
	EltView		probe = *view;
	EltShape   *shape;

	/* what the text must fit is being altered */
	probe.relid = InvalidOid;
	shape = elt_view_shape(&probe);
	check_output(view, shape);
	elt_view_check_shape(view, shape);
	if (elt_storage_fits(view, shape))
		elt_view_update(view);
	else
		elt_view_rebuild_if_needed(view, shape);
	elt_view_sync_sources(view, shape);
	elt_view_update(view);
}

static bool
differs(const char *asked, const char *present)
{
	return asked != NULL && (present == NULL || strcmp(asked, present) != 0);
}

void
elt_view_alter(EltView *view, EltViewChange *change)
{
	EltSecContext context;
	bool		was_populated;
	bool		new_query;
	bool		new_mode;
	bool		new_keeping;
	bool		thawed = false;

	elt_node_lock(view->node.id);
	view = elt_view_by_id(view->node.id);
	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the view was dropped meanwhile"),
				 errhint("elt.views lists the views that are left.")));
	was_populated = view->populated;
	elt_become(&context, view->node.owner);
	new_query = change->query != NULL && differs(change->query, present_query(view));
	new_mode = differs(change->refresh_mode, view->refresh_mode);
	new_keeping = differs(change->on_schema_change, view->on_schema_change);
	if (new_query)
	{
		view->query = change->query;
		view->settings = change->settings;
	}
	else if (new_keeping)
	{
		(void) elt_view_query(view);	/* an error where it is suspended */
		view->query = present_query(view);
	}
	if (new_mode)
		view->refresh_mode = change->refresh_mode;
	if (new_keeping)
		view->on_schema_change = change->on_schema_change;
	if (change->set_target_lag)
		view->target_lag = change->target_lag;
	elt_settings_pin(view->settings);
	if (new_query || new_keeping)
		define_anew(view);
	if (new_query || new_keeping || new_mode)
		reshape(view);
	elt_view_update(view);
	elt_restore(&context);
	if (change->set_frozen_where)
	{
		char	   *frozen = view->frozen_where;

		elt_view_set_frozen(view, change->frozen_where);
		elt_view_update(view);
		/* what was final may differ from what the query gives */
		thawed = frozen != NULL && differs(frozen, view->frozen_where);
	}
	if (was_populated && (new_query || thawed || !view->populated))
		(void) elt_view_refresh(view, "altered");
}

/* A negative target_lag or an empty frozen_where take away what there is. */
Datum
elt_sql_alter_view(PG_FUNCTION_ARGS)
{
	EltView    *view = elt_view_get(elt_arg_text(fcinfo, 0, "name"));
	char	   *text = elt_arg_text_or_null(fcinfo, 1);
	EltViewChange change = {0};

	elt_check_may_write("elt.alter_view()");
	change.set_target_lag = !PG_ARGISNULL(2);
	if (change.set_target_lag)
	{
		Interval	zero = {0};

		if (DatumGetBool(DirectFunctionCall2(interval_ge, PG_GETARG_DATUM(2), IntervalPGetDatum(&zero))))
			change.target_lag = elt_view_lag_text(fcinfo, 2);
	}
	if (!PG_ARGISNULL(3))
		change.refresh_mode = elt_arg_choice(fcinfo, 3, "refresh_mode", "auto", "incremental", "full", NULL);
	if (!PG_ARGISNULL(4))
		change.on_schema_change = elt_arg_choice(fcinfo, 4, "on_schema_change", "refuse", "suspend", NULL);
	change.frozen_where = elt_arg_text_or_null(fcinfo, 5);
	change.set_frozen_where = change.frozen_where != NULL;
	if (change.set_frozen_where && change.frozen_where[0] == '\0')
		change.frozen_where = NULL;
	if (text !=NULL)
	{
		change.query = elt_query_canonical("view", view->node.name, elt_view_accept_query(view->node.name, text));
		change.settings = elt_settings_note();
	}
	elt_view_alter(view, &change);
	PG_RETURN_VOID();
}
