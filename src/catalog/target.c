/*
 * target.c
 *	  Checks of the tables that nodes write to.
 *
 * Locks: AccessShare on the tables of partition and inheritance trees.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/sql.h"
#include "catalog/key.h"
#include "catalog/target.h"

static void
refuse(Relation target, const char *verb, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot %s \"%s\": it is %s", verb, RelationGetRelationName(target), what),
			 errhint("%s", hint)));
}

static bool
is_system_table(Relation target)
{
	char	   *schema = get_namespace_name(RelationGetNamespace(target));

	return RelationGetRelid(target) < FirstNormalObjectId || IsCatalogRelation(target) ||
		strcmp(schema, "elt") == 0 || strcmp(schema, "elt_log") == 0 || strcmp(schema, "elt_data") == 0;
}

void
elt_target_check_kind(Relation target, const char *verb, const char *capital_verb)
{
	switch (target->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			refuse(target, verb, "a view", psprintf("%s the table that it reads.", capital_verb));
			break;
		case RELKIND_MATVIEW:
			refuse(target, verb, "a materialized view", psprintf("%s a table.", capital_verb));
			break;
		case RELKIND_FOREIGN_TABLE:
			refuse(target, verb, "a foreign table", psprintf("%s a table of this server.", capital_verb));
			break;
		default:
			refuse(target, verb, "not a table", psprintf("%s a table or partitioned table.", capital_verb));
	}
	if (target->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		refuse(target, verb, "a temporary table", psprintf("%s a permanent table.", capital_verb));
	if (target->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		refuse(target, verb, "an unlogged table", "A crash would empty it unnoticed: ALTER TABLE ... SET LOGGED.");
	if (is_system_table(target))
		refuse(target, verb, "a system table", psprintf("%s a table of yours.", capital_verb));
}

Form_pg_attribute
elt_target_column(Relation target, const char *kind, const char *name, const char *column)
{
	AttrNumber	attno = get_attnum(RelationGetRelid(target), column);
	Form_pg_attribute att;

	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("target \"%s\" of %s \"%s\" has no column \"%s\"", RelationGetRelationName(target), kind, name, column),
				 errhint("Name each output column of the query after a column of the target: expression AS column.")));
	att = TupleDescAttr(RelationGetDescr(target), attno - 1);
	if (att->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("column \"%s\" of target \"%s\" is generated", column, RelationGetRelationName(target)),
				 errhint("Leave it out of the query of %s \"%s\".", kind, name)));
	return att;
}

void
elt_target_check_key(Relation target, List *key, const char *kind, const char *name)
{
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, key)
	{
		const char *column = strVal(lfirst(lc));

		if (get_attnum(RelationGetRelid(target), column) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" of %s \"%s\" does not exist in target \"%s\"", column, kind, name, RelationGetRelationName(target)),
					 errhint("Name columns of the target in parameter \"key\".")));
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", quote_identifier(column));
	}
	if (!OidIsValid(elt_key_index(target, key)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("key (%s) of %s \"%s\" is not unique and not null in target \"%s\"", names.data, kind, name, RelationGetRelationName(target)),
				 errdetail("It takes a unique index over just these columns, neither partial nor deferrable, and NOT NULL on each."),
				 errhint("ALTER TABLE %s ADD PRIMARY KEY (%s), or name another key.", elt_qualified_name(RelationGetRelid(target)), names.data)));
}

bool
elt_target_same_tree(Oid a, Oid b)
{
	return a == b || list_member_oid(find_all_inheritors(a, AccessShareLock, NULL), b) ||
		list_member_oid(find_all_inheritors(b, AccessShareLock, NULL), a);
}
