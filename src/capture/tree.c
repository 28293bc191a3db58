/*
 * tree.c
 *	  The relations of a tracked table and the triggers on them.
 *
 * A statement fires the statement triggers of the relation that it names, so the root, every intermediate and every leaf of a partition tree
 * has the four triggers. Each batch checks that this is still so: a trigger that is gone or disabled means changes that nobody logged.
 *
 * Locks: AccessShare on the tree for a batch, ShareRowExclusive (CREATE TRIGGER's) to add triggers. A crash loses nothing.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/sql.h"
#include "capture/mark.h"
#include "capture/tree.h"

typedef struct CaptureTrigger
{
	const char *name;
	int16		type;			/* tgtype */
	const char *when;
	const char *referencing;
	const char *function;		/* in schema elt */
	bool		partitioned_only;
} CaptureTrigger;

static const CaptureTrigger capture_triggers[] = {
	{"elt_capture_insert", TRIGGER_TYPE_INSERT, "AFTER INSERT",
	"REFERENCING NEW TABLE AS elt_new", "capture", false},
	{"elt_capture_update", TRIGGER_TYPE_UPDATE, "AFTER UPDATE",
	"REFERENCING OLD TABLE AS elt_old NEW TABLE AS elt_new", "capture", false},
	{"elt_capture_delete", TRIGGER_TYPE_DELETE, "AFTER DELETE",
	"REFERENCING OLD TABLE AS elt_old", "capture", false},
	{"elt_capture_truncate", TRIGGER_TYPE_TRUNCATE, "AFTER TRUNCATE", "", "capture", false},
	{"elt_capture_moves", TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_UPDATE, "BEFORE UPDATE",
	"", "capture_moves", true},
};

static Oid
trigger_function(const CaptureTrigger *trigger)
{
	return LookupFuncName(list_make2(makeString("elt"), makeString((char *) trigger->function)),
						  0, NULL, false);
}

/* Does a relation of this kind need the trigger? */
static bool
needs(char relkind, const CaptureTrigger *trigger)
{
	return relkind == RELKIND_PARTITIONED_TABLE || !trigger->partitioned_only;
}

List *
elt_tree_members(Oid relid, LOCKMODE mode)
{
	return find_all_inheritors(relid, mode, NULL);
}

/* Is one trigger there? *enabled tells whether it fires always. */
static bool
find_trigger(Relation rel, const CaptureTrigger *wanted, bool *enabled)
{
	TriggerDesc *desc = rel->trigdesc;
	Oid			function = trigger_function(wanted);

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger    *trigger = &desc->triggers[i];

		if (trigger->tgfoid == function && strcmp(trigger->tgname, wanted->name) == 0 &&
			trigger->tgtype == wanted->type)
		{
			*enabled = trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
			return true;
		}
	}
	return false;
}

bool
elt_tree_has_triggers(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	bool		complete = true;

	for (int i = 0; i < lengthof(capture_triggers); i++)
	{
		bool		enabled;

		if (needs(rel->rd_rel->relkind, &capture_triggers[i]))
			complete &= find_trigger(rel, &capture_triggers[i], &enabled) && enabled;
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

/* Create or enable one trigger where needed. */
static bool
add_trigger(Oid relid, const CaptureTrigger *trigger)
{
	char	   *table = elt_qualified_name(relid);
	Relation	rel = table_open(relid, ShareRowExclusiveLock);
	bool		enabled = false;
	bool		found = find_trigger(rel, trigger, &enabled);
	bool		needed = needs(rel->rd_rel->relkind, trigger);

	table_close(rel, NoLock);
	if (!needed || (found && enabled))
		return false;
	if (!found)
		run_own_ddl(psprintf("CREATE TRIGGER %s %s ON %s %s FOR EACH STATEMENT "
										  "EXECUTE FUNCTION elt.%s()",
										  trigger->name, trigger->when, table,
										  trigger->referencing, trigger->function));
	run_own_ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s", table, trigger->name));
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
elt_tree_drop_triggers(Oid relid)
{
	for (int i = 0; i < lengthof(capture_triggers); i++)
	{
		Relation	rel = table_open(relid, AccessExclusiveLock);
		bool		enabled;
		bool		found = find_trigger(rel, &capture_triggers[i], &enabled);

		table_close(rel, NoLock);
		if (found)
			run_own_ddl(psprintf("DROP TRIGGER %s ON %s", capture_triggers[i].name,
											  elt_qualified_name(relid)));
	}
}

char *
elt_tree_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			appendStringInfo(&buf, "%d:%u ", att->attnum, att->atttypid);
	}
	return buf.data;
}

/* Has a column that both lists know another type? */
static bool
type_changed(const char *before, const char *now)
{
	char	   *at;

	for (const char *p = before; *p != '\0'; p = at + 1)
	{
		char	   *entry;
		long		attnum = strtol(p, &at, 10);
		char	   *key = psprintf("%ld:", attnum);

		at = strchr(at, ' ');
		entry = strncmp(now, key, strlen(key)) == 0 ? (char *) now : strstr(now, psprintf(" %s", key));
		if (entry == NULL)
			continue;
		if (entry != now)
			entry++;
		if (strncmp(entry, p, at - p + 1) != 0)
			return true;
	}
	return false;
}

/*
 * A type that changed without our event triggers having seen it (they bring elt.capture.columns up to date) may have rewritten the table: the log before it
 * cannot be read.
 */
static void
check_columns(EltCapture *capture, Relation root)
{
	char	   *now = elt_tree_columns(root);

	if (strcmp(now, capture->columns) == 0)
		return;
	if (type_changed(capture->columns, now))
		elt_mark_relation(capture->relid, "a column changed its type");
	elt_capture_set_columns(capture->id, now);
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
	foreach(lc, members)
	{
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
		elt_mark_relation(capture->relid, "a partition was removed");
	}
	root = table_open(capture->relid, NoLock);
	check_columns(capture, root);
	return root;
}
