/*
 * advice.c
 *	  What would make a view follow changes better: indexes that lack, and what to do about reasons.
 *
 *	  columns that an equality compares with those of another table (joins; conditions of EXISTS, IN and the like, by which a change finds the rows that it touches)
 *	  columns by which a part groups or partitions, where changed groups are computed anew
 *	    -> columns of tables that no index begins with -> CREATE INDEX
 *
 * Reads catalogs only, under locks that the shape has taken.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "base/sql.h"
#include "catalog/view.h"
#include "view/advice.h"
#include "view/block.h"
#include "view/stack.h"
#include "view/statements.h"

static const struct
{
	const char *reason;
	const char *advice;
}			advices[] =

{
	{
		ELT_WHY_VOLATILE, "Take the function out of the query, or declare it STABLE or IMMUTABLE if it is."
	},
	{
		ELT_WHY_STABLE, "Take the function out of the query, or declare it IMMUTABLE if its result depends on its arguments only."
	},
	{
		ELT_WHY_RECURSIVE, "Write the query without WITH RECURSIVE if the depth is bounded."
	},
	{
		ELT_WHY_FOREIGN, "Copy the foreign table into an ordinary one and read that."
	},
	{
		ELT_WHY_MATVIEW, "Make the materialized view a precomputed one with elt.create_view and read that."
	},
	{
		ELT_WHY_CATALOG, "Leave system catalogs out of the query: their changes are not tracked."
	},
	{
		ELT_WHY_SAMPLE, "Leave TABLESAMPLE out."
	},
	{
		ELT_WHY_INHERITANCE, "Use declarative partitioning instead of inheritance."
	},
	{
		ELT_WHY_SYSCOL, "Leave system columns such as ctid out of the query."
	},
	{
		ELT_WHY_VIRTUAL, "Make the generated column a stored one, or write its expression into the query: the log of changes lacks its values."
	},
	{
		ELT_WHY_WHOLE_ROW, "Name the columns instead of the whole row."
	},
	{
		ELT_WHY_SECURITY, "Let a role own the view to which the table's policies do not apply."
	},
	{
		ELT_WHY_PRIVILEGES, "Grant the owner SELECT on the tables behind the views that the query reads."
	},
	{
		ELT_WHY_KEY_IMAGES, "Track the table with images => 'row'."
	},
	{
		ELT_WHY_WINDOW, "Add PARTITION BY, with at least one expression that all windows share."
	},
	{
		ELT_WHY_NOW, "Use now() only in conditions of WHERE that are joined by AND."
	},
	{
		ELT_WHY_LIMIT, "Add ORDER BY: without it, LIMIT gives any rows."
	},
	{
		ELT_WHY_KEY_TYPE, "Cast it to a type with a sort order, for example json to jsonb or text."
	},
	{
		ELT_WHY_AGGREGATE, "Groups that change are computed anew. Counters can do count, min, max and bool_and, and sum, avg and stddev of integers and of numeric(p,s)."
	},
	{
		ELT_WHY_KEY_IMAGE, "Values of this type can be equal and differ, as 1.0 and 1.00 do: groups that change are computed anew."
	},
	{
		ELT_WHY_ORDER, "Say the order, as in array_agg(x ORDER BY x), or aggregate in a subquery of FROM that reads no columns from outside."
	},
	{
		ELT_WHY_COMPLEX, "Split the query into several views."
	},
	{
		"refresh_mode", "elt.alter_view(..., refresh_mode => 'auto') allows incremental refreshes."
	}
};

const char *
elt_advice_for(const char *reason)
{
	for (int i = 0; reason != NULL && i < lengthof(advices); i++)
		if (strcmp(advices[i].reason, reason) == 0)
			return advices[i].advice;
	return NULL;
}

/*
 * Which column of which table is it?
 */

typedef struct Scope
{
	Query	   *query;
	struct Scope *outer;
} Scope;

typedef struct Column
{
	EltLeaf    *leaf;
	AttrNumber	attno;
} Column;

typedef struct Wanted
{
	EltSource  *source;
	List	   *attnos;			/* of one index */
} Wanted;

typedef struct Search
{
	EltShape   *shape;
	Scope	   *scope;
	List	   *wanted;
} Search;

