/*
 * tree.c
 *	  The relations of a tracked table and the triggers on them.
 *
 * A statement fires the statement triggers of the relation that it names, so the root, every intermediate and every leaf of a partition tree
 * has the four triggers. Each batch checks that this is still so: a trigger that is gone or disabled means changes that nobody logged. Triggers are known by
 * their function and event, because a table's owner may rename them.
 *
 * Locks: AccessShare on the tree for a batch, ShareRowExclusive (CREATE TRIGGER's) to add triggers. A crash loses nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_subscription_rel.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/locks.h"
#include "capture/mark.h"
#include "capture/tree.h"

typedef enum Where
{
	EVERYWHERE,
	PARTITIONED,				/* root and intermediates */
	GENERATING_LEAVES			/* see generates_differently */
} Where;

typedef struct CaptureTrigger
{
	const char *name;
	int16		type;			/* tgtype */
	const char *when;
	const char *referencing;
	const char *function;		/* in schema elt */
	Where		where;
} CaptureTrigger;

static const CaptureTrigger capture_triggers[] = {
	{"elt_capture_insert", TRIGGER_TYPE_INSERT, "AFTER INSERT",
	"REFERENCING NEW TABLE AS elt_new", "capture", EVERYWHERE},
	{"elt_capture_update", TRIGGER_TYPE_UPDATE, "AFTER UPDATE",
	"REFERENCING OLD TABLE AS elt_old NEW TABLE AS elt_new", "capture", EVERYWHERE},
	{"elt_capture_delete", TRIGGER_TYPE_DELETE, "AFTER DELETE",
	"REFERENCING OLD TABLE AS elt_old", "capture", EVERYWHERE},
	{"elt_capture_truncate", TRIGGER_TYPE_TRUNCATE, "AFTER TRUNCATE", "", "capture", EVERYWHERE},
	{"elt_capture_moves", TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_UPDATE, "BEFORE UPDATE",
	"", "capture_moves", PARTITIONED},
	{"elt_capture_generated", TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT, "BEFORE INSERT",
	"", "capture_generated", GENERATING_LEAVES},
};

static Oid
trigger_function(const char *name)
{
	return LookupFuncName(list_make2(makeString("elt"), makeString(pstrdup(name))), 0, NULL, false);
}

bool
elt_tree_is_capturing(const Trigger *trigger)
{
	return trigger->tgfoid == trigger_function("capture");
}

/*
 * Has a leaf stored generated columns, and another layout than a table above it? An INSERT that is routed there from that table puts the row as it was
 * before routing, without those columns, into the transition table; unless the leaf has a BEFORE INSERT ROW trigger.
 */
static bool
generates_differently(Relation leaf)
{
	TupleDesc	desc = RelationGetDescr(leaf);
	ListCell   *lc;

	if (leaf->rd_rel->relkind != RELKIND_RELATION || !leaf->rd_rel->relispartition ||
		desc->constr == NULL || !desc->constr->has_generated_stored)
		return false;
	foreach(lc, get_partition_ancestors(RelationGetRelid(leaf)))
	{
		Relation	above = table_open(lfirst_oid(lc), AccessShareLock);
		bool		differs = elt_attrmap_if_needed(RelationGetDescr(above), desc) != NULL;

		table_close(above, NoLock);
		if (differs)
			return true;
	}
	return false;
}

static bool
needs(Relation rel, const CaptureTrigger *trigger)
{
	switch (trigger->where)
	{
		case PARTITIONED:
			return rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
		case GENERATING_LEAVES:
			return generates_differently(rel);
		default:
			return true;
	}
}

List *
elt_tree_members(Oid relid, LOCKMODE mode)
{
	return find_all_inheritors(relid, mode, NULL);
}

/* One trigger's name (palloc'd), NULL where it is not there. *enabled tells whether it fires always. */
static char *
find_trigger(Relation rel, const CaptureTrigger *wanted, bool *enabled)
{
	TriggerDesc *desc = rel->trigdesc;
	Oid			function = trigger_function(wanted->function);

	*enabled = false;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger    *trigger = &desc->triggers[i];

		if (trigger->tgfoid == function && trigger->tgtype == wanted->type)
		{
			*enabled = trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
			return pstrdup(trigger->tgname);
		}
	}
	return NULL;
}

bool
elt_tree_has_triggers(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	bool		complete = true;

	for (int i = 0; i < lengthof(capture_triggers); i++)
	{
		bool		enabled;

		if (needs(rel, &capture_triggers[i]))
			complete &= find_trigger(rel, &capture_triggers[i], &enabled) != NULL && enabled;
	}
	table_close(rel, NoLock);
	return complete;
}

