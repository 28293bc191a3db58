/*
 * drop.c
 *	  elt.drop_view; and what DROP and ALTER commands of others do to views.
 *
 *	  sql_drop          one of a view's relations is gone (it was dropped itself, or with what it depends on): so goes all of the view
 *	  ddl_command_end   the relation that users read has another name, schema or owner: node, consumers, storages and definition follow it
 *
 * The event triggers fire also in sessions that have not loaded the library, and always. REASSIGN OWNED fires none: elt_view_get follows it.
 *
 * Locks: those of the command and of DROP; the node's, except where a view goes with what it reads: a refresh holds the node while it waits for that.
 * A crash undoes the command and what follows from it together.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_rewrite.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/args.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "catalog/capture.h"
#include "catalog/consumer.h"
#include "catalog/table.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_drop_view);
PG_FUNCTION_INFO_V1(elt_sql_view_dropped);
PG_FUNCTION_INFO_V1(elt_sql_view_altered);

/*
 * What reads a view
 */

static void
add_reader(List **readers, char *name)
{
	ListCell   *lc;

	foreach(lc, *readers)
		if (strcmp(lfirst(lc), name) == 0)
		return;
	*readers = lappend(*readers, name);
}

/* The view whose rule this is. */
static Oid
relation_of_rule(Oid rule)
{
	Relation	rel = table_open(RewriteRelationId, AccessShareLock);
	Oid			relid = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(rule));
	scan = systable_beginscan(rel, RewriteOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		relid = ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return relid;
}

/* Views that are defined by a relation, and whatever else needs it. */
static void
add_dependents(List **readers, EltView *view)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view->relid));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress address = {depend->classid, depend->objid, depend->objsubid};
		EltView    *reader;

		if (depend->deptype != DEPENDENCY_NORMAL)
			continue;
		if (depend->classid == RewriteRelationId)
		{
			ObjectAddressSet(address, RelationRelationId, relation_of_rule(depend->objid));
			if (address.objectId == view->relid)
				continue;
			reader = elt_view_by_relation(address.objectId);
			if (reader != NULL)
			{
				add_reader(readers, psprintf("view \"%s\"", reader->node.name));
				continue;
			}
		}
		add_reader(readers, getObjectDescription(&address, false));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Precomputed views, loads and streams that read the storages' changes. */
static void
add_consumers(List **readers, EltView *view)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, elt_view_parts(view->node.id))
	{
		EltCapture *capture = elt_capture_by_relation(((EltViewPart *) lfirst(lc))->storage);

		foreach(lc2, capture != NULL ? elt_consumer_list(capture->id) : NIL)
		{
			EltConsumer *consumer = lfirst(lc2);

			add_reader(readers, psprintf("%s \"%s\"", consumer->kind, consumer->name));
		}
	}
}

static void
check_readers(EltView *view)
{
	List	   *readers = NIL;
	StringInfoData names;
	ListCell   *lc;

	add_dependents(&readers, view);
	add_consumers(&readers, view);
	if (readers == NIL)
		return;
	initStringInfo(&names);
	foreach(lc, readers)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", (char *) lfirst(lc));
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop view \"%s\": it is read", view->node.name),
			 errdetail("It is read by %s.", names.data),
			 errhint("Drop what reads it first: precomputed views with elt.drop_view, loads with elt.drop_load, streams with elt.drop_stream.")));
}

/*
 * Removing
 */

/* The rows go first, so that our event trigger has nothing to do for the relations. */
void
elt_view_remove(EltView *view, bool cascade)
{
	List	   *parts = elt_view_parts(view->node.id);
	const char *how = cascade ? " CASCADE" : "";
	ListCell   *lc;

	elt_view_delete(view);
	if (get_rel_name(view->relid) != NULL)
		elt_sql_run_as_extension(psprintf("DROP VIEW %s%s", elt_qualified_name(view->relid), how));
	CommandCounterIncrement();
	foreach(lc, parts)
	{
		Oid			storage = ((EltViewPart *) lfirst(lc))->storage;

		if (get_rel_name(storage) != NULL)
			elt_sql_run_as_extension(psprintf("DROP TABLE %s%s", elt_qualified_name(storage), how));
		CommandCounterIncrement();
	}
	if (OidIsValid(view->definition) && get_rel_name(view->definition) != NULL)
		elt_sql_run_as_extension(psprintf("DROP VIEW %s%s", elt_qualified_name(view->definition), how));
	CommandCounterIncrement();
}

Datum
elt_sql_drop_view(PG_FUNCTION_ARGS)
{
	char	   *name = elt_arg_text(fcinfo, 0, "name");
	EltView    *view = elt_view_find(name);

	elt_check_may_write("elt.drop_view()");
	if (view == NULL)
		(void) elt_view_get(name);
	elt_view_follow_relation(view);
	elt_node_check_owner(&view->node);
	elt_node_lock(view->node.id);
	view = elt_view_by_id(view->node.id);
	if (view == NULL)
		PG_RETURN_VOID();
	check_readers(view);
	elt_view_remove(view, false);
	PG_RETURN_VOID();
}

/*
 * Drops by others
 */

/* A view that lost relations. */
typedef struct Loss
{
	EltView    *view;
	bool		by_dependency;	/* one of them went with something else */
	bool		own;			/* something beside the definition */
} Loss;

static List *
note_loss(List *losses, EltView *view, Oid relid, bool original)
{
	Loss	   *loss = NULL;
	ListCell   *lc;

	foreach(lc, losses)
		if (((Loss *) lfirst(lc))->view == view)
		loss = lfirst(lc);
	if (loss == NULL)
	{
		loss = palloc0(sizeof(Loss));
		loss->view = view;
		losses = lappend(losses, loss);
	}
	loss->by_dependency |= !original;
	loss->own |= relid != view->definition;
	return losses;
}

