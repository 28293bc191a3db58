/*
 * args.c
 *	  Arguments of SQL-callable functions: NULL and unknown values are errors that name the parameter.
 *
 * No locks.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/args.h"

static void
check_not_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"%s\" must not be null", name),
				 errhint("Leave the parameter out to get its default, where it has one.")));
}

char *
elt_arg_text(FunctionCallInfo fcinfo, int n, const char *name)
{
	check_not_null(fcinfo, n, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

char *
elt_arg_text_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

bool
elt_arg_bool(FunctionCallInfo fcinfo, int n, const char *name)
{
	check_not_null(fcinfo, n, name);
	return PG_GETARG_BOOL(n);
}

Oid
elt_arg_relation(FunctionCallInfo fcinfo, int n, const char *name)
{
	Oid			relid;

	check_not_null(fcinfo, n, name);
	relid = PG_GETARG_OID(n);
	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("Pass the table's name for parameter \"%s\".", name)));
	return relid;
}

char *
elt_arg_choice(FunctionCallInfo fcinfo, int n, const char *name,...)
{
	char	   *value = elt_arg_text(fcinfo, n, name);
	StringInfoData choices;
	const char *choice;
	va_list		args;

	initStringInfo(&choices);
	va_start(args, name);
	while ((choice = va_arg(args, const char *)) != NULL)
	{
		if (strcmp(choice, value) == 0)
			break;
		appendStringInfo(&choices, "%s'%s'", choices.len > 0 ? ", " : "", choice);
	}
	va_end(args);
	if (choice == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value \"%s\" for parameter \"%s\"", value, name),
				 errhint("Use one of %s.", choices.data)));
	return value;
}
