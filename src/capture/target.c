/*
 * target.c
 *	  A backend's cache of where the changes of a relation are logged.
 *
 * An entry is made from the catalog at a relation's first change and falls to invalidations of the relation, its root or the open
 * segment (a rotation sends one for the segment that it closes).
 *
 * Locks: RowExclusive on the segment, to the end of the transaction. Having got the lock, the backend has received the invalidations of whoever closed the
 * segment before, so an entry that is still valid then names a segment that is open or that nobody seals while the lock is held. A
 * crash loses nothing.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "capture/target.h"
#include "catalog/capture.h"
#include "catalog/consumer.h"
#include "catalog/table.h"

static HTAB *targets = NULL;
static uint64 invalidations = 0;	/* received so far */

static void
invalidate_targets(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	EltTarget  *target;

	invalidations++;
	hash_seq_init(&status, targets);
	while ((target = hash_seq_search(&status)) != NULL)
	{
		if (!OidIsValid(relid) || target->relid == relid ||
			target->root == relid || target->segment == relid || !target->tracked)
			target->valid = false;
	}
}

static void
init_targets(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(EltTarget)};

	targets = hash_create("elt capture targets", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(invalidate_targets, (Datum) 0);
}

Oid
elt_target_root(Oid relid, int32 *capture)
{
	List	   *candidates = list_make1_oid(relid);
	ListCell   *lc;

	if (!elt_installed())
		return InvalidOid;
	if (get_rel_relispartition(relid))
		candidates = list_concat(candidates, get_partition_ancestors(relid));
	foreach(lc, candidates)
	{
		EltCapture *found = elt_capture_by_relation(lfirst_oid(lc));

		/* one that was restored from a dump has no log here */
		if (found != NULL && elt_install_is(&found->install))
		{
			*capture = found->id;
			return found->relid;
		}
	}
	return InvalidOid;
}

/* Which attributes a log of keys keeps; NULL where there is no primary key (any more): whole rows. */
static bool *
key_attributes(Relation root)
{
	Bitmapset  *attrs = RelationGetIndexAttrBitmap(root, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	bool	   *keys;
	int			attr = -1;

	if (attrs == NULL)
		return NULL;
	keys = palloc0(sizeof(bool) * RelationGetNumberOfAttributes(root));
	while ((attr = bms_next_member(attrs, attr)) >= 0)
		keys[attr + FirstLowInvalidHeapAttributeNumber - 1] = true;
	return keys;
}

/* The columns up to the last one of the key. */
static TupleDesc
key_descriptor(TupleDesc rootdesc, const bool *keys)
{
	int			natts = rootdesc->natts;
	TupleDesc	desc;

	while (!keys[natts - 1])
		natts--;
	desc = CreateTemplateTupleDesc(natts);
	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(desc, i, rootdesc, i);
	return desc;
}

/* Is there a consumer that goes on after a TRUNCATE, which takes all toasted values away? */
static bool
needs_whole_images(int32 capture)
{
	ListCell   *lc;

	foreach(lc, elt_consumer_list(capture))
	{
		if (((EltConsumer *) lfirst(lc))->only_adds)
			return true;
	}
	return false;
}

/* Fill in what the entry keeps of the root's layout, in the entry's context. */
static void
fill_layout(EltTarget *target, Relation rel, bool keys_only, bool may_share)
{
	Relation	root = table_open(target->root, AccessShareLock);
	bool		plain = rel->rd_rel->relkind == RELKIND_RELATION && !rel->rd_rel->relispartition;

	target->rootdesc = CreateTupleDescCopy(RelationGetDescr(root));
	target->keys = keys_only ? key_attributes(root) : NULL;
	target->keydesc = target->keys ? key_descriptor(target->rootdesc, target->keys) : NULL;
	target->map = RelationGetRelid(rel) == target->root ? NULL :
		elt_attrmap_if_needed(RelationGetDescr(rel), RelationGetDescr(root));

	/*
	 * with the values of columns added with a default, which older rows lack;
	 * rows that reach a statement of the root lack none
	 */
	target->rowdesc = CreateTupleDescCopyConstr(RelationGetDescr(rel));

	/*
	 * a partition's row may move, and its value with it; without a key the
	 * value's row could not be found
	 */
	target->pk = plain && may_share ? key_attributes(rel) : NULL;
	table_close(root, AccessShareLock);
}

/* Make the entry anew; valid at the end unless an invalidation came in between. */
static void
fill_target(EltTarget *target, Relation rel)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(old, "elt target lookup", ALLOCSET_SMALL_SIZES);
	EltCapture *capture = NULL;
	bool		may_share;
	uint64		before = invalidations;

	if (target->context != NULL)
		MemoryContextReset(target->context);
	else
		target->context = AllocSetContextCreate(CacheMemoryContext, "elt target",
												ALLOCSET_SMALL_SIZES);
	target->keys = NULL;
	target->map = NULL;

	MemoryContextSwitchTo(scratch);
	target->root = elt_target_root(RelationGetRelid(rel), &target->capture);
	if (OidIsValid(target->root))
		capture = elt_capture_by_id(target->capture);
	target->segment = capture ? elt_segment_open_relid(capture->id) : InvalidOid;
	target->tracked = OidIsValid(target->segment);
	if (target->tracked)
	{
		may_share = !needs_whole_images(target->capture);
		MemoryContextSwitchTo(target->context);
		fill_layout(target, rel, capture->keys_only, may_share);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);

	/* what came in meanwhile may be about what was just read */
	target->valid = invalidations == before;
}

EltTarget *
elt_target_lock(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	EltTarget  *target;
	bool		found;

	if (targets == NULL)
		init_targets();
	target = hash_search(targets, &relid, HASH_ENTER, &found);
	if (!found)
	{
		target->valid = false;
		target->tracked = false;
		target->root = target->segment = InvalidOid;
		target->context = NULL;
	}
	for (;;)
	{
		Oid			segment;

		while (!target->valid)
		{
			CHECK_FOR_INTERRUPTS();
			fill_target(target, rel);
		}
		if (!target->tracked)
			return NULL;
		segment = target->segment;
		LockRelationOid(segment, RowExclusiveLock);
		if (target->valid)
			return target;
		UnlockRelationOid(segment, RowExclusiveLock);
	}
}
