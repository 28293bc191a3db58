/*
 * bagexec.c
 *	  Execution of scans that find a bag's rows by equality.
 *
 *	  first scan: bag -> the columns that are used -> hash table over the keys' hash values
 *	  each scan:  values of the other side -> hash value -> its chain -> rows that meet all conditions -> projection
 *
 * Rows are checked by all of the scan's conditions, of which the keys are a part, so equal hash values need not mean equal keys. A key that
 * is NULL meets none. Without keys all rows are one chain.
 *
 * Memory: the table is in a context of its own below the query's; it stays until the scan ends, because a statement's bags do not change.
 * No locks; nothing to lose in a crash.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/ruleutils.h"

#include "base/bagscan.h"
#include "base/compat.h"

typedef struct Row
{
	struct Row *next;			/* in the chain */
	uint32		hash;
	MinimalTuple tuple;			/* the columns of custom_scan_tlist */
} Row;

/* One side of the keys. */
typedef struct Side
{
	List	   *exprs;			/* ExprState */
	FmgrInfo   *hash;
} Side;

typedef struct BagScan
{
	CustomScanState css;
	Tuplestorestate *bag;
	int			pointer;		/* a read pointer of the bag */
	TupleTableSlot *bag_slot;	/* all columns */
	TupleTableSlot *row_slot;	/* those that are used */
	int			ncolumns;
	int		   *attnos;
	int			nkeys;
	Side		inner;
	Side		outer;
	Oid		   *collations;

	MemoryContext context;		/* of the table */
	Row		  **buckets;		/* NULL: not yet made */
	uint32		mask;
	bool		started;		/* since the last rescan */
	uint32		hash;			/* that is looked for */
	Row		   *next;			/* to be looked at */
} BagScan;

static const CustomExecMethods exec_methods;

static Node *
create_state(CustomScan *plan)
{
	BagScan    *scan = palloc0(sizeof(BagScan));

	NodeSetTag(scan, T_CustomScanState);
	scan->css.methods = &exec_methods;
	return (Node *) scan;
}

static void
begin_side(BagScan *scan, Side *side, List *exprs, List *functions)
{
	ListCell   *lc;

	side->exprs = ExecInitExprList(exprs, &scan->css.ss.ps);
	side->hash = palloc(sizeof(FmgrInfo) * Max(scan->nkeys, 1));
	foreach(lc, functions)
		fmgr_info(lfirst_oid(lc), &side->hash[foreach_current_index(lc)]);
}

static void
begin(CustomScanState *css, EState *estate, int eflags)
{
	BagScan    *scan = (BagScan *) css;
	CustomScan *plan = castNode(CustomScan, css->ss.ps.plan);
	List	   *private = plan->custom_private;
	const char *name = strVal(list_nth(private, ELT_BAG_NAME));
	List	   *attnos = list_nth(private, ELT_BAG_ATTNOS);
	List	   *collations = list_nth(private, ELT_BAG_COLLATIONS);
	EphemeralNamedRelation enr = get_ENR(estate->es_queryEnv, name);
	ListCell   *lc;

	if (enr == NULL)
		elog(ERROR, "no bag \"%s\"", name);
	scan->bag = enr->reldata;
	scan->bag_slot = ExecInitExtraTupleSlot(estate, ENRMetadataGetTupDesc(&enr->md), &TTSOpsMinimalTuple);
	scan->row_slot = ExecInitExtraTupleSlot(estate, css->ss.ss_ScanTupleSlot->tts_tupleDescriptor, &TTSOpsMinimalTuple);

	scan->ncolumns = list_length(attnos);
	scan->attnos = palloc(sizeof(int) * Max(scan->ncolumns, 1));
	foreach(lc, attnos)
		scan->attnos[foreach_current_index(lc)] = lfirst_int(lc);

	scan->nkeys = list_length(collations);
	scan->collations = palloc(sizeof(Oid) * Max(scan->nkeys, 1));
	foreach(lc, collations)
		scan->collations[foreach_current_index(lc)] = lfirst_oid(lc);
	begin_side(scan, &scan->inner, list_copy_head(plan->custom_exprs, scan->nkeys), list_nth(private, ELT_BAG_INNER_HASH));
	begin_side(scan, &scan->outer, list_copy_tail(plan->custom_exprs, scan->nkeys), list_nth(private, ELT_BAG_OUTER_HASH));

	if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
		scan->pointer = tuplestore_alloc_read_pointer(scan->bag, EXEC_FLAG_REWIND);
}

/* The hash value of one side's keys, evaluated in the context's memory for one tuple; false where one of them is NULL. */
static bool
hash_keys(BagScan *scan, Side *side, ExprContext *econtext, uint32 *hash)
{
	MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	bool		isnull = false;
	ListCell   *lc;

	*hash = 0;
	foreach(lc, side->exprs)
	{
		int			i = foreach_current_index(lc);
		Datum		value = ExecEvalExpr((ExprState *) lfirst(lc), econtext, &isnull);

		if (isnull)
			break;
		*hash = hash_combine(*hash, DatumGetUInt32(FunctionCall1Coll(&side->hash[i], scan->collations[i], value)));
	}
	MemoryContextSwitchTo(old);
	return !isnull;
}

