/*
 * rows.c
 *	  Changed source rows on their way to the target.
 *
 * Two tuplestores that spill to disk; and, where a failed batch may have to be taken apart, which tuples belong to the same source row:
 * what a row was and what it is now must be applied together.
 *
 * No locks; a crash loses nothing that is not read again.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "load/rows.h"

EltLoadRows *
elt_rows_begin(TupleDesc desc, bool wants_removed, bool grouped)
{
	EltLoadRows *rows = palloc0(sizeof(EltLoadRows));

	rows->desc = desc;
	rows->wants_removed = wants_removed;
	rows->removed = tuplestore_begin_heap(true, false, work_mem);
	rows->added = tuplestore_begin_heap(true, false, work_mem);
	rows->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	if (grouped)
	{
		rows->max_groups = 64;
		rows->groups = palloc(sizeof(EltRowGroup) * rows->max_groups);
	}
	return rows;
}

static void
put_all(EltLoadRows *rows, Tuplestorestate *store, List *tuples)
{
	ListCell   *lc;

	foreach(lc, tuples)
	{
		ExecStoreMinimalTuple(lfirst(lc), rows->slot, false);
		tuplestore_puttupleslot(store, rows->slot);
	}
	ExecClearTuple(rows->slot);
}

void
elt_rows_put(EltLoadRows *rows, List *removed, List *added)
{
	if (!rows->wants_removed)
		removed = NIL;
	if (removed == NIL && added == NIL)
		return;
	put_all(rows, rows->removed, removed);
	put_all(rows, rows->added, added);
	rows->nremoved += list_length(removed);
	rows->nadded += list_length(added);
	if (rows->groups == NULL)
		return;
	if (rows->ngroups == rows->max_groups)
	{
		rows->max_groups *= 2;
		rows->groups = repalloc_huge(rows->groups, sizeof(EltRowGroup) * rows->max_groups);
	}
	rows->groups[rows->ngroups].nremoved = list_length(removed);
	rows->groups[rows->ngroups].nadded = list_length(added);
	rows->ngroups++;
}

void
elt_rows_rewind(Tuplestorestate *store)
{
	/* those above were allocated by statements that read the bag */
	tuplestore_select_read_pointer(store, 0);
	tuplestore_rescan(store);
}

/* The next n tuples, copied. */
static List *
take(EltLoadRows *rows, Tuplestorestate *store, uint32 n)
{
	List	   *tuples = NIL;

	while (n-- > 0)
	{
		if (!tuplestore_gettupleslot(store, true, false, rows->slot))
			elog(ERROR, "changed rows end too early");
		tuples = lappend(tuples, ExecCopySlotMinimalTuple(rows->slot));
	}
	/* one that was read back from disk is in the caller's short-lived context */
	ExecClearTuple(rows->slot);
	return tuples;
}

void
elt_rows_halve(EltLoadRows *rows, EltLoadRows **first, EltLoadRows **second)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "elt rows", ALLOCSET_DEFAULT_SIZES);

	*first = elt_rows_begin(rows->desc, rows->wants_removed, true);
	*second = elt_rows_begin(rows->desc, rows->wants_removed, true);
	elt_rows_rewind(rows->removed);
	elt_rows_rewind(rows->added);
	for (int64 i = 0; i < rows->ngroups; i++)
	{
		EltLoadRows *half = i < rows->ngroups / 2 ? *first : *second;
		MemoryContext old = MemoryContextSwitchTo(scratch);
		List	   *removed = take(rows, rows->removed, rows->groups[i].nremoved);
		List	   *added = take(rows, rows->added, rows->groups[i].nadded);

		MemoryContextSwitchTo(old);
		elt_rows_put(half, removed, added);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(scratch);
}

void
elt_rows_free(EltLoadRows *rows)
{
	tuplestore_end(rows->removed);
	tuplestore_end(rows->added);
	ExecDropSingleTupleTableSlot(rows->slot);
	if (rows->groups != NULL)
		pfree(rows->groups);
	pfree(rows);
}
