/*
 * secctx.c
 *	  Running something with another role's rights.
 *
 * A user's query, and whatever functions and triggers it calls, runs as its owner inside a security-restricted operation: it cannot
 * leave that role, create temporary objects or queue deferred triggers that would fire later with the caller's rights. Settings
 * it changes end with the window, and those that decide what our SQL text means are pinned.
 *
 * Nothing is registered for errors: the abort of the (sub)transaction restores role, flags and settings.
 * Locks: none. A crash loses nothing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/guc.h"

#include "base/secctx.h"

static const char *const noted_settings[] = {
	"TimeZone", "DateStyle", "IntervalStyle", "extra_float_digits", "bytea_output", "default_text_search_config", "xmlbinary", "xmloption",
	"lc_monetary", "lc_numeric", "lc_time"
};

void
elt_pin_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
elt_pin_sql_settings(void)
{
	elt_pin_setting("search_path", ELT_SEARCH_PATH);
	/* off, a backslash in a stored literal could end it somewhere else */
	elt_pin_setting("standard_conforming_strings", "on");
	elt_pin_setting("transform_null_equals", "off");
}

void
elt_check_may_write(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

List *
elt_settings_note(void)
{
	List	   *settings = NIL;

	for (int i = 0; i < lengthof(noted_settings); i++)
	{
		settings = lappend(settings, makeString(pstrdup(noted_settings[i])));
		settings = lappend(settings, makeString(pstrdup(GetConfigOption(noted_settings[i], false, false))));
	}
	return settings;
}

void
elt_settings_pin(List *settings)
{
	for (int i = 0; i + 1 < list_length(settings); i += 2)
		elt_pin_setting(strVal(list_nth(settings, i)), strVal(list_nth(settings, i + 1)));
}

void
elt_become(EltSecContext *save, Oid role)
{
	GetUserIdAndSecContext(&save->userid, &save->flags);

	/*
	 * who stays himself gains nothing, and may go on to do what is
	 * restricted: fire a deferred constraint, say
	 */
	if (role != save->userid)
		SetUserIdAndSecContext(role, save->flags | SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE);
	save->guc_nest_level = NewGUCNestLevel();
	elt_pin_sql_settings();

	/*
	 * batches are short and planned each time: compiling them costs more than
	 * it saves
	 */
	elt_pin_setting("jit", "off");
}

void
elt_restore(EltSecContext *save)
{
	AtEOXact_GUC(false, save->guc_nest_level);
	SetUserIdAndSecContext(save->userid, save->flags);
}
