/* Precomputed views: what the files that define, refresh and explain them share. */
#ifndef ELT_VIEW_H
#define ELT_VIEW_H

#include "fmgr.h"

#include "catalog/view.h"
#include "view/maintain.h"
#include "view/shape.h"

/* storage.c: tables and views in the catalog. The current user is the view's owner, restricted. */

/* Create the storages of all parts, and note them. */
extern void elt_storage_create(EltView *view, EltShape *shape);

/* The internal view with the query, and its name in schema elt_data. */
extern Oid	elt_storage_create_definition(EltView *view, const char *sql);
extern char *elt_storage_definition_name(EltView *view);

/* The relation that users read: made, or with the same columns and more behind them replaced. */
extern Oid	elt_storage_show(EltView *view, EltShape *shape, const char *qualified_name);

/* Values of a key were too long for their index: make one that takes any, where there may be such. */
extern void elt_storage_index_long_keys(EltView *view, EltShape *shape);

/* Are the storages there, and as the shape has them? Columns that a storage was not made to have without NULLs are taken for nullable in the shape from then on. */
extern bool elt_storage_fits(EltView *view, EltShape *shape);

/* Is it of another size than when it was analysed? */
extern bool elt_storage_outgrew_statistics(Oid storage);

extern Oid *elt_storage_list(EltView *view, EltShape *shape);

/* define.c: the view of that name, which the current user may act for; an error if there is none. Locked: nobody else refreshes or changes it. */
extern EltView *elt_view_get(const char *name);
extern EltView *elt_view_find(const char *name);	/* not locked, not checked */

/* A query that somebody gives for a view, analysed for the current user; an error where a view cannot have it. */
extern Query *elt_view_accept_query(const char *name, const char *text);

/* The reason code of what cannot follow changes in it; NULL: nothing. */
extern const char *elt_view_full_reason(EltShape *shape);

/* Can the view be kept so? An error where its refresh_mode or its frozen rows forbid it. */
extern void elt_view_check_shape(EltView *view, EltShape *shape);

/* Set frozen_where, as the current user reads it; NULL: no row is frozen. The view's relation is there. */
extern void elt_view_set_frozen(EltView *view, const char *text);

/* Make the storages anew where the shape is another one than they were made for. */
extern void elt_view_rebuild_if_needed(EltView *view, EltShape *shape);

/* bodies.c: a hash of the views and functions that the query reads. */
extern char *elt_view_bodies(EltShape *shape);

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

/* alter.c */

/* What is to be different. */
typedef struct EltViewChange
{
	char	   *query;			/* canonical; NULL: as it is */
	List	   *settings;		/* with a query */
	char	   *refresh_mode;	/* NULL: as it is */
	char	   *on_schema_change;	/* NULL: as it is */
	bool		set_target_lag;
	char	   *target_lag;
	bool		set_frozen_where;
	char	   *frozen_where;	/* as the user wrote it */
} EltViewChange;

/* The current user may act for the view's owner. */
extern void elt_view_alter(EltView *view, EltViewChange *change);

/* The n-th argument, an interval, as text; NULL where it is NULL. */
extern char *elt_view_lag_text(FunctionCallInfo fcinfo, int n);

/* index.c: the names of our own indexes of a storage, over all rows and over those that HAVING leaves; and: make the others of one storage on another, too. */
extern char *elt_view_own_index_name(const char *storage);
extern char *elt_view_shown_index_name(const char *storage);
extern void elt_view_index_copy(Oid from, Oid to);

/* drop.c: node, consumers, storages and definition follow the name and the owner of the relation that users read. view->node is changed. */
extern void elt_view_follow_relation(EltView *view);

/* Remove all that there is of a view; cascade: and what depends on it. */
extern void elt_view_remove(EltView *view, bool cascade);

/* status.c */

/* The query of a view that is kept as text. 55000 where it no longer fits what it reads, or what users read. */
extern Query *elt_view_query_of_text(EltView *view);

/* Why refreshes fail, as text; NULL: they should not. */
extern char *elt_view_problem(EltView *view);

/* Changes that the view does not show yet; below zero: not known, because it was never filled or the current user may not read a source. */
extern int64 elt_view_pending(EltView *view);
extern int64 elt_view_source_pending(int32 consumer);

#endif
