/*
 * quarantine.c
 *	  on_error 'quarantine': finding the rows that cannot be loaded, and keeping them.
 *
 *	  all rows in a subtransaction -- works: done
 *	                               -- a row's error: halve, and each half again, down to single source rows
 *
 * What is left is put into elt.rejected_row with its error, key, content and image; elt.retry_rejected takes the image from there. Only errors that a
 * row can cause count (elt_is_row_error); others end the batch. A newer version of a rejected row, or its end, replaces what is kept of it, so that
 * a retry never brings back old content. In mirror mode a source row whose new version is rejected has no rows in the target; in upsert mode it keeps
 * those of its last version that could be loaded.
 *
 * Locks: the consumer's, held by the batch, covers the rejected rows of a load. A crash undoes them with the batch.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/attempt.h"
#include "base/progress.h"
#include "base/sql.h"
#include "capture/image.h"
#include "load/load.h"

/* A step of a batch as work without the types of a load. */
typedef struct Attempt
{
	EltLoadRun *run;
	EltAttempt	work;
	void	   *arg;
} Attempt;

static void
attempt_work(void *arg)
{
	Attempt    *attempt = arg;

	attempt->work(attempt->run, attempt->arg);
}

bool
elt_load_attempt(EltLoadRun *run, EltAttempt work, void *arg, ErrorData **error)
{
	Attempt		attempt = {run, work, arg};
	EltLoadCounts before = run->counts;

	if (elt_attempt(attempt_work, &attempt, elt_is_row_error, error))
		return true;
	run->counts = before;
	return false;
}

static void
apply_all(EltLoadRun *run, void *arg)
{
	elt_apply(run, arg);
}

/* {"a": 1} of the source's key columns, as SQL over elt_s; NULL where there is no key. */
static char *
key_as_json(EltLoadRun *run)
{
	StringInfoData sql;

	if (run->source_key == NULL)
		return "NULL::pg_catalog.jsonb";
	initStringInfo(&sql);
	appendStringInfoString(&sql, "(SELECT pg_catalog.to_jsonb(elt_k) FROM (SELECT ");
	for (int i = 0; i < run->source_key->ncolumns; i++)
		appendStringInfo(&sql, "%selt_s.%s", i > 0 ? ", " : "", quote_identifier(run->source_key->columns[i].name));
	appendStringInfoString(&sql, ") AS elt_k)");
	return sql.data;
}

/* The live columns, by name: what the log still has of dropped ones does not matter. */
static char *
row_as_json(EltLoadRun *run)
{
	StringInfoData sql;
	const char *separator = "";

	initStringInfo(&sql);
	appendStringInfoString(&sql, "(SELECT pg_catalog.to_jsonb(elt_k) FROM (SELECT ");
	for (int i = 0; i < run->desc->natts; i++)
	{
		if (TupleDescAttr(run->desc, i)->attisdropped)
			continue;
		appendStringInfo(&sql, "%selt_s.%s", separator, quote_identifier(NameStr(TupleDescAttr(run->desc, i)->attname)));
		separator = ", ";
	}
	appendStringInfoString(&sql, ") AS elt_k)");
	return sql.data;
}

/* Texts of one result row's columns; NULL for NULL. */
static void
texts_of_row(TupleTableSlot *slot, char **texts, int n)
{
	slot_getallattrs(slot);
	for (int i = 0; i < n; i++)
		texts[i] = slot->tts_isnull[i] ? NULL : TextDatumGetCString(slot->tts_values[i]);
}

/* Key and content of a row, as json text: computed with the owner's rights, because a type's cast to json is the user's. */
static void
describe_row(EltLoadRun *run, MinimalTuple tuple, EltRejected *rejected)
{
	EltLoadRows *one = elt_rows_begin(run->desc, false, false);
	Tuplestorestate *out = tuplestore_begin_heap(false, false, work_mem);
	EltBag		bag = {"elt_row", run->load->source, run->desc, one->added, 1};
	TupleDesc	desc;
	TupleTableSlot *slot;
	char	   *texts[2];

	elt_rows_put(one, NIL, list_make1(tuple));
	elt_exec_into(psprintf("SELECT CAST(%s AS pg_catalog.text), CAST(%s AS pg_catalog.text) FROM %s",
						   key_as_json(run), row_as_json(run), elt_apply_source(run)),
				  &bag, 1, out, &desc, NULL);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	if (!tuplestore_gettupleslot(out, true, false, slot))
		elog(ERROR, "a rejected row cannot be described");
	texts_of_row(slot, texts, 2);
	rejected->key = texts[0];
	rejected->row = texts[1];
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(out);
	elt_rows_free(one);
}

