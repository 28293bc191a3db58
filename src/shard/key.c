/*
 * key.c
 *	  Shard keys: which columns can be one, and in which shard a row is.
 *
 * A row's shard is the remainder of PostgreSQL's own hash for hash partitions, so that rows put into a shard here are where tuple routing looks for them.
 *
 * Locks: none of its own. Pure but for catalog lookups.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/hash.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_opclass.h"
#include "commands/defrem.h"
#include "partitioning/partbounds.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "shard/shard.h"

Size
elt_sharding_size(int nparents, int shards)
{
	Size		ntables = add_size(nparents, mul_size(nparents, shards));

	return add_size(offsetof(EltSharding, oids), mul_size(sizeof(Oid), ntables));
}

static void
add_column(EltShardKey *key, Relation rel, const char *name)
{
	int			n = key->ncolumns;
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
	Form_pg_attribute att;

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(rel)),
				 errhint("A shard key is made of columns, not of expressions.")));
	if (attnum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("system column \"%s\" cannot be part of a shard key", name),
				 errhint("Use columns of the table.")));
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	if (att->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("generated column \"%s\" cannot be part of a shard key", name),
				 errhint("Use the columns that it is computed from.")));
	for (int i = 0; i < n; i++)
	{
		if (key->attnums[i] == attnum)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" appears twice in the shard key", name),
					 errhint("Name each column once.")));
	}
	key->opclasses[n] = GetDefaultOpClass(att->atttypid, HASH_AM_OID);
	if (!OidIsValid(key->opclasses[n]))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("column \"%s\" cannot be part of a shard key: type %s has no default operator class for hashing",
						name, format_type_be(att->atttypid)),
				 errhint("Use a column of another type.")));
	key->attnums[n] = attnum;
	key->types[n] = get_opclass_input_type(key->opclasses[n]);
	key->collations[n] = att->attcollation;
	key->ncolumns++;
}

EltShardKey *
elt_shard_key(Relation rel, EltSharding *sharding)
{
	EltShardKey *key = palloc0(sizeof(EltShardKey));

	for (int i = 0; i < sharding->ncolumns; i++)
	{
		Oid			function;

		add_column(key, rel, NameStr(sharding->columns[i]));
		function = get_opfamily_proc(get_opclass_family(key->opclasses[i]), key->types[i], key->types[i], HASHEXTENDED_PROC);
		if (!OidIsValid(function))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("column \"%s\" cannot be part of a shard key: its type has no 64-bit hash function",
							NameStr(sharding->columns[i])),
					 errhint("Use a column of another type.")));
		fmgr_info(function, &key->hash[i]);
	}
	return key;
}

int
elt_shard_of(EltShardKey *key, int shards, TupleTableSlot *slot)
{
	Datum		values[PARTITION_MAX_KEYS];
	bool		nulls[PARTITION_MAX_KEYS];
	uint64		hash;

	for (int i = 0; i < key->ncolumns; i++)
		values[i] = slot_getattr(slot, key->attnums[i], &nulls[i]);
	hash = compute_partition_hash_value(key->ncolumns, key->hash, key->collations, values, nulls);
	return (int) (hash % (uint64) shards);
}

/* Does the index tell equal values of a key's column apart just as hashing does? */
static bool
index_has(Relation index, EltShardKey *key, int column)
{
	Oid			equal = get_opfamily_member(get_opclass_family(key->opclasses[column]), key->types[column], key->types[column],
											HTEqualStrategyNumber);

	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		Oid			type = index->rd_opcintype[i];

		if (index->rd_index->indkey.values[i] == key->attnums[column] &&
			index->rd_indcollation[i] == key->collations[column] &&
			get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber) == equal)
			return true;
	}
	return false;
}

void
elt_shard_check_unique(Relation rel, EltShardKey *key)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		for (int i = 0; index->rd_index->indisunique && i < key->ncolumns; i++)
		{
			const char *column = get_attname(RelationGetRelid(rel), key->attnums[i], false);

			if (!index_has(index, key, i))
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot shard \"%s\" by \"%s\": unique index \"%s\" does not have that column",
								RelationGetRelationName(rel), column, RelationGetRelationName(index)),
						 errdetail("What is unique in each shard has to be unique in the whole table."),
						 errhint("Use a shard key whose columns all belong to the index, or add the column to it.")));
		}
		index_close(index, AccessShareLock);
	}
}
