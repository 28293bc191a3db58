/*
 * table.c
 *	  elt.shard_table, the leader.
 *
 *	  while others write (each step in workers' transactions, committed):
 *		begin    change tracking, our consumer, empty shards, a row of elt.shard_run                                    tasks.c
 *		fill     blocks of the table -> shards, all under one snapshot of the leader; then indexes, statistics         copy.c, create.c
 *		follow   what changed since that snapshot, again and again until little is left                                 follow.c
 *	  in the caller's transaction:
 *		swap     AccessExclusive lock -> look again at everything -> the last changes -> convert, attach                convert.c
 *
 * Where that cannot be (no worker to be had, or the caller's transaction has written, or has a fixed snapshot or a lock of its own) all of it is done in the caller's transaction: first the
 * AccessExclusive lock, then copy, index, convert. A NOTICE tells.
 *
 * Errors before the swap, and in it, undo what was committed. Where a caller rolls back later, or is ended, a worker does (sweep.c); a crash leaves it to the next call or to
 * elt._clean_shards().
 *
 * Locks of the leader: the object lock of catalog/shard.h, first; none on the tree up to the swap, and no xid. What happens to the table
 * meanwhile is noticed: its definition and file are compared, and the change log has marks of TRUNCATE and the like.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/tablecmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/args.h"
#include "base/attempt.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/mark.h"
#include "capture/tree.h"
#include "catalog/capture.h"
#include "catalog/shard.h"
#include "catalog/table.h"
#include "shard/clean.h"
#include "shard/follow.h"
#include "shard/shard.h"
#include "shard/sweep.h"
#include "shard/tasks.h"
#include "worker/worker.h"

#define PATIENCE		(10 * 60 * 1000)	/* ms, where lock_timeout is off */
#define FEW_CHANGES		1000	/* that may be left for the swap */
#define MAX_ROUNDS		20

PG_FUNCTION_INFO_V1(elt_sql_shard_table);

/* What the user asked for. */
typedef struct ShardCall
{
	Oid			relid;
	List	   *columns;
	int			shards;
	MemoryContext context;
	char	   *definition;		/* of the table when it was looked at first */
	bool		begun;			/* there may be something to undo */
	bool		no_worker;		/* nothing was done */
} ShardCall;

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

/* Nothing of the caller's transaction is at work on the tree. */
static void
check_not_in_use(List *tables)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		CheckTableNotInUse(rel, "shard");
		table_close(rel, NoLock);
	}
}

/* keep: what is locked stays so */
static EltSharding *
plan(ShardCall *call, bool keep)
{
	List	   *locked;
	EltSharding *sharding = elt_shard_plan(call->relid, call->columns, call->shards, &locked);
	ListCell   *lc;

	sharding->patience = LockTimeout > 0 ? LockTimeout : PATIENCE;
	check_not_in_use(locked);
	if (call->definition == NULL)
		call->definition = MemoryContextStrdup(call->context, elt_shard_definition(sharding));
	if (!keep)
	{
		foreach(lc, locked)
			UnlockRelationOid(lfirst_oid(lc), AccessShareLock);
	}
	return sharding;
}

/* Does a consumer still have to read images with pointers to toasted values? Those values go. */
static void
mark_pointers(EltCapture *capture)
{
	ListCell   *lc;
	bool		found = false;

	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, elt_consumer_list(capture->id))
	{
		EltConsumer *consumer = lfirst(lc);

		found |= consumer->offset != NULL && elt_consumer_has_pointers(consumer, capture);
	}
	PopActiveSnapshot();
	if (found)
		elt_mark_relation(capture->relid, ELT_MARK_REWRITE);
}

/* The log of a tracked table goes on: the shards belong to its tree, and have its triggers, before they are attached. */
static void
track_shards(EltSharding *sharding)
{
	EltCapture *capture = elt_capture_by_relation(sharding->root);

	if (capture == NULL || !elt_install_is(&capture->install))
		return;
	mark_pointers(capture);
	for (int i = 0; i < elt_sharding_ntables(sharding); i++)
	{
		elt_tree_add_triggers(elt_sharding_tables(sharding, 0)[i]);
		elt_member_insert(capture->id, elt_sharding_tables(sharding, 0)[i]);
	}
}

/* Triggers that only partitioned tables and partitions need. */
static void
track_tree(EltSharding *sharding)
{
	EltCapture *capture = elt_capture_by_relation(sharding->root);
	int			ntables = sharding->nparents + elt_sharding_ntables(sharding);

	if (capture == NULL || !elt_install_is(&capture->install))
		return;
	for (int i = 0; i < ntables; i++)
		elt_tree_add_triggers(sharding->oids[i]);
}

static void
convert(EltSharding *sharding)
{
	track_shards(sharding);
	elt_shard_convert(sharding);
	track_tree(sharding);
}

/* All of it in the caller's transaction: nobody else uses the table meanwhile. */
static void
shard_here(ShardCall *call)
{
	EltSharding *sharding = plan(call, true);

	elt_shard_lock(sharding, AccessExclusiveLock, NULL, NULL);
	elt_shard_clean(call->relid);
	sharding = plan(call, true);
	elt_shard_create(sharding);
	PushCopiedSnapshot(GetLatestSnapshot());
	UpdateActiveSnapshotCommandId();
	for (int i = 0; i < sharding->nparents; i++)
		(void) elt_shard_copy(sharding, i, 0, MaxBlockNumber);
	PopActiveSnapshot();
	CommandCounterIncrement();
	for (int i = 0; i < elt_sharding_ntables(sharding); i++)
		elt_shard_index(sharding, i / sharding->shards, i % sharding->shards);
	convert(sharding);
}