/* The row's image as the change log would have it, whole. */
static void
make_image(EltLoadRun *run, MinimalTuple tuple, EltRejected *rejected)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(run->desc, &TTSOpsMinimalTuple);
	EltImage	image;

	ExecStoreMinimalTuple(tuple, slot, false);
	elt_image_make(&image, slot, NULL, false);
	rejected->len = image.len;
	rejected->image = palloc(image.len);
	elt_image_write(&image, rejected->image);
	ExecDropSingleTupleTableSlot(slot);
}

static void
check_limit(EltLoadRun *run, ErrorData *error)
{
	EltLoad    *load = run->load;

	if (run->kept <= load->max_rejected)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("load \"%s\" has rejected more than %lld rows", load->node.name, (long long) load->max_rejected),
			 errdetail("The last one: %s (SQLSTATE %s)", error->message, unpack_sql_state(error->sqlerrcode)),
			 errhint("Correct the rows, the query's functions or the target, then run the load again; elt.rejected has those of earlier batches.")));
}

static void
reject_row(EltLoadRun *run, MinimalTuple tuple, ErrorData *error)
{
	EltRejected rejected = {0};

	rejected.sqlstate = unpack_sql_state(error->sqlerrcode);
	rejected.message = error->message;
	describe_row(run, tuple, &rejected);
	make_image(run, tuple, &rejected);
	elt_rejected_insert(run->load->node.id, &rejected);
	run->counts.rejected++;
	run->kept++;
}

/* A group that cannot be loaded: what the source row was before goes, what it is now is kept aside. */
static void
reject_group(EltLoadRun *run, EltLoadRows *rows, ErrorData *error)
{
	TupleTableSlot *slot;

	/*
	 * nothing was to be written: so the deletion failed, and a deletion
	 * cannot be kept for later
	 */
	if (rows->nadded == 0)
		ReThrowError(error);
	if (run->mirror && rows->nremoved > 0)
	{
		EltLoadRows removal = *rows;

		removal.nadded = 0;
		elt_apply(run, &removal);
	}
	slot = MakeSingleTupleTableSlot(run->desc, &TTSOpsMinimalTuple);
	elt_rows_rewind(rows->added);
	while (tuplestore_gettupleslot(rows->added, true, false, slot))
		reject_row(run, ExecCopySlotMinimalTuple(slot), error);
	ExecDropSingleTupleTableSlot(slot);
	check_limit(run, error);
}

static void take_apart(EltLoadRun *run, EltLoadRows *rows, ErrorData *error);

/* If the first half works, the error is in the second one: that is not tried as a whole. */
static void
bisect(EltLoadRun *run, EltLoadRows *rows)
{
	EltLoadRows *first;
	EltLoadRows *second;
	ErrorData  *error;

	elt_rows_halve(rows, &first, &second);
	if (elt_load_attempt(run, apply_all, first, &error))
		take_apart(run, second, NULL);
	else
	{
		take_apart(run, first, error);
		if (!elt_load_attempt(run, apply_all, second, &error))
			take_apart(run, second, error);
	}
	elt_rows_free(first);
	elt_rows_free(second);
}

