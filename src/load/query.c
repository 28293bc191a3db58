/*
 * query.c
 *	  Analysis of a load's query: may it be fed with changed rows only?
 *
 * The user writes the query as if it loaded everything; batches run it with the changed rows in the place of the source. That gives
 * the changed rows' part of the result only where each result row comes from one row of the source. So the source may be
 * read once, in FROM, and nothing on the way from there to the result may look at several rows or at the absence of one.
 *
 *   text -> one SELECT -> survey (everything it reads, views included)
 *                      -> way (query levels from the top to the source: what each does with rows)
 *                      -> columns (of the source: no system ones; of the result: named, once, of a real type)
 *                      -> canonical text, read again and compared
 *
 * All checks look at the analysed query tree. What functions read or do cannot be seen there. A CTE counts as a subquery
 * at each place where it is read; one that is never read counts for nothing.
 *
 * Locks: AccessShareLock on the relations read, until the transaction ends. Nothing is written; a crash loses nothing.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/heap.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/exec.h"
#include "base/query.h"
#include "load/query.h"

#define HINT_AGGREGATE	"Load the rows as they are and aggregate over the target."
#define HINT_DISTINCT	"Load the rows as they are and remove duplicates over the target."

/* A query and the one around it, to find what Vars and CTE references mean. */
typedef struct Level
{
	Query	   *query;
	struct Level *outer;
} Level;

typedef struct Analysis
{
	const char *load_name;
	Oid			source;
	char	   *source_name;	/* qualified and quoted */
	List	   *source_tree;	/* OIDs of source and what inherits from it */
	List	   *lookups;
	List	   *relations;		/* what is read at any level, but the source */
	List	   *views;			/* OIDs of views surveyed */
	Oid			view;			/* the view named in the query whose
								 * definition is being surveyed */
	Level	   *level;			/* where a walk is */
	int			reads;			/* reads of the source found by a walk; 2
								 * means more than one */
	RangeTblEntry *source_rte;
	Bitmapset  *columns;		/* attributes of the source that are read; 0
								 * is the whole row */
	List	   *ctes;			/* CommonTableExprs counted ... */
	List	   *cte_reads;		/* ... and how often one read of each reads
								 * the source */
} Analysis;

static char *
relation_label(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Refuse a query that means something else when fed with changes only. */
static void
refuse(const Analysis *a, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("query of load \"%s\" cannot run on changed rows of \"%s\" alone", a->load_name, a->source_name),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
}

/*
 * The survey: everything that is read, at any level, views included
 */

static bool survey_walker(Node *node, void *context);

static void
survey_view(Analysis *a, Oid relid)
{
	bool		outermost = !OidIsValid(a->view);
	Relation	rel;
	Query	   *query;

	if (list_member_oid(a->views, relid))
		return;
	a->views = lappend_oid(a->views, relid);
	if (outermost)
		a->view = relid;
	rel = table_open(relid, AccessShareLock);
	query = get_view_query(rel);
	elt_query_check_locks("load", a->load_name, query);
	(void) survey_walker((Node *) query, a);
	table_close(rel, NoLock);
	if (outermost)
		a->view = InvalidOid;
}

/* A second mention of the source: in a view, or as a table that inherits from it or that it inherits from. */
static void
check_source_mention(Analysis *a, RangeTblEntry *rte)
{
	Oid			relid = rte->relid;

	if (relid == a->source)
	{
		if (OidIsValid(a->view))
			refuse(a, psprintf("View \"%s\" reads it.", relation_label(a->view)),
				   "Name the source once, itself, and join other relations than that view.");
		return;
	}
	if (list_member_oid(a->source_tree, relid) ||
		(rte->inh && has_subclass(relid) && list_member_oid(find_all_inheritors(relid, NoLock, NULL), a->source)))
		refuse(a, psprintf("\"%s\" has rows in common with it.", relation_label(relid)),
			   "Name the source once, and no other table of its partition or inheritance tree.");
}

static void
survey_relation(Analysis *a, RangeTblEntry *rte)
{
	Oid			relid = rte->relid;
	bool		temporary = get_rel_persistence(relid) == RELPERSISTENCE_TEMP;

	if (temporary || relid < FirstNormalObjectId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("query of load \"%s\" reads %s relation \"%s\"",
						a->load_name, temporary ? "temporary" : "system", relation_label(relid)),
				 errhint("Read permanent tables and views of yours only.")));
	check_source_mention(a, rte);
	if (relid == a->source)
		return;
	a->relations = list_append_unique_oid(a->relations, relid);
	if (!OidIsValid(a->view))
		a->lookups = list_append_unique_oid(a->lookups, relid);
	if (rte->relkind == RELKIND_VIEW)
		survey_view(a, relid);
}

