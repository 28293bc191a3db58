/*
 * write.c
 *	  Writing a storage: rows to delete, to update, to insert.
 *
 * Each kind is one statement over a bag. Stored rows are named by their ctid: a few are fetched one by one (Tid Scan), many by a hash join with the table,
 * as the planner finds from the bag's size. Deletes come first and inserts last, so that a unique index never sees two rows of a key.
 *
 * Locks: those of the statements. A crash loses nothing.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/sql.h"
#include "view/row.h"
#include "view/write.h"

static void
begin_bag(EltWriteBag *bag, const EltChangeTarget *target, TupleDesc desc, int ncolumns, bool tid)
{
	static const char *const names[] = {"_elt_tid"};
	static const Oid types[] = {TIDOID};

	bag->desc = elt_row_desc(desc, ncolumns, tid ? 1 : 0, names, types);
	/* the statements use the storage's names */
	for (int i = 0; i < ncolumns; i++)
		namestrcpy(&TupleDescAttr(bag->desc, i)->attname, target->names[i]);
	bag->tuples = tuplestore_begin_heap(true, false, work_mem);
	bag->n = 0;
}

EltWrite *
elt_write_begin(const EltChangeTarget *target, TupleDesc desc)
{
	EltWrite   *write = palloc(sizeof(EltWrite));

	write->target = target;
	begin_bag(&write->deletes, target, desc, 0, true);
	begin_bag(&write->updates, target, desc, target->ncolumns, true);
	begin_bag(&write->inserts, target, desc, target->ncolumns, false);
	return write;
}

void
elt_write_put(EltWriteBag *bag, Datum *values, bool *nulls)
{
	tuplestore_putvalues(bag->tuples, bag->desc, values, nulls);
	bag->n++;
}

static EltExecCounts
run(EltWriteBag *bag, const char *name, const char *sql)
{
	EltBag		source = {.name = name,.tupdesc = bag->desc,.tuples = bag->tuples,.ntuples = (double) bag->n};
	EltExecCounts counts = {0};

	elt_exec(sql, &source, 1, NULL, NULL, &counts);
	return counts;
}

static void
check_count(EltWrite *write, const char *done, uint64 n, EltWriteBag *bag)
{
	if (n != (uint64) bag->n)
		elog(ERROR, "the storage of \"%s\" had " UINT64_FORMAT " rows %s instead of " INT64_FORMAT,
			 write->target->label, n, done, bag->n);
}

static void
run_deletes(EltWrite *write, const char *storage)
{
	EltExecCounts counts = run(&write->deletes, "elt_change_deletes",
							   psprintf("DELETE FROM %s AS t USING elt_change_deletes AS n "
										"WHERE t.ctid OPERATOR(pg_catalog.=) n._elt_tid", storage));

	check_count(write, "deleted", counts.deleted, &write->deletes);
}

static bool
is_key(const EltChangeTarget *target, int column)
{
	for (int i = 0; i < target->nkeys; i++)
		if (target->keys[i] == column)
			return true;
	return false;
}

static void
run_updates(EltWrite *write, const char *storage)
{
	const EltChangeTarget *target = write->target;
	const char *comma = "";
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET ", storage);
	for (int i = 0; i < target->ncolumns; i++)
	{
		const char *name = quote_identifier(target->names[i]);

		if (is_key(target, i))
			continue;
		appendStringInfo(&sql, "%s%s = n.%s", comma, name, name);
		comma = ", ";
	}
	appendStringInfoString(&sql, " FROM elt_change_updates AS n WHERE t.ctid OPERATOR(pg_catalog.=) n._elt_tid");
	check_count(write, "updated", run(&write->updates, "elt_change_updates", sql.data).updated, &write->updates);
}

static void
run_inserts(EltWrite *write, const char *storage)
{
	const EltChangeTarget *target = write->target;
	StringInfoData names;
	EltExecCounts counts;

	initStringInfo(&names);
	for (int i = 0; i < target->ncolumns; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", quote_identifier(target->names[i]));
	counts = run(&write->inserts, "elt_change_inserts",
				 psprintf("INSERT INTO %s (%s) SELECT %s FROM elt_change_inserts", storage, names.data, names.data));
	check_count(write, "inserted", counts.inserted, &write->inserts);
}

void
elt_write_run(EltWrite *write)
{
	const char *storage = elt_qualified_name(write->target->storage);

	if (write->deletes.n > 0)
		run_deletes(write, storage);
	if (write->updates.n > 0)
		run_updates(write, storage);
	if (write->inserts.n > 0)
		run_inserts(write, storage);
}

void
elt_write_end(EltWrite *write)
{
	tuplestore_end(write->deletes.tuples);
	tuplestore_end(write->updates.tuples);
	tuplestore_end(write->inserts.tuples);
	pfree(write);
}