/* rows do not work as a whole. error: what they failed with, NULL: not tried yet. */
static void
take_apart(EltLoadRun *run, EltLoadRows *rows, ErrorData *error)
{
	MemoryContext mine;
	MemoryContext old;

	CHECK_FOR_INTERRUPTS();
	mine = AllocSetContextCreate(CurrentMemoryContext, "elt bisection", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(mine);
	if (rows->ngroups > 1)
		bisect(run, rows);
	else if (error != NULL || !elt_load_attempt(run, apply_all, rows, &error))
		reject_group(run, rows, error);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
}

/* The tuples as rows that were added. */
static EltLoadRows *
as_added(EltLoadRun *run, Tuplestorestate *tuples)
{
	EltLoadRows *rows = elt_rows_begin(run->desc, false, true);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(run->desc, &TTSOpsMinimalTuple);

	elt_rows_rewind(tuples);
	while (tuplestore_gettupleslot(tuples, true, false, slot))
	{
		MinimalTuple tuple = ExecCopySlotMinimalTuple(slot);

		elt_rows_put(rows, NIL, list_make1(tuple));
		pfree(tuple);
	}
	ExecDropSingleTupleTableSlot(slot);
	return rows;
}

/* What the query gives for rows, to be had by an attempt. */
typedef struct Staging
{
	EltLoadRows *rows;
	Tuplestorestate *out;
} Staging;

static void
stage_rows(EltLoadRun *run, void *arg)
{
	Staging    *staging = arg;

	elt_apply_stage(run, staging->rows, staging->out);
}

/* Append what the query gives for the rows that it can read. It could not load the others, so they are not in the target. */
static void
stage_readable(EltLoadRun *run, EltLoadRows *rows, EltStaged *staged)
{
	Staging		staging = {rows, tuplestore_begin_heap(true, false, work_mem)};
	EltLoadRows *halves[2];
	ErrorData  *error;

	CHECK_FOR_INTERRUPTS();
	if (elt_load_attempt(run, stage_rows, &staging, &error))
		elt_staged_append(staged, staging.out);
	else if (rows->ngroups > 1)
	{
		elt_rows_halve(rows, &halves[0], &halves[1]);
		for (int i = 0; i < 2; i++)
		{
			stage_readable(run, halves[i], staged);
			elt_rows_free(halves[i]);
		}
	}
	tuplestore_end(staging.out);
}

/*
 * Where a row's old key is only known from the query, another row may have taken it: delete before anything is written. Returns what is left to write.
 */
static EltLoadRows *
remove_first(EltLoadRun *run, EltLoadRows *rows)
{
	EltLoadRows *removed = as_added(run, rows->removed);
	EltStaged  *staged = elt_staged_begin(run);

	stage_readable(run, removed, staged);
	elt_apply_delete_keys(run, staged);
	elt_staged_end(staged);
	elt_rows_free(removed);
	return as_added(run, rows->added);
}

/* rows do not work as a whole: write what does, reject the others. */
static void
quarantine(EltLoadRun *run, EltLoadRows *rows, ErrorData *error)
{
	EltLoadRows *left = rows;

	run->kept = elt_rejected_count(run->load->node.id, run->load->max_rejected + 1);
	run->plans = elt_apply_prepare(run);
	if (run->mirror && !run->owned && rows->nremoved > 0)
	{
		left = remove_first(run, rows);
		error = NULL;			/* that may have been what failed */
	}
	if (left->ngroups > 0)
		take_apart(run, left, error);
	run->plans = NULL;
	if (left != rows)
		elt_rows_free(left);
}

void
elt_apply_guarded(EltLoadRun *run, EltLoadRows *rows)
{
	MemoryContext mine;
	MemoryContext old;
	ErrorData  *error;

	if (!run->guarded)
	{
		elt_apply(run, rows);
		return;
	}
	if (elt_load_attempt(run, apply_all, rows, &error))
		return;
	elt_progress_phase(ELT_PHASE_QUARANTINE);
	mine = AllocSetContextCreate(CurrentMemoryContext, "elt quarantine", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(mine);
	quarantine(run, rows, error);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
	FreeErrorData(error);
	elt_progress_phase(ELT_PHASE_APPLY);
}

/*
 * The value that rows older than a column have in it: the default as of then. A partitioned table itself does not know it, only the partitions that were
 * there do. False: none.
 */
static bool
missing_value(EltLoadRun *run, Form_pg_attribute att, Datum *value)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(run->load->source, AccessShareLock, NULL))
	{
		Relation	leaf = table_open(lfirst_oid(lc), NoLock);
		AttrNumber	attno = get_attnum(lfirst_oid(lc), NameStr(att->attname));
		bool		isnull = true;

		if (attno > 0 && TupleDescAttr(RelationGetDescr(leaf), attno - 1)->atthasmissing)
			*value = datumCopy(getmissingattr(RelationGetDescr(leaf), attno, &isnull), att->attbyval, att->attlen);
		table_close(leaf, NoLock);
		if (!isnull)
			return true;
	}
	return false;
}

MinimalTuple
elt_rejected_tuple(EltLoadRun *run, const EltRejected *rejected)
{
	TupleDesc	desc = run->desc;
	Datum	   *values = palloc(sizeof(Datum) * (desc->natts + 1));
	bool	   *nulls = palloc(sizeof(bool) * (desc->natts + 1));
	HeapTupleData view;
	uint16		flags;

	elt_tuple_of_minimal(elt_image_read(rejected->image, rejected->len, &flags), &view);
	heap_deform_tuple(&view, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			nulls[i] = true;
		else if (i >= HeapTupleHeaderGetNatts(view.t_data))
			nulls[i] = !missing_value(run, att, &values[i]);
	}
	return elt_form_minimal_tuple(desc, values, nulls);
}

