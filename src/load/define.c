/*
 * define.c
 *	  elt.create_load and elt.drop_load.
 *
 *	  arguments -> target: kind, rights -> source: tracked -> query (query.c) -> columns and key -> consumer, node, load
 *
 * Everything that can be known to fail later is refused here, with what to do instead.
 *
 * Locks: AccessShare on target, source and lookups; where the source was not tracked, those of elt.track; all to the end of the transaction. A crash
 * undoes what was not committed.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "rewrite/prs2lock.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "base/secctx.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/sql.h"
#include "capture/batch.h"
#include "capture/locks.h"
#include "capture/track.h"
#include "catalog/target.h"
#include "load/load.h"
#include "load/query.h"

PG_FUNCTION_INFO_V1(elt_sql_create_load);
PG_FUNCTION_INFO_V1(elt_sql_drop_load);

/* the parameters of elt.create_load, in their order */
enum
{
	P_NAME, P_TARGET, P_SOURCE, P_QUERY, P_MODE, P_KEY, P_ALSO_ON, P_INITIAL, P_CURSOR_COLUMN, P_LAG, P_BATCH_ROWS, P_ON_ERROR,
	P_MAX_REJECTED, P_ON_SCHEMA_CHANGE, P_SCD2, P_WORKERS, P_IF_EXISTS
};

static void
refuse_parameter(const char *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("parameter \"%s\" of a load is not supported yet", name),
			 errhint("%s", hint)));
}

static void
not_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		(void) elt_arg_text(fcinfo, n, name);	/* raises the error */
}

/* What is in the interface and comes later. */
static void
check_unsupported(FunctionCallInfo fcinfo, const char *mode, const char *on_schema_change)
{
	not_null(fcinfo, P_ALSO_ON, "also_on");
	not_null(fcinfo, P_LAG, "lag");
	if (strcmp(mode, "append") != 0 && strcmp(mode, "upsert") != 0 && strcmp(mode, "mirror") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mode \"%s\" of loads is not supported yet", mode),
				 errhint("Use append, upsert or mirror.")));
	if (ArrayGetNItems(ARR_NDIM(PG_GETARG_ARRAYTYPE_P(P_ALSO_ON)), ARR_DIMS(PG_GETARG_ARRAYTYPE_P(P_ALSO_ON))) > 0)
		refuse_parameter("also_on", "Lookups are read as they are when a source row changes.");
	if (!PG_ARGISNULL(P_CURSOR_COLUMN))
		refuse_parameter("cursor_column", "Load from a table whose changes can be tracked.");
	if (DatumGetBool(DirectFunctionCall2(interval_ne, PG_GETARG_DATUM(P_LAG),
										 DirectFunctionCall3(interval_in, CStringGetDatum("0"), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)))))
		refuse_parameter("lag", "It belongs to loads by a cursor column; tracked changes need no lag.");
	if (strcmp(on_schema_change, "fail") != 0)
		refuse_parameter("on_schema_change", "Leave it at 'fail': added source columns are ignored unless the query names them.");
	if (!PG_ARGISNULL(P_SCD2))
		refuse_parameter("scd2", "Use mode append for the history of a table.");
	if (!PG_ARGISNULL(P_WORKERS))
		refuse_parameter("workers", "Leave it out: a batch is loaded by one process.");
}

static int32
arg_batch_rows(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(P_BATCH_ROWS))
		return 0;
	if (PG_GETARG_INT32(P_BATCH_ROWS) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value %d for parameter \"batch_rows\"", PG_GETARG_INT32(P_BATCH_ROWS)),
				 errhint("Give a positive number of changes, or leave it out.")));
	return PG_GETARG_INT32(P_BATCH_ROWS);
}

static void
check_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a load must not be empty"),
				 errhint("Choose a name that tells what the load does.")));
}

