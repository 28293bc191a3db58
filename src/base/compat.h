/*
 * compat.h
 *	  What differs between the supported versions of PostgreSQL (15 to 18).
 *
 * Only macros and inline functions: version switches stay in this file.
 */
#ifndef ELT_COMPAT_H
#define ELT_COMPAT_H

#include "access/attmap.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/explain.h"
#include "commands/vacuum.h"
#include "catalog/pg_constraint.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "miscadmin.h"
#include "parser/parse_relation.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/smgr.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#endif

/* virtual generated columns came with 18 */
#ifndef ATTRIBUTE_GENERATED_VIRTUAL
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif

/* Run a started query to its end. */
static inline void
elt_executor_run_all(QueryDesc *qd)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(qd, ForwardScanDirection, 0);
#else
	ExecutorRun(qd, ForwardScanDirection, 0, true);
#endif
}

/* Check the current user's right to read what an analysed query reads of this relation entry; an error where it is missing. */
static inline void
elt_check_rte_permissions(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	RangeTblEntry copy = *rte;

	copy.perminfoindex = 1;
	(void) ExecCheckPermissions(list_make1(&copy), list_make1(getRTEPermissionInfo(query->rteperminfos, rte)), true);
#else
	(void) query;
	(void) ExecCheckRTPerms(list_make1(rte), true);
#endif
}

/* Check the current user's rights to run a plan. */
static inline void
elt_check_plan_permissions(PlannedStmt *plan)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecCheckPermissions(plan->rtable, plan->permInfos, true);
#else
	(void) ExecCheckRTPerms(plan->rtable, true);
#endif
}

/* Make the executor check nothing for this entry. */
static inline void
elt_clear_rte_permissions(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	rte->perminfoindex = 0;
#else
	rte->requiredPerms = 0;
	rte->checkAsUser = InvalidOid;
	rte->selectedCols = NULL;
	rte->insertedCols = NULL;
	rte->updatedCols = NULL;
	rte->extraUpdatedCols = NULL;
#endif
}

/* The same for the entry of a relation, of which the rewriter wants to know whose rights count, in a query that has been analysed. */
static inline void
elt_allow_rte(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	getRTEPermissionInfo(query->rteperminfos, rte)->checkAsUser = BOOTSTRAP_SUPERUSERID;
#else
	(void) query;
	elt_clear_rte_permissions(rte);
#endif
}

/* Permissions are kept in the query from 16 on: for one that gets another range table, and for one that gets another query's. */
static inline void
elt_forget_perminfos(Query *query)
{
#if PG_VERSION_NUM >= 160000
	query->rteperminfos = NIL;
#else
	(void) query;
#endif
}

static inline void
elt_copy_perminfos(Query *to, Query *from)
{
#if PG_VERSION_NUM >= 160000
	to->rteperminfos = copyObject(from->rteperminfos);
#else
	(void) to;
	(void) from;
#endif
}

/* Which outer joins may make it NULL, which is noted from 16 on, does not matter where queries are written as text again; it makes columns differ. */
static inline void
elt_forget_nulling(Var *var)
{
#if PG_VERSION_NUM >= 160000
	var->varnullingrels = NULL;
#else
	(void) var;
#endif
}

/* Does the operator, or its negation, belong to an order? */
static inline bool
elt_is_ordering_operator(Oid opno)
{
#if PG_VERSION_NUM >= 180000
	return get_op_index_interpretation(opno) != NIL;
#else
	return get_op_btree_interpretation(opno) != NIL;
#endif
}

/* Range table entries whose columns are expressions over others of the same query: joins, and from 18 on groups. */
static inline bool
elt_rte_has_exprs(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 180000
	if (rte->rtekind == RTE_GROUP)
		return true;
#endif
	return rte->rtekind == RTE_JOIN;
}

static inline List *
elt_rte_exprs(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 180000
	if (rte->rtekind == RTE_GROUP)
		return rte->groupexprs;
#endif
	return rte->joinaliasvars;
}

/* Has a column no NULL in any row? From 18 on a constraint need not be valid for the rows that were there before it. */
static inline bool
elt_attribute_is_notnull(Oid relid, AttrNumber attno)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attno));
	bool		notnull = HeapTupleIsValid(tuple) && ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
#if PG_VERSION_NUM >= 180000
	if (notnull)
	{
		HeapTuple	constraint = findNotNullConstraintAttnum(relid, attno);

		notnull = HeapTupleIsValid(constraint) && ((Form_pg_constraint) GETSTRUCT(constraint))->convalidated;
		if (HeapTupleIsValid(constraint))
			heap_freetuple(constraint);
	}
