/* The relations of a tracked table: itself, or a partitioned root with its intermediates and leaves. */
#ifndef ELT_TREE_H
#define ELT_TREE_H

#include "nodes/pg_list.h"
#include "utils/reltrigger.h"
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

/* Create the trigger that a partition needs since its columns, or those of a table above it, have changed. */
extern void elt_tree_follow_layout(Oid relid);

/* Is DDL of ours running, which our event triggers need not follow? */
extern bool elt_tree_own_ddl(void);

/* Run such DDL as the current user. What it does to the tree is noted by the caller. */
extern void elt_tree_run_ddl(const char *sql);

/* Raise 42809 for a relation some of whose changes no trigger could log: an unlogged one, or one that a subscription writes to. */
extern void elt_tree_check_loggable(Oid relid);

/* Is this one of the triggers that write the log? */
extern bool elt_tree_is_capturing(const Trigger *trigger);

/* attribute numbers and types of a relation, as kept in elt.capture.columns; keys_only: and which are its primary key */
extern char *elt_tree_columns(Relation rel, bool keys_only);

/*
 * Bring elt.capture.columns up to date. Leaves a mark where the log so far would be misread from now on:
 *
 *	  - a type changed without a mark by our event trigger for rewrites (rewrites_marked: that trigger has been at work);
 *	  - the primary key changed, where only keys are logged;
 *	  - a column with a default was added while older rows are unread: they get the default for it now, but VACUUM FULL makes the
 *		table forget what that was, and a partitioned table never knows.
 */
extern void elt_tree_note_columns(EltCapture *capture, Relation root, bool rewrites_marked);

#endif