/* The table's or part's column behind an expression, through simple subqueries. */
static bool
find_column(EltShape *shape, Scope *scope, Node *expr, Column *column)
{
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	while (expr != NULL && IsA(expr, Var))
	{
		Var		   *var = (Var *) expr;
		RangeTblEntry *rte;
		TargetEntry *tle;
		Scope	   *inner;

		for (Index up = var->varlevelsup; up > 0 && scope != NULL; up--)
			scope = scope->outer;
		if (scope == NULL || var->varno > list_length(scope->query->rtable))
			return false;
		rte = rt_fetch(var->varno, scope->query->rtable);
		column->leaf = elt_leaf_of(shape, rte);
		column->attno = var->varattno;
		if (column->leaf != NULL)
			return var->varattno > 0;
		if (rte->rtekind != RTE_SUBQUERY || elt_is_heavy(rte->subquery))
			return false;
		tle = get_tle_by_resno(rte->subquery->targetList, var->varattno);
		if (tle == NULL)
			return false;
		inner = palloc(sizeof(Scope));
		inner->query = rte->subquery;
		inner->outer = scope;
		scope = inner;
		expr = (Node *) tle->expr;
		while (IsA(expr, RelabelType))
			expr = (Node *) ((RelabelType *) expr)->arg;
	}
	return false;
}

/* Does an index that can look values up begin with one of these columns? */
static bool
is_indexed(Wanted *wanted)
{
	Relation	rel = table_open(wanted->source->relid, NoLock);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found |= index->rd_index->indisvalid && (index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID) &&
			RelationGetIndexPredicate(index) == NIL && list_member_int(wanted->attnos, index->rd_index->indkey.values[0]);
		index_close(index, AccessShareLock);
	}
	table_close(rel, NoLock);
	return found;
}

static void
want(Search *search, EltSource *source, List *attnos)
{
	Wanted	   *wanted;
	ListCell   *lc;

	foreach(lc, search->wanted)
	{
		wanted = lfirst(lc);
		if (wanted->source == source && equal(wanted->attnos, attnos))
			return;
	}
	wanted = palloc(sizeof(Wanted));
	wanted->source = source;
	wanted->attnos = attnos;
	search->wanted = lappend(search->wanted, wanted);
}

/*
 * Equalities
 */

static void
note_pair(Search *search, Oid operator, Scope *left_scope, Node *left, Scope *right_scope, Node *right)
{
	Column		a;
	Column		b;

	if (!(op_mergejoinable(operator, exprType(left)) || op_hashjoinable(operator, exprType(left))) ||
		!find_column(search->shape, left_scope, left, &a) || !find_column(search->shape, right_scope, right, &b) || a.leaf == b.leaf)
		return;
	want(search, a.leaf->source, list_make1_int(a.attno));
	want(search, b.leaf->source, list_make1_int(b.attno));
}

static void
note_condition(Search *search, Node *condition)
{
	OpExpr	   *op = (OpExpr *) condition;

	if (IsA(condition, OpExpr) && list_length(op->args) == 2)
		note_pair(search, op->opno, search->scope, linitial(op->args), search->scope, lsecond(op->args));
}

static void
note_conditions(Search *search, Node *node)
{
	ListCell   *lc;

	if (node == NULL)
		return;
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			note_conditions(search, lfirst(lc));
		foreach(lc, elt_conjuncts(((FromExpr *) node)->quals))
			note_condition(search, lfirst(lc));
	}
	else if (IsA(node, JoinExpr))
	{
		note_conditions(search, ((JoinExpr *) node)->larg);
		note_conditions(search, ((JoinExpr *) node)->rarg);
		foreach(lc, elt_conjuncts(((JoinExpr *) node)->quals))
			note_condition(search, lfirst(lc));
	}
}

/* x IN (SELECT y ...): x is compared with y */
static void
note_any(Search *search, SubLink *link)
{
	Query	   *query = castNode(Query, link->subselect);
	List	   *tests = link->testexpr == NULL ? NIL : IsA(link->testexpr, BoolExpr) ? ((BoolExpr *) link->testexpr)->args : list_make1(link->testexpr);
	Scope		inner = {query, search->scope};
	ListCell   *lc;

	if (link->subLinkType != ANY_SUBLINK || elt_is_heavy(query))
		return;
	foreach(lc, tests)
	{
		OpExpr	   *op = lfirst(lc);
		Param	   *param;
		TargetEntry *tle;

		if (!IsA(op, OpExpr) || list_length(op->args) != 2)
			continue;
		param = lsecond(op->args);
		while (IsA(param, RelabelType))
			param = (Param *) ((RelabelType *) param)->arg;
		tle = IsA(param, Param) ? get_tle_by_resno(query->targetList, param->paramid) : NULL;
		if (tle != NULL)
			note_pair(search, op->opno, search->scope, linitial(op->args), &inner, (Node *) tle->expr);
	}
}

