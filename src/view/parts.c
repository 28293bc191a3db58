/*
 * parts.c
 *	  The shape of a query: what is stored of it, and how that follows changes.
 *
 *   prepare.c: plain -> cut: stack.c one thing a level -> split.c: blocks -> scope: leaves core or appended, subqueries that are parts
 *                                                      -> rows | group (aggregate.c) | window | top | full
 *
 * The same query gives the same parts in the same order each time: a refresh makes the shape anew and finds its storages by number.
 *
 * Locks: AccessShareLock on what is read. Nothing is written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "view/aggregate.h"
#include "view/stack.h"

#define MAX_PARTS	100

typedef struct Cut
{
	EltShape   *shape;
	List	   *leaves;			/* of the part being made */
	List	   *cte_labels;		/* String, beside cte_sources */
	List	   *cte_sources;
	bool		failed;			/* a correlated subquery that cannot be a leaf */
} Cut;

static EltPart *cut(Cut *c, Query *query);

/*
 * Leaves
 */

EltLeaf *
elt_leaf_of(EltShape *shape, RangeTblEntry *rte)
{
	if (rte->enrname == NULL || strncmp(rte->enrname, "leaf ", 5) != 0)
		return NULL;
	return list_nth(shape->leaves, atoi(rte->enrname + 5) - 1);
}

void
elt_source_column(EltSource *source, AttrNumber attno, Oid *type, int32 *typmod, Oid *collation, Oid *equals)
{
	if (source->part != NULL)
	{
		EltColumn  *column = &source->part->columns[attno - 1];

		*type = column->type;
		*typmod = column->typmod;
		*collation = column->collation;
		*equals = column->equals;
		return;
	}
	get_atttypetypmodcoll(source->relid, attno, type, typmod, collation);
	get_sort_group_operators(*type, false, true, false, NULL, equals, NULL, NULL);
}

static EltSource *
add_source(Cut *c)
{
	EltSource  *source = palloc0(sizeof(EltSource));

	c->shape->sources = lappend(c->shape->sources, source);
	source->number = list_length(c->shape->sources);
	return source;
}

static EltSource *
table_source(Cut *c, RangeTblEntry *rte)
{
	EltSource  *source;
	Relation	rel;
	Bitmapset  *key;
	int			attr = -1;
	ListCell   *lc;

	foreach(lc, c->shape->sources)
	{
		source = lfirst(lc);
		if (source->relid == rte->relid)
			return source;
	}
	source = add_source(c);
	source->relid = rte->relid;
	rel = table_open(rte->relid, AccessShareLock);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		source->names = lappend(source->names, makeString(att->attisdropped ? "" : pstrdup(NameStr(att->attname))));
	}
	list_free(RelationGetIndexList(rel));	/* fills in rd_pkindex */
	if (OidIsValid(rel->rd_pkindex))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(rel->rd_pkindex));
		bool		immediate = HeapTupleIsValid(tuple) && ((Form_pg_index) GETSTRUCT(tuple))->indimmediate;

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
		while (immediate && (attr = bms_next_member(key, attr)) >= 0)
			source->key = lappend_int(source->key, attr + FirstLowInvalidHeapAttributeNumber);
	}
	table_close(rel, NoLock);
	return source;
}

static void
read_as_leaf(Cut *c, RangeTblEntry *rte, EltSource *source, bool core)
{
	EltLeaf    *leaf = palloc0(sizeof(EltLeaf));

	c->shape->leaves = lappend(c->shape->leaves, leaf);
	c->leaves = lappend(c->leaves, leaf);
	leaf->number = list_length(c->shape->leaves);
	leaf->source = source;
	leaf->core = core;
	source->appended |= !core;
	rte->enrname = psprintf("leaf %d", leaf->number);
}

/* The attribute numbers of the part's key, if its readers see all of it. */
static List *
output_key(EltPart *part)
{
	List	   *key = NIL;

	for (int i = 0; part->unique && i < part->nkeys; i++)
	{
		if (part->key_columns[i] >= part->noutput)
			return NIL;
		key = lappend_int(key, part->key_columns[i] + 1);
	}
	return key;
}

