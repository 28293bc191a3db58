/* Unique keys of tables, and how SQL compares them. */
#ifndef ELT_CATALOG_KEY_H
#define ELT_CATALOG_KEY_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

typedef struct EltKeyColumn
{
	char	   *name;
	char	   *equals;			/* OPERATOR(schema.=) of the index */
	char	   *collate;		/* " COLLATE schema.name" of the index, or "" */
	bool		exact;			/* values that are equal are the same, byte
								 * for byte */
} EltKeyColumn;

typedef struct EltKey
{
	int			ncolumns;
	EltKeyColumn columns[FLEXIBLE_ARRAY_MEMBER];
} EltKey;

/*
 * The unique index over just these columns (of String, in any order) that tells rows apart at any time: valid, immediate, without a
 * predicate, all columns NOT NULL. InvalidOid: there is none.
 */
extern Oid	elt_key_index(Relation rel, List *columns);

/* The key that an index has, in the index's order. */
extern EltKey *elt_key_of_index(Oid index);

/* The key's columns, of String. */
extern List *elt_key_columns(const EltKey *key);

/*
 * SQL: left.<left_names> equal right.<right_names>, pair by pair, by the index's operator for the column of the key that left_names names. Both
 * sides have that column's type.
 */
extern char *elt_key_match(const EltKey *key, const char *left, List *left_names, const char *right, List *right_names);

#endif
