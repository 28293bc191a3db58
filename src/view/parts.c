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
#include "view/block.h"
#include "view/cut.h"
#include "view/stack.h"
#include "view/touch.h"

#define MAX_PARTS	100

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
finish(EltCut *c, EltPart *part)
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
full_part(EltCut *c, Query *query, const char *reason, const char *what)
{
	EltPart    *part = new_part(ELT_PART_FULL, ELT_FULL);

	part->reason = reason;
	part->what = what;
	c->leaves = NIL;
	elt_scope(c, query, false);
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
set_blocks(EltCut *c, EltPart *part, Query *level)
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
		elt_scope(c, block, true);
		part->blocks = lappend(part->blocks, block);
	}
	part->leaves = c->leaves;
	return blocks != NIL;
}

/* Storage column `column` has what the blocks give at `target`. */
static void
note_notnull(EltCut *c, EltPart *part, int column, int target)
{
	ListCell   *lc;

	part->columns[column].notnull = true;
	foreach(lc, part->blocks)
	{
		Query	   *block = lfirst_node(Query, lc);

		part->columns[column].notnull &= elt_is_notnull(c->shape, block, (Node *) list_nth_node(TargetEntry, block->targetList, target)->expr);
	}
}

/*
 * Rows
 */

static char *
row_hash(EltPart *part)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "elt.row_hash(ROW(");
	for (int i = 0; i < part->ncolumns; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", quote_identifier(part->columns[i].name));
	appendStringInfoString(&sql, "))");
	return sql.data;
}

/*
 * now() can be followed where it bounds rows. Else, and where nothing below was cut for another reason, the part is a full one: what was made for it is forgotten.
 */
typedef struct Before
{
	Query	   *query;
	int			parts;
	int			sources;
	int			leaves;
	List	   *cte_labels;
	List	   *cte_sources;
} Before;

static Before
remember(EltCut *c, Query *query)
{
	Before		before = {copyObject(query), list_length(c->shape->parts), list_length(c->shape->sources), list_length(c->shape->leaves),
	c->cte_labels, c->cte_sources};

	return before;
}

static EltPart *
full_instead(EltCut *c, Before *before, const char *reason, const char *what)
{
	c->shape->parts = list_truncate(c->shape->parts, before->parts);
	c->shape->sources = list_truncate(c->shape->sources, before->sources);
	c->shape->leaves = list_truncate(c->shape->leaves, before->leaves);
	c->cte_labels = before->cte_labels;
	c->cte_sources = before->cte_sources;
	return full_part(c, before->query, reason, what);
}

/* Finish a part that follows changes, or give a full one in its place. */
static EltPart *
finish_or_full(EltCut *c, Before *before, EltPart *part)
{
	bool		bound = true;
	ListCell   *lc;

	foreach(lc, part->blocks)
		if (elt_depends_on_order(c->shape, lfirst_node(Query, lc)))
		return full_instead(c, before, ELT_WHY_ORDER, "a subquery whose result depends on the order of rows");
	if (c->shape->moving)
	{
		foreach(lc, part->blocks)
			bound &= elt_now_is_bound(lfirst(lc));
		bound &= !elt_reads_now((Node *) part->output) && !elt_reads_now((Node *) part->aggregate);
	}
	return bound ? finish(c, part) : full_instead(c, before, ELT_WHY_NOW, "now() elsewhere than in a condition of WHERE");
}

/* By a key that the output has, or by a hash of all columns. */
static void
identify_rows(EltCut *c, EltPart *part)
{
	List	   *key;

	part->input = part->columns;
	part->ninput = part->ncolumns;
	key = elt_find_row_key(c->shape, part);
	if (key != NIL)
	{
		part->unique = true;
		part->nkeys = list_length(key);
		part->key_columns = palloc(sizeof(int) * part->nkeys);
		for (int i = 0; i < part->nkeys; i++)
		{
			EltColumn  *column = &part->columns[list_nth_int(key, i)];

			part->key_columns[i] = list_nth_int(key, i);
			get_sort_group_operators(column->type, false, true, false, NULL, &column->equals, NULL, NULL);
		}
	}
	else
		part->hash = row_hash(part);
}

