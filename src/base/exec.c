/*
 * exec.c
 *	  Running one SQL statement over tuplestores that stand in for relations.
 *
 *   text -> parse, analyse -> replace -> rewrite (views, rules, row security) -> plan -> run
 *
 * A bag is known to the statement by name, as a trigger's transition table would be, and it takes the place of a relation in the
 * analysed query: there each range table entry of that relation that is read (at any level, but not one that is written to, nor
 * ON CONFLICT's EXCLUDED) becomes a named tuplestore. Views are expanded later, so a relation that is only read through a view is not
 * replaced. Reading a bag takes the rights that reading the relation would take, and is refused where row security would hide rows:
 * the tuplestore knows no policies.
 *
 * Statements see what earlier commands of the transaction wrote, and a rule's statements see each other's work.
 *
 * Memory: everything lives in a child of the current context and is gone at return; after an error it goes with that context. The bag's
 * tuplestore keeps one read pointer for each use, so it should not outlive a batch.
 *
 * Locks: those that the statement takes. A crash loses nothing.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parsetree.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/queryenvironment.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/exec.h"
#include "base/insert.h"

/* One call of elt_exec. */
typedef struct Run
{
	const char *sql;
	EltBag	   *bags;
	int			nbags;
	ParamListInfo params;
	DestReceiver *dest;
	EltExecCounts counts;
	bool		split_upserts;	/* shall counts tell inserted from updated? */
	QueryEnvironment *env;
	MemoryContext caller;
	TupleDesc	outdesc;		/* of the rows sent to dest, in caller's
								 * context; NULL where none are sent */
	EltPlan    *plan;			/* made before; NULL: plan now */
	EltQueryChange change;		/* of the analysed query, or NULL */
	void	   *change_arg;
	bool		rows_only;		/* of an INSERT: to dest, not to the table */
} Run;

/* The call whose statement is being planned, or NULL. */
static Run *planning = NULL;
static MemoryContext planning_context = NULL;

struct EltPlan
{
	const char *sql;
	List	   *statements;		/* PlannedStmt */
};

/* Error positions are positions in our text, not in that of the client's statement. */
static void
exec_error_context(void *arg)
{
	const char *sql = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(sql);
	}
	else
		errcontext("SQL statement \"%s\"", sql);
}

static void
register_bags(Run *run)
{
	run->env = create_queryEnv();
	for (int i = 0; i < run->nbags; i++)
	{
		EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

		enr->md.name = pstrdup(run->bags[i].name);
		enr->md.reliddesc = InvalidOid;
		enr->md.tupdesc = run->bags[i].tupdesc;
		enr->md.enrtype = ENR_NAMED_TUPLESTORE;
		enr->md.enrtuples = run->bags[i].ntuples;
		enr->reldata = run->bags[i].tuples;
		register_ENR(run->env, enr);
	}
}

static EltBag *
bag_for_relation(Run *run, Oid relid)
{
	for (int i = 0; i < run->nbags; i++)
		if (run->bags[i].replaces == relid)
			return &run->bags[i];
	return NULL;
}

void
elt_check_row_security(Oid relid)
{
	if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("changes of \"%s\" cannot be read under row-level security", get_rel_name(relid)),
				 errdetail("Row-level security applies to role \"%s\", and changes are read without policies.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Use a role that bypasses row-level security, or the owner of the table.")));
}

/* Column types of a named tuplestore's entry: a dropped column has zeroes, as in addRangeTableEntryForENR. */
static void
set_column_types(RangeTblEntry *rte, TupleDesc desc)
{
	rte->coltypes = rte->coltypmods = rte->colcollations = NIL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		dropped = att->attisdropped;

		rte->coltypes = lappend_oid(rte->coltypes, dropped ? InvalidOid : att->atttypid);
		rte->coltypmods = lappend_int(rte->coltypmods, dropped ? 0 : att->atttypmod);
		rte->colcollations = lappend_oid(rte->colcollations, dropped ? InvalidOid : att->attcollation);
	}
}

/* Turn a relation's entry into the bag's. Alias and column names stay, so that the query's Vars keep their meaning. */
static void
read_bag_instead(Query *query, RangeTblEntry *rte, EltBag *bag)
{
	/* the reader needs the rights that reading the relation would take */
	elt_check_rte_permissions(query, rte);
	elt_check_row_security(rte->relid);
	if (rte->tablesample != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("changes of \"%s\" cannot be sampled", get_rel_name(rte->relid)),
				 errhint("Leave TABLESAMPLE out.")));
	if (list_length(rte->eref->colnames) != bag->tupdesc->natts)
		elog(ERROR, "bag \"%s\" has %d columns, relation \"%s\" has %d", bag->name, bag->tupdesc->natts,
			 get_rel_name(rte->relid), list_length(rte->eref->colnames));

	rte->rtekind = RTE_NAMEDTUPLESTORE;
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
	rte->inh = false;
	rte->enrname = pstrdup(bag->name);
	rte->enrtuples = bag->ntuples;
	set_column_types(rte, bag->tupdesc);
	elt_clear_rte_permissions(rte);
}

