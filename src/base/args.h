/* Arguments of SQL-callable functions, checked. */
#ifndef ELT_ARGS_H
#define ELT_ARGS_H

#include "fmgr.h"
#include "nodes/pg_list.h"

/* Each raises 22004 where the argument is NULL. */
extern char *elt_arg_text(FunctionCallInfo fcinfo, int n, const char *name);
extern bool elt_arg_bool(FunctionCallInfo fcinfo, int n, const char *name);

/* An existing relation. */
extern Oid	elt_arg_relation(FunctionCallInfo fcinfo, int n, const char *name);

/* One of the strings that follow, up to a NULL; 22023 otherwise. */
extern char *elt_arg_choice(FunctionCallInfo fcinfo, int n, const char *name,...);

/* Names of key columns, of String; NIL for NULL. Errors: 22004, 22023. */
extern List *elt_arg_key(FunctionCallInfo fcinfo, int n);

/* max_rejected: a number of rows */
extern int64 elt_arg_max_rejected(FunctionCallInfo fcinfo, int n);

/* NULL where the argument is NULL */
extern char *elt_arg_text_or_null(FunctionCallInfo fcinfo, int n);

#endif