/* Batches would fail anyhow; better say it now. What a view reads is its owner's business. */
static void
check_permissions(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION)
			elt_check_rte_permissions(query, rte);
	}
}

static bool
survey_walker(Node *node, void *context)
{
	Analysis   *a = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION)
			survey_relation(a, rte);
		return false;
	}
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		if (!OidIsValid(a->view))
			check_permissions(query);
		return query_tree_walker(query, survey_walker, context, QTW_EXAMINE_RTES_BEFORE);
	}
	return expression_tree_walker(node, survey_walker, context);
}

/*
 * Counting reads of the source, a CTE's wherever it is read
 */

static bool count_walker(Node *node, void *context);

/* The CTE that an entry of `level` reads; *owner is the level whose WITH has it. */
static CommonTableExpr *
find_cte(const RangeTblEntry *rte, Level *level, Level **owner)
{
	ListCell   *lc;

	for (Index up = rte->ctelevelsup; up > 0; up--)
		level = level->outer;
	*owner = level;
	foreach(lc, level->query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (strcmp(cte->ctename, rte->ctename) == 0)
			return cte;
	}
	elog(ERROR, "could not find CTE \"%s\"", rte->ctename);
	return NULL;
}

/* Remembered for each CTE, because reads of reads of CTEs multiply. */
static int
reads_of_cte(Analysis *a, CommonTableExpr *cte, Level *owner)
{
	Level	   *level = a->level;
	int			reads = a->reads;
	int			found;
	ListCell   *lc1;
	ListCell   *lc2;

	forboth(lc1, a->ctes, lc2, a->cte_reads)
	{
		if (lfirst(lc1) == cte)
			return lfirst_int(lc2);
	}
	a->level = owner;
	a->reads = 0;
	(void) count_walker(cte->ctequery, a);
	found = a->reads;
	a->ctes = lappend(a->ctes, cte);
	a->cte_reads = lappend_int(a->cte_reads, found);
	a->level = level;
	a->reads = reads;
	return found;
}

static bool
count_walker(Node *node, void *context)
{
	Analysis   *a = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && rte->relid == a->source)
		{
			a->reads++;
			a->source_rte = rte;
		}
		else if (rte->rtekind == RTE_CTE && !rte->self_reference)
		{
			Level	   *owner;
			CommonTableExpr *cte = find_cte(rte, a->level, &owner);

			a->reads += reads_of_cte(a, cte, owner);
		}
		a->reads = Min(a->reads, 2);
		return false;
	}
	if (IsA(node, Query))
	{
		Level		level = {(Query *) node, a->level};

		a->level = &level;
		(void) query_tree_walker(level.query, count_walker, context, QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_CTE_SUBQUERIES);
		a->level = level.outer;
		return false;
	}
	return expression_tree_walker(node, count_walker, context);
}

/* Does this entry of `level` bring in the rows of the source? */
static bool
entry_has_source(Analysis *a, RangeTblEntry *rte, Level *level)
{
	a->reads = 0;
	a->level = level;
	if (rte->rtekind == RTE_RELATION || rte->rtekind == RTE_CTE)
		(void) count_walker((Node *) rte, a);
	else if (rte->rtekind == RTE_SUBQUERY)
		(void) count_walker((Node *) rte->subquery, a);
	a->level = NULL;
	return a->reads > 0;
}