/* INSERT ... ON CONFLICT is refused where rules rewrite it. */
static void
check_target_rules(Relation target, EltLoad *load)
{
	RuleLock   *rules = target->rd_rules;

	if (rules == NULL || strcmp(load->mode, "append") == 0)
		return;
	for (int i = 0; i < rules->numLocks; i++)
	{
		if (rules->rules[i]->event == CMD_INSERT || rules->rules[i]->event == CMD_UPDATE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot load into \"%s\" in mode %s: it has rules for INSERT or UPDATE", RelationGetRelationName(target), load->mode),
					 errhint("Write the rule as a trigger, or use mode append.")));
	}
}

/* What the load will do to the target is refused now rather than in its first batch. */
static void
check_target_rights(Relation target, EltLoad *load)
{
	AclMode		needed = ACL_INSERT;

	if (strcmp(load->mode, "append") != 0)
		needed |= ACL_SELECT | ACL_UPDATE;
	if (strcmp(load->mode, "mirror") == 0)
		needed |= ACL_DELETE;
	if (pg_class_aclmask(load->target, GetUserId(), needed, ACLMASK_ALL) != needed)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table \"%s\"", RelationGetRelationName(target)),
				 errhint("A load of mode %s needs %s on its target.", load->mode,
						 (needed & ACL_DELETE) ? "SELECT, INSERT, UPDATE and DELETE" :
						 (needed & ACL_UPDATE) ? "SELECT, INSERT and UPDATE" : "INSERT")));
	elt_check_row_security(load->target);
}

/* An initially deferred constraint would fail at commit, where no row can be told from another. */
static void
check_deferred(Relation target, EltLoad *load)
{
	TriggerDesc *triggers = target->trigdesc;

	if (strcmp(load->on_error, "quarantine") != 0 || triggers == NULL)
		return;
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		if (triggers->triggers[i].tginitdeferred)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("on_error => 'quarantine' cannot tell rows that a deferred constraint of \"%s\" refuses",
							RelationGetRelationName(target)),
					 errdetail("Constraint \"%s\" is INITIALLY DEFERRED.", get_constraint_name(triggers->triggers[i].tgconstraint)),
					 errhint("Make the constraint INITIALLY IMMEDIATE, or use on_error => 'stop'.")));
	}
}

/* What a load writes must follow from the source and from lookups: were the target one of these, batches would depend on each other. */
static void
check_target_is_not_read(EltLoad *load, EltLoadQuery *query)
{
	ListCell   *lc;

	foreach(lc, query->relations)
	{
		if (elt_target_same_tree(lfirst_oid(lc), load->target))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("query of load \"%s\" reads its target \"%s\"", load->node.name, get_rel_name(load->target)),
					 errhint("What a load writes must follow from the source and from lookups alone.")));
	}
}

static void
check_not_its_source(EltLoad *load)
{
	if (elt_target_same_tree(load->source, load->target))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" cannot be source and target of load \"%s\"", get_rel_name(load->target), load->node.name),
				 errhint("Load into another table.")));
}

/* Let the parser say what is wrong with the types; a row is never written here. */
static void
check_types(EltLoad *load, EltLoadQuery *query)
{
	EltLoadRun	run = {.load = load,.append = true};
	EltSecContext context;
	const char *sql;

	elt_become(&context, GetUserId());
	sql = elt_apply_insert_sql(&run, psprintf("(%s) AS elt_q", query->sql));
	(void) parse_analyze_fixedparams(linitial_node(RawStmt, pg_parse_query(sql)), sql, NULL, 0, NULL);
	elt_restore(&context);
}

static void
check_columns(Relation target, EltLoad *load, EltLoadQuery *query)
{
	for (int i = 0; i < query->ncolumns; i++)
	{
		Form_pg_attribute att = elt_target_column(target, "load", load->node.name, query->names[i]);

		load->columns = lappend(load->columns, makeString(query->names[i]));
		if (att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS && strcmp(load->mode, "append") != 0 &&
			!list_member(load->key, makeString(query->names[i])))
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("column \"%s\" of target \"%s\" is GENERATED ALWAYS AS IDENTITY and cannot be updated",
							query->names[i], RelationGetRelationName(target)),
					 errhint("Leave it out of the query of load \"%s\", or make it GENERATED BY DEFAULT.", load->node.name)));
	}
	check_types(load, query);
}