static bool
replace_walker(Node *node, void *context)
{
	Run		   *run = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		int			excluded = query->onConflict != NULL ? query->onConflict->exclRelIndex : 0;

		for (int rti = 1; rti <= list_length(query->rtable); rti++)
		{
			RangeTblEntry *rte = list_nth_node(RangeTblEntry, query->rtable, rti - 1);
			EltBag	   *bag;

			if (rte->rtekind != RTE_RELATION || rti == query->resultRelation || rti == excluded)
				continue;
			bag = bag_for_relation(run, rte->relid);
			if (bag != NULL)
				read_bag_instead(query, rte, bag);
		}
		return query_tree_walker(query, replace_walker, context, 0);
	}
	return expression_tree_walker(node, replace_walker, context);
}

EltBag *
elt_planned_bag(RangeTblEntry *rte)
{
	for (int i = 0; planning != NULL && i < planning->nbags; i++)
		if (strcmp(planning->bags[i].name, rte->enrname) == 0)
			return list_length(rte->coltypes) == planning->bags[i].tupdesc->natts ? &planning->bags[i] : NULL;
	return NULL;
}

MemoryContext
elt_planning_context(void)
{
	return planning_context;
}

/* Planning may call functions, and these plan statements of their own. */
static List *
plan_queries(Run *run, List *queries, bool parallel)
{
	Run		   *outer = planning;
	MemoryContext outer_context = planning_context;
	List	   *plans;

	for (int i = 0; i < run->nbags; i++)
		run->bags[i].sample = NULL;
	PG_TRY();
	{
		planning = run;
		planning_context = CurrentMemoryContext;
		plans = pg_plan_queries(queries, run->sql, parallel ? CURSOR_OPT_PARALLEL_OK : 0, run->params);
	}
	PG_FINALLY();
	{
		planning = outer;
		planning_context = outer_context;
	}
	PG_END_TRY();
	return plans;
}

/*
 * An INSERT as the SELECT of the rows that it would write, whole: one that parallel workers may help with. The table stays among what is read, so that the right
 * to insert is checked.
 */
static void
select_of_insert(Query *query)
{
	Relation	rel = table_open(rt_fetch(query->resultRelation, query->rtable)->relid, NoLock);
	List	   *targets = NIL;

	Assert(query->onConflict == NULL && query->returningList == NIL);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		TargetEntry *tle = get_tle_by_resno(query->targetList, i + 1);

		/* dropped ones have no type any more */
		if (tle == NULL)
			tle = makeTargetEntry((Expr *) (att->attisdropped ? makeNullConst(INT4OID, -1, InvalidOid) : makeNullConst(att->atttypid, att->atttypmod, att->attcollation)),
								  i + 1, pstrdup(NameStr(att->attname)), false);
		targets = lappend(targets, tle);
	}
	table_close(rel, NoLock);
	query->targetList = targets;
	query->commandType = CMD_SELECT;
	query->resultRelation = 0;
}

/* From text to plans: one, or as many as rules on the target make of it. */
static List *
plan_statement(Run *run)
{
	List	   *parsed = pg_parse_query(run->sql);
	int			nparams = run->params != NULL ? run->params->numParams : 0;
	Oid		   *types = palloc(sizeof(Oid) * Max(nparams, 1));
	List	   *queries;
	Query	   *query;
	bool		parallel = true;

	if (list_length(parsed) != 1)
		elog(ERROR, "expected one SQL statement, got %d", list_length(parsed));
	for (int i = 0; i < nparams; i++)
		types[i] = run->params->params[i].ptype;

	query = parse_analyze_fixedparams(linitial_node(RawStmt, parsed), run->sql, types, nparams, run->env);
	if (query->commandType == CMD_UTILITY)
		elog(ERROR, "expected a query, got \"%s\"", run->sql);
	(void) replace_walker((Node *) query, run);
	if (run->change != NULL)
		run->change(query, run->change_arg);
	queries = pg_rewrite_query(query);
	if (run->rows_only && query->commandType == CMD_INSERT)
	{
		if (list_length(queries) != 1)
			elog(ERROR, "expected one INSERT");
		parallel = elt_insert_is_parallel_safe(rt_fetch(query->resultRelation, query->rtable)->relid);
		select_of_insert(linitial_node(Query, queries));
	}
	return plan_queries(run, queries, parallel);
}