/* The entry's subquery is a part, which is read in its place. */
static void
read_part(Cut *c, RangeTblEntry *rte, bool core)
{
	EltSource  *source = NULL;
	ListCell   *lc1;
	ListCell   *lc2;

	if (rte->enrname != NULL)
		forboth(lc1, c->cte_labels, lc2, c->cte_sources)
			if (strcmp(strVal(lfirst(lc1)), rte->enrname) == 0)
			source = lfirst(lc2);
	if (source == NULL)
	{
		List	   *leaves = c->leaves;
		EltPart    *part;

		c->leaves = NIL;
		part = cut(c, rte->subquery);
		c->leaves = leaves;
		source = part->source;
		if (source == NULL)
		{
			source = part->source = add_source(c);
			source->part = part;
			for (int i = 0; i < part->noutput; i++)
				source->names = lappend(source->names, makeString(part->columns[i].name));
			source->key = output_key(part);
		}
		if (rte->enrname != NULL)
		{
			c->cte_labels = lappend(c->cte_labels, makeString(rte->enrname));
			c->cte_sources = lappend(c->cte_sources, source);
		}
	}
	rte->rtekind = RTE_CTE;
	rte->subquery = NULL;
	rte->lateral = false;
	rte->security_barrier = false;
	rte->ctename = psprintf("elt_new_%d", source->number);
	rte->ctelevelsup = 0;
	read_as_leaf(c, rte, source, core);
}

typedef struct Depth
{
	int			depth;
} Depth;

static bool
correlated_walker(Node *node, void *context)
{
	Depth	   *d = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return (int) ((Var *) node)->varlevelsup > d->depth;
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup > d->depth)
		return true;
	if (IsA(node, Query))
	{
		bool		found;

		d->depth++;
		found = query_tree_walker((Query *) node, correlated_walker, context, QTW_IGNORE_JOINALIASES);
		d->depth--;
		return found;
	}
	return expression_tree_walker(node, correlated_walker, context);
}

bool
elt_is_correlated(Query *query)
{
	Depth		d = {-1};

	return correlated_walker((Node *) query, &d);
}

static void scope(Cut *c, Query *query, bool core);

/* Subqueries in expressions: appended, or parts. */
static bool
sublink_walker(Node *node, void *context)
{
	Cut		   *c = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
	{
		SubLink    *link = (SubLink *) node;
		Query	   *query = castNode(Query, link->subselect);

		(void) sublink_walker(link->testexpr, context);
		if (elt_is_heavy(query) && !elt_is_correlated(query))
		{
			Query	   *outer = elt_wrap(query);
			int			visible = 0;
			ListCell   *lc;

			/* the order of a subselect's rows matters to ARRAY */
			if (link->subLinkType == ARRAY_SUBLINK && query->sortClause != NIL)
			{
				scope(c, query, false);
				return false;
			}
			foreach(lc, outer->targetList)
				visible += !lfirst_node(TargetEntry, lc)->resjunk;
			outer->targetList = list_truncate(outer->targetList, visible);
			link->subselect = (Node *) outer;
			query = outer;
		}
		scope(c, query, false);
		return false;
	}
	/* entries of the range table are looked at by scope() */
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, sublink_walker, context);
}

static void
scope_entry(Cut *c, RangeTblEntry *rte, bool core)
{
	if (rte->rtekind == RTE_RELATION)
		read_as_leaf(c, rte, table_source(c, rte), core);
	else if (rte->rtekind == RTE_SUBQUERY && !elt_is_correlated(rte->subquery) && elt_is_heavy(rte->subquery))
		read_part(c, rte, core);
	else if (rte->rtekind == RTE_SUBQUERY)
		scope(c, rte->subquery, core && !elt_is_heavy(rte->subquery));
	else
		(void) range_table_entry_walker(rte, sublink_walker, c, 0);
}

static void
scope_jointree(Cut *c, Query *query, Node *node, bool core)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		scope_entry(c, rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable), core);
	else if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			scope_jointree(c, query, lfirst(lc), core);
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);

		scope_jointree(c, query, join->larg, core && (join->jointype == JOIN_INNER || join->jointype == JOIN_LEFT));
		scope_jointree(c, query, join->rarg, core && (join->jointype == JOIN_INNER || join->jointype == JOIN_RIGHT));
	}
}

