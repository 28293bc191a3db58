/* Rows of elt.view, elt.view_part and elt.view_source: precomputed views. */
#ifndef ELT_CATALOG_VIEW_H
#define ELT_CATALOG_VIEW_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

#include "catalog/node.h"

typedef struct EltView
{
	EltNode		node;			/* id, name (qualified), kind 'view', owner */
	Oid			relid;			/* what users read */
	Oid			storage;		/* of its last part */
	Oid			definition;		/* the internal view with its query, or
								 * InvalidOid */
	char	   *query;			/* canonical text; the truth where there is no
								 * definition */
	char	   *refresh_mode;	/* auto | incremental | full */
	char	   *on_schema_change;	/* refuse | suspend */
	char	   *frozen_where;	/* NULL: none */
	char	   *target_lag;		/* an interval's text, NULL: none */
	List	   *settings;		/* String: name, value, ... */

	/* what the last refresh left */
	bool		populated;
	TimestampTz as_of;			/* now() of the last refresh; 0: none */
	TimestampTz refreshed;		/* clock when its snapshot was taken */
	char	   *strategy;		/* of the last refresh: incremental | full |
								 * none; NULL: not refreshed yet */
	char	   *reason;			/* code, or NULL */
	char	   *bodies;			/* a hash of the views and functions that the
								 * rows were computed with, or NULL */
	double		last_ms;
	double		full_ms;		/* the last full refresh took so long; 0:
								 * unknown */
	double		full_cost;		/* and the planner had said this */
	double		delta_ms;		/* the same of the last incremental one */
	double		delta_cost;
	int32		since_full;		/* incremental refreshes since the last full
								 * one */
} EltView;

typedef struct EltViewPart
{
	int32		part;			/* 1 .. n; the last one is the view itself */
	Oid			storage;
	char	   *shape;			/* its columns and how it is kept, as text: a
								 * storage with another one is made anew */
	bool		complete;		/* ORDER BY ... LIMIT: the storage has all
								 * rows, not just the first ones */
} EltViewPart;

typedef struct EltViewSource
{
	Oid			relid;			/* a tracked table */
	int32		consumer;
	char	   *columns;		/* attribute numbers that the query reads, as
								 * text */
} EltViewSource;

/* NULL: there is none. elt_view_by_name raises 42809 where the name is another kind of node's. */
extern EltView *elt_view_by_name(const char *name);
extern EltView *elt_view_by_id(int32 node);

/* The view of which relid is the relation, the definition, or the storage of a part; NULL: of none. */
extern EltView *elt_view_by_relation(Oid relid);

/* Was the view's row written by another transaction that the snapshot does not see? */
extern bool elt_view_is_newer(int32 node, Snapshot snapshot);
extern List *elt_view_all(void);	/* EltView */

extern void elt_view_insert(EltView *view); /* its node is there */
extern void elt_view_update(const EltView *view);	/* all but the node */
extern void elt_view_delete(const EltView *view);	/* with parts, sources,
													 * their consumers, node */

extern List *elt_view_parts(int32 node);	/* EltViewPart by number */
extern void elt_view_part_insert(int32 node, const EltViewPart *part);
extern void elt_view_part_set_complete(int32 node, int32 part, bool complete);
extern void elt_view_part_delete_all(int32 node);

extern List *elt_view_sources(int32 node);	/* EltViewSource by OID */
extern void elt_view_source_insert(int32 node, const EltViewSource *source);
extern void elt_view_source_set_columns(int32 node, Oid relid, const char *columns);
extern void elt_view_source_delete(int32 node, Oid relid);	/* with its consumer */

#endif
