/*
 * maintain.c
 *	  The parts of a view, bottom up: what changes in each, and its own delta for those above it.
 *
 *	  linear	delta of the blocks -> netted -> stored rows with those keys -> change
 *	  counters	delta of the blocks, added up by group -> stored groups with it -> change; groups that lost an extreme: as keys
 *	  keys		delta of the blocks -> netted -> keys -> stored rows with them are to go, rows computed for them are to come -> change
 *	  full		all stored rows are to go, all computed rows are to come -> change
 *
 * Keys with NULLs are looked up apart, because = does not find them and IS NOT DISTINCT FROM finds nothing by an index.
 *
 * Everything runs as the view's owner under the active snapshot. Locks: RowExclusive on the storages. A crash, an error or a cancel undoes all of it.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "base/insert.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "view/block.h"
#include "view/maintain.h"
#include "worker/worker.h"

/* What a statement gave. */
typedef struct Rows
{
	Tuplestorestate *tuples;
	TupleDesc	desc;
	uint64		n;
} Rows;

/* Rows whose keys are NULL in the same places. */
typedef struct NullsClass
{
	EltNulls	nulls;
	EltBag		bag;
	TupleTableSlot *slot;
} NullsClass;

static void
rewind_store(Tuplestorestate *tuples)
{
	tuplestore_select_read_pointer(tuples, 0);
	tuplestore_rescan(tuples);
}

/* Rows of a delta that were added, or removed: a bag of the same columns. */
static Tuplestorestate *
rows_by_sign(EltDelta *delta, bool added)
{
	TupleDesc	desc = elt_delta_desc(delta);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);

	rewind_store(elt_delta_tuples(delta));
	while (tuplestore_gettupleslot(elt_delta_tuples(delta), true, false, slot))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if ((DatumGetInt64(slot_getattr(slot, desc->natts, &isnull)) > 0) == added)
			tuplestore_puttupleslot(rows, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	return rows;
}

static void
add_bag_by_sign(EltBag *bags, int *n, const char *sql, char *name, EltDelta *delta, Tuplestorestate **rows, bool added)
{
	if (!elt_mentions(sql, name))
		return;
	if (*rows == NULL)
		*rows = rows_by_sign(delta, added);
	bags[*n].name = name;
	bags[*n].tupdesc = elt_delta_desc(delta);
	bags[*n].tuples = *rows;
	bags[*n].ntuples = added ? ELT_ADDED_TUPLES : tuplestore_tuple_count(*rows);
	(*n)++;
}

/* The deltas of all sources, what the statement reads of them by sign, and room for one more bag. */
static EltBag *
bags_of(EltMaintain *m, const char *sql, int *n)
{
	int			nsources = list_length(m->shape->sources);
	EltBag	   *bags = palloc0(sizeof(EltBag) * (3 * nsources + 2));

	*n = 0;
	for (int i = 1; i <= nsources; i++)
	{
		EltDelta   *delta = m->deltas[i];

		if (delta == NULL)
			continue;
		bags[*n].name = psprintf("elt_delta_%d", i);
		bags[*n].tupdesc = elt_delta_desc(delta);
		bags[*n].tuples = elt_delta_tuples(delta);
		bags[*n].ntuples = elt_delta_count(delta);
		(*n)++;
		add_bag_by_sign(bags, n, sql, psprintf("elt_removed_%d", i), delta, &m->removed[i], false);
		add_bag_by_sign(bags, n, sql, psprintf("elt_added_%d", i), delta, &m->added[i], true);
	}
	return bags;
}

/* Run a statement over the deltas, and one more bag unless it is NULL. */
static Rows
run(EltMaintain *m, const char *sql, EltBag *more)
{
	Rows		result = {0};
	int			n;
	EltBag	   *bags = bags_of(m, sql, &n);

	if (more != NULL)
		bags[n++] = *more;
	result.tuples = tuplestore_begin_heap(true, false, work_mem);
	elt_exec_into(sql, bags, n, result.tuples, &result.desc, &result.n);
	pfree(bags);
	return result;
}