static void
check_one_read(Analysis *a, Query *query)
{
	a->level = NULL;
	a->reads = 0;
	(void) count_walker((Node *) query, a);
	if (a->reads == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query of load \"%s\" does not read its source \"%s\"", a->load_name, a->source_name),
				 errdetail("The source has to be named in FROM, itself and not through a view or one of its partitions."),
				 errhint("Read the source in FROM, or create the load with the table that the query reads as its source.")));
	if (a->reads > 1)
		refuse(a, "It reads the source more than once (a CTE counts once for each place where it is read).",
			   "Read the source once, load the rows as they are and join them over the target.");
}

/*
 * The way from the result to the source
 */

/* What a query level does that needs more than one row at a time, or NULL; *hint says what to do about it. */
static const char *
construct_over_rows(const Query *query, const char **hint)
{
	*hint = HINT_AGGREGATE;
	if (query->groupingSets != NIL)
		return "GROUPING SETS, ROLLUP or CUBE";
	if (query->groupClause != NIL)
		return "GROUP BY";
	if (query->hasAggs)
		return "an aggregate function";
	if (query->havingQual != NULL)
		return "HAVING";
	*hint = "Load the rows as they are and compute the window function over the target.";
	if (query->hasWindowFuncs || query->windowClause != NIL)
		return "a window function";
	*hint = HINT_DISTINCT;
	if (query->hasDistinctOn)
		return "DISTINCT ON";
	if (query->distinctClause != NIL)
		return "DISTINCT";
	*hint = "Load the rows as they are and limit what is read from the target.";
	if (query->limitCount != NULL)
		return "LIMIT or FETCH FIRST";
	if (query->limitOffset != NULL)
		return "OFFSET";
	*hint = "Create one load for each branch of UNION ALL; for other set operations, load the rows as they are.";
	if (query->setOperations != NULL)
		return "UNION, INTERSECT or EXCEPT";
	return NULL;
}

/* Is this entry in a join tree: -1 no, 0 yes, 1 yes, where an outer join may put NULLs in place of its rows? */
static int
nullable_in(Node *node, Index rti, bool nullable)
{
	if (node == NULL)
		return -1;
	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == (int) rti ? nullable : -1;
	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
		{
			int			found = nullable_in(lfirst(lc), rti, nullable);

			if (found >= 0)
				return found;
		}
		return -1;
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);
		bool		left = join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL;
		bool		right = join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL;
		int			found = nullable_in(join->larg, rti, nullable || left);

		return found >= 0 ? found : nullable_in(join->rarg, rti, nullable || right);
	}
}

static void
check_source_entry(Analysis *a, RangeTblEntry *rte)
{
	if (rte->tablesample != NULL)
		refuse(a, "It has TABLESAMPLE on the source.", "Load all rows, or choose them by a condition in WHERE.");
	if (!rte->inh && rte->relkind == RELKIND_PARTITIONED_TABLE)
		refuse(a, "It has ONLY on the source, a partitioned table, which has no rows of its own.",
			   "Leave ONLY out.");
}

/* Check the query levels from this one down to the source, which is read exactly once below. */
static void
check_way(Analysis *a, Query *query, Level *outer)
{
	Level		level = {query, outer};
	const char *hint;
	const char *construct = construct_over_rows(query, &hint);
	RangeTblEntry *rte = NULL;
	Index		rti = 0;

	check_stack_depth();
	while (rti++ < (Index) list_length(query->rtable))
	{
		rte = rt_fetch(rti, query->rtable);
		if (entry_has_source(a, rte, &level))
			break;
	}
	if (rti > (Index) list_length(query->rtable))
		refuse(a, "It reads the source in a subquery that is an expression (EXISTS, IN, ANY, ALL, ARRAY or a scalar subquery).",
			   "Read the source in FROM and look up the other relations from there.");
	if (construct != NULL)
		refuse(a, psprintf("It has %s over rows of the source.", construct), hint);
	if (nullable_in((Node *) query->jointree, rti, false) != 0)
		refuse(a, "The source is on the side of an outer join that is filled with NULLs where no row matches.",
			   "Put the source on the other side of the join (source LEFT JOIN other), or use an inner join.");

	if (rte->rtekind == RTE_RELATION)
		check_source_entry(a, rte);
	else if (rte->rtekind == RTE_SUBQUERY)
		check_way(a, rte->subquery, &level);
	else
	{
		Level	   *owner;
		CommonTableExpr *cte = find_cte(rte, &level, &owner);

		if (cte->cterecursive)
			refuse(a, psprintf("It reads the source in the recursive query \"%s\".", cte->ctename),
				   "Load the rows as they are and run the recursive query over the target.");
		check_way(a, castNode(Query, cte->ctequery), owner);
	}
}

