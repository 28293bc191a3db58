/*
 * define.c
 *	  elt.create_transform, elt.alter_transform and elt.drop_transform.
 *
 *	  arguments -> target: kind, rights -> query: one SELECT, of permanent tables, not of the target -> columns, types, key -> node, transform
 *
 * Everything that can be known to fail later is refused here, with what to do instead.
 *
 * Locks: AccessShare on target and sources; the node's, so that none is altered or dropped while it runs. A crash undoes what was not committed.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "base/args.h"
#include "base/compat.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "catalog/key.h"
#include "catalog/target.h"
#include "transform/transform.h"

PG_FUNCTION_INFO_V1(elt_sql_create_transform);
PG_FUNCTION_INFO_V1(elt_sql_alter_transform);
PG_FUNCTION_INFO_V1(elt_sql_drop_transform);

#define MOST_WORKERS	256

/* the parameters of elt.create_transform, in their order */
enum
{
	P_NAME, P_TARGET, P_QUERY, P_MODE, P_KEY, P_WORKERS, P_ATOMIC, P_PUBLISH, P_REPEAT, P_ON_ERROR, P_MAX_REJECTED, P_IF_EXISTS
};

EltTransform *
elt_transform_get(const char *name)
{
	EltTransform *transform = elt_transform_by_name(name);

	if (transform == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("transform \"%s\" does not exist", name),
				 errhint("elt.transforms lists the transforms; elt.create_transform makes one.")));
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(transform->node.owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of transform \"%s\" was dropped", name),
				 errhint("A superuser can drop the transform; then create it anew.")));
	elt_node_check_owner(&transform->node);
	return transform;
}

/*
 * The target
 */

static bool
is_mode(EltTransform *transform, const char *mode)
{
	return strcmp(transform->mode, mode) == 0;
}

static bool
swaps(EltTransform *transform)
{
	return is_mode(transform, "overwrite") && strcmp(transform->publish, "swap") == 0;
}

static void
check_rights(Relation target, EltTransform *transform)
{
	AclMode		needed = ACL_INSERT;
	const char *names = "INSERT";

	if (swaps(transform))
	{
		needed |= ACL_TRUNCATE;
		names = "INSERT and TRUNCATE";
	}
	else if (is_mode(transform, "overwrite"))
	{
		needed |= ACL_DELETE;
		names = "INSERT and DELETE";
	}
	else if (is_mode(transform, "upsert"))
	{
		needed |= ACL_SELECT | ACL_UPDATE;
		names = "SELECT, INSERT and UPDATE";
	}
	if (pg_class_aclmask(transform->target, GetUserId(), needed, ACLMASK_ALL) != needed)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table \"%s\"", RelationGetRelationName(target)),
				 errhint("A transform of mode %s needs %s on its target.", transform->mode, names)));
}

static const char *
text_of_refusal(const char *code)
{
	if (strcmp(code, "triggers") == 0)
		return "It has triggers or foreign keys, or is referenced by some.";
	if (strcmp(code, "rules") == 0)
		return "It has rules.";
	if (strcmp(code, "row_security") == 0)
		return "It has row-level security.";
	if (strcmp(code, "access_method") == 0)
		return "It is not stored in a heap.";
	if (strcmp(code, "exclusion_constraint") == 0)
		return "It has an exclusion constraint.";
	if (strcmp(code, "unlogged") == 0)
		return "It has a partition that is an unlogged table.";
	if (strcmp(code, "inheritance") == 0)
		return "Other tables inherit from it.";
	return "It has a partition that is a foreign table.";
}

static void
check_publish(Relation target, EltTransform *transform)
{
	const char *why = swaps(transform) ? elt_publish_refusal(transform->target) : NULL;

	if (why != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the rows of \"%s\" cannot be replaced by a swap", RelationGetRelationName(target)),
				 errdetail_internal("%s", text_of_refusal(why)),
				 errhint("Use publish => 'mvcc', which deletes and inserts rows.")));
}

