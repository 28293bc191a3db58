/*
 * status.c
 *	  What elt.views shows of a view beside its row: changes not followed yet, bytes, and why refreshes fail.
 *
 * A refresh that fails cannot store why, so that is found out when somebody looks: the text of a suspended view is analysed in a subtransaction, which is
 * rolled back, locks and all. No statement of it is run.
 *
 * Locks: AccessShareLock on sources and storages. Nothing is written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/track.h"
#include "catalog/table.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_view_status);

/* Does an error tell that a query no longer fits what it reads? */
static bool
is_misfit(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION || category == ERRCODE_INVALID_SCHEMA_NAME ||
		category == ERRCODE_DATA_EXCEPTION || category == ERRCODE_FEATURE_NOT_SUPPORTED;
}

/* The difference between the query's output and the relation that users read; NULL: there is none. */
static char *
column_difference(EltView *view, Query *query)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		char	   *name;
		Oid			type;
		int32		typmod;
		Oid			collation;

		if (tle->resjunk)
			continue;
		name = get_attname(view->relid, ++n, true);
		if (name == NULL)
			return psprintf("column \"%s\" is new", tle->resname);
		get_atttypetypmodcoll(view->relid, n, &type, &typmod, &collation);
		if (type != exprType((Node *) tle->expr) || typmod != exprTypmod((Node *) tle->expr))
			return psprintf("column \"%s\" was %s and is now %s", name, format_type_with_typemod(type, typmod),
							format_type_with_typemod(exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr)));
	}
	if (get_attname(view->relid, n + 1, true) != NULL)
		return psprintf("column \"%s\" is missing", get_attname(view->relid, n + 1, false));
	return NULL;
}

static void
refuse_suspended(EltView *view, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("view \"%s\" is suspended: its query no longer fits what it reads", view->node.name),
			 errdetail_internal("%s", why),
			 errhint("Undo the change, or give the view a query that fits: elt.alter_view(%s, query => ...).",
					 quote_literal_cstr(view->node.name))));
}

Query *
elt_view_query_of_text(EltView *view)
{
	MemoryContext context = CurrentMemoryContext;
	Query	   *volatile query = NULL;
	char	   *volatile why = NULL;

	PG_TRY();
	{
		query = elt_query_parse("view", view->node.name, view->query, true);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!is_misfit(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		why = error->message;
	}
	PG_END_TRY();
	/* always another error: nothing of the first one's transaction goes on */
	if (why != NULL)
		refuse_suspended(view, why);

	/*
	 * a view that is being made or altered has no relation, or is to get
	 * another one
	 */
	why = OidIsValid(view->relid) ? column_difference(view, query) : NULL;
	if (why != NULL)
		refuse_suspended(view, why);
	return query;
}

/* Why the text of a view cannot be refreshed; NULL: it can. */
static char *
problem_of_text(EltView *view)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile problem = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		EltSecContext as_owner;

		elt_become(&as_owner, view->node.owner);
		(void) elt_view_query_of_text(view);
		elt_restore(&as_owner);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (error->sqlerrcode != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
		{
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
			ReThrowError(error);
		}
		problem = psprintf("suspended: %s", error->detail);
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return problem;
}

/* Why changes of a source cannot be followed, and the next refresh cannot mend that as the owner; NULL: nothing. */
static char *
problem_of_source(Oid relid)
{
	EltCapture *capture = elt_capture_by_relation(relid);

	/* a text may name another table by now, which the next refresh tracks */
	if (get_rel_name(relid) == NULL)
		return NULL;
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		return psprintf("its owner may not read %s", elt_qualified_name(relid));
	if ((capture == NULL || !elt_install_is(&capture->install)) && !elt_owns_relation(relid))
		return psprintf("%s is not tracked", elt_qualified_name(relid));
	return NULL;
}

char *
elt_view_problem(EltView *view)
{
	EltSecContext context;
	char	   *problem = NULL;
	ListCell   *lc;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(view->node.owner)))
		return pstrdup("its owner was dropped");
	if (!OidIsValid(view->definition))
		problem = problem_of_text(view);
	elt_become(&context, view->node.owner);
	foreach(lc, elt_view_sources(view->node.id))
		if (problem == NULL)
		problem = problem_of_source(((EltViewSource *) lfirst(lc))->relid);
	elt_restore(&context);
	return problem;
}

int64
elt_view_source_pending(int32 consumer_id)
{
	EltConsumer *consumer = elt_consumer_by_id(consumer_id);
	EltCapture *capture = consumer != NULL && consumer->offset != NULL ? elt_capture_by_id(consumer->capture) : NULL;

	if (capture == NULL || !elt_install_is(&consumer->install) || !elt_track_lock_source(capture))
		return -1;
	return elt_consumer_pending(consumer, capture);
}

int64
elt_view_pending(EltView *view)
{
	int64		pending = 0;
	ListCell   *lc;

	foreach(lc, elt_view_sources(view->node.id))
	{
		int64		n = elt_view_source_pending(((EltViewSource *) lfirst(lc))->consumer);

		if (n < 0)
			return -1;
		pending += n;
	}
	return view->populated ? pending : -1;
}

static int64
bytes_of(EltView *view)
{
	int64		bytes = 0;
	ListCell   *lc;

	foreach(lc, elt_view_parts(view->node.id))
	{
		Oid			storage = ((EltViewPart *) lfirst(lc))->storage;

		if (get_rel_name(storage) != NULL)
			bytes += DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(storage)));
	}
	return bytes;
}

/* elt.view_status(node) -> pending_rows, bytes, problem; NULL where the caller may not act for the view's owner */
Datum
elt_sql_view_status(PG_FUNCTION_ARGS)
{
	EltView    *view = elt_view_by_id(PG_GETARG_INT32(0));
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};
	int64		pending;
	char	   *problem;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (view == NULL || !(superuser() || has_privs_of_role(GetUserId(), view->node.owner)))
		PG_RETURN_NULL();
	pending = elt_view_pending(view);
	problem = elt_view_problem(view);
	values[0] = Int64GetDatum(pending);
	nulls[0] = pending < 0;
	values[1] = Int64GetDatum(bytes_of(view));
	values[2] = problem != NULL ? CStringGetTextDatum(problem) : (Datum) 0;
	nulls[2] = problem == NULL;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
