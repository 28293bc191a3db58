/*
 * prepare.c
 *	  A query made plain: views and CTEs become subqueries, columns of joins become columns of tables.
 *
 *   analysed Query -> views, CTEs -> join columns -> what forbids following changes (shape->reason)
 *
 * Whatever is plain afterwards consists of tables, functions, VALUES and subqueries; entries that are in no FROM are empty results.
 *
 * Locks: AccessShareLock on what is read, to the end of the transaction. Nothing is written.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/sql.h"
#include "view/shape.h"

typedef struct Level
{
	Query	   *query;
	struct Level *outer;
} Level;

typedef struct Prepare
{
	EltShape   *shape;
	Level	   *level;
	int			depth;			/* of views */
} Prepare;

static void
forbid(EltShape *shape, const char *reason, const char *detail)
{
	if (shape->reason != NULL)
		return;
	shape->reason = reason;
	shape->detail = detail != NULL ? pstrdup(detail) : NULL;
}

/*
 * Views and CTEs
 */

static bool expand_walker(Node *node, void *context);

static void
expand_view(Prepare *p, RangeTblEntry *rte)
{
	Relation	rel = table_open(rte->relid, AccessShareLock);
	Query	   *query = copyObject(get_view_query(rel));

	p->shape->tables = list_append_unique_oid(p->shape->tables, rte->relid);
	table_close(rel, NoLock);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->security_barrier = false;
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
	rte->inh = false;
	elt_clear_rte_permissions(rte);
}

static void
expand_cte(Prepare *p, RangeTblEntry *rte)
{
	Level	   *level = p->level;
	ListCell   *lc;

	for (Index up = rte->ctelevelsup; up > 0; up--)
		level = level->outer;
	foreach(lc, level->query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);
		Query	   *query;

		if (strcmp(cte->ctename, rte->ctename) != 0)
			continue;
		if (cte->cterecursive || rte->self_reference)
		{
			forbid(p->shape, ELT_WHY_RECURSIVE, cte->ctename);
			return;
		}
		query = copyObject(castNode(Query, cte->ctequery));
		if (rte->ctelevelsup > 0)
			IncrementVarSublevelsUp((Node *) query, rte->ctelevelsup, 1);
		/* two reads of one CTE share what has to be stored of it */
		rte->enrname = psprintf("cte %s %p", cte->ctename, (void *) cte);
		rte->rtekind = RTE_SUBQUERY;
		rte->subquery = query;
		rte->ctename = NULL;
		rte->ctelevelsup = 0;
		return;
	}
	elog(ERROR, "could not find CTE \"%s\"", rte->ctename);
}

static bool
expand_walker(Node *node, void *context)
{
	Prepare    *p = context;

	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		Level		level = {query, p->level};
		Bitmapset  *in_from = elt_relids_in((Node *) query->jointree);
		int			rti = 0;
		ListCell   *lc;

		p->level = &level;
		foreach(lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			rti++;
			if (rte->rtekind == RTE_JOIN)
				continue;
			/* a view's OLD and NEW */
			if (!bms_is_member(rti, in_from) && rte->rtekind == RTE_RELATION)
				rte->rtekind = RTE_RESULT;
			if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW)
				expand_view(p, rte);
			else if (rte->rtekind == RTE_CTE)
				expand_cte(p, rte);
		}
		(void) query_tree_walker(query, expand_walker, context, QTW_IGNORE_CTE_SUBQUERIES);
		p->level = level.outer;
		/* a recursive one stays; then nothing is cut */
		if (p->shape->reason == NULL)
		{
			query->cteList = NIL;
			query->hasRecursive = false;
		}
		return false;
	}
	return expression_tree_walker(node, expand_walker, context);
}

/*
 * Columns of joins
 */

