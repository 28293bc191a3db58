/* Running the extension's own SQL. */
#ifndef ELT_SQL_H
#define ELT_SQL_H

#include "nodes/pg_list.h"

/* Run one utility or DML statement through SPI; search_path is the caller's affair. */
extern void elt_sql_run(const char *sql);

/* Run it as the extension's owner, restricted, with search_path pinned. */
extern void elt_sql_run_as_extension(const char *sql);

/* the parts of a possibly qualified name, as identifiers are read in SQL; an error where it is none */
extern List *elt_name_list(const char *name);

/* qualified, quoted name of a collation */
extern char *elt_collation_name(Oid collation);

extern Oid	elt_relation_owner(Oid relid);

/* OPERATOR(schema.name) */
extern char *elt_operator_name(Oid operator);

/* 'schema.name', quoted */
extern char *elt_qualified_name(Oid relid);

#endif