static void
choose_key(Relation target, EltLoad *load)
{
	if (strcmp(load->mode, "append") == 0)
	{
		if (load->key != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a load of mode append has no key"),
					 errhint("Leave parameter \"key\" out, or use mode upsert.")));
		return;
	}
	if (load->key == NIL)
	{
		list_free(RelationGetIndexList(target));
		if (!OidIsValid(target->rd_pkindex))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("target \"%s\" of load \"%s\" has no primary key", RelationGetRelationName(target), load->node.name),
					 errhint("Add one, name a unique key by parameter \"key\", or use mode append.")));
		load->key = elt_key_columns(elt_key_of_index(target->rd_pkindex));
	}
	elt_target_check_key(target, load->key, "load", load->node.name);
}

static int
output_column(EltLoadQuery *query, const char *name)
{
	for (int i = 0; i < query->ncolumns; i++)
	{
		if (strcmp(query->names[i], name) == 0)
			return i;
	}
	return -1;
}

static void
check_key_is_loaded(EltLoad *load, EltLoadQuery *query)
{
	ListCell   *lc;

	foreach(lc, load->key)
	{
		if (output_column(query, strVal(lfirst(lc))) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("query of load \"%s\" has no output column \"%s\", which is in the key", load->node.name, strVal(lfirst(lc))),
					 errhint("Add it to the query, or name another key.")));
	}
}

/* Does the key column get, unchanged, a column of the source? Its attribute number, else 0. */
static AttrNumber
passes_through(Relation target, EltLoadQuery *query, const char *column)
{
	int			i = output_column(query, column);

	return i < 0 ? 0 : query->passthrough[i];
}

/* Find the key columns of the target that hold the source's primary key; all of it, or none counts. */
static void
find_owned(Relation target, Relation source, EltLoad *load, EltLoadQuery *query)
{
	Bitmapset  *attrs = RelationGetIndexAttrBitmap(source, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			attr = -1;

	while ((attr = bms_next_member(attrs, attr)) >= 0)
	{
		AttrNumber	attno = attr + FirstLowInvalidHeapAttributeNumber;
		ListCell   *lc;
		bool		found = false;

		foreach(lc, load->key)
		{
			if (passes_through(target, query, strVal(lfirst(lc))) != attno)
				continue;
			load->owned_target = lappend(load->owned_target, makeString(strVal(lfirst(lc))));
			load->owned_source = lappend(load->owned_source,
										 makeString(pstrdup(NameStr(TupleDescAttr(RelationGetDescr(source), attno - 1)->attname))));
			found = true;
			break;
		}
		if (!found)
		{
			load->owned_target = load->owned_source = NIL;
			return;
		}
	}
}

/* A mirror finds rows to delete by their key: storing it must not change it. */
static void
check_mirror_key_types(Relation target, EltLoad *load, EltLoadQuery *query)
{
	ListCell   *lc;

	foreach(lc, load->key)
	{
		const char *name = strVal(lfirst(lc));
		Form_pg_attribute att = elt_target_column(target, "load", load->node.name, name);
		int			i = output_column(query, name);
		int32		typmod = att->atttypmod;
		int32		from_typmod = query->typmods[i];
		Oid			type = getBaseTypeAndTypmod(att->atttypid, &typmod);
		Oid			from = getBaseTypeAndTypmod(query->types[i], &from_typmod);

		if (type != from || (typmod != -1 && typmod != from_typmod))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("key column \"%s\" of load \"%s\" is %s in the query and %s in target \"%s\"", name, load->node.name,
							format_type_with_typemod(query->types[i], query->typmods[i]),
							format_type_with_typemod(att->atttypid, att->atttypmod), RelationGetRelationName(target)),
					 errdetail("A mirror deletes by key, so storing a key must not change it."),
					 errhint("Cast it in the query: expression::%s AS %s.",
							 format_type_with_typemod(att->atttypid, att->atttypmod), quote_identifier(name))));
	}
}

