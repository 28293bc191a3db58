/* Checks of the tables that nodes write to. kind ("load" or "transform") and name say in messages whose target it is. */
#ifndef ELT_CATALOG_TARGET_H
#define ELT_CATALOG_TARGET_H

#include "catalog/pg_attribute.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* A permanent table of a user's; verb: "load into", "Load into". 42809 otherwise. */
extern void elt_target_check_kind(Relation target, const char *verb, const char *capital_verb);

/* The column that an output column of a query is written to. Errors: 42703, 428C9 for a generated one. */
extern Form_pg_attribute elt_target_column(Relation target, const char *kind, const char *name, const char *column);

/* The columns (of String) are a key of the target. Errors: 42703, 42P10. */
extern void elt_target_check_key(Relation target, List *key, const char *kind, const char *name);

/* Are two relations the same, or does one inherit from, or belong to, the other? */
extern bool elt_target_same_tree(Oid a, Oid b);

#endif