/* Find the leaves of a query level and of those below it; core: its rows are linear in those that FROM preserves. */
static void
scope(Cut *c, Query *query, bool core)
{
	ListCell   *lc;

	check_stack_depth();
	if (query->setOperations != NULL)
	{
		foreach(lc, query->rtable)
			if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_SUBQUERY)
			scope_entry(c, lfirst_node(RangeTblEntry, lc), false);
	}
	else
		scope_jointree(c, query, (Node *) query->jointree, core);
	(void) query_tree_walker(query, sublink_walker, c, QTW_IGNORE_RANGE_TABLE);
}

/*
 * Parts
 */

static EltPart *
new_part(EltPartKind kind, EltMethod method)
{
	EltPart    *part = palloc0(sizeof(EltPart));

	part->kind = kind;
	part->method = method;
	part->shown = -1;
	return part;
}

/* Number it: parts below have their numbers already. */
static EltPart *
finish(Cut *c, EltPart *part)
{
	c->shape->parts = lappend(c->shape->parts, part);
	part->number = list_length(c->shape->parts);
	if (part->number > MAX_PARTS && c->shape->reason == NULL)
		c->shape->reason = ELT_WHY_COMPLEX;
	return part;
}

static void
set_column(EltColumn *column, const char *name, Node *expr)
{
	column->name = pstrdup(name);
	column->type = exprType(expr);
	column->typmod = exprTypmod(expr);
	column->collation = exprCollation(expr);
	column->notnull = false;
	column->equals = InvalidOid;
}

static List *
visible_targets(Query *query)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
		if (!lfirst_node(TargetEntry, lc)->resjunk)
		result = lappend(result, lfirst(lc));
	return result;
}

/* Columns of the output of a query; names are made unique, because a subquery's need not be. */
static void
output_columns(EltPart *part, Query *query)
{
	List	   *targets = visible_targets(query);
	ListCell   *lc;

	part->columns = palloc0(sizeof(EltColumn) * (list_length(targets) + 1));
	foreach(lc, targets)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		char	   *name = tle->resname != NULL ? tle->resname : "column";

		for (int i = 0; i < part->ncolumns; i++)
			if (strcmp(part->columns[i].name, name) == 0)
				name = psprintf("_elt_o%d", part->ncolumns + 1);
		set_column(&part->columns[part->ncolumns++], name, (Node *) tle->expr);
	}
	part->noutput = part->ncolumns;
}

static EltPart *
full_part(Cut *c, Query *query, const char *reason, const char *what)
{
	EltPart    *part = new_part(ELT_PART_FULL, ELT_FULL);

	part->reason = reason;
	part->what = what;
	c->leaves = NIL;
	scope(c, query, false);
	part->leaves = c->leaves;
	part->query = query;
	output_columns(part, query);
	return finish(c, part);
}

static int
add_storage_column(EltPart *part, const char *name, Oid type, int32 typmod, Oid collation)
{
	EltColumn  *column;

	part->columns = repalloc(part->columns, sizeof(EltColumn) * (part->ncolumns + 1));
	column = &part->columns[part->ncolumns];
	memset(column, 0, sizeof(EltColumn));
	column->name = pstrdup(name);
	column->type = type;
	column->typmod = typmod;
	column->collation = collation;
	return part->ncolumns++;
}

/* The input columns of a part are the targets that its blocks get. */
static void
set_input(EltPart *part, List *exprs, List *equals)
{
	int			i = 0;
	ListCell   *lc;

	part->input = palloc0(sizeof(EltColumn) * (list_length(exprs) + 1));
	foreach(lc, exprs)
	{
		set_column(&part->input[i], psprintf("i%d", i + 1), lfirst(lc));
		if (i < list_length(equals))
			part->input[i].equals = list_nth_oid(equals, i);
		i++;
	}
	part->ninput = i;
	part->nkeys = list_length(equals);
}