/* `what` of each rejected row, as the source's key and columns are now, in the list's order. */
static Tuplestorestate *
describe_rejected(EltLoadRun *run, List *list, const char *what, TupleDesc *desc)
{
	EltLoadRows *rows = elt_rows_begin(run->desc, false, false);
	EltBag		bag = {"elt_rows", run->load->source, run->desc, rows->added, list_length(list)};
	Tuplestorestate *out = tuplestore_begin_heap(false, false, work_mem);
	ListCell   *lc;

	foreach(lc, list)
		elt_rows_put(rows, NIL, list_make1(elt_rejected_tuple(run, lfirst(lc))));
	elt_exec_into(psprintf("SELECT CAST(%s AS pg_catalog.text) FROM %s", what, elt_apply_source(run)), &bag, 1, out, desc, NULL);
	elt_rows_free(rows);
	return out;
}

/* The rejected rows as a relation elt_rejected (id, what): what tells which source row it is. */
static EltBag
rejected_bag(EltLoadRun *run, const char *what)
{
	EltBag		bag = {"elt_rejected", InvalidOid, CreateTemplateTupleDesc(2), tuplestore_begin_heap(true, false, work_mem), 0};
	List	   *list = elt_rejected_list(run->load->node.id);
	TupleDesc	desc;
	Tuplestorestate *described = describe_rejected(run, list, what, &desc);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	ListCell   *lc;

	TupleDescInitEntry(bag.tupdesc, 1, "id", INT8OID, -1, 0);
	TupleDescInitEntry(bag.tupdesc, 2, "what", TEXTOID, -1, 0);
	foreach(lc, list)
	{
		Datum		values[2] = {Int64GetDatum(((EltRejected *) lfirst(lc))->id)};
		bool		nulls[2] = {false};

		if (!tuplestore_gettupleslot(described, true, false, slot))
			elog(ERROR, "rejected rows cannot be described");
		values[1] = slot_getattr(slot, 1, &nulls[1]);
		tuplestore_putvalues(bag.tuples, bag.tupdesc, values, nulls);
		bag.ntuples++;
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(described);
	return bag;
}

/* Forget those that `rows` has; without a key, one for each row that is equal. */
static void
forget_rejected(EltLoadRun *run, Tuplestorestate *rows, int64 nrows)
{
	const char *what = run->source_key != NULL ? key_as_json(run) : row_as_json(run);
	EltBag		bags[2] = {rejected_bag(run, what), {"elt_rows", run->load->source, run->desc, rows, nrows}};
	Tuplestorestate *out = tuplestore_begin_heap(false, false, work_mem);
	const char *number = run->source_key != NULL ? "CAST(1 AS pg_catalog.int8)" :
	"pg_catalog.row_number() OVER (PARTITION BY elt_w.what)";
	TupleDesc	desc;
	TupleTableSlot *slot;
	bool		isnull;

	elt_exec_into(psprintf("SELECT elt_w.id FROM (SELECT elt_w.id, CAST(elt_w.what AS pg_catalog.jsonb) AS what, %s AS n FROM elt_rejected AS elt_w) AS elt_w"
						   " JOIN (SELECT DISTINCT elt_w.what, %s AS n FROM (SELECT %s AS what FROM %s) AS elt_w) AS elt_v"
						   " ON elt_w.what OPERATOR(pg_catalog.=) elt_v.what AND elt_w.n OPERATOR(pg_catalog.=) elt_v.n",
						   number, number, what, elt_apply_source(run)),
				  bags, 2, out, &desc, NULL);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(out, true, false, slot))
		elt_rejected_delete(run->load->node.id, DatumGetInt64(slot_getattr(slot, 1, &isnull)));
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(out);
	tuplestore_end(bags[0].tuples);
}

void
elt_reject_superseded(EltLoadRun *run, EltLoadRows *rows)
{
	MemoryContext mine;
	MemoryContext old;

	if (!run->supersede)
		return;
	mine = AllocSetContextCreate(CurrentMemoryContext, "elt superseded", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(mine);
	if (rows->nremoved > 0)
		forget_rejected(run, rows->removed, rows->nremoved);
	if (rows->nadded > 0 && run->source_key != NULL)
		forget_rejected(run, rows->added, rows->nadded);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mine);
}