static void
check_columns(Relation target, EltTransform *transform)
{
	ListCell   *lc;

	foreach(lc, transform->columns)
	{
		Form_pg_attribute att = elt_target_column(target, "transform", transform->node.name, strVal(lfirst(lc)));

		if (is_mode(transform, "upsert") && att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS && !list_member(transform->key, lfirst(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("column \"%s\" of target \"%s\" is GENERATED ALWAYS AS IDENTITY and cannot be updated",
							strVal(lfirst(lc)), RelationGetRelationName(target)),
					 errhint("Leave it out of the query of transform \"%s\", or make it GENERATED BY DEFAULT.", transform->node.name)));
	}
	if (is_mode(transform, "upsert"))
		elt_target_check_key(target, transform->key, "transform", transform->node.name);
}

void
elt_transform_check_target(EltTransform *transform)
{
	Relation	target = try_relation_open(transform->target, AccessShareLock);

	if (target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the target of transform \"%s\" was dropped", transform->node.name),
				 errhint("Drop the transform with elt.drop_transform(%s), then create it anew with a table that is there now.",
						 quote_literal_cstr(transform->node.name))));
	elt_target_check_kind(target, "write to", "Write to");
	check_rights(target, transform);
	check_publish(target, transform);
	check_columns(target, transform);
	relation_close(target, NoLock);
}

static void
choose_key(Relation target, EltTransform *transform)
{
	if (!is_mode(transform, "upsert"))
	{
		if (transform->key != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a transform of mode %s has no key", transform->mode),
					 errhint("Leave parameter \"key\" out, or use mode upsert.")));
		return;
	}
	if (transform->key != NIL)
		return;
	list_free(RelationGetIndexList(target));
	if (!OidIsValid(target->rd_pkindex))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("target \"%s\" of transform \"%s\" has no primary key", RelationGetRelationName(target), transform->node.name),
				 errhint("Add one, name a unique key by parameter \"key\", or use mode append.")));
	transform->key = elt_key_columns(elt_key_of_index(target->rd_pkindex));
}

static void
check_key_is_written(EltTransform *transform)
{
	ListCell   *lc;

	foreach(lc, transform->key)
	{
		if (!list_member(transform->columns, lfirst(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("query of transform \"%s\" has no output column \"%s\", which is in the key", transform->node.name, strVal(lfirst(lc))),
					 errhint("Add it to the query, or name another key.")));
	}
}

/*
 * The query
 */

static bool
check_source_walker(Node *node, void *context)
{
	EltTransform *transform = context;
	RangeTblEntry *rte = (RangeTblEntry *) node;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_source_walker, context, QTW_EXAMINE_RTES_BEFORE);
	if (!IsA(node, RangeTblEntry))
		return expression_tree_walker(node, check_source_walker, context);
	if (rte->rtekind != RTE_RELATION)
		return false;
	if (get_rel_persistence(rte->relid) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("query of transform \"%s\" reads temporary relation \"%s\"", transform->node.name, get_rel_name(rte->relid)),
				 errhint("Workers cannot read it: read permanent tables and views.")));
	if (elt_target_same_tree(rte->relid, transform->target))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("query of transform \"%s\" reads its target \"%s\"", transform->node.name, get_rel_name(transform->target)),
				 errhint("Write to another table.")));
	return false;
}

/* Let the parser say what is wrong with the types; and plan, to learn whether the caller may read it all. */
static void
check_types(EltTransform *transform)
{
	EltSecContext context;
	const char *sql;

	elt_become(&context, GetUserId());
	sql = elt_statement_insert(transform, transform->query);
	(void) parse_analyze_fixedparams(linitial_node(RawStmt, pg_parse_query(sql)), sql, NULL, 0, NULL);
	elt_restore(&context);
}

static bool
check_rights_walker(Node *node, void *context)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, check_rights_walker, context);
	foreach(lc, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION)
			elt_check_rte_permissions((Query *) node, rte);
	}
	return query_tree_walker((Query *) node, check_rights_walker, context, 0);
}

static bool
is_row_wise(EltTransform *transform, Query *query)
{
	EltSplit   *split = elt_split_choose(query);

	return split->kind != ELT_SPLIT_SERIAL && split->row_wise;
}