static void
set_targets(Query *block, List *exprs)
{
	int			resno = 0;
	ListCell   *lc;

	block->targetList = NIL;
	foreach(lc, exprs)
	{
		resno++;
		block->targetList = lappend(block->targetList, makeTargetEntry(copyObject(lfirst(lc)), resno, psprintf("i%d", resno), false));
	}
}

/* A level that gives `exprs` and does nothing else with the rows of the query's FROM and WHERE. */
static Query *
plain_level(Query *query, List *exprs)
{
	Query	   *block = copyObject(query);

	set_targets(block, exprs);
	block->groupClause = block->groupingSets = block->distinctClause = block->sortClause = block->windowClause = NIL;
	block->havingQual = block->limitCount = block->limitOffset = NULL;
	block->hasAggs = block->hasWindowFuncs = block->hasDistinctOn = false;
	block->constraintDeps = NIL;
	block->hasTargetSRFs = expression_returns_set((Node *) block->targetList);
	return block;
}

/* Split into blocks and find their leaves; false: cannot be done. */
static bool
set_blocks(Cut *c, EltPart *part, Query *level)
{
	List	   *blocks = elt_split_blocks(level);
	ListCell   *lc;

	c->leaves = NIL;
	foreach(lc, blocks)
	{
		Query	   *block = lfirst_node(Query, lc);

		if (elt_is_heavy(block))
		{
			block = elt_wrap(block);
			block->targetList = visible_targets(block);
		}
		block->sortClause = NIL;
		block->targetList = visible_targets(block);
		scope(c, block, true);
		part->blocks = lappend(part->blocks, block);
	}
	part->leaves = c->leaves;
	return blocks != NIL;
}

/*
 * Rows
 */

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
static List *
find_key(Cut *c, EltPart *part)
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
			EltLeaf    *leaf = elt_leaf_of(c->shape, rte);
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
			EltLeaf    *leaf = elt_leaf_of(c->shape, rt_fetch(lfirst_int(lc), block->rtable));
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

static char *
row_hash(EltPart *part)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "elt.row_hash(ROW(");
	for (int i = 0; i < part->noutput; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", quote_identifier(part->columns[i].name));
	appendStringInfoString(&sql, "))");
	return sql.data;
}

static EltPart *
rows_part(Cut *c, Query *query)
{
	EltPart    *part = new_part(ELT_PART_ROWS, ELT_LINEAR);
	List	   *key;

	if (!set_blocks(c, part, query))
		return full_part(c, query, ELT_WHY_COMPLEX, "more UNION ALL and FULL JOIN than can be followed");
	output_columns(part, query);
	part->input = part->columns;
	part->ninput = part->ncolumns;
	key = find_key(c, part);
	if (key != NIL)
	{
		part->unique = true;
		part->nkeys = list_length(key);
		part->key_columns = palloc(sizeof(int) * part->nkeys);
		for (int i = 0; i < part->nkeys; i++)
		{
			EltColumn  *column = &part->columns[list_nth_int(key, i)];

			part->key_columns[i] = list_nth_int(key, i);
			column->notnull = true;
			get_sort_group_operators(column->type, false, true, false, NULL, &column->equals, NULL, NULL);
		}
	}
	else
		part->hash = row_hash(part);
	return finish(c, part);
}

/*
 * Groups
 */

Query *
elt_select_from_input(const char *from, EltColumn *columns, int ncolumns)
{
	Query	   *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *names = NIL;

	for (int i = 0; i < ncolumns; i++)
		names = lappend(names, makeString(columns[i].name));
	rte->rtekind = RTE_CTE;
	rte->ctename = pstrdup(from);
	rte->inFromCl = true;
	rte->eref = makeAlias(from, names);
	query->commandType = CMD_SELECT;
	query->querySource = QSRC_ORIGINAL;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	ref->rtindex = 1;
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	return query;
}