static void
check_mirror(Relation target, EltLoad *load, EltLoadQuery *query, EltCapture *capture)
{
	check_mirror_key_types(target, load, query);
	if (load->owned_target != NIL)
		return;
	if (capture->keys_only)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("only the keys of table \"%s\" are tracked, and the key of load \"%s\" does not hold them",
						get_rel_name(load->source), load->node.name),
				 errhint("Let the target's key have the source's primary key, or call elt.track(%s, images => 'row').",
						 quote_literal_cstr(elt_qualified_name(load->source)))));
	if (query->lookups != NIL || query->is_volatile)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("load \"%s\" could not tell which rows of \"%s\" to delete", load->node.name, RelationGetRelationName(target)),
				 errdetail("The key of the target does not hold the source's primary key, and the query depends on more than the row: "
						   "what it once made of a row cannot be known from the row."),
				 errhint("Add the primary key of \"%s\" to the query and to the target's key, or use mode upsert.", get_rel_name(load->source))));
}

/* Each mirror would delete what the other has loaded. */
static void
check_only_mirror(EltLoad *load)
{
	char	   *other = elt_load_mirror_of(load->target);

	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"%s\" is the target of another mirror, load \"%s\"", get_rel_name(load->target), other),
				 errhint("A mirror deletes what its query does not give: use a target for each, and a view over them, or mode upsert.")));
}

/* All that tells one definition from another, as text. */
static char *
definition_text(EltLoad *load, const char *initial)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	appendStringInfo(&text, "source %s target %s mode %s initial %s batch_rows %d on_error %s max_rejected %lld key",
					 elt_qualified_name(load->source), elt_qualified_name(load->target), load->mode, initial, load->batch_rows,
					 load->on_error, (long long) load->max_rejected);
	foreach(lc, load->key)
		appendStringInfo(&text, " %s", quote_identifier(strVal(lfirst(lc))));
	appendStringInfo(&text, " query %s", load->query);
	return text.data;
}

static void
note_source_columns(EltLoad *load)
{
	EltSecContext context;

	elt_become(&context, GetUserId());
	load->source_columns = elt_load_query_check(load->query, load->source, load->node.name);
	elt_restore(&context);
}

/* Check the load against its relations and fill in what follows from them. */
static void
describe_load(EltLoad *load, const char *query_text, EltCapture *capture)
{
	Relation	target = relation_open(load->target, AccessShareLock);
	Relation	source = relation_open(load->source, AccessShareLock);
	EltLoadQuery *query;

	check_not_its_source(load);
	choose_key(target, load);
	check_deferred(target, load);
	query = query_text != NULL ? elt_load_query_analyze(query_text, load->source, load->node.name) :
		elt_load_query_default(load->source, load->target, load->node.name);
	load->query = query->sql;
	check_target_is_not_read(load, query);
	check_columns(target, load, query);
	check_key_is_loaded(load, query);
	find_owned(target, source, load, query);
	if (strcmp(load->mode, "mirror") == 0)
		check_mirror(target, load, query, capture);
	if (strcmp(load->mode, "append") == 0 && capture->keys_only)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("only the keys of table \"%s\" are tracked", get_rel_name(load->source)),
				 errhint("A load of mode append needs elt.track(%s, images => 'row').",
						 quote_literal_cstr(elt_qualified_name(load->source)))));
	load->settings = elt_settings_note();
	note_source_columns(load);
	relation_close(source, NoLock);
	relation_close(target, NoLock);
}

/* There is a node of this name: error, skip, or fine as it is. */
static void
handle_existing(EltLoad *existing, EltLoad *wanted, const char *if_exists)
{
	if (strcmp(if_exists, "skip") == 0)
	{
		ereport(NOTICE,
				(errmsg("load \"%s\" already exists, skipping", existing->node.name)));
		return;
	}
	if (strcmp(if_exists, "error") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("load \"%s\" already exists", existing->node.name),
				 errhint("Choose another name, drop it with elt.drop_load, or pass if_exists => 'skip'.")));
	elt_node_check_owner(&existing->node);
	if (strcmp(existing->definition, wanted->definition) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("load \"%s\" exists with another definition", existing->node.name),
				 errdetail("Changing a load is not supported yet."),
				 errhint("Drop it with elt.drop_load and create it anew; to load nothing twice, do so in one REPEATABLE READ transaction, "
						 "after elt.run_batch and with initial => 'none'.")));
}

