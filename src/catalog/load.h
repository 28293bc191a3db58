/* Rows of elt.load and elt.rejected_row. */
#ifndef ELT_CATALOG_LOAD_H
#define ELT_CATALOG_LOAD_H

#include "nodes/pg_list.h"

#include "catalog/node.h"

typedef struct EltLoad
{
	EltNode		node;
	int32		consumer;
	Oid			source;
	Oid			target;
	char	   *mode;			/* append | upsert | mirror */
	char	   *query;
	char	   *definition;
	List	   *columns;		/* of String */
	List	   *key;
	List	   *owned_target;
	List	   *owned_source;
	int32		batch_rows;
	char	   *on_error;		/* stop | quarantine */
	int64		max_rejected;
	List	   *settings;		/* name, value, ... */
	char	   *source_columns; /* that the query reads, as text */
} EltLoad;

extern EltLoad *elt_load_by_name(const char *name); /* NULL: no node of this
													 * name; an error where it
													 * is no load */

/* the load of mode mirror into a table, or NULL; nobody else makes one until the transaction ends */
extern char *elt_load_mirror_of(Oid target);

extern void elt_load_insert(EltLoad *load); /* makes the node too */
extern void elt_load_set_source_columns(int32 node, const char *columns);
extern void elt_load_delete(const EltLoad *load);	/* with its node, its
													 * rejected rows and its
													 * consumer */

typedef struct EltRejected
{
	int64		id;
	char	   *sqlstate;
	char	   *message;
	char	   *key;			/* json text, or NULL */
	char	   *row;			/* json text */
	char	   *image;
	Size		len;
} EltRejected;

extern void elt_rejected_insert(int32 node, const EltRejected *rejected);
extern List *elt_rejected_list(int32 node);
extern int64 elt_rejected_count(int32 node, int64 limit);
extern void elt_rejected_delete(int32 node, int64 id);
extern void elt_rejected_delete_all(int32 node);
extern void elt_rejected_delete_range(int32 node, int64 from, int64 before);	/* by id */

#endif