static void
analyze_query(EltTransform *transform, const char *text)
{
	Query	   *query = elt_query_parse("transform", transform->node.name, text, false);
	ListCell   *lc;

	elt_query_check_columns("transform", transform->node.name, query);
	(void) check_source_walker((Node *) query, transform);
	(void) check_rights_walker((Node *) query, NULL);
	if (strcmp(transform->on_error, "quarantine") == 0 && !is_row_wise(transform, query))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("on_error => 'quarantine' takes a query of transform \"%s\" that works row by row", transform->node.name),
				 errdetail("Where a row of the result comes from several rows, none of them can be told to be the bad one."),
				 errhint("Use on_error => 'stop', or clean the rows in a transform of their own before they are grouped.")));
	transform->query = elt_query_canonical("transform", transform->node.name, query);
	transform->columns = NIL;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			transform->columns = lappend(transform->columns, makeString(pstrdup(tle->resname)));
	}
}

/* All that decides what a run writes, as text. */
static char *
definition_text(EltTransform *transform)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	appendStringInfo(&text, "target %s mode %s atomic %d publish %s on_error %s key", elt_qualified_name(transform->target), transform->mode,
					 transform->atomic, transform->publish, transform->on_error);
	foreach(lc, transform->key)
		appendStringInfo(&text, " %s", quote_identifier(strVal(lfirst(lc))));
	appendStringInfo(&text, " query %s", transform->query);
	return text.data;
}

/* Check the transform and fill in what follows. query: as the user has written it; NULL: the one it has. */
static void
describe(EltTransform *transform, const char *query)
{
	Relation	target = relation_open(transform->target, AccessShareLock);

	elt_target_check_kind(target, "write to", "Write to");
	choose_key(target, transform);
	relation_close(target, NoLock);
	if (query != NULL)
		analyze_query(transform, query);
	elt_transform_check_target(transform);
	check_key_is_written(transform);
	check_types(transform);
	transform->definition = definition_text(transform);
}

/*
 * Arguments
 */

static int32
arg_workers(FunctionCallInfo fcinfo)
{
	int32		workers;

	if (PG_ARGISNULL(P_WORKERS))
		return 0;
	workers = PG_GETARG_INT32(P_WORKERS);
	if (workers < 1 || workers > MOST_WORKERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value %d for parameter \"workers\"", workers),
				 errhint("Give a number from 1 to %d, or leave it out.", MOST_WORKERS)));
	return workers;
}

static void
check_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a transform must not be empty"),
				 errhint("Choose a name that tells what the transform does.")));
}

/* Each argument that is given; for a new transform that is all of them. */
static void
take_arguments(FunctionCallInfo fcinfo, EltTransform *transform, bool all)
{
	if (all || !PG_ARGISNULL(P_TARGET))
		transform->target = elt_arg_relation(fcinfo, P_TARGET, "target");
	if (all || !PG_ARGISNULL(P_MODE))
	{
		transform->mode = elt_arg_choice(fcinfo, P_MODE, "mode", "overwrite", "append", "upsert", NULL);
		if (strcmp(transform->mode, "upsert") != 0)
			transform->key = NIL;
	}
	if (all || !PG_ARGISNULL(P_KEY))
		transform->key = elt_arg_key(fcinfo, P_KEY);
	if (all || !PG_ARGISNULL(P_WORKERS))
		transform->workers = arg_workers(fcinfo);
	if (all || !PG_ARGISNULL(P_ATOMIC))
		transform->atomic = elt_arg_bool(fcinfo, P_ATOMIC, "atomic");
	if (all || !PG_ARGISNULL(P_PUBLISH))
		transform->publish = elt_arg_choice(fcinfo, P_PUBLISH, "publish", "swap", "mvcc", NULL);
	if (all || !PG_ARGISNULL(P_REPEAT))
		transform->repeat = elt_arg_bool(fcinfo, P_REPEAT, "repeat");
	if (all || !PG_ARGISNULL(P_ON_ERROR))
		transform->on_error = elt_arg_choice(fcinfo, P_ON_ERROR, "on_error", "stop", "quarantine", NULL);
	if (all || !PG_ARGISNULL(P_MAX_REJECTED))
		transform->max_rejected = elt_arg_max_rejected(fcinfo, P_MAX_REJECTED);
}