static void
check_source_column(Analysis *a, AttrNumber attno)
{
	Relation	rel;
	TupleDesc	desc;

	if (attno < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("query of load \"%s\" reads system column \"%s\" of \"%s\"", a->load_name,
						NameStr(SystemAttributeDefinition(attno)->attname), a->source_name),
				 errdetail("Changed rows are read from the change log and have no system columns."),
				 errhint("Use a column of the table, its primary key for example.")));

	/*
	 * attribute 0 is the whole row; a virtual column has no value in a logged
	 * row
	 */
	a->columns = bms_add_member(a->columns, attno);
	rel = relation_open(a->source, AccessShareLock);
	desc = RelationGetDescr(rel);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL && (attno == 0 || attno == att->attnum))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("query of load \"%s\" reads virtual generated column \"%s\" of \"%s\"",
							a->load_name, NameStr(att->attname), a->source_name),
					 errhint("Write the column's expression in the query, or make the column STORED.")));
	}
	relation_close(rel, NoLock);
}

static bool
column_walker(Node *node, void *context)
{
	Analysis   *a = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Level	   *here = a->level;
		Level	   *level = here;
		RangeTblEntry *rte;

		for (Index up = var->varlevelsup; up > 0; up--)
			level = level->outer;
		rte = rt_fetch(var->varno, level->query->rtable);
		if (rte == a->source_rte)
			check_source_column(a, var->varattno);
		else if (rte->rtekind == RTE_JOIN)
		{
			/*
			 * merged columns (USING), or the whole row of a join with an
			 * alias
			 */
			a->level = level;
			(void) column_walker(var->varattno > 0 ? list_nth(rte->joinaliasvars, var->varattno - 1) :
								 (Node *) rte->joinaliasvars, a);
			a->level = here;
		}
		return false;
	}
	if (IsA(node, Query))
	{
		Level		level = {(Query *) node, a->level};

		a->level = &level;
		(void) query_tree_walker(level.query, column_walker, context, QTW_IGNORE_JOINALIASES);
		a->level = level.outer;
		return false;
	}
	return expression_tree_walker(node, column_walker, context);
}

static AttrNumber source_column(Analysis *a, Node *expr, Level *level);

/* The same for a column of a subquery, where rows pass through unchanged in number or repeated. */
static AttrNumber
source_column_of_subquery(Analysis *a, Query *query, AttrNumber attno, Level *outer)
{
	Level		level = {query, outer};

	if (query->commandType != CMD_SELECT || query->setOperations != NULL || query->groupClause != NIL || query->groupingSets != NIL)
		return 0;
	return source_column(a, (Node *) get_tle_by_resno(query->targetList, attno)->expr, &level);
}

/* The attribute of the source whose value this expression always has, or 0. */
static AttrNumber
source_column(Analysis *a, Node *expr, Level *level)
{
	Var		   *var = (Var *) expr;
	RangeTblEntry *rte;
	Level	   *owner;
	CommonTableExpr *cte;

	check_stack_depth();
	if (expr == NULL || !IsA(expr, Var) || var->varattno <= 0)
		return 0;
	for (Index up = var->varlevelsup; up > 0; up--)
		level = level->outer;
	rte = rt_fetch(var->varno, level->query->rtable);
	if (rte->rtekind == RTE_JOIN)
		return source_column(a, list_nth(rte->joinaliasvars, var->varattno - 1), level);
	if (nullable_in((Node *) level->query->jointree, var->varno, false) != 0)
		return 0;
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			return rte == a->source_rte ? var->varattno : 0;
		case RTE_SUBQUERY:
			return source_column_of_subquery(a, rte->subquery, var->varattno, level);
		case RTE_CTE:
			cte = find_cte(rte, level, &owner);
			return cte->cterecursive ? 0 :
				source_column_of_subquery(a, castNode(Query, cte->ctequery), var->varattno, owner);
		default:
			return 0;
	}
}

