/* Queries that users give and we keep: text to query tree, and back. */
#ifndef ELT_BASE_QUERY_H
#define ELT_BASE_QUERY_H

#include "nodes/parsenodes.h"

/*
 * kind ("load", "transform" or "view") and name say in messages whose query it is. Query trees and text are in the current memory context.
 */

/*
 * The one SELECT that a text is, analysed for the current user under the current search_path; errors tell positions in the text. Locks what it reads until the
 * transaction ends (AccessShareLock). stored: the text was accepted before. Errors: the parser's; 42601 for what is not one SELECT; 0A000 where it
 * writes to tables or locks rows.
 */
extern Query *elt_query_parse(const char *kind, const char *name, const char *sql, bool stored);

/* 0A000 where a query locks rows, at any level; what views do that it reads is not looked at. elt_query_parse has called it for the query itself. */
extern void elt_query_check_locks(const char *kind, const char *name, Query *query);

/* The output columns are named, once each, and of real types; there is one at least. Errors: 42601, 42611, 42701, 42P16. */
extern void elt_query_check_columns(const char *kind, const char *name, Query *query);

/*
 * Text that means the same under ELT_SEARCH_PATH whatever the session's settings are: every name outside pg_catalog is qualified. 0A000 for a query
 * of which that cannot be had.
 */
extern char *elt_query_canonical(const char *kind, const char *name, Query *query);

extern char *elt_deparse(Query *query);

#endif
