/*
 * track.c
 *	  elt.track, elt.untrack and what elt.tracked shows.
 *
 * Locks: ShareRowExclusive on the tree to track (it waits for the table's writers, so that whoever commits later has been seen by the triggers),
 * AccessExclusive to untrack; both to the end of the transaction. A crash undoes what was not committed.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_publication.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/secctx.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/locks.h"
#include "capture/mark.h"
#include "capture/segment.h"
#include "capture/target.h"
#include "capture/track.h"
#include "capture/tree.h"
#include "catalog/capture.h"
#include "catalog/consumer.h"

PG_FUNCTION_INFO_V1(elt_sql_track);
PG_FUNCTION_INFO_V1(elt_sql_untrack);
PG_FUNCTION_INFO_V1(elt_sql_log_status);

static void
check_owner(Oid relid, const char *verb)
{
	if (!elt_owns_relation(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s\" to %s it", get_rel_name(relid), verb),
				 errhint("Ask its owner to call elt.%s(%s).", verb, quote_literal_cstr(elt_qualified_name(relid)))));
}

static void
refuse(Oid relid, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot track \"%s\": it is %s", get_rel_name(relid), what),
			 errhint("%s", hint)));
}

static void
check_kind(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			refuse(relid, "a view", "Track the tables that it reads.");
			break;
		case RELKIND_MATVIEW:
			refuse(relid, "a materialized view", "Track the tables that it reads.");
			break;
		case RELKIND_FOREIGN_TABLE:
			refuse(relid, "a foreign table", "Track it on its own server.");
			break;
		default:
			refuse(relid, "not a table", "Only tables and partitioned tables can be tracked.");
	}
}

/* A relation that can be tracked; it is locked. */
static void
check_trackable(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	check_kind(rel);
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		refuse(relid, "a temporary table", "Only permanent tables can be tracked.");
	elt_tree_check_loggable(relid);
	if (IsCatalogRelation(rel) || IsCatalogNamespace(RelationGetNamespace(rel)) ||
		RelationGetNamespace(rel) == get_rel_namespace(elt_table_oid("capture")) ||
		RelationGetNamespace(rel) == get_namespace_oid("elt_log", true))
		refuse(relid, "a system table", "Only users' tables can be tracked.");
	if (rel->rd_rel->relispartition)
		refuse(relid, "a partition", "Track the partitioned table that it belongs to.");
	if (rel->rd_rel->relkind == RELKIND_RELATION &&
		(has_superclass(relid) || find_inheritance_children(relid, NoLock) != NIL))
		refuse(relid, "part of an inheritance tree", "Use declarative partitioning, or track tables without inheritance.");
}

static void
check_leaves(List *members)
{
	ListCell   *lc;

	foreach(lc, members)
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
			refuse(lfirst_oid(lc), "a foreign table below a partitioned one",
				   "Detach it first.");
		elt_tree_check_loggable(lfirst_oid(lc));
	}
}

static void
check_keys(Relation rel)
{
	if (RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot track only the keys of \"%s\": it has no primary key",
						RelationGetRelationName(rel)),
				 errhint("Add a primary key, or use images => 'row'.")));
}

static void
warn_publications(Oid relid)
{
	if (GetAllTablesPublications() == NIL)
		return;
	ereport(WARNING,
			(errmsg("a publication FOR ALL TABLES will publish the change log of \"%s\" too",
					get_rel_name(relid)),
			 errdetail("A subscriber that lacks the log's tables stops applying."),
			 errhint("Publish the tables by name or schema instead.")));
}

/* Create what makes a relation tracked. The tree is locked. */
static int32
start_tracking(Oid relid, char *columns, List *members, bool keys_only,
			   const char *on_partition_drop)
{
	EltCapture	row = {0};
	int32		capture;
	ListCell   *lc;

	row.relid = relid;
	row.keys_only = keys_only;
	row.on_partition_drop = pstrdup(on_partition_drop);
	row.columns = columns;
	row.install = elt_install_id();
	capture = elt_capture_insert(&row);
	elt_segment_create_first(capture);
	foreach(lc, members)
	{
		elt_tree_add_triggers(lfirst_oid(lc));
		elt_member_insert(capture, lfirst_oid(lc));
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	}
	warn_publications(relid);
	return capture;
}