#endif
	return notnull;
}

/* Make an index as the current user, who need not be allowed to create in the table's schema. */
static inline Oid
elt_define_index(Oid relid, IndexStmt *statement)
{
#if PG_VERSION_NUM >= 160000
	return DefineIndex(relid, statement, InvalidOid, InvalidOid, InvalidOid, -1, false, false, true, false, false).objectId;
#else
	return DefineIndex(relid, statement, InvalidOid, InvalidOid, InvalidOid, false, false, true, false, false).objectId;
#endif
}

/* Does a query read just one thing? Its groups do not count. */
static inline bool
elt_has_one_entry(Query *query)
{
#if PG_VERSION_NUM >= 180000
	return list_length(query->rtable) == (query->hasGroupRTE ? 2 : 1);
#else
	return list_length(query->rtable) == 1;
#endif
}

/* After nothing refers to it any more. */
static inline void
elt_drop_group_rte(Query *query)
{
#if PG_VERSION_NUM >= 180000
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_GROUP)
		{
			rte->rtekind = RTE_RESULT;
			rte->groupexprs = NIL;
		}
	}
	query->hasGroupRTE = false;
#else
	(void) query;
#endif
}

/* Is a foreign key enforced? From 18 on there are others. */
static inline bool
elt_constraint_enforced(Form_pg_constraint constraint)
{
#if PG_VERSION_NUM >= 180000
	return constraint->conenforced && !constraint->conperiod;
#else
	(void) constraint;
	return true;
#endif
}

/* As the core's ANALYZE prepares a column's statistics: how many values they list. */
static inline void
elt_set_statistics_target(VacAttrStats *stats, Form_pg_attribute att, int target)
{
#if PG_VERSION_NUM >= 170000
	stats->attstattarget = target;
#else
	stats->attr = palloc(ATTRIBUTE_FIXED_PART_SIZE);
	memcpy(stats->attr, att, ATTRIBUTE_FIXED_PART_SIZE);
	stats->attr->attstattarget = target;
#endif
}

/* Form a minimal tuple in the current memory context. */
static inline MinimalTuple
elt_form_minimal_tuple(TupleDesc desc, Datum *values, bool *nulls)
{
#if PG_VERSION_NUM >= 180000
	return heap_form_minimal_tuple(desc, values, nulls, 0);
#else
	return heap_form_minimal_tuple(desc, values, nulls);
#endif
}

/* Map columns by name, NULL where both have the same layout. */
static inline AttrMap *
elt_attrmap_if_needed(TupleDesc from, TupleDesc to)
{
#if PG_VERSION_NUM >= 160000
	return build_attrmap_by_name_if_req(from, to, false);
#else
	return build_attrmap_by_name_if_req(from, to);
#endif
}

/* What pg_class counts of a relation without storage, from 18 on. */
static inline void
elt_clear_all_frozen(Form_pg_class form)
{
#if PG_VERSION_NUM >= 180000
	form->relallfrozen = 0;
#else
	(void) form;
#endif
}

/* A constraint to be made is one that is enforced: from 18 on there are others. */
static inline void
elt_set_enforced(Constraint *constraint)
{
#if PG_VERSION_NUM >= 180000
	constraint->is_enforced = true;
#else
	(void) constraint;
#endif
}

/* Map all columns by name. */
static inline AttrMap *
elt_attrmap_by_name(TupleDesc from, TupleDesc to)
{
#if PG_VERSION_NUM >= 160000
	return build_attrmap_by_name(from, to, false);
#else
	return build_attrmap_by_name(from, to);
#endif
}

/* Does the current user own a relation? */
static inline bool
elt_owns_relation(Oid relid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, GetUserId());
#else
	return pg_class_ownercheck(relid, GetUserId());
#endif
}

/* Does this transaction have any lock on a relation? */
static inline bool
elt_has_relation_lock(Oid relid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(&tag, AccessShareLock, true);
#else
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
	{
		if (LockHeldByMe(&tag, mode))
			return true;
	}
	return false;
#endif
}

/* May the current user create objects in a schema? */
static inline bool
elt_may_create_in(Oid schema)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_CREATE) == ACLCHECK_OK;
#else
	return pg_namespace_aclcheck(schema, GetUserId(), ACL_CREATE) == ACLCHECK_OK;
#endif
}