bool
elt_tree_complete(EltCapture *capture)
{
	List	   *members = elt_tree_members(capture->relid, AccessShareLock);
	List	   *noted = elt_member_list(capture->id);
	ListCell   *lc;

	foreach(lc, members)
	{
		if (!elt_tree_has_triggers(lfirst_oid(lc)) || !list_member_oid(noted, lfirst_oid(lc)))
			return false;
	}
	return list_length(members) == list_length(noted);
}

static bool own_ddl = false;

bool
elt_tree_own_ddl(void)
{
	return own_ddl;
}

static void
run_own_ddl(const char *sql)
{
	bool		outer = own_ddl;

	own_ddl = true;
	PG_TRY();
	{
		elt_sql_run_as_extension(sql);
	}
	PG_FINALLY();
	{
		own_ddl = outer;
	}
	PG_END_TRY();
}

void
elt_tree_run_ddl(const char *sql)
{
	bool		outer = own_ddl;

	own_ddl = true;
	PG_TRY();
	{
		elt_sql_run(sql);
	}
	PG_FINALLY();
	{
		own_ddl = outer;
	}
	PG_END_TRY();
}

/* Create or enable one trigger where needed. */
static bool
add_trigger(Oid relid, const CaptureTrigger *trigger)
{
	char	   *table = elt_qualified_name(relid);
	Relation	rel = table_open(relid, ShareRowExclusiveLock);
	bool		enabled;
	const char *name = find_trigger(rel, trigger, &enabled);
	bool		needed = needs(rel, trigger);

	table_close(rel, NoLock);
	if (!needed || enabled)
		return false;
	if (name == NULL)
	{
		name = trigger->name;
		run_own_ddl(psprintf("CREATE TRIGGER %s %s ON %s %s FOR EACH %s EXECUTE FUNCTION elt.%s()",
							 name, trigger->when, table, trigger->referencing,
							 (trigger->type & TRIGGER_TYPE_ROW) ? "ROW" : "STATEMENT", trigger->function));
	}
	run_own_ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s", table, quote_identifier(name)));
	return true;
}

bool
elt_tree_add_triggers(Oid relid)
{
	bool		changed = false;

	for (int i = 0; i < lengthof(capture_triggers); i++)
		changed |= add_trigger(relid, &capture_triggers[i]);
	return changed;
}

void
elt_tree_follow_layout(Oid relid)
{
	for (int i = 0; i < lengthof(capture_triggers); i++)
	{
		if (capture_triggers[i].where == GENERATING_LEAVES)
			(void) add_trigger(relid, &capture_triggers[i]);
	}
}

void
elt_tree_drop_triggers(Oid relid)
{
	for (int i = 0; i < lengthof(capture_triggers); i++)
	{
		Relation	rel = table_open(relid, AccessExclusiveLock);
		bool		enabled;
		char	   *name = find_trigger(rel, &capture_triggers[i], &enabled);

		table_close(rel, NoLock);
		if (name != NULL)
			run_own_ddl(psprintf("DROP TRIGGER %s ON %s", quote_identifier(name), elt_qualified_name(relid)));
	}
}

char *
elt_tree_columns(Relation rel, bool keys_only)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *keys = keys_only ? RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY) : NULL;
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			appendStringInfo(&buf, "%d:%u%s ", att->attnum, att->atttypid,
							 bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, keys) ? "k" : "");
	}
	return buf.data;
}

/* A column's entry in such a list, NULL where it has none. */
static const char *
find_column(const char *columns, long attnum)
{
	char	   *key = psprintf(" %ld:", attnum);
	const char *entry;

	if (strncmp(columns, key + 1, strlen(key) - 1) == 0)
		return columns;
	entry = strstr(columns, key);
	return entry ? entry + 1 : NULL;
}

/* Is a column that both lists know of another type, or in only one of them part of the key? */
static bool
column_changed(const char *before, const char *now)
{
	char	   *at;

	for (const char *p = before; *p != '\0'; p = at + 1)
	{
		const char *entry = find_column(now, strtol(p, &at, 10));

		at = strchr(at, ' ');
		if (entry != NULL && strncmp(entry, p, at - p + 1) != 0)
			return true;
	}
	return false;
}

/* Has a column with a default been added since `before` was noted? */
static bool
default_added(const char *before, Relation root)
{
	for (int i = 0; i < RelationGetNumberOfAttributes(root); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(root), i);

		if (!att->attisdropped && (att->atthasdef || att->atthasmissing) &&
			find_column(before, att->attnum) == NULL)
			return true;
	}
	return false;
}

/* Does a consumer have changes to read that were logged up to now? The caller's lock on the source excludes writers. */
static bool
log_is_unread(EltCapture *capture)
{
	bool		unread = false;
	ListCell   *lc;

	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, elt_consumer_list(capture->id))
	{
		EltConsumer *consumer = lfirst(lc);

		unread |= consumer->offset != NULL && elt_consumer_pending(consumer, capture) > 0;
	}
	PopActiveSnapshot();
	return unread;
}