static void
end_result(Rows *result)
{
	tuplestore_end(result->tuples);
}

static EltBag
bag_of_delta(const char *name, EltDelta *delta)
{
	EltBag		bag = {name, InvalidOid, elt_delta_desc(delta), elt_delta_tuples(delta), elt_delta_count(delta)};

	return bag;
}

static EltBag
bag_of_rows(const char *name, Rows *result)
{
	EltBag		bag = {name, InvalidOid, result->desc, result->tuples, result->n};

	return bag;
}

/* Sort rows, whose first columns are keys, by which keys are NULL. */
static List *
classes_of(EltPart *part, Rows *result, const char *name)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(result->desc, &TTSOpsMinimalTuple);
	List	   *classes = NIL;
	ListCell   *lc;

	rewind_store(result->tuples);
	while (tuplestore_gettupleslot(result->tuples, true, false, slot))
	{
		EltNulls	nulls = 0;
		NullsClass *found = NULL;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < Min(part->nkeys, ELT_NULLS_KEYS); i++)
			if (slot_attisnull(slot, i + 1))
				nulls |= UINT64CONST(1) << i;
		foreach(lc, classes)
			if (((NullsClass *) lfirst(lc))->nulls == nulls)
			found = lfirst(lc);
		if (found == NULL)
		{
			found = palloc0(sizeof(NullsClass));
			found->nulls = nulls;
			found->bag.name = name;
			found->bag.tupdesc = result->desc;
			found->bag.tuples = tuplestore_begin_heap(true, false, work_mem);
			classes = lappend(classes, found);
		}
		tuplestore_puttupleslot(found->bag.tuples, slot);
		found->bag.ntuples++;
	}
	ExecDropSingleTupleTableSlot(slot);
	return classes;
}

/*
 * Writing
 */

static EltChangeTarget *
target_of(EltMaintain *m, EltPart *part)
{
	EltChangeTarget *target = palloc0(sizeof(EltChangeTarget));

	target->storage = m->storages[part->number];
	target->label = m->view->node.name;
	target->ncolumns = part->ncolumns;
	target->names = palloc(sizeof(char *) * part->ncolumns);
	for (int i = 0; i < part->ncolumns; i++)
		target->names[i] = part->columns[i].name;
	target->noutput = part->noutput;
	target->shown = part->shown;
	target->nkeys = part->unique ? part->nkeys : 0;
	target->keys = part->key_columns;
	return target;
}

/* The descriptor of the columns that are written. */
static TupleDesc
written_desc(EltPart *part, int n)
{
	TupleDesc	desc = CreateTemplateTupleDesc(n);

	for (int i = 0; i < n; i++)
	{
		TupleDescInitEntry(desc, i + 1, part->columns[i].name, part->columns[i].type, part->columns[i].typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, part->columns[i].collation);
	}
	return desc;
}

static EltChange *
begin_change(EltMaintain *m, EltPart *part)
{
	return elt_change_begin(target_of(m, part), written_desc(part, part->ncolumns));
}

/* Hand the change of the output on to those who read the part. */
static void
publish(EltMaintain *m, EltPart *part, EltDelta *out)
{
	elt_delta_net(out);
	if (elt_delta_count(out) == 0)
		return;
	m->deltas[part->source->number] = out;
	m->changed = bms_add_member(m->changed, part->source->number);
}

/* Write, and publish. */
static void
write_change(EltMaintain *m, EltPart *part, EltChange *change)
{
	EltChangeCounts counts = {0};
	EltDelta   *out = part->source != NULL && !m->anew ? elt_delta_begin(written_desc(part, part->noutput)) : NULL;

	if (!elt_change_apply(change, out, &counts))
	{
		m->broken = true;
		return;
	}
	if (out != NULL)
		publish(m, part, out);
	m->counts.inserted += counts.inserted;
	m->counts.updated += counts.updated;
	m->counts.deleted += counts.deleted;
}

/* Results of statements as what is to be added: with a weight of one. */
static void
add_computed(EltMaintain *m, EltPart *part, EltChange *change, const char *sql, EltBag *bag)
{
	Rows		result = run(m, psprintf("SELECT q.*, 1::bigint AS _elt_w FROM (%s) q", sql), bag);

	elt_change_new(change, result.tuples, result.desc);
	end_result(&result);
}

