/*
 * scope.c
 *	  What the blocks of a part read: tables and other parts as leaves, core or appended.
 *
 * Subqueries that do more than select, join and filter, and do not depend on rows around them, become parts of their own; those that do depend are appended as they are.
 *
 * Locks: AccessShareLock on what is read. Nothing is written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_index.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "view/cut.h"
#include "view/stack.h"

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
add_source(EltCut *c)
{
	EltSource  *source = palloc0(sizeof(EltSource));

	c->shape->sources = lappend(c->shape->sources, source);
	source->number = list_length(c->shape->sources);
	return source;
}

static EltSource *
table_source(EltCut *c, RangeTblEntry *rte)
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
read_as_leaf(EltCut *c, RangeTblEntry *rte, EltSource *source, bool core)
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
read_part(EltCut *c, RangeTblEntry *rte, bool core)
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
		part = elt_cut(c, rte->subquery);
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

/* Subqueries in expressions: appended, or parts. */
static bool
sublink_walker(Node *node, void *context)
{
	EltCut	   *c = context;

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
				elt_scope(c, query, false);
				return false;
			}
			foreach(lc, outer->targetList)
				visible += !lfirst_node(TargetEntry, lc)->resjunk;
			outer->targetList = list_truncate(outer->targetList, visible);
			link->subselect = (Node *) outer;
			query = outer;
		}
		elt_scope(c, query, false);
		return false;
	}
	/* entries of the range table are looked at by scope() */
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, sublink_walker, context);
}

static void
scope_entry(EltCut *c, RangeTblEntry *rte, bool core)
{
	if (rte->rtekind == RTE_RELATION)
		read_as_leaf(c, rte, table_source(c, rte), core);
	else if (rte->rtekind == RTE_SUBQUERY && !elt_is_correlated(rte->subquery) && elt_is_heavy(rte->subquery))
		read_part(c, rte, core);
	else if (rte->rtekind == RTE_SUBQUERY)
		elt_scope(c, rte->subquery, core && !elt_is_heavy(rte->subquery));
	else
		(void) range_table_entry_walker(rte, sublink_walker, c, 0);
}

static void
scope_jointree(EltCut *c, Query *query, Node *node, bool core)
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
void
elt_scope(EltCut *c, Query *query, bool core)
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

void
elt_note_uses(EltShape *shape)
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