static bool
is_upsert(PlannedStmt *plan)
{
	return plan->commandType == CMD_INSERT && IsA(plan->planTree, ModifyTable) &&
		((ModifyTable *) plan->planTree)->onConflictAction == ONCONFLICT_UPDATE;
}

/* Has a table that the statement wrote to a trigger that can skip updates? */
static bool
updates_may_be_skipped(ModifyTableState *mt)
{
	ListCell   *lc;

	for (int i = 0; i < mt->mt_nrels; i++)
		if (mt->resultRelInfo[i].ri_TrigDesc != NULL && mt->resultRelInfo[i].ri_TrigDesc->trig_update_before_row)
			return true;
	foreach(lc, mt->ps.state->es_tuple_routing_result_relations)
	{
		ResultRelInfo *partition = lfirst(lc);

		if (partition->ri_TrigDesc != NULL && partition->ri_TrigDesc->trig_update_before_row)
			return true;
	}
	return false;
}

/*
 * Tell inserted rows from updated ones after INSERT ... ON CONFLICT DO UPDATE. The executor counts the rows that came in, the
 * conflicts, the conflicts that the WHERE clause left alone, and the rows written. What is missing from that was skipped by BEFORE ROW
 * triggers; only where both an update and an insert trigger skip rows is the split a guess (updates first).
 */
static void
count_upsert(ModifyTableState *mt, uint64 processed, EltExecCounts *counts)
{
	Instrumentation *own = mt->ps.instrument;
	Instrumentation *input = outerPlanState(mt)->instrument;
	double		updates,
				skipped;

	InstrEndLoop(own);
	InstrEndLoop(input);
	updates = own->ntuples2 - own->nfiltered1;
	skipped = input->ntuples - own->nfiltered1 - (double) processed;
	if (skipped > 0 && updates_may_be_skipped(mt))
		updates -= Min(skipped, updates);
	counts->updated += (uint64) updates;
	counts->inserted += processed - (uint64) updates;
	counts->offered += (uint64) input->ntuples;
}

static void
count_rows(Run *run, QueryDesc *qd)
{
	EltExecCounts *counts = &run->counts;
	uint64		processed = qd->estate->es_processed;
	ModifyTableState *mt = IsA(qd->planstate, ModifyTableState) ? (ModifyTableState *) qd->planstate : NULL;

	counts->processed += processed;
	switch (qd->operation)
	{
		case CMD_INSERT:
			if (qd->instrument_options != 0)
				count_upsert(mt, processed, counts);
			else
			{
				counts->inserted += processed;
				counts->offered += processed;
			}
			break;
		case CMD_UPDATE:
			counts->updated += processed;
			break;
		case CMD_DELETE:
			counts->deleted += processed;
			break;
		case CMD_MERGE:
			counts->inserted += (uint64) mt->mt_merge_inserted;
			counts->updated += (uint64) mt->mt_merge_updated;
			counts->deleted += (uint64) mt->mt_merge_deleted;
			break;
		default:
			break;
	}
}

/* Run one plan. Only the statement itself sends rows and is counted, not what rules add to it. */
static void
run_plan(Run *run, PlannedStmt *plan)
{
	DestReceiver *dest = plan->canSetTag ? run->dest : None_Receiver;
	int			instrument = plan->canSetTag && run->split_upserts && is_upsert(plan) ? INSTRUMENT_ROWS : 0;
	QueryDesc  *qd;

	if (plan->commandType == CMD_UTILITY)	/* NOTIFY in a rule */
	{
		ProcessUtility(plan, run->sql, true, PROCESS_UTILITY_QUERY, run->params, run->env, dest, NULL);
		return;
	}

	qd = CreateQueryDesc(plan, run->sql, GetActiveSnapshot(), InvalidSnapshot, dest, run->params, run->env, instrument);
	ExecutorStart(qd, 0);
	elt_executor_run_all(qd);
	ExecutorFinish(qd);
	if (plan->canSetTag)
	{
		count_rows(run, qd);
		if (dest != None_Receiver && (plan->commandType == CMD_SELECT || plan->hasReturning))
		{
			MemoryContext old = MemoryContextSwitchTo(run->caller);

			run->outdesc = CreateTupleDescCopy(qd->tupDesc);
			MemoryContextSwitchTo(old);
		}
	}
	ExecutorEnd(qd);
	FreeQueryDesc(qd);
}