static void
take_stored(EltMaintain *m, EltPart *part, EltChange *change, const char *sql, EltBag *bag, bool replaced)
{
	Rows		result = run(m, sql, bag);

	elt_change_old(change, result.tuples, result.desc, replaced);
	end_result(&result);
}

/*
 * The methods
 */

static int64
count_stored(EltMaintain *m, EltPart *part)
{
	Rows		rows = run(m, psprintf("SELECT FROM %s", m->places.storages[part->number]), NULL);

	end_result(&rows);
	return rows.n;
}

static void
note_complete(EltMaintain *m, EltPart *part, bool complete)
{
	if (m->complete[part->number] == complete)
		return;
	elt_view_part_set_complete(m->view->node.id, part->number, complete);
	m->complete[part->number] = complete;
}

/* After a top part was computed: has it all rows? */
static void
after_computed(EltMaintain *m, EltPart *part)
{
	if (part->kind == ELT_PART_TOP)
		note_complete(m, part, count_stored(m, part) < elt_rows_to_store(part));
}

static void
replace_all(EltMaintain *m, EltPart *part)
{
	EltChange  *change = begin_change(m, part);

	take_stored(m, part, change, elt_stored_sql(&m->places, part, NULL, 0), NULL, true);
	add_computed(m, part, change, elt_rows_sql(&m->places, part, NULL, 0), NULL);
	write_change(m, part, change);
	after_computed(m, part);
}

/* Replace the rows of some keys; `keys` has columns k1... */
static void
replace_keys(EltMaintain *m, EltPart *part, EltChange *change, Rows *keys)
{
	ListCell   *lc;

	foreach(lc, classes_of(part, keys, "elt_keys"))
	{
		NullsClass *class = lfirst(lc);

		take_stored(m, part, change, elt_stored_sql(&m->places, part, "elt_keys", class->nulls), &class->bag, true);
		add_computed(m, part, change, elt_rows_sql(&m->places, part, "elt_keys", class->nulls), &class->bag);
		tuplestore_end(class->bag.tuples);
	}
}

/* The netted change of elt_in; NULL: none. */
static EltDelta *
input_delta(EltMaintain *m, EltPart *part)
{
	char	   *sql = elt_input_delta_sql(&m->places, part, m->changed, m->moved, m->then);
	EltDelta   *delta;
	TupleDesc	desc;
	Rows		result;

	if (sql == NULL)
		return NULL;
	result = run(m, sql, NULL);
	if (result.n == 0)
	{
		end_result(&result);
		return NULL;
	}
	desc = CreateTemplateTupleDesc(result.desc->natts - 1);
	for (int i = 1; i < result.desc->natts; i++)
		TupleDescCopyEntry(desc, i, result.desc, i);
	delta = elt_delta_begin(desc);
	elt_delta_add_store(delta, result.tuples, result.desc);
	end_result(&result);
	elt_delta_net(delta);
	if (elt_delta_count(delta) > 0)
		return delta;
	elt_delta_free(delta);
	return NULL;
}

/* Write netted rows, of the storage's columns. */
static void
apply_rows(EltMaintain *m, EltPart *part, EltDelta *delta)
{
	EltChange  *change = begin_change(m, part);
	EltBag		bag = bag_of_delta("elt_rows", delta);

	if (part->unique)
	{
		Rows		keys = run(m, elt_keys_sql(part, "elt_rows", true), &bag);
		ListCell   *lc;

		foreach(lc, classes_of(part, &keys, "elt_keys"))
		{
			NullsClass *class = lfirst(lc);

			take_stored(m, part, change, elt_stored_sql(&m->places, part, "elt_keys", class->nulls), &class->bag, false);
			tuplestore_end(class->bag.tuples);
		}
		end_result(&keys);
	}
	else if (elt_delta_has_removed(delta))
		take_stored(m, part, change, elt_stored_by_hash_sql(&m->places, part), &bag, false);
	rewind_store(elt_delta_tuples(delta));
	elt_change_new(change, elt_delta_tuples(delta), elt_delta_desc(delta));
	write_change(m, part, change);
}

