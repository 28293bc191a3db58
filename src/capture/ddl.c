/*
 * ddl.c
 *	  Event triggers: DDL on tracked tables.
 *
 *	  ddl_command_end   new and attached partitions get their triggers; a disabled trigger, ATTACH, DETACH and some changes of columns leave a
 *						mark; a tracked table cannot become part of another tree
 *	  table_rewrite     a rewrite leaves a mark: the log before it has the old layout
 *	  sql_drop          the log of a dropped table goes; a dropped partition leaves a mark
 *
 * They fire also in sessions that have not loaded the library, and always (session_replication_role does not matter). What they miss all the same is noticed
 * by each batch's own check (tree.c).
 *
 * Locks: what the command holds already, and ShareRowExclusive on new partitions. A crash undoes the command and its marks together.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/sql.h"
#include "capture/mark.h"
#include "capture/target.h"
#include "capture/track.h"
#include "capture/tree.h"
#include "catalog/capture.h"
#include "catalog/stream.h"
#include "catalog/table.h"

PG_FUNCTION_INFO_V1(elt_sql_ddl_command_end);
PG_FUNCTION_INFO_V1(elt_sql_table_rewrite);
PG_FUNCTION_INFO_V1(elt_sql_drop);

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

/* OIDs in the first column of a query's result. */
static List *
query_oids(const char *sql)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *result = NIL;

	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed: %s", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(caller);

		if (!isnull)
			result = lappend_oid(result, DatumGetObjectId(value));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

static bool
is_tracked(Oid relid)
{
	EltCapture *capture = elt_capture_by_relation(relid);

	return capture != NULL && elt_install_is(&capture->install);
}

/* What a relation inherits from, or is a partition of. */
static List *
parents_of(Oid relid)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	List	   *parents = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_oid(&key, Anum_pg_inherits_inhrelid, relid);
	scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parents = lappend_oid(parents, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return parents;
}

static void
refuse_inheritance(Oid relid, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is tracked and cannot become %s", get_rel_name(relid), what),
			 errdetail("Statements that name only one of the two tables would change rows of both, and be logged for one."),
			 errhint("%s", hint)));
}

/* Raise an error where the command has put a tracked table into somebody else's tree, or under it. */
static void
check_inheritance(Oid relid)
{
	const char *hint = "Call elt.untrack on the table first.";
	ListCell   *lc;

	foreach(lc, parents_of(relid))
	{
		if (is_tracked(relid))
			refuse_inheritance(relid, "a partition or an inheritance child", hint);
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION && is_tracked(lfirst_oid(lc)))
			refuse_inheritance(lfirst_oid(lc), "an inheritance parent", hint);
	}
	foreach(lc, find_inheritance_children(relid, NoLock))
	{
		if (is_tracked(lfirst_oid(lc)))
			refuse_inheritance(lfirst_oid(lc), "a partition or an inheritance child", hint);
	}
}

/* Was nothing ever put into this partition, which the command has locked? */
static bool
is_empty(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	bool		empty = !RELKIND_HAS_STORAGE(rel->rd_rel->relkind) || RelationGetNumberOfBlocks(rel) == 0;

	table_close(rel, NoLock);
	return empty;
}

/* Bring a capture in line with its tree after a command; created: new partitions are empty. */
static void
follow_tree(EltCapture *capture, bool created)
{
	List	   *members = elt_tree_members(capture->relid, AccessShareLock);
	List	   *noted = elt_member_list(capture->id);
	Relation	root;
	ListCell   *lc;

	foreach(lc, members)
	{
		if (list_member_oid(noted, lfirst_oid(lc)))
		{
			elt_tree_follow_layout(lfirst_oid(lc));
			if (!elt_tree_has_triggers(lfirst_oid(lc)))
				elt_mark_relation(capture->relid, ELT_MARK_DISABLED);
			continue;
		}
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
			continue;			/* the next batch tells */
		elt_tree_add_triggers(lfirst_oid(lc));
		elt_member_insert(capture->id, lfirst_oid(lc));
		if (!created && !is_empty(lfirst_oid(lc)))
			elt_mark_relation(capture->relid, ELT_MARK_ATTACHED);
	}
	foreach(lc, list_difference_oid(noted, members))
	{
		elt_member_delete(capture->id, lfirst_oid(lc));
		elt_mark_relation(capture->relid, ELT_MARK_REMOVED);
		if (get_rel_name(lfirst_oid(lc)) != NULL)
			elt_tree_drop_triggers(lfirst_oid(lc));
	}
	root = table_open(capture->relid, NoLock);
	elt_tree_note_columns(capture, root, true);
	table_close(root, NoLock);
}

