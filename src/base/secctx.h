/* Running something with another role's rights. */
#ifndef ELT_SECCTX_H
#define ELT_SECCTX_H

#include "nodes/pg_list.h"

/* the search_path under which stored SQL text is written and read: everything outside pg_catalog is qualified in it */
#define ELT_SEARCH_PATH "pg_catalog, pg_temp"

typedef struct EltSecContext
{
	Oid			userid;
	int			flags;
	int			guc_nest_level;
} EltSecContext;

/* Become `role`, in a security-restricted operation, with jit off and what elt_pin_sql_settings pins. elt_restore ends it; so does an abort. */
extern void elt_become(EltSecContext *save, Oid role);
extern void elt_restore(EltSecContext *save);

/* An error where the transaction may not write; the catalog access of the extension itself would not notice. */
extern void elt_check_may_write(const char *function);

/* Set a setting until the innermost GUC nest level ends. */
extern void elt_pin_setting(const char *name, const char *value);

/* The same for the settings that decide what SQL text means: search_path and those of the parser. */
extern void elt_pin_sql_settings(void);

/*
 * The settings that decide what casts and text functions give, as they are now, as a list of String: name, value, ... What is kept with a query is pinned
 * whenever the query runs, so that it gives the same as when it was made.
 */
extern List *elt_settings_note(void);
extern void elt_settings_pin(List *settings);

#endif
