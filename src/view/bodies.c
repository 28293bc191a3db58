/*
 * bodies.c
 *	  What views and functions that a query reads consist of, as a hash: rows that were computed with others have to be computed anew.
 *
 * CREATE OR REPLACE changes them without a trace in the log, and a definition that depends on them allows it. Functions that functions call are not looked into.
 *
 * No locks beyond those of the shape. Nothing is written.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "view/view.h"

static uint64
add_text(uint64 hash, Datum datum, bool isnull)
{
	char	   *value = isnull ? pstrdup("") : TextDatumGetCString(datum);

	hash = hash_combine64(hash, hash_any_extended((unsigned char *) value, strlen(value), 0));
	pfree(value);
	return hash;
}

static uint64
add_view(uint64 hash, Oid relid)
{
	Relation	rel = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, RewriteRelRulenameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		action = heap_getattr(tuple, Anum_pg_rewrite_ev_action, RelationGetDescr(rel), &isnull);

		hash = add_text(hash, action, isnull);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return hash;
}

static uint64
add_function(uint64 hash, Oid function)
{
	static const AttrNumber texts[] = {Anum_pg_proc_prosrc, Anum_pg_proc_probin, Anum_pg_proc_prosqlbody};
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));

	if (!HeapTupleIsValid(tuple))
		return hash;
	for (int i = 0; i < lengthof(texts); i++)
	{
		bool		isnull;
		Datum		body = SysCacheGetAttr(PROCOID, tuple, texts[i], &isnull);

		hash = add_text(hash, body, isnull);
	}
	hash = hash_combine64(hash, ((Form_pg_proc) GETSTRUCT(tuple))->proisstrict);
	ReleaseSysCache(tuple);
	return hash;
}

char *
elt_view_bodies(EltShape *shape)
{
	uint64		hash = 0;
	ListCell   *lc;

	foreach(lc, shape->tables)
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_VIEW)
		hash = add_view(hash, lfirst_oid(lc));
	foreach(lc, shape->functions)
		hash = add_function(hash, lfirst_oid(lc));
	return psprintf("%016lx", (unsigned long) hash);
}