static bool
belongs_to(EltView *view, Oid relid)
{
	ListCell   *lc;

	if (relid == view->relid || relid == view->storage || relid == view->definition)
		return true;
	foreach(lc, elt_view_parts(view->node.id))
		if (((EltViewPart *) lfirst(lc))->storage == relid)
		return true;
	return false;
}

/* The views that a command took relations from. */
static List *
find_losses(List *views)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *losses = NIL;
	ListCell   *lc;

	SPI_connect();
	if (SPI_execute("SELECT objid, original FROM pg_catalog.pg_event_trigger_dropped_objects() "
					"WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND objsubid OPERATOR(pg_catalog.=) 0",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		bool		original = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		MemoryContext old = MemoryContextSwitchTo(caller);

		foreach(lc, views)
			if (belongs_to(lfirst(lc), relid))
			losses = note_loss(losses, lfirst(lc), relid, original);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return losses;
}

static bool
says_cascade(Node *command)
{
	return (IsA(command, DropStmt) && ((DropStmt *) command)->behavior == DROP_CASCADE) ||
		(IsA(command, DropOwnedStmt) && ((DropOwnedStmt *) command)->behavior == DROP_CASCADE);
}

static EventTriggerData *
event_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function can only be called by an event trigger"),
				 errhint("The extension's own event triggers call it.")));
	return (EventTriggerData *) fcinfo->context;
}

Datum
elt_sql_view_dropped(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_data(fcinfo);
	List	   *views = elt_installed() ? elt_view_all() : NIL;
	List	   *losses = views != NIL ? find_losses(views) : NIL;
	ListCell   *lc;

	foreach(lc, losses)
	{
		Loss	   *loss = lfirst(lc);

		if (loss->own)
			elt_node_lock(loss->view->node.id);
		/* another loss may have taken it along */
		if (elt_view_by_id(loss->view->node.id) == NULL)
			continue;
		if (get_rel_name(loss->view->relid) != NULL)
			ereport(NOTICE,
					(errmsg("drop cascades to precomputed view %s", loss->view->node.name)));
		elt_view_remove(loss->view, loss->by_dependency || says_cascade(data->parsetree));
	}
	/* and what drops left behind that no event trigger followed */
	foreach(lc, losses != NIL ? elt_view_all() : NIL)
		if (get_rel_name(((EltView *) lfirst(lc))->relid) == NULL)
		elt_view_remove(lfirst(lc), false);
	PG_RETURN_NULL();
}

/*
 * Names and owners
 */

static void
give_to(Oid relid, Oid owner, const char *kind)
{
	if (get_rel_name(relid) != NULL && elt_relation_owner(relid) != owner)
		elt_sql_run_as_extension(psprintf("ALTER %s %s OWNER TO %s", kind, elt_qualified_name(relid),
										  quote_identifier(GetUserNameFromId(owner, false))));
}

static void
rename_consumers(EltView *view)
{
	ListCell   *lc;

	foreach(lc, elt_view_sources(view->node.id))
	{
		EltConsumer *consumer = elt_consumer_by_id(((EltViewSource *) lfirst(lc))->consumer);

		if (consumer == NULL)
			continue;
		consumer->name = view->node.name;
		elt_consumer_update(consumer);
	}
}

void
elt_view_follow_relation(EltView *view)
{
	char	   *name;
	Oid			owner;
	EltNode    *other;
	ListCell   *lc;

	if (get_rel_name(view->relid) == NULL)
		return;
	name = elt_qualified_name(view->relid);
	owner = elt_relation_owner(view->relid);
	if (strcmp(name, view->node.name) == 0 && owner == view->node.owner)
		return;
	other = elt_node_by_name(name);
	if (other != NULL && other->id != view->node.id)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("a %s \"%s\" already exists", other->kind, name),
				 errdetail("Precomputed view \"%s\" cannot get this name: all nodes share one namespace.", view->node.name),
				 errhint("Choose another name.")));
	/* a refresh stores the offsets, whose rows have the name */
	elt_node_lock(view->node.id);
	view->node.name = name;
	view->node.owner = owner;
	elt_node_update(&view->node);
	rename_consumers(view);
	foreach(lc, elt_view_parts(view->node.id))
		give_to(((EltViewPart *) lfirst(lc))->storage, owner, "TABLE");
	if (!OidIsValid(view->definition))
		return;
	give_to(view->definition, owner, "VIEW");
	if (strcmp(get_rel_name(view->definition), elt_storage_definition_name(view)) != 0)
		elt_sql_run_as_extension(psprintf("ALTER VIEW %s RENAME TO %s", elt_qualified_name(view->definition),
										  quote_identifier(elt_storage_definition_name(view))));
}

/* The columns are the query's. */
static void
refuse_renamed_column(EltView *view, Node *command)
{
	RenameStmt *rename = (RenameStmt *) command;

	if (!IsA(command, RenameStmt) || rename->renameType != OBJECT_COLUMN || rename->relation == NULL ||
		RangeVarGetRelid(rename->relation, NoLock, true) != view->relid)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot rename a column of precomputed view \"%s\"", view->node.name),
			 errhint("Its columns are named by its query: drop the view and create it with another one, or create a view over it.")));
}

Datum
elt_sql_view_altered(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_data(fcinfo);
	ListCell   *lc;

	foreach(lc, elt_installed() ? elt_view_all() : NIL)
	{
		refuse_renamed_column(lfirst(lc), data->parsetree);
		elt_view_follow_relation(lfirst(lc));
	}
	PG_RETURN_NULL();
}
