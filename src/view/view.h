/* Precomputed views: what the files that define, refresh and explain them share. */
#ifndef ELT_VIEW_H
#define ELT_VIEW_H

#include "catalog/view.h"
#include "view/maintain.h"
#include "view/shape.h"

/* storage.c: tables and views in the catalog. The current user is the view's owner, restricted. */

/* Create the storages of all parts, and note them. */
extern void elt_storage_create(EltView *view, EltShape *shape);

/* Drop them; the relation that users read must not need them any more. */
extern void elt_storage_drop(int32 node);

/* The internal view with the query. */
extern Oid	elt_storage_create_definition(int32 node, Oid owner, const char *sql);

/* The relation that users read: made, or with the same columns and more behind them replaced. */
extern Oid	elt_storage_show(EltView *view, EltShape *shape, const char *qualified_name);

/* Are the storages there, and as the shape has them? */
extern bool elt_storage_fits(EltView *view, EltShape *shape);

extern Oid *elt_storage_list(EltView *view, EltShape *shape);

/* define.c: the view of that name, which the current user may act for; an error if there is none. Locked: nobody else refreshes or changes it. */
extern EltView *elt_view_get(const char *name);
extern EltView *elt_view_find(const char *name);	/* not locked, not checked */

/* A query that somebody gives for a view, analysed for the current user; an error where a view cannot have it. */
extern Query *elt_view_accept_query(const char *name, const char *text);

/* The reason code of what cannot follow changes in it; NULL: nothing. */
extern const char *elt_view_full_reason(EltShape *shape);

/* Make the storages anew where the shape is another one than they were made for. */
extern void elt_view_rebuild_if_needed(EltView *view, EltShape *shape);

/* refresh.c */

typedef struct EltRefresh
{
	const char *strategy;		/* incremental | full | none */
	char	   *reason;			/* code, or NULL */
	EltChangeCounts counts;
	int64		pending;
	double		ms;
} EltRefresh;

/* The view's query as it is stored. The current user is the owner, with the SQL settings pinned. */
extern Query *elt_view_query(EltView *view);

/* Track what the shape reads and register the view as its consumer; forget what it no longer reads. */
extern void elt_view_sync_sources(EltView *view, EltShape *shape);

/* The shape under which the view is refreshed: one full part where its mode is full. */
extern EltShape *elt_view_shape(EltView *view);

/* Refresh a locked view, and first those that it reads and that the user may refresh. force_full: with this reason, NULL: only if need be. */
extern EltRefresh *elt_view_refresh(EltView *view, const char *force_full);

/* The same, and then call `and` as the owner, with the view's settings, under the snapshot of the refresh. */
extern EltRefresh *elt_view_refresh_and(EltView *view, const char *force_full, void (*and) (EltView *view, EltShape *shape, void *arg), void *arg);

/* status.c */

/* The query of a view that is kept as text. 55000 where it no longer fits what it reads, or what users read. */
extern Query *elt_view_query_of_text(EltView *view);

/* Why refreshes fail, as text; NULL: they should not. */
extern char *elt_view_problem(EltView *view);

/* Changes that the view does not show yet; below zero: not known, because it was never filled or the current user may not read a source. */
extern int64 elt_view_pending(EltView *view);
extern int64 elt_view_source_pending(int32 consumer);

#endif