static bool
equality_walker(Node *node, void *context)
{
	Search	   *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		note_any(search, (SubLink *) node);
	if (IsA(node, Query))
	{
		Scope		scope = {(Query *) node, search->scope};
		bool		result;

		search->scope = &scope;
		note_conditions(search, (Node *) scope.query->jointree);
		result = query_tree_walker(scope.query, equality_walker, context, QTW_IGNORE_JOINALIASES);
		search->scope = scope.outer;
		return result;
	}
	return expression_tree_walker(node, equality_walker, context);
}

/*
 * Keys
 */

/* The tables' columns that a block's first output columns are, an index for each table. */
static void
note_keys(Search *search, EltPart *part, Query *block)
{
	Scope		scope = {block, NULL};
	List	   *leaves = NIL;
	List	  **attnos = palloc0(sizeof(List *) * (part->nkeys + 1));
	ListCell   *lc;

	for (int i = 0; i < part->nkeys; i++)
	{
		TargetEntry *tle = get_tle_by_resno(block->targetList, i + 1);
		Column		column;
		int			n = 0;

		if (tle == NULL || !find_column(search->shape, &scope, (Node *) tle->expr, &column))
			continue;
		leaves = list_append_unique_ptr(leaves, column.leaf);
		while (list_nth(leaves, n) != column.leaf)
			n++;
		attnos[n] = list_append_unique_int(attnos[n], column.attno);
	}
	foreach(lc, leaves)
		want(search, ((EltLeaf *) lfirst(lc))->source, attnos[foreach_current_index(lc)]);
}

static char *
create_index(Wanted *wanted)
{
	Oid			relid = wanted->source->relid;
	EltView    *view = elt_view_by_relation(relid);
	StringInfoData columns;
	ListCell   *lc;

	initStringInfo(&columns);
	foreach(lc, wanted->attnos)
		appendStringInfo(&columns, "%s%s", lc == list_head(wanted->attnos) ? "" : ", ", quote_identifier(get_attname(relid, lfirst_int(lc), false)));
	if (view == NULL)
		return psprintf("CREATE INDEX ON %s (%s);", elt_qualified_name(relid), columns.data);
	return psprintf("SELECT elt.create_view_index(%s, %s);", quote_literal_cstr(elt_qualified_name(view->relid)),
					quote_literal_cstr(psprintf("(%s)", columns.data)));
}

/* What a part wants to look up in what it reads. */
static List *
wanted_by(EltShape *shape, EltPart *part)
{
	Search		search = {shape, NULL, NIL};
	ListCell   *lc;

	foreach(lc, part->blocks)
	{
		if (part->nkeys > 0 && (part->method == ELT_KEYS || (part->method == ELT_COUNTERS && elt_has_extremes(part))))
			note_keys(&search, part, lfirst_node(Query, lc));
		(void) equality_walker(lfirst(lc), &search);
	}
	return search.wanted;
}

List *
elt_advice_indexes(EltShape *shape, EltPart *part)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, wanted_by(shape, part))
	{
		Wanted	   *wanted = lfirst(lc);

		if (wanted->source->part == NULL && !is_indexed(wanted))
			result = lappend(result, create_index(wanted));
	}
	return result;
}

List *
elt_advice_part_indexes(EltShape *shape, EltPart *part)
{
	List	   *result = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, shape->parts)
	{
		foreach(lc2, wanted_by(shape, lfirst(lc)))
		{
			Wanted	   *wanted = lfirst(lc2);

			if (wanted->source->part == part && !list_member(result, wanted->attnos) &&
				!(part->nkeys > 0 && part->key_columns != NULL && list_member_int(wanted->attnos, part->key_columns[0] + 1)))
				result = lappend(result, wanted->attnos);
		}
	}
	return result;
}