static EltPart *
rows_part(EltCut *c, Query *query)
{
	EltPart    *part = new_part(ELT_PART_ROWS, ELT_LINEAR);
	Before		before = remember(c, query);

	if (!set_blocks(c, part, query))
		return full_instead(c, &before, ELT_WHY_COMPLEX, "more UNION ALL and FULL JOIN than can be followed");
	output_columns(part, query);
	identify_rows(c, part);
	return finish_or_full(c, &before, part);
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

/* CASE WHEN having THEN expr END */
static Node *
where_shown(Node *expr, Node *having)
{
	CaseExpr   *result = makeNode(CaseExpr);
	CaseWhen   *when = makeNode(CaseWhen);

	when->expr = (Expr *) having;
	when->result = (Expr *) expr;
	when->location = -1;
	result->casetype = exprType(expr);
	result->casecollid = exprCollation(expr);
	result->args = list_make1(when);
	/* the deparser writes nothing for one that is not there */
	result->defresult = (Expr *) makeNullConst(exprType(expr), exprTypmod(expr), exprCollation(expr));
	result->location = -1;
	return (Node *) result;
}

static EltPart *
group_part(EltCut *c, Query *query)
{
	EltPart    *part = new_part(ELT_PART_GROUP, ELT_KEYS);
	Before		before = remember(c, query);
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

		Node	   *expr = elt_grouped_map(grouped, (Node *) tle->expr);

		resno++;
		/* what HAVING leaves out must not be computed: it might be an error */
		if (query->havingQual != NULL && !IsA(expr, Var) && !IsA(expr, Const))
			expr = where_shown(expr, elt_grouped_map(grouped, query->havingQual));
		part->output->targetList = lappend(part->output->targetList, makeTargetEntry((Expr *) expr, resno, tle->resname, false));
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
		return full_instead(c, &before, ELT_WHY_COMPLEX, "more UNION ALL and FULL JOIN than can be followed");
	for (int i = 0; i < part->nkeys; i++)
		note_notnull(c, part, part->key_columns[i], i);
	return finish_or_full(c, &before, part);
}

static EltPart *
distinct_part(EltCut *c, Query *query)
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
window_part(EltCut *c, Query *query)
{
	List	   *equals = NIL;
	List	   *keys = common_partition(query, &equals);
	EltPart    *part = new_part(ELT_PART_WINDOW, ELT_KEYS);
	Before		before = remember(c, query);
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
	elt_forget_perminfos(part->output);
	output_columns(part, query);
	place_keys(part, keys, equals, query);
	if (!set_blocks(c, part, plain_level(query, inputs.exprs)))
		return full_instead(c, &before, ELT_WHY_COMPLEX, "more UNION ALL and FULL JOIN than can be followed");
	return finish_or_full(c, &before, part);
}

/*
 * ORDER BY ... LIMIT
 */

static bool
constant_int8(Node *node, int64 *value)
{
	Const	   *constant = (Const *) node;

	if (node == NULL)
		return true;
	node = eval_const_expressions(NULL, node);
	constant = (Const *) node;
	if (!IsA(node, Const) || constant->constisnull)
		return false;
	*value = DatumGetInt64(constant->constvalue);
	return *value >= 0 && *value <= PG_INT32_MAX;
}

/* The sort clause, as SQL over columns by the names of the storage. */
static char *
order_text(EltPart *part, List *clauses, List *targets)
{
	Query	   *query = elt_select_from_input("elt_u", part->columns, part->ncolumns);
	char	   *sql;
	char	   *order;
	int			i = 0;
	ListCell   *lc;

	foreach(lc, targets)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		TargetEntry *copy;

		i++;
		copy = makeTargetEntry((Expr *) makeVar(1, i, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr), exprCollation((Node *) tle->expr), 0),
							   i, part->columns[i - 1].name, false);
		copy->ressortgroupref = tle->ressortgroupref;
		query->targetList = lappend(query->targetList, copy);
	}
	query->sortClause = clauses;
	sql = elt_query_text(query);
	order = sql;
	for (char *at = strstr(sql, "ORDER BY "); at != NULL; at = strstr(at + 1, "ORDER BY "))
		order = at + strlen("ORDER BY ");
	return order;
}