/* What is kept of the transform that is there: who it is, and what it has appended, unless it is another query now. */
static void
alter_to(EltTransform *existing, EltTransform *wanted)
{
	wanted->node = existing->node;
	wanted->appended = NULL;
	if (strcmp(existing->definition, wanted->definition) == 0)
		wanted->appended = existing->appended == NULL || existing->appended_here ? existing->appended : ELT_ALL_TRANSACTIONS;
	elt_transform_update(wanted);
}

/* There is a node of this name: error or skip, unless it is to be altered. */
static bool
handle_existing(EltTransform *existing, const char *if_exists)
{
	if (existing == NULL || strcmp(if_exists, "alter") == 0)
		return false;
	if (strcmp(if_exists, "error") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("transform \"%s\" already exists", existing->node.name),
				 errhint("Choose another name, drop it with elt.drop_transform, or pass if_exists => 'skip' or 'alter'.")));
	ereport(NOTICE,
			(errmsg("transform \"%s\" already exists, skipping", existing->node.name)));
	return true;
}

Datum
elt_sql_create_transform(PG_FUNCTION_ARGS)
{
	EltTransform *transform = palloc0(sizeof(EltTransform));
	EltTransform *existing;
	char	   *query;
	char	   *if_exists;

	elt_check_may_write("elt.create_transform()");
	transform->node.name = elt_arg_text(fcinfo, P_NAME, "name");
	check_name(transform->node.name);
	transform->node.kind = pstrdup("transform");
	transform->node.owner = GetUserId();
	query = elt_arg_text(fcinfo, P_QUERY, "query");
	take_arguments(fcinfo, transform, true);
	if_exists = elt_arg_choice(fcinfo, P_IF_EXISTS, "if_exists", "error", "skip", "alter", NULL);

	elt_node_lock_name(transform->node.name);
	existing = elt_transform_by_name(transform->node.name);
	if (handle_existing(existing, if_exists))
		PG_RETURN_VOID();
	if (existing != NULL)
	{
		(void) elt_transform_get(transform->node.name);
		elt_node_lock(existing->node.id);
	}
	transform->settings = elt_settings_note();
	describe(transform, query);
	if (existing != NULL)
		alter_to(existing, transform);
	else
		elt_transform_insert(transform);
	PG_RETURN_VOID();
}

/* As the owner, who alone may name what it reads and writes. */
Datum
elt_sql_alter_transform(PG_FUNCTION_ARGS)
{
	char	   *name = elt_arg_text(fcinfo, P_NAME, "name");
	EltTransform *existing = elt_transform_get(name);
	EltTransform *transform;
	EltSecContext context;
	char	   *search_path = pstrdup(namespace_search_path);

	elt_check_may_write("elt.alter_transform()");
	elt_node_lock(existing->node.id);
	existing = elt_transform_get(name);
	transform = elt_transform_by_name(name);
	take_arguments(fcinfo, transform, false);
	elt_become(&context, existing->node.owner);
	if (!PG_ARGISNULL(P_QUERY))
	{
		elt_pin_setting("search_path", search_path);
		describe(transform, elt_arg_text_or_null(fcinfo, P_QUERY));
	}
	else
		describe(transform, transform->query);
	elt_restore(&context);
	alter_to(existing, transform);
	PG_RETURN_VOID();
}

Datum
elt_sql_drop_transform(PG_FUNCTION_ARGS)
{
	char	   *name = elt_arg_text(fcinfo, 0, "name");
	EltTransform *transform = elt_transform_by_name(name);
	EltRun	   *last;

	if (transform == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("transform \"%s\" does not exist", name),
				 errhint("elt.transforms lists the transforms.")));
	elt_check_may_write("elt.drop_transform()");
	elt_node_check_owner(&transform->node);
	elt_node_lock(transform->node.id);
	/* somebody else may have dropped it while this waited */
	transform = elt_transform_by_name(name);
	if (transform == NULL)
		PG_RETURN_VOID();
	last = elt_run_last(transform->node.id);
	if (last != NULL)
		elt_staging_drop(last);
	elt_transform_delete(transform);
	PG_RETURN_VOID();
}
