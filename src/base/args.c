/*
 * args.c
 *	  Arguments of SQL-callable functions: NULL and unknown values are errors that name the parameter.
 *
 * No locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "utils/array.h"
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

List *
elt_arg_key(FunctionCallInfo fcinfo, int n)
{
	List	   *key = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parameter \"key\" must not contain nulls"),
					 errhint("Name the target's key columns, for example ARRAY['id'].")));
		key = list_append_unique(key, makeString(TextDatumGetCString(elements[i])));
	}
	if (key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"key\" must not be empty"),
				 errhint("Leave it out to take the target's primary key.")));
	return key;
}

int64
elt_arg_max_rejected(FunctionCallInfo fcinfo, int n)
{
	check_not_null(fcinfo, n, "max_rejected");
	if (PG_GETARG_INT64(n) < 0 || PG_GETARG_INT64(n) > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value %lld for parameter \"max_rejected\"", (long long) PG_GETARG_INT64(n)),
				 errhint("Give a number of rows from 0 to %d.", PG_INT32_MAX)));
	return PG_GETARG_INT64(n);
}