/* Show a row of the bag in the scan's slot. */
static void
show_columns(BagScan *scan, TupleTableSlot *from, const int *attnos)
{
	TupleTableSlot *to = scan->css.ss.ss_ScanTupleSlot;

	ExecClearTuple(to);
	slot_getallattrs(from);
	for (int i = 0; i < scan->ncolumns; i++)
	{
		int			at = attnos != NULL ? attnos[i] - 1 : i;

		to->tts_values[i] = from->tts_values[at];
		to->tts_isnull[i] = from->tts_isnull[at];
	}
	ExecStoreVirtualTuple(to);
}

/* Add the row of the bag that bag_slot holds. */
static void
add_row(BagScan *scan, ExprContext *econtext)
{
	TupleTableSlot *slot = scan->css.ss.ss_ScanTupleSlot;
	MemoryContext old;
	uint32		hash;
	Row		   *row;

	ResetExprContext(econtext);
	show_columns(scan, scan->bag_slot, scan->attnos);
	econtext->ecxt_scantuple = slot;
	if (!hash_keys(scan, &scan->inner, econtext, &hash))
		return;
	old = MemoryContextSwitchTo(scan->context);
	row = palloc(sizeof(Row));
	row->hash = hash;
	row->tuple = ExecCopySlotMinimalTuple(slot);
	row->next = scan->buckets[hash & scan->mask];
	scan->buckets[hash & scan->mask] = row;
	MemoryContextSwitchTo(old);
}

static void
make_table(BagScan *scan)
{
	int64		n = tuplestore_tuple_count(scan->bag);
	uint32		nbuckets = pg_nextpower2_32((uint32) Min(Max(n, 1), MaxAllocSize / sizeof(Row *) / 2));

	scan->context = GenerationContextCreate(scan->css.ss.ps.state->es_query_cxt, "elt bag lookup",
											0, 8 * 1024, 1024 * 1024);
	scan->mask = nbuckets - 1;
	scan->buckets = MemoryContextAllocZero(scan->context, sizeof(Row *) * nbuckets);

	tuplestore_select_read_pointer(scan->bag, scan->pointer);
	tuplestore_rescan(scan->bag);
	while (tuplestore_gettupleslot(scan->bag, true, false, scan->bag_slot))
	{
		CHECK_FOR_INTERRUPTS();
		add_row(scan, scan->css.ss.ps.ps_ExprContext);

		/*
		 * an expression may have read the same bag, where a function has a
		 * cursor over it
		 */
		tuplestore_select_read_pointer(scan->bag, scan->pointer);
	}
	ExecClearTuple(scan->bag_slot);
}

/* The first row that may be meant, after a rescan. */
static void
look_up(BagScan *scan, ExprContext *econtext)
{
	scan->started = true;
	scan->next = NULL;
	if (scan->buckets == NULL)
		make_table(scan);
	ResetExprContext(econtext);
	if (hash_keys(scan, &scan->outer, econtext, &scan->hash))
		scan->next = scan->buckets[scan->hash & scan->mask];
}

/* The scan's next row in its slot; false: no more. */
static bool
next_row(BagScan *scan)
{
	while (scan->next != NULL)
	{
		Row		   *row = scan->next;

		scan->next = row->next;
		if (row->hash != scan->hash)
			continue;
		ExecStoreMinimalTuple(row->tuple, scan->row_slot, false);
		show_columns(scan, scan->row_slot, NULL);
		return true;
	}
	return false;
}

/*
 * Not ExecScan: that would ask for the row anew where rows are checked again after a wait for a lock, which only happens here in subplans,
 * and these start from the beginning.
 */
static TupleTableSlot *
exec(CustomScanState *css)
{
	BagScan    *scan = (BagScan *) css;
	ExprContext *econtext = css->ss.ps.ps_ExprContext;
	ProjectionInfo *projection = css->ss.ps.ps_ProjInfo;

	if (!scan->started)
		look_up(scan, econtext);
	while (next_row(scan))
	{
		CHECK_FOR_INTERRUPTS();
		ResetExprContext(econtext);
		econtext->ecxt_scantuple = css->ss.ss_ScanTupleSlot;
		if (ExecQual(css->ss.ps.qual, econtext))
			return projection != NULL ? ExecProject(projection) : css->ss.ss_ScanTupleSlot;
		InstrCountFiltered1(css, 1);
	}
	return ExecClearTuple(projection != NULL ? projection->pi_state.resultslot : css->ss.ss_ScanTupleSlot);
}

static void
rescan(CustomScanState *css)
{
	((BagScan *) css)->started = false;
}

static void
end(CustomScanState *css)
{
	BagScan    *scan = (BagScan *) css;

	if (scan->context != NULL)
		MemoryContextDelete(scan->context);
}

static void
explain(CustomScanState *css, List *ancestors, ExplainState *es)
{
	CustomScan *plan = castNode(CustomScan, css->ss.ps.plan);
	List	   *keys = list_copy_head(plan->custom_exprs, ((BagScan *) css)->nkeys);
	List	   *context = set_deparse_context_plan(es->deparse_cxt, &plan->scan.plan, ancestors);
	List	   *texts = NIL;
	ListCell   *lc;

	ExplainPropertyText("Bag", strVal(list_nth(plan->custom_private, ELT_BAG_NAME)), es);
	foreach(lc, keys)
		texts = lappend(texts, deparse_expression(lfirst(lc), context, true, false));
	if (texts != NIL)
		ExplainPropertyList("Hash Key", texts, es);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "BagLookup",
	.BeginCustomScan = begin,
	.ExecCustomScan = exec,
	.EndCustomScan = end,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain,
};

const CustomScanMethods elt_bag_scan_methods = {
	.CustomName = "BagLookup",
	.CreateCustomScanState = create_state,
};