static Node *
flatten_mutator(Node *node, void *context)
{
	Prepare    *p = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Level	   *level = p->level;
		RangeTblEntry *rte;
		Node	   *expr;

		for (Index up = var->varlevelsup; up > 0; up--)
		{
			level = level->outer;
			if (level == NULL)
				return copyObject(node);
		}
		rte = rt_fetch(var->varno, level->query->rtable);
		if (!elt_rte_has_exprs(rte))
		{
			var = copyObject(var);
			elt_forget_nulling(var);
			return (Node *) var;
		}
		if (var->varattno <= 0)
		{
			forbid(p->shape, ELT_WHY_WHOLE_ROW, rte->eref->aliasname);
			return copyObject(node);
		}
		expr = copyObject(list_nth(elt_rte_exprs(rte), var->varattno - 1));
		if (var->varlevelsup > 0)
			IncrementVarSublevelsUp(expr, var->varlevelsup, 0);
		return flatten_mutator(expr, context);
	}
	if (IsA(node, Query))
	{
		Level		level = {(Query *) node, p->level};
		Query	   *result;

		p->level = &level;
		result = query_tree_mutator((Query *) node, flatten_mutator, context, QTW_IGNORE_JOINALIASES);
		p->level = level.outer;
		return (Node *) result;
	}
	return expression_tree_mutator(node, flatten_mutator, context);
}

/* Joins without names and USING: what they hid can be read again. */
static bool
unname_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		join->usingClause = NIL;
		join->join_using_alias = NULL;
		join->alias = NULL;
		join->isNatural = false;
	}
	if (IsA(node, Query))
	{
		ListCell   *lc;

		foreach(lc, ((Query *) node)->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			if (rte->rtekind == RTE_JOIN)
			{
				rte->alias = NULL;
				rte->join_using_alias = NULL;
				rte->joinmergedcols = 0;
			}
		}
		elt_drop_group_rte((Query *) node);
		return query_tree_walker((Query *) node, unname_walker, context, 0);
	}
	return expression_tree_walker(node, unname_walker, context);
}

Query *
elt_flatten(EltShape *shape, Query *query)
{
	Prepare		p = {shape, NULL, 0};

	query = castNode(Query, flatten_mutator((Node *) query, &p));
	(void) unname_walker((Node *) query, &p);
	return query;
}

/*
 * What forbids following changes
 */

/* Functions that are stable only because they depend on settings that are pinned. */
static bool
is_pinned_stable(Oid function)
{
	static const char *const others[] = {"age", "current_setting", "version", "current_schema", "current_schemas", "current_database",
		"inet_client_addr", "inet_client_port", "inet_server_addr", "inet_server_port", "col_description", "obj_description",
		"shobj_description", "format_type", "current_query", "lastval", "statement_timestamp", "getdatabaseencoding", "ts_stat",
	"cursor_to_xml", "table_to_xml", "query_to_xml", "schema_to_xml", "database_to_xml", "row_security_active", "system_user", NULL};
	char	   *name = get_func_name(function);

	if (get_func_namespace(function) != PG_CATALOG_NAMESPACE)
		return false;
	if (strncmp(name, "pg_", 3) == 0 || strncmp(name, "has_", 4) == 0 || strncmp(name, "to_reg", 6) == 0 || strncmp(name, "reg", 3) == 0 ||
		strstr(name, "_to_xml") != NULL || strncmp(name, "txid_", 5) == 0)
		return false;
	for (int i = 0; others[i] != NULL; i++)
		if (strcmp(name, others[i]) == 0)
			return strcmp(name, "age") == 0 && function == F_AGE_TIMESTAMPTZ_TIMESTAMPTZ;
	return true;
}

static bool
is_now(Oid function)
{
	return function == F_NOW || function == F_TRANSACTION_TIMESTAMP;
}

static bool
check_function(Oid function, void *context)
{
	EltShape   *shape = context;

	if (function >= FirstNormalObjectId)
		shape->functions = list_append_unique_oid(shape->functions, function);
	switch (func_volatile(function))
	{
		case PROVOLATILE_VOLATILE:
			forbid(shape, ELT_WHY_VOLATILE, get_func_name(function));
			break;
		case PROVOLATILE_STABLE:
			if (is_now(function))
				shape->moving = true;
			else if (!is_pinned_stable(function))
				forbid(shape, ELT_WHY_STABLE, get_func_name(function));
			break;
	}
	return false;
}