/* The i-th entry, from 1, of the session's copy of all backends' status. */
static inline LocalPgBackendStatus *
elt_backend_status(int i)
{
#if PG_VERSION_NUM >= 160000
	return pgstat_get_local_beentry_by_index(i);
#else
	return pgstat_fetch_stat_local_beentry(i);
#endif
}

/* Start an index scan with equality keys only. */
static inline IndexScanDesc
elt_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* Enter a row that was written into the indexes of its table. */
static inline List *
elt_insert_index_tuples(ResultRelInfo *rel, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rel, slot, estate, false, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(rel, slot, estate, false, false, NULL, NIL);
#endif
}

/* From the columns of a partitioned table to those of a leaf that a row was routed to; NULL: they are the same. */
static inline TupleConversionMap *
elt_root_to_child_map(ResultRelInfo *leaf, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecGetRootToChildMap(leaf, estate);
#else
	(void) estate;
	return leaf->ri_RootToPartitionMap;
#endif
}

/* A table's file in pg_class; it changes when the table is rewritten. */
static inline Oid
elt_relation_file(Relation rel)
{
	return (Oid) rel->rd_rel->relfilenode;
}

/* Let two relations' rows in pg_class exchange what belongs to their files. */
static inline void
elt_exchange_files(Form_pg_class a, Form_pg_class b)
{
#define ELT_EXCHANGE(type, field) do { type was = a->field; a->field = b->field; b->field = was; } while (0)
	ELT_EXCHANGE(Oid, relfilenode);
	ELT_EXCHANGE(Oid, reltablespace);
	ELT_EXCHANGE(Oid, reltoastrelid);
	ELT_EXCHANGE(int32, relpages);
	ELT_EXCHANGE(float4, reltuples);
	ELT_EXCHANGE(int32, relallvisible);
#if PG_VERSION_NUM >= 180000
	ELT_EXCHANGE(int32, relallfrozen);
#endif
	ELT_EXCHANGE(TransactionId, relfrozenxid);
	ELT_EXCHANGE(MultiXactId, relminmxid);
#undef ELT_EXCHANGE
}

/*
 * Add up to n new pages to a relation's end; returns how many, at least one. Their buffers are pinned and not locked, so whoever sees the new end may
 * take a page first.
 */
static inline int
elt_extend_relation(Relation rel, int n, Buffer *buffers)
{
#if PG_VERSION_NUM >= 160000
	uint32		extended = 0;

	ExtendBufferedRelBy(BMR_REL(rel), MAIN_FORKNUM, NULL, 0, n, buffers, &extended);
	return (int) extended;
#else
	PGAlignedBlock zeroes;
	BlockNumber first;

	/* a backend's share of the buffers, as later versions limit it */
	n = Min(n, Max(NBuffers / (MaxBackends + 16), 1));
	memset(zeroes.data, 0, BLCKSZ);
	LockRelationForExtension(rel, ExclusiveLock);
	first = RelationGetNumberOfBlocks(rel);

	/*
	 * pinned before the file has them: nobody can have put something there
	 * that would be lost
	 */
	for (int i = 0; i < n; i++)
	{
		buffers[i] = ReadBufferExtended(rel, MAIN_FORKNUM, first + i, RBM_ZERO_AND_LOCK, NULL);
		LockBuffer(buffers[i], BUFFER_LOCK_UNLOCK);
	}

	/*
	 * each page, so that a full disk is noticed here and not when the buffers
	 * are written
	 */
	for (int i = 0; i < n; i++)
		smgrextend(RelationGetSmgr(rel), MAIN_FORKNUM, first + i, zeroes.data, false);
	UnlockRelationForExtension(rel, ExclusiveLock);
	return n;
#endif
}

/* Connect a background worker for a session of this user, who may have become unable to log in since, where the server lets us. */
static inline void
elt_connect_worker(Oid database, Oid user)
{
#if PG_VERSION_NUM >= 170000
	BackgroundWorkerInitializeConnectionByOid(database, user, BGWORKER_BYPASS_ROLELOGINCHECK);
#else
	BackgroundWorkerInitializeConnectionByOid(database, user, 0);
#endif
}

/* What pg_stat_activity shows of a leader that waits for its workers. */
static inline uint32
elt_wait_event_workers(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("EltWorkers");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* Does this process hold a lock in just this mode? */
static inline bool
elt_lock_held(const LOCKTAG *tag, LOCKMODE mode)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(tag, mode, false);
#else
	return LockHeldByMe(tag, mode);
#endif
}

#endif