void
elt_tree_note_columns(EltCapture *capture, Relation root, bool rewrites_marked)
{
	char	   *now = elt_tree_columns(root, capture->keys_only);

	if (strcmp(now, capture->columns) == 0)
		return;

	/*
	 * a trim writes to the capture's row as well, and so does another batch
	 * that has noticed the same
	 */
	elt_lock_capture(capture->id, ELT_LOCK_TRIM, ShareUpdateExclusiveLock);
	capture = elt_capture_by_id(capture->id);
	if (capture == NULL || strcmp(now, capture->columns) == 0)
		return;
	if (column_changed(capture->columns, now) && (capture->keys_only || !rewrites_marked))
		elt_mark_relation(capture->relid, ELT_MARK_COLUMN);
	if (!capture->keys_only && default_added(capture->columns, root) && log_is_unread(capture))
		elt_mark_relation(capture->relid, ELT_MARK_DEFAULT);
	elt_capture_set_columns(capture->id, now);
}

/* Does a subscription write to the relation? */
static bool
is_subscribed(Oid relid)
{
	Relation	rel = table_open(SubscriptionRelRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, Anum_pg_subscription_rel_srrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, SubscriptionRelSrrelidSrsubidIndexId, true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

void
elt_tree_check_loggable(Oid relid)
{
	if (get_rel_persistence(relid) == RELPERSISTENCE_UNLOGGED)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot track \"%s\": it is an unlogged table, which a crash empties without a trace",
						get_rel_name(relid)),
				 errhint("Run ALTER TABLE ... SET LOGGED first.")));
	if (is_subscribed(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot track \"%s\": it receives the rows of a subscription, which fire no statement triggers",
						get_rel_name(relid)),
				 errhint("Track the table on its publisher, or remove it from the subscription.")));
}

/*
 * A statement that changes the source writes its log rows when it ends; before that the log lacks what the snapshot shows.
 */
static void
check_not_in_use(Oid relid, const char *kind, const char *name)
{
	Relation	rel;
	bool		in_use;

	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	rel = table_open(relid, NoLock);
	in_use = rel->rd_refcnt > 1 ||
		(DatumGetInt32(OidFunctionCall0(F_PG_TRIGGER_DEPTH)) > 0 && AfterTriggerPendingOnRel(relid));
	table_close(rel, NoLock);
	if (in_use)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot read the changes of \"%s\" for %s \"%s\" while a statement of this transaction uses the table",
						get_rel_name(relid), kind, name),
				 errhint("Call it in a statement of its own, after those that use the table have ended and its cursors are closed.")));
}

static void
interrupted(Oid relid, const char *kind, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("change tracking of \"%s\" is interrupted: a trigger of elt is missing or disabled",
					get_rel_name(relid)),
			 errdetail("The %s \"%s\" cannot know what changed meanwhile.", kind, name),
			 errhint("Call elt.track on the table again; its consumers are then resynchronised.")));
}

Relation
elt_tree_lock(EltCapture *capture, const char *kind, const char *name)
{
	Relation	root = try_relation_open(capture->relid, AccessShareLock);
	List	   *members;
	List	   *noted;
	ListCell   *lc;

	if (root == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the source of %s \"%s\" was dropped", kind, name),
				 errhint("Drop the %s.", kind)));
	table_close(root, NoLock);
	members = elt_tree_members(capture->relid, AccessShareLock);
	noted = elt_member_list(capture->id);
	if (list_length(members) > 1 && get_rel_relkind(capture->relid) == RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\", the source of %s \"%s\", has become an inheritance parent",
						get_rel_name(capture->relid), kind, name),
				 errhint("Remove the inheritance with ALTER TABLE ... NO INHERIT, then call elt.track on the table again.")));
	if (has_superclass(capture->relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\", the source of %s \"%s\", has become a partition or an inheritance child",
						get_rel_name(capture->relid), kind, name),
				 errdetail("Statements on its parent are not logged for it."),
				 errhint("Drop the %s and call elt.untrack on the table; then use its parent as the source.", kind)));
	foreach(lc, members)
	{
		elt_tree_check_loggable(lfirst_oid(lc));
		check_not_in_use(lfirst_oid(lc), kind, name);
		if (!elt_tree_has_triggers(lfirst_oid(lc)))
			interrupted(lfirst_oid(lc), kind, name);
		if (!list_member_oid(noted, lfirst_oid(lc)))
			interrupted(lfirst_oid(lc), kind, name);
	}
	if (list_length(members) != list_length(noted))
	{
		/* a partition went without our event trigger having seen it */
		foreach(lc, list_difference_oid(noted, members))
			elt_member_delete(capture->id, lfirst_oid(lc));
		elt_mark_relation(capture->relid, ELT_MARK_REMOVED);
	}
	root = table_open(capture->relid, NoLock);
	elt_tree_note_columns(capture, root, false);
	return root;
}
