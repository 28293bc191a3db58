/*
 * key.c
 *	  Unique keys of tables, and how SQL compares them.
 *
 * Equality is the unique index's own: its operator and its collation decide which rows ON CONFLICT takes for the same, so the joins that find rows to
 * delete must use them as well.
 *
 * Locks: AccessShare on the indexes while they are looked at. A crash loses nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_operator.h"
#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/sql.h"
#include "catalog/key.h"

static bool
has_column(List *columns, const char *name)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		if (strcmp(strVal(lfirst(lc)), name) == 0)
			return true;
	}
	return false;
}

static bool
index_fits(Relation rel, Relation index, List *columns)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indisvalid || !form->indisready || !form->indimmediate ||
		form->indnkeyatts != list_length(columns) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber	attno = form->indkey.values[i];
		Form_pg_attribute att;

		if (attno <= 0)
			return false;
		att = TupleDescAttr(RelationGetDescr(rel), attno - 1);
		if (!elt_attribute_is_notnull(RelationGetRelid(rel), att->attnum) || !has_column(columns, NameStr(att->attname)))
			return false;
	}
	return true;
}

Oid
elt_key_index(Relation rel, List *columns)
{
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index_fits(rel, index, columns))
			found = lfirst_oid(lc);
		index_close(index, AccessShareLock);
		if (OidIsValid(found))
			break;
	}
	return found;
}

static char *
operator_name(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)), NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/* Are equal values of an index column the same? As for numeric 1.0 and 1.00, not always. */
static bool
is_exact(Relation index, int column)
{
	Oid			type = index->rd_opcintype[column];
	Oid			proc = get_opfamily_proc(index->rd_opfamily[column], type, type, BTEQUALIMAGE_PROC);

	return OidIsValid(proc) && index->rd_rel->relam == BTREE_AM_OID &&
		DatumGetBool(OidFunctionCall1Coll(proc, index->rd_indcollation[column], ObjectIdGetDatum(type)));
}

EltKey *
elt_key_of_index(Oid indexid)
{
	Relation	index = index_open(indexid, AccessShareLock);
	Form_pg_index form = index->rd_index;
	EltKey	   *key = palloc(offsetof(EltKey, columns) + sizeof(EltKeyColumn) * form->indnkeyatts);

	key->ncolumns = form->indnkeyatts;
	for (int i = 0; i < key->ncolumns; i++)
	{
		EltKeyColumn *column = &key->columns[i];
		Oid			type = index->rd_opcintype[i];
		Oid			operator = get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

		if (!OidIsValid(operator))
			elog(ERROR, "index \"%s\" has no equality operator", RelationGetRelationName(index));
		column->name = get_attname(form->indrelid, form->indkey.values[i], false);
		column->equals = operator_name(operator);
		column->collate = OidIsValid(index->rd_indcollation[i]) ?
			psprintf(" COLLATE %s", elt_collation_name(index->rd_indcollation[i])) : "";
		column->exact = is_exact(index, i);
	}
	index_close(index, AccessShareLock);
	return key;
}

List *
elt_key_columns(const EltKey *key)
{
	List	   *columns = NIL;

	for (int i = 0; i < key->ncolumns; i++)
		columns = lappend(columns, makeString(key->columns[i].name));
	return columns;
}

static const EltKeyColumn *
find_column(const EltKey *key, const char *name)
{
	for (int i = 0; i < key->ncolumns; i++)
	{
		if (strcmp(key->columns[i].name, name) == 0)
			return &key->columns[i];
	}
	elog(ERROR, "column \"%s\" is not in the key", name);
	return NULL;
}

char *
elt_key_match(const EltKey *key, const char *left, List *left_names, const char *right, List *right_names)
{
	StringInfoData sql;
	ListCell   *lc1;
	ListCell   *lc2;

	initStringInfo(&sql);
	forboth(lc1, left_names, lc2, right_names)
	{
		const EltKeyColumn *column = find_column(key, strVal(lfirst(lc1)));

		appendStringInfo(&sql, "%s%s.%s %s %s.%s%s", sql.len > 0 ? " AND " : "",
						 left, quote_identifier(strVal(lfirst(lc1))), column->equals,
						 right, quote_identifier(strVal(lfirst(lc2))), column->collate);
	}
	return sql.data;
}
