/* Rows of elt.node: what all loads, transforms, views, tasks and checks have in common. */
#ifndef ELT_CATALOG_NODE_H
#define ELT_CATALOG_NODE_H

#include "postgres_ext.h"

typedef struct EltNode
{
	int32		id;
	char	   *name;
	char	   *kind;			/* load | view | ... */
	Oid			owner;
} EltNode;

/* palloc'd; NULL: there is none */
extern EltNode *elt_node_by_name(const char *name);
extern EltNode *elt_node_by_id(int32 id);
extern char *elt_node_name(int32 id);

extern void elt_node_insert(EltNode *node); /* sets id */
extern void elt_node_update(const EltNode *node);	/* name and owner */
extern void elt_node_delete(int32 id);

/* Nobody else makes a node of this name until the transaction ends. */
extern void elt_node_lock_name(const char *name);

/* Nobody else who locks the node gets it until the transaction ends. It may be gone, or renamed, when this returns. */
extern void elt_node_lock(int32 id);

/*
 * The same for the session, over its commits; an abort of the whole transaction gives it up too. Whoever has it may take the other one. The first
 * form does not wait: false where somebody else works on the node.
 */
extern bool elt_node_try_lock_session(int32 id);
extern void elt_node_lock_session(int32 id);
extern void elt_node_unlock_session(int32 id);

/* An error unless the node is of this kind. */
extern void elt_node_check_kind(const EltNode *node, const char *kind);

/* An error unless the current user may act for the node's owner. */
extern void elt_node_check_owner(const EltNode *node);

#endif