/* The columns of the storage that hold the keys: those of the output that are just that, else hidden ones. */
static void
place_keys(EltPart *part, List *keys, List *equals, Query *query)
{
	List	   *targets = visible_targets(query);
	int			i = 0;
	ListCell   *lc;

	part->key_columns = palloc(sizeof(int) * (list_length(keys) + 1));
	foreach(lc, keys)
	{
		int			column = -1;
		int			n = 0;
		ListCell   *lc2;

		foreach(lc2, targets)
		{
			if (column < 0 && equal(lfirst_node(TargetEntry, lc2)->expr, lfirst(lc)))
				column = n;
			n++;
		}
		if (column < 0)
		{
			Node	   *key = lfirst(lc);

			column = add_storage_column(part, psprintf("_elt_k%d", i + 1), exprType(key), exprTypmod(key), exprCollation(key));
			part->output->targetList = lappend(part->output->targetList,
											   makeTargetEntry((Expr *) makeVar(1, i + 1, exprType(key), exprTypmod(key), exprCollation(key), 0),
															   part->ncolumns, part->columns[column].name, false));
		}
		part->columns[column].equals = list_nth_oid(equals, i);
		part->key_columns[i++] = column;
	}
}

/* May rows be grouped by these, through the storage as well? */
static bool
keys_are_comparable(List *equals)
{
	ListCell   *lc;

	foreach(lc, equals)
		if (!OidIsValid(lfirst_oid(lc)))
		return false;
	return true;
}

void
elt_part_add_hidden(EltPart *part, const char *name, Oid type, int32 typmod, Oid collation, Expr *expr)
{
	(void) add_storage_column(part, name, type, typmod, collation);
	part->output->targetList = lappend(part->output->targetList, makeTargetEntry(expr, part->ncolumns, pstrdup(name), false));
}

static Expr *
is_true(Node *condition)
{
	BooleanTest *test = makeNode(BooleanTest);

	test->arg = (Expr *) condition;
	test->booltesttype = IS_TRUE;
	test->location = -1;
	return (Expr *) test;
}

static EltPart *
group_part(Cut *c, Query *query)
{
	EltPart    *part = new_part(ELT_PART_GROUP, ELT_KEYS);
	EltGrouped *grouped = elt_grouped_begin(query);
	List	   *targets = visible_targets(query);
	List	   *exprs;
	Query	   *level;
	int			resno = 0;
	ListCell   *lc;

	if (!keys_are_comparable(grouped->equals))
		return full_part(c, query, ELT_WHY_KEY_TYPE, "GROUP BY a type without a sort order");
	part->global = grouped->keys == NIL;
	part->unique = true;
	part->output = makeNode(Query);
	foreach(lc, targets)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		resno++;
		part->output->targetList = lappend(part->output->targetList,
										   makeTargetEntry((Expr *) elt_grouped_map(grouped, (Node *) tle->expr), resno, tle->resname, false));
	}
	output_columns(part, query);
	place_keys(part, grouped->keys, grouped->equals, query);
	if (query->havingQual != NULL)
	{
		part->shown = part->ncolumns;
		elt_part_add_hidden(part, "_elt_shown", BOOLOID, -1, InvalidOid,
							(Expr *) is_true(elt_grouped_map(grouped, query->havingQual)));
	}
	exprs = elt_aggregate_plan(part, grouped, query);
	level = plain_level(query, exprs);
	if (level->hasTargetSRFs && !part->global)
	{
		/* GROUP BY what a set-returning function gives: it is applied below */
		level = elt_wrap(level);
	}
	set_input(part, exprs, grouped->equals);
	if (!set_blocks(c, part, level))
		return full_part(c, query, ELT_WHY_COMPLEX, "more UNION ALL and FULL JOIN than can be followed");
	return finish(c, part);
}

static EltPart *
distinct_part(Cut *c, Query *query)
{
	Query	   *grouped = copyObject(query);
	int			ref = 0;
	ListCell   *lc;

	grouped->distinctClause = grouped->sortClause = NIL;
	grouped->groupClause = NIL;
	grouped->targetList = visible_targets(grouped);
	foreach(lc, grouped->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		SortGroupClause *clause = makeNode(SortGroupClause);

		tle->ressortgroupref = clause->tleSortGroupRef = ++ref;
		get_sort_group_operators(exprType((Node *) tle->expr), false, false, false, &clause->sortop, &clause->eqop, NULL, &clause->hashable);
		grouped->groupClause = lappend(grouped->groupClause, clause);
	}
	return group_part(c, grouped);
}

/*
 * Windows and DISTINCT ON
 */

