/*
 * references.c
 *	  What a foreign key tells about a delta: rows that were only added to the table it refers to cannot join rows of the referring table as it was.
 *
 * So where a block joins both by the key, the term for the referenced table's delta is empty, provided that the referring one is taken as it was. The key has to be
 * enforced at all times: validated, not deferrable, its triggers enabled, on a table that no subscription writes to (such tables are not tracked).
 *
 * Locks: AccessShareLock on the referring tables, which the refresh has. Nothing is written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "view/block.h"

/* Conditions that every row of the block meets, and the entries that are joined inner. */
static void
inner_part(Node *node, List **quals, Bitmapset **entries)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		*entries = bms_add_member(*entries, ((RangeTblRef *) node)->rtindex);
	else if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			inner_part(lfirst(lc), quals, entries);
		*quals = list_concat(*quals, list_copy(elt_conjuncts(((FromExpr *) node)->quals)));
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);

		if (join->jointype == JOIN_INNER)
			*quals = list_concat(*quals, list_copy(elt_conjuncts(join->quals)));
		if (join->jointype == JOIN_INNER || join->jointype == JOIN_LEFT)
			inner_part(join->larg, quals, entries);
		if (join->jointype == JOIN_INNER || join->jointype == JOIN_RIGHT)
			inner_part(join->rarg, quals, entries);
	}
}

static bool
is_var(Node *node, int rti, AttrNumber attno)
{
	Var		   *var = (Var *) node;

	return IsA(node, Var) && var->varno == rti && var->varattno == attno && var->varlevelsup == 0;
}

/* Do the conditions set one column equal to the other, by the foreign key's operator? */
static bool
are_equated(List *quals, int rti, AttrNumber attno, int other_rti, AttrNumber other_attno, Oid operator)
{
	ListCell   *lc;

	foreach(lc, quals)
	{
		OpExpr	   *op = lfirst(lc);

		if (!IsA(op, OpExpr) || list_length(op->args) != 2)
			continue;
		if (op->opno == operator && is_var(linitial(op->args), other_rti, other_attno) && is_var(lsecond(op->args), rti, attno))
			return true;
		if (get_commutator(op->opno) == operator && is_var(lsecond(op->args), other_rti, other_attno) && is_var(linitial(op->args), rti, attno))
			return true;
	}
	return false;
}

static bool
is_enforced(Relation rel, Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool		enforced;

	if (!HeapTupleIsValid(tuple))
		return false;
	enforced = ((Form_pg_constraint) GETSTRUCT(tuple))->convalidated && !((Form_pg_constraint) GETSTRUCT(tuple))->condeferrable &&
		elt_constraint_enforced((Form_pg_constraint) GETSTRUCT(tuple));
	ReleaseSysCache(tuple);
	for (int i = 0; enforced && rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgconstraint == constraint && trigger->tgenabled == TRIGGER_DISABLED)
			enforced = false;
	}
	return enforced;
}

/* Has the table a foreign key to the other one, by which the conditions join them? */
static bool
is_referring(Relation rel, int rti, Oid referenced, int referenced_rti, List *quals)
{
	ListCell   *lc;

	foreach(lc, RelationGetFKeyList(rel))
	{
		ForeignKeyCacheInfo *key = lfirst(lc);
		bool		joined = key->confrelid == referenced;

		for (int i = 0; joined && i < key->nkeys; i++)
			joined = are_equated(quals, rti, key->conkey[i], referenced_rti, key->confkey[i], key->conpfeqop[i]);
		if (joined && is_enforced(rel, key->conoid))
			return true;
	}
	return false;
}

static int
entry_of(EltShape *shape, Query *block, Bitmapset *entries, EltLeaf *leaf)
{
	int			rti = -1;

	while ((rti = bms_next_member(entries, rti)) >= 0)
		if (elt_leaf_of(shape, rt_fetch(rti, block->rtable)) == leaf)
			return rti;
	return 0;
}

List *
elt_referring_leaves(EltShape *shape, Query *block, EltLeaf *leaf, List *leaves)
{
	List	   *quals = NIL;
	List	   *result = NIL;
	Bitmapset  *entries = NULL;
	int			rti;
	ListCell   *lc;

	inner_part((Node *) block->jointree, &quals, &entries);
	rti = entry_of(shape, block, entries, leaf);
	if (rti == 0 || leaf->source->part != NULL)
		return NIL;
	foreach(lc, leaves)
	{
		EltLeaf    *other = lfirst(lc);
		int			other_rti = other->core && other->source->part == NULL ? entry_of(shape, block, entries, other) : 0;
		Relation	rel;

		if (other == leaf || other_rti == 0)
			continue;
		rel = table_open(other->source->relid, AccessShareLock);
		if (is_referring(rel, other_rti, leaf->source->relid, rti, quals))
			result = lappend(result, other);
		table_close(rel, NoLock);
	}
	return result;
}
