/*
 * run.c
 *	  CALL elt.run: whatever kind the node is of.
 *
 * Locks and crash behaviour are the node's.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/args.h"
#include "base/secctx.h"
#include "catalog/node.h"
#include "load/load.h"
#include "transform/transform.h"

PG_FUNCTION_INFO_V1(elt_sql_run_node);

static void
check_run_arguments(FunctionCallInfo fcinfo, bool is_transform)
{
	bool		upstream = elt_arg_bool(fcinfo, 1, "upstream");
	bool		downstream = elt_arg_bool(fcinfo, 2, "downstream");

	if (upstream || downstream)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("running what is %s of a %s is not supported yet", upstream ? "upstream" : "downstream", is_transform ? "transform" : "load"),
				 errhint("Run the %s one after the other.", is_transform ? "transforms" : "loads")));
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) || castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("elt.run cannot be called in a transaction block"),
				 is_transform ? errdetail("It commits what its workers are to see.") : errdetail("It commits after each batch."),
				 is_transform ? errhint("Call it outside of one.") : errhint("Use SELECT * FROM elt.run_batch(...) there, until it returns pending = 0.")));
}

/* CALL elt.run(name, upstream, downstream) */
Datum
elt_sql_run_node(PG_FUNCTION_ARGS)
{
	char	   *name = elt_arg_text(fcinfo, 0, "name");
	MemoryContext caller = CurrentMemoryContext;
	EltNode    *node = elt_node_by_name(name);
	bool		is_transform = node != NULL && strcmp(node->kind, "transform") == 0;

	elt_check_may_write("elt.run()");
	check_run_arguments(fcinfo, is_transform);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	name = pstrdup(name);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (is_transform)
		elt_transform_run(name);
	else
		elt_load_run(name);
	PopActiveSnapshot();
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_VOID();
}