Datum
elt_sql_ddl_command_end(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_data(fcinfo);
	List	   *done = NIL;
	ListCell   *lc;

	if (elt_tree_own_ddl() || !elt_installed() || !elt_capture_any())
		PG_RETURN_NULL();
	foreach(lc, query_oids("SELECT DISTINCT objid FROM pg_catalog.pg_event_trigger_ddl_commands() "
						   "WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"))
	{
		int32		capture;
		Oid			root;

		if (get_rel_name(lfirst_oid(lc)) == NULL)
			continue;
		check_inheritance(lfirst_oid(lc));
		root = elt_target_root(lfirst_oid(lc), &capture);
		if (!OidIsValid(root) || list_member_oid(done, root))
			continue;
		done = lappend_oid(done, root);
		follow_tree(elt_capture_by_id(capture),
					IsA(data->parsetree, CreateStmt));
	}
	PG_RETURN_NULL();
}

Datum
elt_sql_table_rewrite(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	(void) event_data(fcinfo);
	if (!elt_installed())
		PG_RETURN_NULL();
	foreach(lc, query_oids("SELECT pg_catalog.pg_event_trigger_table_rewrite_oid()"))
		elt_mark_relation(lfirst_oid(lc), ELT_MARK_REWRITE);
	PG_RETURN_NULL();
}

/* Remove what belongs to a relation that is gone: a stream's view, a tracked table or part of one. True where it was one of the first two. */
static bool
forget_relation(Oid relid)
{
	bool		found;
	EltStream  *stream = elt_stream_by_relation(relid);
	EltCapture *capture = elt_capture_by_relation(relid);
	ListCell   *lc;

	found = stream != NULL || capture != NULL;
	if (stream != NULL)
		elt_stream_delete(stream->consumer);
	if (capture != NULL)
		elt_track_forget(capture->id);
	foreach(lc, elt_member_captures(relid))
	{
		elt_member_delete(lfirst_int(lc), relid);
		capture = elt_capture_by_id(lfirst_int(lc));
		if (capture != NULL)
			elt_mark_relation(capture->relid, ELT_MARK_REMOVED);
	}
	return found;
}

/* Remove what drops left behind that no event trigger followed. */
static void
forget_others(void)
{
	ListCell   *lc;

	foreach(lc, elt_stream_all())
	{
		EltStream  *stream = lfirst(lc);

		if (get_rel_name(stream->relid) == NULL)
			elt_stream_delete(stream->consumer);
	}
	foreach(lc, elt_capture_all())
	{
		EltCapture *capture = lfirst(lc);

		if (get_rel_name(capture->relid) == NULL)
			elt_track_forget(capture->id);
	}
}

Datum
elt_sql_drop(PG_FUNCTION_ARGS)
{
	bool		found = false;
	ListCell   *lc;

	(void) event_data(fcinfo);
	if (elt_tree_own_ddl() || !elt_installed())
		PG_RETURN_NULL();
	foreach(lc, query_oids("SELECT DISTINCT objid FROM pg_catalog.pg_event_trigger_dropped_objects() "
						   "WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
						   "AND objsubid OPERATOR(pg_catalog.=) 0"))
		found |= forget_relation(lfirst_oid(lc));
	if (found)
		forget_others();
	PG_RETURN_NULL();
}