Datum
elt_sql_create_load(PG_FUNCTION_ARGS)
{
	EltLoad    *load = palloc0(sizeof(EltLoad));
	EltLoad    *existing;
	EltCapture *capture;
	Relation	target;
	char	   *query;
	char	   *initial;
	char	   *if_exists;

	elt_check_may_write("elt.create_load()");
	load->node.name = elt_arg_text(fcinfo, P_NAME, "name");
	check_name(load->node.name);
	load->node.kind = pstrdup("load");
	load->node.owner = GetUserId();
	load->target = elt_arg_relation(fcinfo, P_TARGET, "target");
	query = elt_arg_text_or_null(fcinfo, P_QUERY);
	load->mode = elt_arg_choice(fcinfo, P_MODE, "mode", "append", "upsert", "mirror", "soft_delete", "scd2", "replace", "diff", NULL);
	load->key = elt_arg_key(fcinfo, P_KEY);
	initial = elt_arg_choice(fcinfo, P_INITIAL, "initial", "copy", "none", NULL);
	load->batch_rows = arg_batch_rows(fcinfo);
	load->on_error = elt_arg_choice(fcinfo, P_ON_ERROR, "on_error", "stop", "quarantine", NULL);
	load->max_rejected = elt_arg_max_rejected(fcinfo, P_MAX_REJECTED);
	if_exists = elt_arg_choice(fcinfo, P_IF_EXISTS, "if_exists", "error", "skip", "alter", NULL);
	check_unsupported(fcinfo, load->mode, elt_arg_choice(fcinfo, P_ON_SCHEMA_CHANGE, "on_schema_change", "fail", "ignore", "append", NULL));
	if (PG_ARGISNULL(P_SOURCE))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("load \"%s\" has no source", load->node.name),
				 errhint("Name the table whose changes drive the load by parameter \"source\".")));
	load->source = elt_arg_relation(fcinfo, P_SOURCE, "source");

	elt_node_lock_name(load->node.name);
	existing = elt_load_by_name(load->node.name);
	if (existing != NULL && strcmp(if_exists, "alter") != 0)
	{
		handle_existing(existing, load, if_exists);
		PG_RETURN_VOID();
	}
	target = relation_open(load->target, AccessShareLock);
	elt_target_check_kind(target, "load into", "Load into");
	check_target_rules(target, load);
	check_target_rights(target, load);
	relation_close(target, NoLock);
	capture = elt_track_for(load->source, load->node.name);
	describe_load(load, query, capture);
	load->definition = definition_text(load, initial);
	if (existing != NULL)
	{
		handle_existing(existing, load, if_exists);
		PG_RETURN_VOID();
	}
	if (strcmp(load->mode, "mirror") == 0)
		check_only_mirror(load);
	load->consumer = elt_consumer_create(capture->id, "load", load->node.name, strcmp(initial, "none") == 0,
										 strcmp(load->mode, "append") == 0);
	elt_load_insert(load);
	PG_RETURN_VOID();
}

Datum
elt_sql_drop_load(PG_FUNCTION_ARGS)
{
	char	   *name = elt_arg_text(fcinfo, 0, "name");
	EltLoad    *load = elt_load_by_name(name);

	elt_check_may_write("elt.drop_load()");
	if (load == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("load \"%s\" does not exist", name),
				 errhint("elt.loads lists the loads.")));
	elt_node_check_owner(&load->node);
	elt_lock_consumer(load->consumer);
	/* somebody else may have dropped it while this waited */
	load = elt_load_by_name(name);
	if (load != NULL)
		elt_load_delete(load);
	PG_RETURN_VOID();
}
