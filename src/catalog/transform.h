/* Rows of elt.transform. */
#ifndef ELT_CATALOG_TRANSFORM_H
#define ELT_CATALOG_TRANSFORM_H

#include "nodes/pg_list.h"

#include "catalog/node.h"

typedef struct EltTransform
{
	EltNode		node;
	Oid			target;
	char	   *mode;			/* append | overwrite | upsert */
	char	   *query;
	char	   *definition;
	List	   *columns;		/* of String */
	List	   *key;
	int32		workers;		/* 0: as many as make sense */
	bool		atomic;
	char	   *publish;		/* swap | mvcc */
	bool		repeat;
	char	   *on_error;		/* stop | quarantine */
	int64		max_rejected;
	List	   *settings;		/* name, value, ... */
	char	   *appended;		/* a pg_snapshot's text, or NULL */
	bool		appended_here;	/* it is of this database, not of one that was
								 * dumped */
} EltTransform;

extern EltTransform *elt_transform_by_name(const char *name);	/* NULL: no node of this
																 * name; an error where
																 * it is no transform */

extern void elt_transform_insert(EltTransform *transform);	/* makes the node too */
extern void elt_transform_update(const EltTransform *transform);	/* all but the node */
extern void elt_transform_delete(const EltTransform *transform);	/* with its node, runs
																	 * and rejected rows */

#endif
