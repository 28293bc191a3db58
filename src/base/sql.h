/* Running the extension's own SQL. */
#ifndef ELT_SQL_H
#define ELT_SQL_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

/* Run one utility or DML statement through SPI; search_path is the caller's affair. */
extern void elt_sql_run(const char *sql);

/* Run it as the extension's owner, restricted, with search_path pinned. */
extern void elt_sql_run_as_extension(const char *sql);
extern Oid	elt_extension_owner(void);

/* the parts of a possibly qualified name, as identifiers are read in SQL; an error where it is none */
extern List *elt_name_list(const char *name);

/* qualified, quoted name of a collation */
extern char *elt_collation_name(Oid collation);

extern Oid	elt_relation_owner(Oid relid);

/* OPERATOR(schema.name) */
extern char *elt_operator_name(Oid operator);

/* 'schema.name', quoted */
extern char *elt_qualified_name(Oid relid);

/* Columns (String) as a, b, c with an optional prefix each. */
extern char *elt_column_names(List *columns, const char *prefix);

/* ON CONFLICT (key) DO UPDATE of these columns of elt_t, only where one differs, by image: equal is not the same. NIL: DO NOTHING. */
extern void elt_append_on_conflict(StringInfo sql, List *key, List *columns);

#endif