static void
check_relation(EltShape *shape, RangeTblEntry *rte)
{
	Oid			relid = rte->relid;
	char	   *name = elt_qualified_name(relid);

	shape->tables = list_append_unique_oid(shape->tables, relid);
	/* a stored query may know a table from before it was sharded */
	rte->relkind = get_rel_relkind(relid);
	if (rte->relkind == RELKIND_FOREIGN_TABLE)
		forbid(shape, ELT_WHY_FOREIGN, name);
	else if (rte->relkind == RELKIND_MATVIEW)
		forbid(shape, ELT_WHY_MATVIEW, name);
	else if (relid < FirstNormalObjectId || (rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_PARTITIONED_TABLE))
		forbid(shape, ELT_WHY_CATALOG, name);
	else if (rte->tablesample != NULL)
		forbid(shape, ELT_WHY_SAMPLE, name);
	/* names that bags of rows add to its own */
	else if (get_attnum(relid, "_elt_w") != InvalidAttrNumber || get_attnum(relid, "_elt_cur") != InvalidAttrNumber)
		forbid(shape, ELT_WHY_COMPLEX, name);
	else if (has_superclass(relid) || (rte->relkind == RELKIND_RELATION && find_inheritance_children(relid, NoLock) != NIL) ||
			 (!rte->inh && rte->relkind == RELKIND_PARTITIONED_TABLE))
		forbid(shape, ELT_WHY_INHERITANCE, name);
	else if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		forbid(shape, ELT_WHY_SECURITY, name);
	else if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
			 pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ALL) != ACLCHECK_OK)
		forbid(shape, ELT_WHY_PRIVILEGES, name);
}

static bool
is_virtual(RangeTblEntry *rte, AttrNumber attno)
{
	return rte->rtekind == RTE_RELATION && get_attgenerated(rte->relid, attno) == ATTRIBUTE_GENERATED_VIRTUAL;
}

static bool
check_walker(Node *node, void *context)
{
	Prepare    *p = context;

	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, check_function, p->shape);
	if (IsA(node, SQLValueFunction))
	{
		switch (((SQLValueFunction *) node)->op)
		{
			case SVFOP_CURRENT_DATE:
			case SVFOP_CURRENT_TIMESTAMP:
			case SVFOP_CURRENT_TIMESTAMP_N:
			case SVFOP_LOCALTIMESTAMP:
			case SVFOP_LOCALTIMESTAMP_N:
				p->shape->moving = true;
				break;
			case SVFOP_CURRENT_ROLE:
			case SVFOP_CURRENT_USER:
			case SVFOP_USER:
			case SVFOP_CURRENT_CATALOG:
				break;
			default:
				forbid(p->shape, ELT_WHY_STABLE, "CURRENT_TIME, SESSION_USER or CURRENT_SCHEMA");
		}
	}
	if (IsA(node, NextValueExpr))
		forbid(p->shape, ELT_WHY_VOLATILE, "nextval");
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Level	   *level = p->level;

		for (Index up = var->varlevelsup; up > 0 && level != NULL; up--)
			level = level->outer;
		if (level != NULL && var->varattno < 0)
			forbid(p->shape, ELT_WHY_SYSCOL, rt_fetch(var->varno, level->query->rtable)->eref->aliasname);
		if (level != NULL && var->varattno == 0 && rt_fetch(var->varno, level->query->rtable)->rtekind != RTE_FUNCTION)
			forbid(p->shape, ELT_WHY_WHOLE_ROW, rt_fetch(var->varno, level->query->rtable)->eref->aliasname);
		if (level != NULL && var->varattno > 0 && is_virtual(rt_fetch(var->varno, level->query->rtable), var->varattno))
			forbid(p->shape, ELT_WHY_VIRTUAL, get_attname(rt_fetch(var->varno, level->query->rtable)->relid, var->varattno, false));
		return false;
	}
	if (IsA(node, RangeTblEntry))
	{
		if (((RangeTblEntry *) node)->rtekind == RTE_RELATION)
			check_relation(p->shape, (RangeTblEntry *) node);
		return false;
	}
	if (IsA(node, Query))
	{
		Level		level = {(Query *) node, p->level};

		p->level = &level;
		(void) query_tree_walker((Query *) node, check_walker, context, QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
		p->level = level.outer;
		return false;
	}
	return expression_tree_walker(node, check_walker, context);
}

Query *
elt_prepare(EltShape *shape, Query *query)
{
	Prepare		p = {shape, NULL, 0};

	query = copyObject(query);
	(void) expand_walker((Node *) query, &p);
	if (shape->reason == NULL)
	{
		query = elt_flatten(shape, query);
	}
	(void) check_walker((Node *) query, &p);
	return query;
}