/* The whole of it, in the current memory context. */
static void
run_statement(Run *run)
{
	ErrorContextCallback context = {error_context_stack, exec_error_context, unconstify(char *, run->sql)};
	ListCell   *lc;

	error_context_stack = &context;
	register_bags(run);

	/* a copy, because a registered snapshot's command id must not move */
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	foreach(lc, run->plan != NULL ? run->plan->statements : plan_statement(run))
	{
		CHECK_FOR_INTERRUPTS();
		run_plan(run, lfirst_node(PlannedStmt, lc));
		CommandCounterIncrement();
		UpdateActiveSnapshotCommandId();
	}
	PopActiveSnapshot();
	error_context_stack = context.previous;
}

/* Run in a context of its own, which is gone afterwards. into: a tuplestore for the rows instead of run->dest, or NULL. */
static void
run_in_own_context(Run *run, Tuplestorestate *into)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "elt statement", ALLOCSET_DEFAULT_SIZES);

	run->caller = MemoryContextSwitchTo(mine);
	if (into != NULL)
	{
		run->dest = CreateTuplestoreDestReceiver();
		SetTuplestoreDestReceiverParams(run->dest, into, run->caller, false, NULL, NULL);
	}
	else if (run->dest == NULL)
		run->dest = None_Receiver;
	run_statement(run);
	MemoryContextSwitchTo(run->caller);
	MemoryContextDelete(mine);
}

/* Run it and give the counts. */
static void
run_for_counts(Run *run, EltExecCounts *counts)
{
	run->split_upserts = counts != NULL;
	run_in_own_context(run, NULL);
	if (counts != NULL)
		*counts = run->counts;
	if (run->outdesc != NULL)
		FreeTupleDesc(run->outdesc);
}

/* Run it and give the rows. */
static void
run_for_rows(Run *run, Tuplestorestate *out, TupleDesc *outdesc, uint64 *nrows)
{
	run_in_own_context(run, out);
	if (run->outdesc == NULL)
		elog(ERROR, "statement returns no rows: \"%s\"", run->sql);
	if (outdesc != NULL)
		*outdesc = run->outdesc;
	else
		FreeTupleDesc(run->outdesc);
	if (nrows != NULL)
		*nrows = run->counts.processed;
}

void
elt_exec(const char *sql, EltBag *bags, int nbags, ParamListInfo params, DestReceiver *dest, EltExecCounts *counts)
{
	Run			run = {.sql = sql,.bags = bags,.nbags = nbags,.params = params,.dest = dest};

	run_for_counts(&run, counts);
}

void
elt_exec_changed(const char *sql, EltQueryChange change, void *arg, DestReceiver *dest, EltExecCounts *counts)
{
	Run			run = {.sql = sql,.dest = dest,.change = change,.change_arg = arg,.rows_only = dest != NULL};

	run_for_counts(&run, counts);
}

void
elt_exec_into(const char *sql, EltBag *bags, int nbags, Tuplestorestate *out, TupleDesc *outdesc, uint64 *nrows)
{
	Run			run = {.sql = sql,.bags = bags,.nbags = nbags};

	run_for_rows(&run, out, outdesc, nrows);
}

EltPlan *
elt_plan(const char *sql, EltBag *bags, int nbags)
{
	Run			run = {.sql = sql,.bags = bags,.nbags = nbags};
	ErrorContextCallback context = {error_context_stack, exec_error_context, unconstify(char *, sql)};
	EltPlan    *plan = palloc(sizeof(EltPlan));

	error_context_stack = &context;
	register_bags(&run);
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	plan->sql = pstrdup(sql);
	plan->statements = plan_statement(&run);
	PopActiveSnapshot();
	error_context_stack = context.previous;
	return plan;
}

double
elt_plan_cost(EltPlan *plan)
{
	double		cost = 0;
	ListCell   *lc;

	foreach(lc, plan->statements)
	{
		PlannedStmt *statement = lfirst_node(PlannedStmt, lc);

		if (statement->planTree != NULL)
			cost += statement->planTree->total_cost;
	}
	return cost;
}

void
elt_plan_run(EltPlan *plan, EltBag *bags, int nbags, EltExecCounts *counts)
{
	Run			run = {.sql = plan->sql,.bags = bags,.nbags = nbags,.plan = plan};

	run_for_counts(&run, counts);
}

void
elt_plan_run_into(EltPlan *plan, EltBag *bags, int nbags, Tuplestorestate *out, TupleDesc *outdesc, uint64 *nrows)
{
	Run			run = {.sql = plan->sql,.bags = bags,.nbags = nbags,.plan = plan};

	run_for_rows(&run, out, outdesc, nrows);
}

double
elt_plan_rows(EltPlan *plan)
{
	PlannedStmt *last = llast_node(PlannedStmt, plan->statements);

	return last->planTree != NULL ? last->planTree->plan_rows : 0;
}

void
elt_plan_check_permissions(EltPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->statements)
		elt_check_plan_permissions(lfirst_node(PlannedStmt, lc));
}