static void
follow_linear(EltMaintain *m, EltPart *part)
{
	EltDelta   *delta = input_delta(m, part);

	if (delta == NULL)
		return;
	apply_rows(m, part, delta);
	elt_delta_free(delta);
}

/* The delta, added up by group; false: none. */
static bool
delta_by_group(EltMaintain *m, EltPart *part, Rows *sums)
{
	char	   *sql;

	if (elt_has_extremes(part))
	{
		EltDelta   *delta = input_delta(m, part);
		EltBag		bag;

		if (delta == NULL)
			return false;
		bag = bag_of_delta("elt_rows", delta);
		*sums = run(m, elt_group_netted_sql(part), &bag);
		elt_delta_free(delta);
		return true;
	}
	sql = elt_group_delta_sql(&m->places, part, m->changed, m->moved, m->then);
	if (sql == NULL)
		return false;
	*sums = run(m, sql, NULL);
	return true;
}

/* The rows that the part's readers see now, with a weight. */
static void
add_output(EltMaintain *m, EltPart *part, EltDelta *out, int weight)
{
	Rows		rows = run(m, psprintf("SELECT q.*, %d::bigint AS _elt_w FROM (%s) q", weight,
									   elt_output_sql(part, m->places.storages[part->number])), NULL);

	elt_delta_add_store(out, rows.tuples, rows.desc);
	end_result(&rows);
}

/* Rows no later than the last one that is stored come and go; later ones are left out, unless all are stored. */
static void
follow_within(EltMaintain *m, EltPart *part, EltDelta *delta)
{
	EltBag		bag = bag_of_delta("elt_rows", delta);
	Rows		within = run(m, elt_within_stored_sql(&m->places, part), &bag);
	EltDelta   *inner = elt_delta_begin(written_desc(part, part->ncolumns));

	elt_delta_add_store(inner, within.tuples, within.desc);
	end_result(&within);
	elt_delta_net(inner);
	if (elt_delta_count(inner) > 0)
		apply_rows(m, part, inner);
	elt_delta_free(inner);
}

static void
follow_top(EltMaintain *m, EltPart *part)
{
	EltDelta   *delta = input_delta(m, part);
	EltDelta   *out = NULL;
	EltSource  *source = part->source;
	int64		stored;

	if (delta == NULL)
		return;
	/* what readers see changes otherwise than what is stored */
	if (source != NULL)
		add_output(m, part, out = elt_delta_begin(written_desc(part, part->noutput)), -1);
	part->source = NULL;
	if (m->complete[part->number])
		apply_rows(m, part, delta);
	else
		follow_within(m, part, delta);
	elt_delta_free(delta);
	if (!m->broken)
	{
		stored = count_stored(m, part);
		if (!m->complete[part->number] && stored < part->skip + part->limit)
			replace_all(m, part);
		else if (stored > 4 * elt_rows_to_store(part))
		{
			elt_exec(elt_trim_stored_sql(&m->places, part), NULL, 0, NULL, NULL, NULL);
			note_complete(m, part, false);
		}
	}
	part->source = source;
	if (source != NULL)
	{
		add_output(m, part, out, 1);
		publish(m, part, out);
	}
}

/* Groups that lost an extreme are computed anew. */
static void
add_dirty(EltMaintain *m, EltPart *part, EltChange *change, NullsClass *class, Rows *keys)
{
	EltBag		bag = bag_of_rows("elt_keys", keys);

	add_computed(m, part, change, elt_rows_sql(&m->places, part, part->nkeys > 0 ? "elt_keys" : NULL, class->nulls), &bag);
}