static void
describe_result(Analysis *a, Query *query, EltLoadQuery *result)
{
	Level		level = {query, NULL};
	int			n = list_length(query->targetList);
	ListCell   *lc;

	elt_query_check_columns("load", a->load_name, query);
	result->names = palloc(sizeof(char *) * (n + 1));
	result->types = palloc(sizeof(Oid) * (n + 1));
	result->typmods = palloc(sizeof(int32) * (n + 1));
	result->collations = palloc(sizeof(Oid) * (n + 1));
	result->passthrough = palloc(sizeof(AttrNumber) * (n + 1));
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) tle->expr;
		int			i = result->ncolumns;

		if (tle->resjunk)
			continue;
		result->names[i] = pstrdup(tle->resname);
		result->types[i] = exprType(expr);
		result->typmods[i] = exprTypmod(expr);
		result->collations[i] = exprCollation(expr);
		result->passthrough[i] = source_column(a, expr, &level);
		result->ncolumns++;
	}
}

EltLoadQuery *
elt_load_query_analyze(const char *text, Oid source, const char *load_name)
{
	Analysis	a = {0};
	EltLoadQuery *result = palloc0(sizeof(EltLoadQuery));
	Query	   *query;

	a.load_name = load_name;
	a.source = source;
	a.source_name = relation_label(source);
	a.source_tree = has_subclass(source) ? find_all_inheritors(source, AccessShareLock, NULL) : NIL;
	query = elt_query_parse("load", load_name, text, false);
	elt_check_row_security(source);
	(void) survey_walker((Node *) query, &a);
	check_one_read(&a, query);
	check_way(&a, query, NULL);
	a.level = NULL;
	(void) column_walker((Node *) query, &a);
	describe_result(&a, query, result);
	result->lookups = a.lookups;
	result->relations = a.relations;
	result->is_volatile = contain_volatile_functions((Node *) query);
	result->sql = elt_query_canonical("load", load_name, query);
	return result;
}

/* The attributes that a query reads, as text; of a row that is read as a whole also the names, which to_jsonb shows. */
static char *
columns_read(const Analysis *a)
{
	Relation	rel = relation_open(a->source, AccessShareLock);
	bool		whole = bms_is_member(0, a->columns);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (whole && !att->attisdropped)
			appendStringInfo(&text, "%d:%s ", att->attnum, quote_identifier(NameStr(att->attname)));
		else if (bms_is_member(att->attnum, a->columns))
			appendStringInfo(&text, "%d ", att->attnum);
	}
	relation_close(rel, NoLock);
	return text.data;
}

char *
elt_load_query_check(const char *sql, Oid source, const char *load_name)
{
	Analysis	a = {.load_name = load_name,.source = source};
	Query	   *query;

	a.source_name = relation_label(source);
	query = elt_query_parse("load", load_name, sql, true);
	(void) count_walker((Node *) query, &a);
	if (a.reads == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("query of load \"%s\" no longer reads its source, which is \"%s\" now", load_name, a.source_name),
				 errdetail("The source was renamed or moved, and another relation has its former name."),
				 errhint("Undo that, or drop the load with elt.drop_load and create it anew.")));
	(void) column_walker((Node *) query, &a);
	return columns_read(&a);
}

EltLoadQuery *
elt_load_query_default(Oid source, Oid target, const char *load_name)
{
	Relation	rel = relation_open(target, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData sql;
	const char *separator = "SELECT ";

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated != '\0' || get_attnum(source, NameStr(att->attname)) <= 0)
			continue;
		appendStringInfo(&sql, "%s%s", separator, quote_identifier(NameStr(att->attname)));
		separator = ", ";
	}
	if (sql.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("source \"%s\" and target \"%s\" of load \"%s\" have no column name in common",
						relation_label(source), relation_label(target), load_name),
				 errhint("Give the load a query whose output columns are columns of the target.")));
	appendStringInfo(&sql, " FROM %s", relation_label(source));
	relation_close(rel, NoLock);
	return elt_load_query_analyze(sql.data, source, load_name);
}
