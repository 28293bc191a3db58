/*
 * ddl.c
 *	  Event triggers: DDL on tracked tables.
 *
 *	  ddl_command_end   new and attached partitions get their triggers; a disabled trigger, ATTACH and DETACH leave a mark
 *	  table_rewrite     a rewrite leaves a mark: the log before it has the old layout
 *	  sql_drop          the log of a dropped table goes; a dropped partition leaves a mark
 *
 * They fire also in sessions that have not loaded the library, and always (session_replication_role does not matter). What they miss all the same is noticed
 * by each batch's own check (tree.c).
 *
 * Locks: what the command holds already, and ShareRowExclusive on new partitions. A crash undoes the command and its marks together.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/sql.h"
#include "capture/mark.h"
#include "capture/segment.h"
#include "capture/target.h"
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
				 errmsg("this function can only be called by an event trigger")));
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
			result = list_append_unique_oid(result, DatumGetObjectId(value));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
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
			if (!elt_tree_has_triggers(lfirst_oid(lc)))
				elt_mark_relation(capture->relid, "a trigger of change tracking was disabled or dropped");
			continue;
		}
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
			continue;			/* the next batch tells */
		elt_tree_add_triggers(lfirst_oid(lc));
		elt_member_insert(capture->id, lfirst_oid(lc));
		if (!created)
			elt_mark_relation(capture->relid, "a partition was attached");
	}
	foreach(lc, list_difference_oid(noted, members))
	{
		elt_member_delete(capture->id, lfirst_oid(lc));
		elt_mark_relation(capture->relid, "a partition was removed");
		if (get_rel_name(lfirst_oid(lc)) != NULL)
			elt_tree_drop_triggers(lfirst_oid(lc));
	}
	root = table_open(capture->relid, NoLock);
	elt_capture_set_columns(capture->id, elt_tree_columns(root));
	table_close(root, NoLock);
}

Datum
elt_sql_ddl_command_end(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_data(fcinfo);
	List	   *done = NIL;
	ListCell   *lc;

	if (elt_tree_own_ddl() || !elt_installed() || elt_capture_all() == NIL)
		PG_RETURN_NULL();
	foreach(lc, query_oids("SELECT objid FROM pg_catalog.pg_event_trigger_ddl_commands() "
						   "WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"))
	{
		int32		capture;
		Oid			root = get_rel_name(lfirst_oid(lc)) == NULL ? InvalidOid :
			elt_target_root(lfirst_oid(lc), &capture);

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
		elt_mark_relation(lfirst_oid(lc), "the table was rewritten");
	PG_RETURN_NULL();
}

/* Remove what belongs to a tracked table that is gone. */
static void
forget(EltCapture *capture)
{
	elt_segment_drop_all(capture->id);
	elt_member_delete_all(capture->id);
	elt_mark_delete_all(capture->id);
	elt_capture_delete(capture->id);
}

Datum
elt_sql_drop(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	(void) event_data(fcinfo);
	if (elt_tree_own_ddl() || !elt_installed())
		PG_RETURN_NULL();
	foreach(lc, elt_stream_all())
	{
		EltStream  *stream = lfirst(lc);

		if (get_rel_name(stream->relid) == NULL)
			elt_stream_delete(stream->consumer);
	}
	foreach(lc, elt_capture_all())
	{
		EltCapture *capture = lfirst(lc);
		ListCell   *lc2;

		if (get_rel_name(capture->relid) == NULL)
		{
			forget(capture);
			continue;
		}
		foreach(lc2, elt_member_list(capture->id))
		{
			if (get_rel_name(lfirst_oid(lc2)) != NULL)
				continue;
			elt_member_delete(capture->id, lfirst_oid(lc2));
			elt_mark_relation(capture->relid, "a partition was removed");
		}
	}
	PG_RETURN_NULL();
}