static void
catch_up(void *arg)
{
	for (int round = 0; round < MAX_ROUNDS; round++)
	{
		if (elt_shard_catch_up(arg, NULL) <= FEW_CHANGES)
			return;
	}
}

static void
check_unaltered(ShardCall *call, EltSharding *sharding)
{
	if (strcmp(call->definition, elt_shard_definition(sharding)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("table \"%s\" was altered, truncated or rewritten while it was being sharded", get_rel_name(sharding->root)),
				 errhint("Call elt.shard_table again.")));
}

static void
swap(ShardCall *call, EltSharding *sharding)
{
	EltShardRun *run;

	elt_shard_lock(sharding, AccessExclusiveLock, catch_up, sharding);
	elt_debug_point("shard-locked");
	(void) plan(call, true);
	check_unaltered(call, sharding);
	(void) elt_shard_follow(sharding, NULL);
	run = elt_shard_run_by_relation(sharding->root);
	if (run == NULL)
		elog(ERROR, "the sharding of \"%s\" has been cleaned up meanwhile", get_rel_name(sharding->root));
	elt_shard_end_tracking(sharding->root, sharding->capture, sharding->consumer, run->tracked_here);
	convert(sharding);
	elt_shard_run_delete(run->id);
}

/* Without a lock on the table until the swap: others might wait for it, and workers behind those. */
static void
shard_beside(void *arg)
{
	ShardCall  *call = arg;
	EltSharding *sharding = plan(call, false);
	EltOffset  *from;

	call->begun = true;
	elt_shard_sweep_want(call->relid);
	sharding = elt_shard_begin(sharding);
	if (sharding == NULL)
	{
		call->no_worker = true;
		return;
	}
	from = elt_shard_fill(sharding);
	check_unaltered(call, sharding);
	(void) elt_shard_catch_up(sharding, from);
	catch_up(sharding);
	swap(call, sharding);
}

static bool
any_error(int sqlerrcode)
{
	return true;
}

/* Why it cannot be done beside the table's writers; NULL: it can. */
static const char *
why_here(Oid relid)
{
	EltCapture *capture = elt_capture_by_relation(relid);
	const char *limited_by = NULL;
	ListCell   *lc;

	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return "it has written before";
	if (IsolationUsesXactSnapshot())
		return "its isolation level is not READ COMMITTED";
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		/*
		 * whoever waits for the caller's lock would stop workers, which
		 * nobody would notice as a deadlock
		 */
		if (elt_has_relation_lock(lfirst_oid(lc)))
			return "it has a lock on the table";
	}
	if (capture != NULL && elt_install_is(&capture->install) && capture->keys_only)
		return "the table's change log has keys only";
	if (elt_pool_available(1, &limited_by) < 1)
		return limited_by ? limited_by : "no background worker can be had";
	return NULL;
}

static void
undo(void *arg)
{
	if (elt_shard_undo(((ShardCall *) arg)->relid))
		elt_shard_sweep_done();
}

/* Raise the error that sharding ended with, or what is behind it. */
static void
explain(ShardCall *call, ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
	EltSharding *sharding = palloc0(elt_sharding_size(0, 0));

	sharding->root = call->relid;
	if (get_rel_name(call->relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table was dropped while it was being sharded"),
				 errhint("Nothing is left to do.")));
	if (category == ERRCODE_INTERNAL_ERROR || category == ERRCODE_TO_CATEGORY(ERRCODE_DATATYPE_MISMATCH))
		check_unaltered(call, sharding);
	ReThrowError(error);
}

static void
shard_table(ShardCall *call)
{
	const char *why;
	ErrorData  *error;

	elt_shard_check_root(call->relid);
	if (!elt_shard_run_try_lock(call->relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"%s\" is being sharded by another session", get_rel_name(call->relid)),
				 errhint("Wait until it has finished.")));
	why = why_here(call->relid);
	if (why == NULL && !elt_attempt(shard_beside, call, any_error, &error))
	{
		ErrorData  *another;

		if (!call->begun)
			ReThrowError(error);
		(void) elt_attempt(undo, call, any_error, &another);
		explain(call, error);
	}
	if (call->no_worker)
		elt_shard_sweep_done();
	else if (why == NULL)
		elt_shard_sweep_swapped();
	if (call->no_worker)
		why = "no background worker could be had";
	if (why == NULL)
		return;
	ereport(NOTICE,
			(errmsg("sharding \"%s\" in this transaction: others wait for the table until it ends", get_rel_name(call->relid)),
			 errdetail("The reason: %s.", why)));
	shard_here(call);
}

Datum
elt_sql_shard_table(PG_FUNCTION_ARGS)
{
	ShardCall	call = {.relid = elt_arg_relation(fcinfo, 0, "relation"),.context = CurrentMemoryContext};
	EltSecContext save;

	call.columns = arg_columns(fcinfo, 1);
	call.shards = arg_shards(fcinfo, 2);
	elt_check_may_write("elt.shard_table()");
	elt_become(&save, GetUserId());
	shard_table(&call);
	elt_restore(&save);
	PG_RETURN_VOID();
}
