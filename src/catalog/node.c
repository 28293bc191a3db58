/*
 * node.c
 *	  Typed access to elt.node.
 *
 * Locks: two kinds of object locks on elt.node, both Exclusive and held until the transaction ends: (hash of a name, 0) for who makes a node of that name,
 * (id, 1) for who works on a node that is there. Crash behaviour is an ordinary table's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "catalog/node.h"
#include "catalog/table.h"

#define A_ID			1
#define A_NAME			2
#define A_KIND			3
#define A_OWNER			4
#define A_CREATED		5

/* what the second key of an object lock on elt.node says that the first one is */
#define LOCK_NAME		0
#define LOCK_ID			1

static EltNode *
find_node(const char *index, ScanKey key)
{
	Relation	rel = elt_table_open("node", AccessShareLock);
	SysScanDesc scan = elt_table_scan(rel, index, 1, key, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	EltNode    *node = NULL;

	if (HeapTupleIsValid(tuple))
	{
		Datum		values[A_CREATED];
		bool		nulls[A_CREATED];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		node = palloc(sizeof(EltNode));
		node->id = DatumGetInt32(values[A_ID - 1]);
		node->name = TextDatumGetCString(values[A_NAME - 1]);
		node->kind = TextDatumGetCString(values[A_KIND - 1]);
		node->owner = DatumGetObjectId(values[A_OWNER - 1]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return node;
}

EltNode *
elt_node_by_name(const char *name)
{
	ScanKeyData key;

	ScanKeyInit(&key, A_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	return find_node("node_name_key", &key);
}

EltNode *
elt_node_by_id(int32 id)
{
	ScanKeyData key;

	elt_key_int4(&key, A_ID, id);
	return find_node("node_pkey", &key);
}

char *
elt_node_name(int32 id)
{
	EltNode    *node = elt_node_by_id(id);

	return node != NULL ? node->name : NULL;
}

void
elt_node_insert(EltNode *node)
{
	Relation	rel = elt_table_open("node", RowExclusiveLock);
	Datum		values[A_CREATED];
	bool		nulls[A_CREATED] = {false};

	node->id = (int32) elt_sequence_next("node_id_seq");
	values[A_ID - 1] = Int32GetDatum(node->id);
	values[A_NAME - 1] = CStringGetTextDatum(node->name);
	values[A_KIND - 1] = CStringGetTextDatum(node->kind);
	values[A_OWNER - 1] = ObjectIdGetDatum(node->owner);
	values[A_CREATED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_node_update(const EltNode *node)
{
	Relation	rel = elt_table_open("node", RowExclusiveLock);
	Datum		values[A_CREATED] = {0};
	bool		nulls[A_CREATED] = {false};
	bool		replace[A_CREATED] = {false};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	elt_key_int4(&key, A_ID, node->id);
	scan = elt_table_scan(rel, "node_pkey", 1, &key, NULL);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "node %d does not exist", node->id);
	values[A_NAME - 1] = CStringGetTextDatum(node->name);
	values[A_OWNER - 1] = ObjectIdGetDatum(node->owner);
	replace[A_NAME - 1] = replace[A_OWNER - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
elt_node_delete(int32 id)
{
	ScanKeyData key;

	elt_key_int4(&key, A_ID, id);
	elt_table_delete("node", "node_pkey", 1, &key);
}

/* Names that share a hash wait for each other, which does no harm. */
void
elt_node_lock_name(const char *name)
{
	LockDatabaseObject(elt_table_oid("node"), (Oid) hash_bytes((const unsigned char *) name, strlen(name)), LOCK_NAME, ExclusiveLock);
}

void
elt_node_lock(int32 id)
{
	LockDatabaseObject(elt_table_oid("node"), (Oid) id, LOCK_ID, ExclusiveLock);
}

static void
session_lock_tag(LOCKTAG *tag, int32 id)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, elt_table_oid("node"), (Oid) id, LOCK_ID);
}

bool
elt_node_try_lock_session(int32 id)
{
	LOCKTAG		tag;

	session_lock_tag(&tag, id);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
elt_node_lock_session(int32 id)
{
	LOCKTAG		tag;

	session_lock_tag(&tag, id);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
}

void
elt_node_unlock_session(int32 id)
{
	LOCKTAG		tag;

	session_lock_tag(&tag, id);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

void
elt_node_check_kind(const EltNode *node, const char *kind)
{
	if (strcmp(node->kind, kind) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a %s, not a %s", node->name, node->kind, kind),
				 errhint("All nodes share one namespace of names: choose another one for a %s.", kind)));
}

void
elt_node_check_owner(const EltNode *node)
{
	if (superuser() || has_privs_of_role(GetUserId(), node->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of %s \"%s\"", node->kind, node->name),
			 SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(node->owner)) ?
			 errhint("Become a member of role \"%s\".", GetUserNameFromId(node->owner, false)) :
			 errhint("Its owner was dropped: a superuser can drop the %s.", node->kind)));
}