/* Write groups without a look at what that changes: nobody reads it, and nothing is frozen. */
static void
merge_groups(EltMaintain *m, EltPart *part, NullsClass *class)
{
	char	   *sql = elt_dirty_keys_sql(&m->places, part, class->nulls);
	Rows		keys = {NULL};
	EltExecCounts counts;
	EltBag		bags[1] = {class->bag};
	int			nest = NewGUCNestLevel();

	if (sql != NULL)
		keys = run(m, sql, &class->bag);

	/*
	 * it reads nothing but the groups' sums; a walk through all of an index
	 * to merge it with them is never worth it
	 */
	elt_pin_setting("enable_mergejoin", "off");
	elt_exec(elt_merge_sql(&m->places, part, class->nulls), bags, 1, NULL, NULL, &counts);
	AtEOXact_GUC(false, nest);
	m->counts.inserted += counts.inserted;
	m->counts.updated += counts.updated;
	m->counts.deleted += counts.deleted;
	if (sql == NULL)
		return;
	if (keys.n > 0)
	{
		EltChange  *change = begin_change(m, part);
		EltBag		bag = bag_of_rows("elt_keys", &keys);

		take_stored(m, part, change, elt_stored_sql(&m->places, part, part->nkeys > 0 ? "elt_keys" : NULL, class->nulls), &bag, true);
		add_dirty(m, part, change, class, &keys);
		write_change(m, part, change);
	}
	end_result(&keys);
}

static void
change_groups(EltMaintain *m, EltPart *part, EltChange *change, NullsClass *class)
{
	char	   *dirty = elt_dirty_keys_sql(&m->places, part, class->nulls);

	take_stored(m, part, change, elt_stored_sql(&m->places, part, "elt_d", class->nulls), &class->bag, true);
	add_computed(m, part, change, elt_merged_rows_sql(&m->places, part, class->nulls), &class->bag);
	if (dirty != NULL)
	{
		Rows		keys = run(m, dirty, &class->bag);

		if (keys.n > 0)
			add_dirty(m, part, change, class, &keys);
		end_result(&keys);
	}
}

static void
follow_counters(EltMaintain *m, EltPart *part)
{
	bool		merge = part->source == NULL && m->places.frozen == NULL;
	EltChange  *change = NULL;
	Rows		sums;
	ListCell   *lc;

	if (!delta_by_group(m, part, &sums))
		return;
	if (!merge && sums.n > 0)
		change = begin_change(m, part);
	foreach(lc, classes_of(part, &sums, "elt_d"))
	{
		NullsClass *class = lfirst(lc);

		if (merge)
			merge_groups(m, part, class);
		else
			change_groups(m, part, change, class);
		tuplestore_end(class->bag.tuples);
	}
	if (change != NULL)
		write_change(m, part, change);
	end_result(&sums);
}

static void
follow_keys(EltMaintain *m, EltPart *part)
{
	EltDelta   *delta = input_delta(m, part);
	EltChange  *change;
	EltBag		bag;
	Rows		keys;

	if (delta == NULL)
		return;
	if (part->nkeys == 0)
	{
		elt_delta_free(delta);
		replace_all(m, part);
		return;
	}
	bag = bag_of_delta("elt_rows", delta);
	keys = run(m, elt_keys_sql(part, "elt_rows", false), &bag);
	change = begin_change(m, part);
	replace_keys(m, part, change, &keys);
	write_change(m, part, change);
	end_result(&keys);
	elt_delta_free(delta);
}

static bool
is_due(EltMaintain *m, EltPart *part)
{
	ListCell   *lc;

	foreach(lc, part->leaves)
		if (bms_is_member(((EltLeaf *) lfirst(lc))->source->number, m->changed))
		return true;
	if (!m->moved)
		return false;
	if (part->query != NULL)
		return elt_reads_now((Node *) part->query);
	foreach(lc, part->blocks)
		if (elt_reads_now(lfirst(lc)))
		return true;
	return false;
}

static void
follow_part(EltMaintain *m, EltPart *part)
{
	switch (part->method)
	{
		case ELT_LINEAR:
			if (part->kind == ELT_PART_TOP)
				follow_top(m, part);
			else
				follow_linear(m, part);
			break;
		case ELT_COUNTERS:
			follow_counters(m, part);
			break;
		case ELT_KEYS:
			follow_keys(m, part);
			break;
		case ELT_FULL:
			replace_all(m, part);
			break;
	}
}

