/*
 * table.c
 *	  elt.shard_table.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/tablecmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/args.h"
#include "base/compat.h"
#include "base/secctx.h"
#include "capture/tree.h"
#include "catalog/capture.h"
#include "catalog/table.h"
#include "shard/shard.h"

PG_FUNCTION_INFO_V1(elt_sql_shard_table);

/* The shard key's columns, as the user named them. */
static List *
arg_columns(FunctionCallInfo fcinfo, int n)
{
	ArrayType  *array;
	List	   *columns;

	if (PG_ARGISNULL(n) || array_contains_nulls(PG_GETARG_ARRAYTYPE_P(n)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"shard_key\" must not be null or contain nulls"),
				 errhint("Name the columns, for instance ARRAY['customer_id'].")));
	array = PG_GETARG_ARRAYTYPE_P(n);
	columns = elt_strings_of_array(PointerGetDatum(array));
	if (columns == NIL || ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"shard_key\" must be a list of at least one column"),
				 errhint("Name the columns, for instance ARRAY['customer_id'].")));
	if (list_length(columns) > PARTITION_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("a shard key cannot have more than %d columns", PARTITION_MAX_KEYS),
				 errhint("One or two columns with many different values spread rows best.")));
	return columns;
}

static int
arg_shards(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"shards\" must not be null"),
				 errhint("Leave the parameter out to get its default.")));
	if (PG_GETARG_INT32(n) < 1 || PG_GETARG_INT32(n) > ELT_MAX_SHARDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d is not a possible number of shards", PG_GETARG_INT32(n)),
				 errhint("Use 1 to %d; a few for each CPU are enough.", ELT_MAX_SHARDS)));
	return PG_GETARG_INT32(n);
}

/* All of it in the caller's transaction: nobody else writes meanwhile. */
static void
shard_serially(EltSharding *sharding)
{
	List *members = elt_tree_members(sharding->root, AccessExclusiveLock);

	(void) members;
	elt_shard_create(sharding);
	PushCopiedSnapshot(GetLatestSnapshot());
	UpdateActiveSnapshotCommandId();
	for (int i = 0; i < sharding->nparents; i++)
		(void) elt_shard_copy(sharding, i, 0, MaxBlockNumber);
	PopActiveSnapshot();
	CommandCounterIncrement();
	for (int i = 0; i < sharding->nparents; i++)
		for (int j = 0; j < sharding->shards; j++)
			elt_shard_index(sharding, i, j);
	elt_shard_convert(sharding);
}

Datum
elt_sql_shard_table(PG_FUNCTION_ARGS)
{
	Oid			relid = elt_arg_relation(fcinfo, 0, "relation");
	List	   *columns = arg_columns(fcinfo, 1);
	int			shards = arg_shards(fcinfo, 2);
	EltSharding *sharding;
	EltSecContext save;

	elt_check_may_write("elt.shard_table()");
	elt_become(&save, GetUserId());
	sharding = elt_shard_plan(relid, columns, shards);
	shard_serially(sharding);
	elt_restore(&save);
	PG_RETURN_VOID();
}
