/*
 * rowkey.c
 *	  A key of the rows that a block gives: primary keys of tables whose rows determine those of the others.
 *
 * Pure functions of query trees.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "view/cut.h"

/* Where is this attribute of this leaf in the block's output? -1: nowhere. */
static int
output_of(Query *block, int rti, AttrNumber attno)
{
	int			i = 0;
	ListCell   *lc;

	foreach(lc, block->targetList)
	{
		Var		   *var = (Var *) lfirst_node(TargetEntry, lc)->expr;

		if (IsA(var, Var) && var->varno == rti && var->varattno == attno && var->varlevelsup == 0)
			return i;
		i++;
	}
	return -1;
}

/* Is the attribute set equal, by a condition of the WHERE clause or an inner join, to a column of an entry in `known`, or a constant? */
static bool
is_determined(List *quals, int rti, AttrNumber attno, Bitmapset *known)
{
	ListCell   *lc;

	foreach(lc, quals)
	{
		OpExpr	   *op = lfirst(lc);

		if (!IsA(op, OpExpr) || list_length(op->args) != 2 || !op_mergejoinable(op->opno, exprType(linitial(op->args))))
			continue;
		for (int i = 0; i < 2; i++)
		{
			Var		   *mine = list_nth(op->args, i);
			Node	   *other = list_nth(op->args, 1 - i);

			if (!IsA(mine, Var) || mine->varno != rti || mine->varattno != attno || mine->varlevelsup != 0)
				continue;
			if (IsA(other, Const) ||
				(IsA(other, Var) && ((Var *) other)->varlevelsup == 0 && bms_is_member(((Var *) other)->varno, known)))
				return true;
		}
	}
	return false;
}

/* The joined tables of a block, and the conditions that all its rows meet; false: there is something else in FROM. */
static bool
joined_tables(Query *block, Node *node, List **tables, List **quals)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
	{
		*tables = lappend_int(*tables, ((RangeTblRef *) node)->rtindex);
		return true;
	}
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			if (!joined_tables(block, lfirst(lc), tables, quals))
			return false;
		*quals = list_concat(*quals, make_ands_implicit((Expr *) ((FromExpr *) node)->quals));
		return true;
	}
	if (((JoinExpr *) node)->jointype != JOIN_INNER && ((JoinExpr *) node)->jointype != JOIN_LEFT)
		return false;

	/*
	 * a left join's condition determines the right side just as well: where
	 * it does not hold, there is one row of NULLs
	 */
	*quals = list_concat(*quals, make_ands_implicit((Expr *) ((JoinExpr *) node)->quals));
	return joined_tables(block, ((JoinExpr *) node)->larg, tables, quals) && joined_tables(block, ((JoinExpr *) node)->rarg, tables, quals);
}

/* Columns of the output by which its rows differ: primary keys of tables whose rows determine those of the others. */
List *
elt_find_row_key(EltShape *shape, EltPart *part)
{
	Query	   *block = linitial_node(Query, part->blocks);
	List	   *tables = NIL;
	List	   *quals = NIL;
	List	   *key = NIL;
	Bitmapset  *known = NULL;
	bool		progress = true;
	ListCell   *lc;
	ListCell   *lc2;

	if (list_length(part->blocks) != 1 || block->hasTargetSRFs || !joined_tables(block, (Node *) block->jointree, &tables, &quals) || tables == NIL)
		return NIL;
	while (progress && list_length(tables) > bms_num_members(known))
	{
		progress = false;
		foreach(lc, tables)
		{
			RangeTblEntry *rte = rt_fetch(lfirst_int(lc), block->rtable);
			EltLeaf    *leaf = elt_leaf_of(shape, rte);
			bool		determined = true;

			if (leaf == NULL || leaf->source->key == NIL || (leaf->source->part != NULL && !leaf->source->part->unique))
				return NIL;
			if (bms_is_member(lfirst_int(lc), known))
				continue;
			foreach(lc2, leaf->source->key)
				determined &= is_determined(quals, lfirst_int(lc), lfirst_int(lc2), known);
			if (determined)
			{
				known = bms_add_member(known, lfirst_int(lc));
				progress = true;
			}
		}
		if (progress)
			continue;
		foreach(lc, tables)
		{
			EltLeaf    *leaf = elt_leaf_of(shape, rt_fetch(lfirst_int(lc), block->rtable));
			List	   *columns = NIL;

			if (bms_is_member(lfirst_int(lc), known) || !leaf->core)
				continue;
			foreach(lc2, leaf->source->key)
			{
				int			column = output_of(block, lfirst_int(lc), lfirst_int(lc2));

				if (column >= 0)
					columns = lappend_int(columns, column);
			}
			if (list_length(columns) != list_length(leaf->source->key))
				continue;
			known = bms_add_member(known, lfirst_int(lc));
			key = list_concat(key, columns);
			progress = true;
			break;
		}
	}
	return progress ? key : NIL;
}