void
elt_maintain_end_bags(EltMaintain *m)
{
	for (int i = 1; i <= list_length(m->shape->sources); i++)
	{
		if (m->removed[i] != NULL)
			tuplestore_end(m->removed[i]);
		if (m->added[i] != NULL)
			tuplestore_end(m->added[i]);
		m->removed[i] = m->added[i] = NULL;
	}
}

/* They belong to this (sub)transaction's resources; deltas of tables are the caller's. */
static void
end_deltas_of_parts(EltMaintain *m)
{
	ListCell   *lc;

	elt_maintain_end_bags(m);
	foreach(lc, m->shape->sources)
	{
		EltSource  *source = lfirst(lc);

		if (source->part == NULL || m->deltas[source->number] == NULL)
			continue;
		elt_delta_free(m->deltas[source->number]);
		m->deltas[source->number] = NULL;
	}
}

double
elt_maintain_cost(EltMaintain *m, const char *sql)
{
	int			n;
	EltBag	   *bags = bags_of(m, sql, &n);

	return elt_plan_cost(elt_plan(sql, bags, n));
}

void
elt_maintain_expect(EltMaintain *m)
{
	ListCell   *lc;

	foreach(lc, m->shape->sources)
	{
		EltSource  *source = lfirst(lc);
		EltDelta   *delta = m->deltas[source->number];

		elt_expect_changes(source, delta != NULL ? elt_delta_count(delta) : 0);
		source->only_added = delta != NULL && !elt_delta_has_removed(delta);
		source->were_null = delta != NULL ? elt_delta_were_null(delta) : NULL;
	}
}

void
elt_maintain_delta(EltMaintain *m)
{
	ListCell   *lc;

	foreach(lc, m->shape->parts)
	{
		EltPart    *part = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		memset(&m->counts, 0, sizeof(m->counts));
		if (!is_due(m, part))
			continue;
		elt_maintain_expect(m);
		follow_part(m, part);
		if (m->broken)
			break;
	}
	end_deltas_of_parts(m);
}

/* Has a table indexes, and nobody else who could be waiting for them? */
static bool
has_indexes_to_make(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		result = rel->rd_createSubid != InvalidSubTransactionId && RelationGetIndexList(rel) != NIL;

	table_close(rel, NoLock);
	return result;
}

/*
 * All rows of a part into its empty storage, in batches where nothing but rows is to be written. Indexes are made from all of them where nobody would have to wait
 * for that.
 */
static void
fill(EltMaintain *m, EltPart *part)
{
	Oid			storage = m->storages[part->number];
	bool		mine = has_indexes_to_make(storage);
	char	   *sql = psprintf("INSERT INTO %s (%s) %s", m->places.storages[part->number], elt_column_list(part, "", part->ncolumns),
							   elt_rows_sql(&m->places, part, NULL, 0));
	EltExecCounts counts;
	EltReserved reserved;
	DestReceiver *receiver;

	if (elt_insert_refusal(storage) != NULL)
	{
		elt_exec(sql, NULL, 0, NULL, NULL, &counts);
		m->counts.inserted = counts.inserted;
		return;
	}
	receiver = elt_insert_receiver(storage, NULL, 0, mine ? 0 : ELT_INSERT_INDEXES);
	elt_reserve_begin(&reserved);
	elt_exec_changed(sql, NULL, NULL, receiver, &counts);
	if (mine)
		elt_sql_run_as_extension(psprintf("REINDEX TABLE %s", m->places.storages[part->number]));
	elt_reserve_end(&reserved);
	m->counts.inserted = elt_insert_rows(receiver);
	receiver->rDestroy(receiver);
}

void
elt_maintain_full(EltMaintain *m, bool empty)
{
	ListCell   *lc;

	m->anew = true;
	elt_maintain_expect(m);
	foreach(lc, m->shape->parts)
	{
		EltPart    *part = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		memset(&m->counts, 0, sizeof(m->counts));
		if (empty)
		{
			fill(m, part);
			after_computed(m, part);
		}
		else
			replace_all(m, part);
	}
}