/* Expressions that every window partitions by. */
static List *
common_partition(Query *query, List **equals)
{
	List	   *keys = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	if (query->hasDistinctOn)
	{
		foreach(lc, query->distinctClause)
		{
			keys = lappend(keys, get_sortgroupclause_expr(lfirst(lc), query->targetList));
			*equals = lappend_oid(*equals, lfirst_node(SortGroupClause, lc)->eqop);
		}
		return keys;
	}
	foreach(lc, linitial_node(WindowClause, query->windowClause)->partitionClause)
	{
		Node	   *key = get_sortgroupclause_expr(lfirst(lc), query->targetList);
		bool		everywhere = true;

		foreach(lc2, query->windowClause)
		{
			bool		here = false;
			ListCell   *lc3;

			foreach(lc3, lfirst_node(WindowClause, lc2)->partitionClause)
				here |= equal(get_sortgroupclause_expr(lfirst(lc3), query->targetList), key);
			everywhere &= here;
		}
		if (everywhere && !list_member(keys, key))
		{
			keys = lappend(keys, key);
			*equals = lappend_oid(*equals, lfirst_node(SortGroupClause, lc)->eqop);
		}
	}
	return keys;
}

typedef struct Inputs
{
	List	   *exprs;
} Inputs;

/* Replace what a level computes from FROM by columns of elt_in. */
static Node *
input_mutator(Node *node, void *context)
{
	Inputs	   *inputs = context;
	int			column = 0;
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	foreach(lc, inputs->exprs)
	{
		column++;
		if (equal(node, lfirst(lc)))
			return (Node *) makeVar(1, column, exprType(node), exprTypmod(node), exprCollation(node), 0);
	}
	if (IsA(node, SubLink) || (IsA(node, Var) && ((Var *) node)->varlevelsup == 0))
	{
		inputs->exprs = lappend(inputs->exprs, copyObject(node));
		return (Node *) makeVar(1, column + 1, exprType(node), exprTypmod(node), exprCollation(node), 0);
	}
	return expression_tree_mutator(node, input_mutator, context);
}

static EltPart *
window_part(Cut *c, Query *query)
{
	List	   *equals = NIL;
	List	   *keys = common_partition(query, &equals);
	EltPart    *part = new_part(ELT_PART_WINDOW, ELT_KEYS);
	Inputs		inputs = {NIL};
	Query	   *from;

	if (keys == NIL)
		return full_part(c, query, ELT_WHY_WINDOW, "a window function without PARTITION BY that all windows share");
	if (!keys_are_comparable(equals))
		return full_part(c, query, ELT_WHY_KEY_TYPE, "PARTITION BY a type without a sort order");
	inputs.exprs = list_copy(keys);
	part->unique = query->hasDistinctOn;
	part->output = copyObject(query);
	part->output->targetList = (List *) input_mutator((Node *) part->output->targetList, &inputs);
	part->output->windowClause = (List *) input_mutator((Node *) part->output->windowClause, &inputs);
	set_input(part, inputs.exprs, equals);
	from = elt_select_from_input("elt_in", part->input, part->ninput);
	part->output->rtable = from->rtable;
	part->output->jointree = from->jointree;
	part->output->hasSubLinks = false;
#if PG_VERSION_NUM >= 160000
	part->output->rteperminfos = NIL;
#endif
	output_columns(part, query);
	place_keys(part, keys, equals, query);
	if (!set_blocks(c, part, plain_level(query, inputs.exprs)))
		return full_part(c, query, ELT_WHY_COMPLEX, "more UNION ALL and FULL JOIN than can be followed");
	return finish(c, part);
}

