/* The relations of a tracked table: itself, or a partitioned root with its intermediates and leaves. */
#ifndef ELT_TREE_H
#define ELT_TREE_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "catalog/capture.h"

/*
 * For a consumer: lock the tree (AccessShare) and check that nothing has escaped the log; returns the root, open. kind and name are the consumer's, for messages.
 */
extern Relation elt_tree_lock(EltCapture *capture, const char *kind, const char *name);

/* OIDs of a relation and everything below it, locked in the mode given */
extern List *elt_tree_members(Oid relid, LOCKMODE mode);

/* Are the capturing triggers of a relation all there and always enabled? */
extern bool elt_tree_has_triggers(Oid relid);

/* Does the whole tree have its triggers, and is it the one that was noted? */
extern bool elt_tree_complete(EltCapture *capture);

/* Create those that lack and enable those that are not; true where something had to be done. */
extern bool elt_tree_add_triggers(Oid relid);
extern void elt_tree_drop_triggers(Oid relid);

/* Is DDL of ours running, which our event triggers need not follow? */
extern bool elt_tree_own_ddl(void);

/* attribute numbers and types of a relation, as kept in elt.capture.columns */
extern char *elt_tree_columns(Relation rel);

#endif
