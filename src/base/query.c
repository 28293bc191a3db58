/*
 * query.c
 *	  Queries that users give and we keep: text to query tree, and back.
 *
 *	  text -> parser, with positions told in the text -> one SELECT that only reads -> output columns: named, once, of a real type
 *	       -> canonical text, read again and compared
 *
 * The canonical text names everything outside pg_catalog with its schema and is written under pinned settings. It is read under ELT_SEARCH_PATH.
 *
 * Locks: AccessShareLock on the relations read, until the transaction ends. Nothing is written; a crash loses nothing.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parsetree.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "base/compat.h"
#include "base/query.h"
#include "base/secctx.h"

/* What to do about a query, by whose it is. */
typedef struct Hints
{
	const char *one_statement;
	const char *not_select;
	const char *writes;
	const char *stored;
	const char *unnamed;
	const char *duplicate;
	const char *pseudo_type;
	const char *no_columns;
} Hints;

static const Hints load_hints = {
	"Write one SELECT whose output columns are the columns to load.",
	"Write one SELECT, without INTO, whose output columns are the columns to load.",
	"Write one SELECT that only reads; the load writes to its target.",
	"The query is kept as text. If what it names was renamed, moved or dropped since, undo that, or drop the load with "
	"elt.drop_load and create it anew.",
	"Name it after its column of the target: expression AS column.",
	"Give each output column the name of its column of the target.",
	"Cast it to the type of its column of the target.",
	"Name the columns to load after SELECT."
};

static const Hints view_hints = {
	"Write one SELECT whose output columns are the columns of the view.",
	"Write one SELECT, without INTO, whose output columns are the columns of the view.",
	"Write one SELECT that only reads.",
	"The query is kept as text. If what it names was renamed, moved or dropped since, undo that, or drop the view and create it anew.",
	"Name it: expression AS column.",
	"Give each output column a name of its own: expression AS column.",
	"Cast it to a type that a column can have.",
	"Name the columns of the view after SELECT."
};

static const Hints transform_hints = {
	"Write one SELECT whose output columns are columns of the target.",
	"Write one SELECT, without INTO, whose output columns are columns of the target.",
	"Write one SELECT that only reads; the transform writes to its target.",
	"The query is kept as text. If what it names was renamed, moved or dropped since, undo that, or give the transform another query by "
	"elt.alter_transform.",
	"Name it after its column of the target: expression AS column.",
	"Give each output column the name of its column of the target.",
	"Cast it to the type of its column of the target.",
	"Name the columns of the target after SELECT."
};

/* What is being parsed, for the context of errors. */
typedef struct QueryText
{
	const char *kind;
	const char *name;
	const char *sql;
	bool		stored;
} QueryText;

static const Hints *
hints_for(const char *kind)
{
	if (strcmp(kind, "transform") == 0)
		return &transform_hints;
	return strcmp(kind, "load") == 0 ? &load_hints : &view_hints;
}

/* Error positions are positions in the query, not in the statement that gave it to us. */
static void
text_error_context(void *arg)
{
	const QueryText *query_text = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(query_text->sql);
	}
	if (query_text->stored)
		errhint("%s", hints_for(query_text->kind)->stored);
	errcontext("query of %s \"%s\"", query_text->kind, query_text->name);
}

static bool
lock_walker(Node *node, void *context)
{
	const QueryText *query_text = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		if (query->rowMarks != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("query of %s \"%s\" locks rows", query_text->kind, query_text->name),
					 errdetail("It has FOR UPDATE, FOR SHARE or the like."),
					 errhint("Leave the locking clause out.")));
		return query_tree_walker(query, lock_walker, context, 0);
	}
	return expression_tree_walker(node, lock_walker, context);
}

void
elt_query_check_locks(const char *kind, const char *name, Query *query)
{
	QueryText	query_text = {kind, name, NULL, false};

	(void) lock_walker((Node *) query, &query_text);
}

Query *
elt_query_parse(const char *kind, const char *name, const char *sql, bool stored)
{
	QueryText	arg = {kind, name, sql, stored};
	ErrorContextCallback context = {error_context_stack, text_error_context, &arg};
	List	   *parsed;
	Query	   *query;

	error_context_stack = &context;
	parsed = pg_parse_query(sql);
	if (list_length(parsed) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("query of %s \"%s\" is not one statement", kind, name),
				 errdetail("It has %d statements.", list_length(parsed)),
				 errhint("%s", hints_for(kind)->one_statement)));
	query = parse_analyze_fixedparams(linitial_node(RawStmt, parsed), sql, NULL, 0, NULL);
	error_context_stack = context.previous;

	if (query->commandType != CMD_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("query of %s \"%s\" is not a SELECT", kind, name),
				 errhint("%s", hints_for(kind)->not_select)));
	if (query->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("query of %s \"%s\" writes to tables", kind, name),
				 errdetail("It has INSERT, UPDATE, DELETE or MERGE in WITH."),
				 errhint("%s", hints_for(kind)->writes)));
	elt_query_check_locks(kind, name, query);
	return query;
}