static EltPart *
cut(Cut *c, Query *query)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	query = elt_stack(query);
	if (query->limitCount != NULL || query->limitOffset != NULL)
		return full_part(c, query, query->sortClause == NIL ? ELT_WHY_LIMIT : NULL, "LIMIT");
	query = copyObject(query);
	query->sortClause = query->hasDistinctOn ? query->sortClause : NIL;
	if (!query->hasDistinctOn)
		query->targetList = query->hasWindowFuncs ? query->targetList : visible_targets(query);
	if (query->setOperations != NULL)
	{
		Query	   *counted;

		if (elt_split_blocks(query) != NIL && linitial_node(Query, elt_split_blocks(query))->setOperations == NULL)
			return rows_part(c, query);
		counted = elt_count_sides(query);
		return counted != NULL ? cut(c, counted) : full_part(c, query, ELT_WHY_COMPLEX, "a set operation without columns");
	}
	if (query->groupingSets != NIL)
	{
		List	   *sets = elt_one_by_set(query);
		EltPart    *part = new_part(ELT_PART_ROWS, ELT_LINEAR);
		ListCell   *lc;

		c->leaves = NIL;
		foreach(lc, sets)
		{
			Query	   *block = elt_wrap(lfirst_node(Query, lc));

			scope(c, block, true);
			part->blocks = lappend(part->blocks, block);
		}
		part->leaves = c->leaves;
		output_columns(part, query);
		part->input = part->columns;
		part->ninput = part->ncolumns;
		part->hash = row_hash(part);
		return finish(c, part);
	}
	if (query->hasWindowFuncs || query->hasDistinctOn)
		return window_part(c, query);
	if (query->distinctClause != NIL)
		return distinct_part(c, query);
	if (elt_is_aggregate(query))
		return group_part(c, query);
	return rows_part(c, query);
}

/*
 * The columns of each source that are read
 */

typedef struct Level
{
	Query	   *query;
	struct Level *outer;
} Level;

typedef struct Uses
{
	EltShape   *shape;
	Level	   *level;
} Uses;

static bool
uses_walker(Node *node, void *context)
{
	Uses	   *uses = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Level	   *level = uses->level;
		EltLeaf    *leaf;

		for (Index up = var->varlevelsup; up > 0 && level != NULL; up--)
			level = level->outer;
		leaf = level != NULL ? elt_leaf_of(uses->shape, rt_fetch(var->varno, level->query->rtable)) : NULL;
		if (leaf != NULL && var->varattno > 0)
			leaf->source->used = bms_add_member(leaf->source->used, var->varattno);
		return false;
	}
	if (IsA(node, Query))
	{
		Level		level = {(Query *) node, uses->level};
		bool		found;

		uses->level = &level;
		found = query_tree_walker((Query *) node, uses_walker, context, QTW_IGNORE_JOINALIASES);
		uses->level = level.outer;
		return found;
	}
	return expression_tree_walker(node, uses_walker, context);
}

static void
note_uses(EltShape *shape)
{
	Uses		uses = {shape, NULL};
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, shape->parts)
	{
		EltPart    *part = lfirst(lc);

		foreach(lc2, part->blocks)
			(void) uses_walker(lfirst(lc2), &uses);
		(void) uses_walker((Node *) part->query, &uses);
	}
	foreach(lc, shape->sources)
	{
		EltSource  *source = lfirst(lc);

		/*
		 * keys tell which rows of an appended leaf were added; where there is
		 * none, the whole row does
		 */
		foreach(lc2, source->key)
			source->used = bms_add_member(source->used, lfirst_int(lc2));
		if (source->appended && source->key == NIL)
			source->used = bms_add_range(source->used, 1, list_length(source->names));
	}
}

static EltShape *
try_shape(Query *query, bool in_full, const char *why)
{
	EltShape   *shape = palloc0(sizeof(EltShape));
	Cut			c = {shape};
	Query	   *plain;

	plain = elt_prepare(shape, query);
	if (why != NULL && shape->reason == NULL)
		shape->reason = why;
	if (shape->reason == NULL && !in_full)
		(void) cut(&c, plain);
	else
	{
		/* it is not followed: no leaves, and the text as it was */
		EltPart    *part = new_part(ELT_PART_FULL, ELT_FULL);

		part->query = copyObject(query);
		part->reason = shape->reason;
		output_columns(part, part->query);
		(void) finish(&c, part);
	}
	note_uses(shape);
	return shape;
}

EltShape *
elt_shape_make(Query *query, bool in_full)
{
	EltShape   *shape = try_shape(query, in_full, NULL);

	if (shape->reason != NULL && list_length(shape->parts) > 1)
		shape = try_shape(query, true, shape->reason);
	return shape;
}