static EltPart *
top_part(EltCut *c, Query *query)
{
	EltPart    *part = new_part(ELT_PART_TOP, ELT_LINEAR);
	Before		before = remember(c, query);
	List	   *exprs = NIL;
	List	   *targets = NIL;
	ListCell   *lc;

	part->limit = -1;
	if (query->sortClause == NIL)
		return full_part(c, query, ELT_WHY_LIMIT, "LIMIT without ORDER BY");
	if (!constant_int8(query->limitCount, &part->limit) || !constant_int8(query->limitOffset, &part->skip) || part->limit < 0)
		return full_part(c, query, ELT_WHY_LIMIT, "LIMIT or OFFSET that is not a constant");
	part->with_ties = query->limitOption == LIMIT_OPTION_WITH_TIES;
	output_columns(part, query);
	foreach(lc, query->targetList)
		if (!lfirst_node(TargetEntry, lc)->resjunk)
		targets = lappend(targets, lfirst(lc));
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			continue;
		targets = lappend(targets, tle);
		(void) add_storage_column(part, psprintf("_elt_s%d", tle->resno), exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr),
								  exprCollation((Node *) tle->expr));
	}
	foreach(lc, targets)
		exprs = lappend(exprs, lfirst_node(TargetEntry, lc)->expr);
	part->order = order_text(part, copyObject(query->sortClause), targets);
	if (!set_blocks(c, part, plain_level(query, exprs)))
		return full_instead(c, &before, ELT_WHY_COMPLEX, "more UNION ALL and FULL JOIN than can be followed");
	identify_rows(c, part);
	return finish_or_full(c, &before, part);
}

EltPart *
elt_cut(EltCut *c, Query *query)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	query = elt_stack(query);
	if (query->limitCount != NULL || query->limitOffset != NULL)
		return top_part(c, query);
	query = copyObject(query);
	query->sortClause = query->hasDistinctOn ? query->sortClause : NIL;
	if (!query->hasDistinctOn)
		query->targetList = query->hasWindowFuncs || elt_is_aggregate(query) ? query->targetList : visible_targets(query);
	if (query->setOperations != NULL)
	{
		Query	   *counted;

		if (elt_split_blocks(query) != NIL && linitial_node(Query, elt_split_blocks(query))->setOperations == NULL)
			return rows_part(c, query);
		counted = elt_count_sides(query);
		return counted != NULL ? elt_cut(c, counted) : full_part(c, query, ELT_WHY_COMPLEX, "a set operation without columns");
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

			elt_scope(c, block, true);
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

static EltShape *
try_shape(Query *query, bool in_full, const char *why)
{
	EltShape   *shape = palloc0(sizeof(EltShape));
	EltCut		c = {shape};
	Query	   *plain;

	plain = elt_prepare(shape, query);
	if (why != NULL && shape->reason == NULL)
		shape->reason = why;
	if (shape->reason == NULL && !in_full)
		(void) elt_cut(&c, plain);
	else
	{
		/* it is not followed: no leaves, and the text as it was */
		EltPart    *part = new_part(ELT_PART_FULL, ELT_FULL);

		part->query = copyObject(query);
		part->reason = shape->reason;
		output_columns(part, part->query);
		(void) finish(&c, part);
	}
	elt_note_uses(shape);
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