/* before: the names of the columns before this one */
static void
check_column(const char *kind, const char *name, const TargetEntry *tle, List *before)
{
	Oid			type = exprType((Node *) tle->expr);
	ListCell   *lc;

	if (strcmp(tle->resname, "?column?") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("query of %s \"%s\" has an output column without a name", kind, name),
				 errdetail("It is column %d.", tle->resno),
				 errhint("%s", hints_for(kind)->unnamed)));
	foreach(lc, before)
	{
		if (strcmp(lfirst(lc), tle->resname) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("query of %s \"%s\" has two output columns \"%s\"", kind, name, tle->resname),
					 errhint("%s", hints_for(kind)->duplicate)));
	}
	if (get_typtype(type) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("output column \"%s\" of %s \"%s\" has pseudo-type %s", tle->resname, kind, name, format_type_be(type)),
				 errhint("%s", hints_for(kind)->pseudo_type)));
}

void
elt_query_check_columns(const char *kind, const char *name, Query *query)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
			continue;
		check_column(kind, name, tle, names);
		names = lappend(names, tle->resname);
	}
	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("query of %s \"%s\" has no output columns", kind, name),
				 errhint("%s", hints_for(kind)->no_columns)));
	list_free(names);
}

static bool
note_function(Oid function, void *context)
{
	List	  **functions = context;

	*functions = lappend_oid(*functions, function);
	return false;
}

/* Collect the functions that a query calls, those behind operators included, each as often as it is called. */
static bool
function_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, function_walker, context, 0);
	(void) check_functions_in_node(node, note_function, context);
	return expression_tree_walker(node, function_walker, context);
}

/*
 * Does the canonical text mean what the user's text means? It names no operator for IS DISTINCT FROM, NULLIF, CASE x WHEN and
 * JOIN USING: read under another search_path, those can become another type's operators.
 */
static void
check_canonical(const char *kind, const char *name, Query *query, const char *sql)
{
	Query	   *again = elt_query_parse(kind, name, sql, false);
	List	   *functions = NIL;
	List	   *functions_again = NIL;
	ListCell   *lc;

	(void) function_walker((Node *) query, &functions);
	(void) function_walker((Node *) again, &functions_again);
	list_sort(functions, list_oid_cmp);
	list_sort(functions_again, list_oid_cmp);
	if (!equal(functions, functions_again))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("query of %s \"%s\" depends on search_path", kind, name),
				 errdetail("Under search_path \"%s\" it does not call the same functions.", ELT_SEARCH_PATH),
				 errhint("Write IS DISTINCT FROM, NULLIF, CASE x WHEN and JOIN USING as comparisons with =, or cast both sides.")));
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		TargetEntry *other = get_tle_by_resno(again->targetList, tle->resno);
		Node	   *expr = (Node *) tle->expr;
		Node	   *other_expr = other != NULL ? (Node *) other->expr : NULL;

		if (tle->resjunk)
			continue;
		if (other == NULL || other->resjunk || strcmp(other->resname, tle->resname) != 0 ||
			exprType(other_expr) != exprType(expr) || exprTypmod(other_expr) != exprTypmod(expr) ||
			exprCollation(other_expr) != exprCollation(expr))
			elog(ERROR, "column \"%s\" differs in the canonical text of %s \"%s\": %s", tle->resname, kind, name, sql);
	}
}

/*
 * The deparser leaves names unqualified where a query reads one relation only: "ORDER BY b" is then read as an output column of that name, if there is one.
 */
char *
elt_deparse(Query *query)
{
	/*
	 * the deparser writes into it, columns of groups (from 18 on) for
	 * instance
	 */
	query = copyObject(query);
	if (elt_has_one_entry(query))
	{
		RangeTblEntry *rte = makeNode(RangeTblEntry);

		rte->rtekind = RTE_RESULT;
		rte->eref = makeAlias("nothing", NIL);
		query->rtable = lappend(query->rtable, rte);
	}
	return pg_get_querydef(query, false);
}

char *
elt_query_canonical(const char *kind, const char *name, Query *query)
{
	int			guc_nest_level = NewGUCNestLevel();
	char	   *sql;

	elt_pin_sql_settings();
	elt_pin_setting("quote_all_identifiers", "off");
	elt_pin_setting("DateStyle", "ISO");
	elt_pin_setting("IntervalStyle", "postgres");
	elt_pin_setting("extra_float_digits", "1");
	sql = elt_deparse(query);
	check_canonical(kind, name, query, sql);
	AtEOXact_GUC(false, guc_nest_level);
	return sql;
}
