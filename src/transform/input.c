/*
 * input.c
 *	  What a transform reads: is it the same as when the run began? Has an earlier run read rows of it?
 *
 * A row has been read if the snapshot of that run sees the transaction that wrote it. The first such row answers; a table that was emptied and filled again since is
 * read to its end. Frozen rows count as read, for it is not known when they were written: that refuses rather than appends twice.
 *
 * Locks: AccessShare on the relation and what belongs to it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "transform/transform.h"

/* The transaction with its epoch; it is no newer than the next one. */
static uint64
full_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

static bool
was_seen(HeapTupleHeader tuple, Datum snapshot)
{
	TransactionId xid = HeapTupleHeaderGetRawXmin(tuple);

	if (HeapTupleHeaderXminFrozen(tuple) || !TransactionIdIsNormal(xid))
		return true;
	return DatumGetBool(DirectFunctionCall2(pg_visible_in_snapshot, UInt64GetDatum(full_xid(xid)), snapshot));
}

static bool
table_has_seen(Relation rel, Datum snapshot)
{
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		seen = false;

	while (!seen && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		should_free;
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);

		CHECK_FOR_INTERRUPTS();
		seen = was_seen(tuple->t_data, snapshot);
		if (should_free)
			heap_freetuple(tuple);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	return seen;
}

bool
elt_transform_has_read(const char *snapshot, Oid relid)
{
	Datum		datum = DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(snapshot));
	bool		seen = false;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		if (!seen && (rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_MATVIEW) && rel->rd_rel->relam == HEAP_TABLE_AM_OID)
			seen = table_has_seen(rel, datum);
		table_close(rel, NoLock);
	}
	return seen;
}

/* One table of those that are read: its file and columns. */
static void
append_table(StringInfo text, Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);

	appendStringInfo(text, "%u %u (", relid, elt_relation_file(rel));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			appendStringInfo(text, "%d %s %u %d, ", att->attnum, NameStr(att->attname), att->atttypid, att->atttypmod);
	}
	appendStringInfoString(text, ") ");
	relation_close(rel, NoLock);
}

/* What decides on the rows that one table may have, and on their content. */
static void
append_rules(StringInfo rules, Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	TupleConstr *constraints = desc->constr;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		isnull;
	Datum		bound = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);

	appendStringInfo(rules, "%u %c %s (", relid, rel->rd_rel->relpersistence, isnull ? "" : TextDatumGetCString(bound));
	ReleaseSysCache(tuple);
	for (int i = 0; i < desc->natts; i++)
		appendStringInfoString(rules, TupleDescAttr(desc, i)->attnotnull ? "t" : "f");
	for (int i = 0; constraints != NULL && i < constraints->num_check; i++)
		appendStringInfo(rules, " %s %d", constraints->check[i].ccbin, constraints->check[i].ccvalid);
	for (int i = 0; constraints != NULL && i < constraints->num_defval; i++)
	{
		int			attno = constraints->defval[i].adnum;

		if (TupleDescAttr(desc, attno - 1)->attgenerated != '\0')
			appendStringInfo(rules, " %d %s", attno, constraints->defval[i].adbin);
	}
	appendStringInfoString(rules, ") ");
	relation_close(rel, NoLock);
}

char *
elt_transform_rules(Oid target)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	foreach(lc, find_all_inheritors(target, AccessShareLock, NULL))
		append_rules(&text, lfirst_oid(lc));
	return text.data;
}

char *
elt_transform_input(Query *query)
{
	StringInfoData text;
	ListCell   *lc;
	ListCell   *lc2;

	initStringInfo(&text);
	foreach(lc, elt_split_mentions(query))
	{
		foreach(lc2, find_all_inheritors(((EltMention *) lfirst(lc))->rte->relid, AccessShareLock, NULL))
			append_table(&text, lfirst_oid(lc2));
	}
	return text.data;
}

void
elt_transform_check_appended(EltTransform *transform, EltPlanOfRun *plan)
{
	List	   *mentions;
	ListCell   *lc;

	if (strcmp(transform->mode, "append") != 0 || transform->repeat || transform->appended == NULL)
		return;
	mentions = elt_split_mentions(plan->query);
	foreach(lc, mentions)
	{
		int			number = foreach_current_index(lc);
		Oid			relid = ((EltMention *) lfirst(lc))->rte->relid;

		/* what each task reads as a whole is looked up only */
		if (plan->split->drivers != NIL && !list_member_int(plan->split->drivers, number))
			continue;
		if (elt_transform_has_read(transform->appended_here ? transform->appended : ELT_ALL_TRANSACTIONS, relid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("transform \"%s\" has appended the rows of \"%s\" already", transform->node.name, get_rel_name(relid)),
					 errdetail("There are rows that its last run has read."),
					 errhint("To append them once more, elt.alter_transform(%s, repeat => true). For a table that grows, use elt.create_load.",
							 quote_literal_cstr(transform->node.name))));
	}
}