/* Track again: put right what is missing; whatever was missing may have hidden changes. */
static void
repair_tracking(EltCapture *capture, List *members)
{
	List	   *noted = elt_member_list(capture->id);
	bool		repaired = false;
	ListCell   *lc;

	foreach(lc, members)
	{
		repaired |= elt_tree_add_triggers(lfirst_oid(lc));
		if (!list_member_oid(noted, lfirst_oid(lc)))
		{
			elt_member_insert(capture->id, lfirst_oid(lc));
			repaired = true;
		}
	}
	if (repaired)
		elt_mark_relation(capture->relid, ELT_MARK_INTERRUPTED);
}

void
elt_track_forget(int32 capture)
{
	elt_segment_drop_all(capture);
	elt_member_delete_all(capture);
	elt_mark_delete_all(capture);
	elt_capture_delete(capture);
}

static void
stop_tracking(EltCapture *capture)
{
	ListCell   *lc;

	foreach(lc, elt_tree_members(capture->relid, AccessExclusiveLock))
	{
		elt_tree_drop_triggers(lfirst_oid(lc));
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	}
	elt_track_forget(capture->id);
}

/* The names of a capture's consumers, NULL where it has none. */
static char *
consumer_names(int32 capture)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, elt_consumer_list(capture))
	{
		EltConsumer *consumer = lfirst(lc);

		appendStringInfo(&buf, "%s%s \"%s\"", buf.len > 0 ? ", " : "", consumer->kind, consumer->name);
	}
	return buf.len > 0 ? buf.data : NULL;
}

static int32
track(Oid relid, bool keys_only, const char *on_partition_drop)
{
	Relation	rel;
	List	   *members;
	EltCapture *capture;
	char	   *columns;
	int32		id;

	/* before as well, so that others cannot hold up the table's writers */
	check_owner(relid, "track");
	rel = relation_open(relid, ShareRowExclusiveLock);
	check_kind(rel);
	check_owner(relid, "track");
	check_trackable(rel);
	if (keys_only)
		check_keys(rel);
	members = elt_tree_members(relid, ShareRowExclusiveLock);
	check_leaves(members);
	columns = elt_tree_columns(rel, keys_only);
	table_close(rel, NoLock);

	capture = elt_capture_by_relation(relid);
	if (capture != NULL && !elt_install_is(&capture->install))
	{
		elt_track_forget(capture->id);
		capture = NULL;
	}
	if (capture != NULL && capture->keys_only != keys_only)
	{
		char	   *names = consumer_names(capture->id);

		if (names != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot change the images of \"%s\" while something reads its log",
							get_rel_name(relid)),
					 errdetail("It is read by %s.", names),
					 errhint("Drop them, or go on with images => '%s'.", capture->keys_only ? "key" : "row")));
		stop_tracking(capture);
		capture = NULL;
	}
	if (capture == NULL)
		id = start_tracking(relid, columns, members, keys_only, on_partition_drop);
	else
	{
		id = capture->id;
		repair_tracking(capture, members);
	}
	return id;
}

Datum
elt_sql_track(PG_FUNCTION_ARGS)
{
	Oid			relid = elt_arg_relation(fcinfo, 0, "relation");
	char	   *images = elt_arg_choice(fcinfo, 1, "images", "row", "key", NULL);
	char	   *method = elt_arg_choice(fcinfo, 2, "method", "trigger", "wal", NULL);
	char	   *on_drop = elt_arg_choice(fcinfo, 3, "on_partition_drop", "resync", "delete", "ignore", NULL);

	elt_check_may_write("elt.track()");
	if (strcmp(method, "wal") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("method \"wal\" is not available in this version"),
				 errhint("Use method => 'trigger'.")));
	if (strcmp(on_drop, "resync") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("on_partition_drop \"%s\" is not available in this version", on_drop),
				 errhint("Use on_partition_drop => 'resync'.")));
	track(relid, strcmp(images, "key") == 0, on_drop);
	PG_RETURN_VOID();
}

