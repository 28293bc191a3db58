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
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "base/sql.h"
#include "view/block.h"
#include "view/maintain.h"

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

	/*
	 * those added are read once, for a hash table: not, as the planner would
	 * have it, each time that rows are looked up
	 */
	bags[*n].ntuples = added ? 1 : tuplestore_tuple_count(*rows);
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
bag_of_result(const char *name, Rows *result)
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
		for (int i = 0; i < part->nkeys; i++)
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

/* Write, and hand the change of the output on to those who read the part. */
static void
write_change(EltMaintain *m, EltPart *part, EltChange *change)
{
	EltChangeCounts counts = {0};
	EltDelta   *out = part->source != NULL ? elt_delta_begin(written_desc(part, part->noutput)) : NULL;

	if (!elt_change_apply(change, out, &counts))
	{
		m->broken = true;
		return;
	}
	if (out != NULL)
	{
		elt_delta_net(out);
		if (elt_delta_count(out) > 0)
		{
			m->deltas[part->source->number] = out;
			m->changed = bms_add_member(m->changed, part->source->number);
		}
	}
	m->counts = counts;
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

static void
replace_all(EltMaintain *m, EltPart *part)
{
	EltChange  *change = begin_change(m, part);

	take_stored(m, part, change, elt_stored_sql(&m->places, part, NULL, 0), NULL, true);
	add_computed(m, part, change, elt_rows_sql(&m->places, part, NULL, 0), NULL);
	write_change(m, part, change);
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

static void
follow_linear(EltMaintain *m, EltPart *part)
{
	EltDelta   *delta = input_delta(m, part);
	EltChange  *change;
	EltBag		bag;

	if (delta == NULL)
		return;
	change = begin_change(m, part);
	bag = bag_of_delta("elt_rows", delta);
	if (part->unique)
	{
		Rows		keys = run(m, elt_keys_sql(part, "elt_rows", true), &bag);
		EltBag		keys_bag = bag_of_result("elt_keys", &keys);

		take_stored(m, part, change, elt_stored_sql(&m->places, part, "elt_keys", 0), &keys_bag, false);
		end_result(&keys);
	}
	else if (elt_delta_has_removed(delta))
		take_stored(m, part, change, elt_stored_by_hash_sql(&m->places, part), &bag, false);
	rewind_store(elt_delta_tuples(delta));
	elt_change_new(change, elt_delta_tuples(delta), elt_delta_desc(delta));
	write_change(m, part, change);
	elt_delta_free(delta);
}

static void
follow_counters(EltMaintain *m, EltPart *part)
{
	char	   *sql = elt_group_delta_sql(&m->places, part, m->changed, m->moved, m->then);
	EltChange  *change;
	Rows		sums;
	ListCell   *lc;

	if (sql == NULL)
		return;
	sums = run(m, sql, NULL);
	if (sums.n > 0)
	{
		change = begin_change(m, part);
		foreach(lc, classes_of(part, &sums, "elt_d"))
		{
			NullsClass *class = lfirst(lc);
			char	   *dirty = elt_dirty_keys_sql(&m->places, part, class->nulls);

			take_stored(m, part, change, elt_stored_sql(&m->places, part, "elt_d", class->nulls), &class->bag, true);
			add_computed(m, part, change, elt_merged_rows_sql(&m->places, part, class->nulls), &class->bag);
			if (dirty != NULL)
			{
				Rows		keys = run(m, dirty, &class->bag);
				EltBag		bag = bag_of_result("elt_keys", &keys);

				if (keys.n > 0)
					add_computed(m, part, change, elt_rows_sql(&m->places, part, part->nkeys > 0 ? "elt_keys" : NULL, class->nulls), &bag);
				end_result(&keys);
			}
			tuplestore_end(class->bag.tuples);
		}
		write_change(m, part, change);
	}
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

/* How to find what a delta touches; and whether what the source was is to be told by a condition on keys. A hash table of those added has to fit, else it would be read through for each row. */
static void
look_at_delta(EltMaintain *m, EltSource *source)
{
	EltDelta   *delta = m->deltas[source->number];
	ListCell   *lc;

	source->nchanges = delta != NULL ? elt_delta_count(delta) : 0;
	source->flat_was = delta != NULL && source->key != NIL &&
		(double) source->nchanges * (40 + 40 * list_length(source->key)) < get_hash_memory_limit();
	if (source->part != NULL)
		foreach(lc, source->key)
			source->flat_was &= source->part->columns[lfirst_int(lc) - 1].notnull;
}

void
elt_maintain_delta(EltMaintain *m)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, m->shape->parts)
	{
		EltPart    *part = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		memset(&m->counts, 0, sizeof(m->counts));
		if (!is_due(m, part))
			continue;
		foreach(lc2, m->shape->sources)
			look_at_delta(m, lfirst(lc2));
		switch (part->method)
		{
			case ELT_LINEAR:
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
		if (m->broken)
			return;
	}
}

void
elt_maintain_full(EltMaintain *m, bool empty)
{
	ListCell   *lc;

	/* nothing is followed, so no deltas are needed */
	memset(m->deltas, 0, sizeof(EltDelta *) * (list_length(m->shape->sources) + 1));
	m->changed = NULL;
	m->broken = false;
	foreach(lc, m->shape->parts)
	{
		EltPart    *part = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		memset(&m->counts, 0, sizeof(m->counts));
		if (empty)
		{
			EltExecCounts counts;

			elt_exec(psprintf("INSERT INTO %s (%s) %s", m->places.storages[part->number], elt_column_list(part, "", part->ncolumns),
							  elt_rows_sql(&m->places, part, NULL, 0)), NULL, 0, NULL, NULL, &counts);
			m->counts.inserted = counts.inserted;
		}
		else
			replace_all(m, part);
	}
}