Datum
elt_sql_untrack(PG_FUNCTION_ARGS)
{
	Oid			relid = elt_arg_relation(fcinfo, 0, "relation");
	bool		force = elt_arg_bool(fcinfo, 1, "force");
	EltCapture *capture;
	char	   *names;

	elt_check_may_write("elt.untrack()");
	check_owner(relid, "untrack");
	LockRelationOid(relid, AccessExclusiveLock);
	check_owner(relid, "untrack");
	capture = elt_capture_by_relation(relid);
	if (capture == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not tracked", get_rel_name(relid)),
				 errhint("elt.tracked lists the tables that are.")));
	names = consumer_names(capture->id);
	if (names != NULL && !force)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot untrack \"%s\": its changes are read", get_rel_name(relid)),
				 errdetail("It is read by %s.", names),
				 errhint("Drop them first, or use force => true, which makes them stale.")));
	stop_tracking(capture);
	if (names != NULL)
		ereport(NOTICE, (errmsg("stale from now on: %s", names)));
	PG_RETURN_VOID();
}

/*
 * A consumer that begins with this transaction's snapshot must not lack what was changed between that and the creation of the triggers: in
 * REPEATABLE READ they have to be older.
 */
static void
check_isolation(Oid relid, EltCapture *capture, const char *consumer)
{
	if (!IsolationUsesXactSnapshot() ||
		(capture != NULL && !TransactionIdIsCurrentTransactionId(capture->xmin)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot begin to track table \"%s\" for \"%s\" in a REPEATABLE READ or SERIALIZABLE transaction",
					get_rel_name(relid), consumer),
			 errdetail("What was changed after the transaction's snapshot and before the tracking would be lost."),
			 errhint("Call elt.track(%s) in a transaction of its own first, or use READ COMMITTED.",
					 quote_literal_cstr(elt_qualified_name(relid)))));
}

EltCapture *
elt_track_for(Oid relid, const char *consumer)
{
	EltCapture *capture = elt_capture_by_relation(relid);

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table \"%s\"", get_rel_name(relid)),
				 errhint("\"%s\" needs SELECT on it.", consumer)));
	if (capture != NULL && elt_install_is(&capture->install))
	{
		check_isolation(relid, capture, consumer);
		return capture;
	}
	{
		Relation	rel = relation_open(relid, AccessShareLock);

		check_kind(rel);
		check_trackable(rel);
		table_close(rel, NoLock);
	}
	if (!elt_owns_relation(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not tracked", get_rel_name(relid)),
				 errhint("Its owner has to call elt.track(%s) once.", quote_literal_cstr(elt_qualified_name(relid)))));
	check_isolation(relid, NULL, consumer);
	return elt_capture_by_id(track(relid, false, "resync"));
}

bool
elt_track_lock_source(EltCapture *capture)
{
	bool		missing = false;
	Relation	rel;

	if (pg_class_aclcheck_ext(capture->relid, GetUserId(), ACL_SELECT, &missing) != ACLCHECK_OK || missing)
		return false;
	rel = try_relation_open(capture->relid, AccessShareLock);
	if (rel != NULL)
		table_close(rel, NoLock);
	return rel != NULL;
}

/* elt.log_status(capture) -> pending_rows, log_bytes, slowest_consumer, stale; NULL where the caller may not read the source */
Datum
elt_sql_log_status(PG_FUNCTION_ARGS)
{
	int32		id = PG_GETARG_INT32(0);
	EltCapture *capture = elt_capture_by_id(id);
	EltConsumer *slowest = NULL;
	int64		bytes = 0;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};
	ListCell   *lc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (capture == NULL || !elt_track_lock_source(capture))
		PG_RETURN_NULL();
	foreach(lc, elt_consumer_list(id))
	{
		EltConsumer *consumer = lfirst(lc);

		if (consumer->offset != NULL &&
			(slowest == NULL || consumer->offset->xmax < slowest->offset->xmax))
			slowest = consumer;
	}
	foreach(lc, elt_segment_list(id, NULL))
		bytes += DatumGetInt64(DirectFunctionCall1(pg_table_size,
												   ObjectIdGetDatum(((EltSegment *) lfirst(lc))->relid)));
	values[0] = Int64GetDatum(slowest ? elt_consumer_pending(slowest, capture) : 0);
	values[1] = Int64GetDatum(bytes);
	nulls[2] = slowest == NULL;
	values[2] = slowest ? CStringGetTextDatum(slowest->name) : (Datum) 0;
	values[3] = BoolGetDatum(!elt_tree_complete(capture));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
