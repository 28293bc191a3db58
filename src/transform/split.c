/*
 * split.c
 *	  How the work of a query can be divided, so that the parts' results together are the whole's.
 *
 *	  candidates    tables in FROM, at any level that is read once
 *	  attempts      tables with the same partitioning together, then each table alone; the largest first
 *	  survey        bottom up: do the tables' parts give parts of the result?  (survey.c)
 *	  partial       else: would they, were it not for the aggregates on top?   (partial.c)
 *
 * A wrong answer is worse than a slow one: what is not known to be right is not split.
 *
 * Reads catalogs and the sizes of tables. Locks: AccessShare on the candidates and their partitions.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "transform/split.h"
#include "transform/survey.h"

typedef struct Candidate
{
	RangeTblEntry *rte;
	double		blocks;
	bool		partitioned;
} Candidate;

/* Candidates that are to be divided together. */
typedef struct Attempt
{
	List	   *candidates;
	double		blocks;
} Attempt;

typedef struct Chooser
{
	Query	   *query;
	List	   *candidates;
	double		largest;		/* blocks of the largest table read */
	const char *reason;			/* why the largest table cannot be a
								 * candidate; NULL: it can */
	const char *detail;
} Chooser;

static EltSplit *
new_split(EltSplitKind kind, const char *reason, const char *detail, const char *hint)
{
	EltSplit   *split = palloc0(sizeof(EltSplit));

	split->kind = kind;
	split->reason = reason;
	split->detail = detail;
	split->hint = hint;
	return split;
}

/*
 * What forbids any split
 */

static bool
is_of_the_session(Oid function, void *context)
{
	switch (function)
	{
		case F_PG_BACKEND_PID:
		case F_TXID_CURRENT:
		case F_TXID_CURRENT_IF_ASSIGNED:
		case F_PG_CURRENT_XACT_ID:
		case F_PG_CURRENT_XACT_ID_IF_ASSIGNED:
		case F_TXID_CURRENT_SNAPSHOT:
		case F_PG_CURRENT_SNAPSHOT:
		case F_CURRENT_SETTING_TEXT:
		case F_CURRENT_SETTING_TEXT_BOOL:
		case F_PG_MY_TEMP_SCHEMA:
		case F_INET_CLIENT_ADDR:
		case F_INET_CLIENT_PORT:
		case F_INET_SERVER_ADDR:
		case F_INET_SERVER_PORT:
			return true;
		default:
			return false;
	}
}

typedef struct Forbidding
{
	const char *reason;
	const char *detail;
} Forbidding;

static bool
forbidding_walker(Node *node, void *context)
{
	Forbidding *forbidding = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		ListCell   *lc;

		foreach(lc, ((Query *) node)->rtable)
		{
			if (lfirst_node(RangeTblEntry, lc)->tablesample == NULL)
				continue;
			forbidding->reason = "tablesample";
			forbidding->detail = "Each part would be sampled anew.";
			return true;
		}
		return query_tree_walker((Query *) node, forbidding_walker, context, 0);
	}
	if (check_functions_in_node(node, is_of_the_session, NULL))
	{
		forbidding->reason = "session_function";
		forbidding->detail = "It calls a function that tells of the session or its transaction.";
		return true;
	}
	return expression_tree_walker(node, forbidding_walker, context);
}

/* With what views and policies of the tables add to the query. */
static bool
is_forbidden(Query *query, Forbidding *forbidding)
{
	query = linitial_node(Query, pg_rewrite_query(copyObject(query)));
	if (contain_volatile_functions((Node *) query))
	{
		forbidding->reason = "volatile";
		forbidding->detail = "It calls a volatile function, which may give something else in each part.";
		return true;
	}
	return forbidding_walker((Node *) query, forbidding);
}

/*
 * Candidates
 */

static double
blocks_of_tree(Oid relid)
{
	double		blocks = 0;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	rel = relation_open(lfirst_oid(lc), NoLock);

		if (RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
			blocks += RelationGetNumberOfBlocks(rel);
		relation_close(rel, NoLock);
	}
	return blocks;
}

/* why a table that is read in FROM cannot be divided; NULL: it can */
static const char *
refusal(RangeTblEntry *rte, const char **detail)
{
	if (rte->relkind == RELKIND_VIEW)
	{
		*detail = "It reads a view.";
		return "view";
	}
	if (rte->relkind == RELKIND_FOREIGN_TABLE)
	{
		*detail = "It reads a foreign table.";
		return "foreign_table";
	}
	if (!RELKIND_HAS_TABLE_AM(rte->relkind) && rte->relkind != RELKIND_PARTITIONED_TABLE)
	{
		*detail = "It reads no table.";
		return "no_table";
	}
	if (rte->relkind == RELKIND_PARTITIONED_TABLE && !rte->inh)
	{
		*detail = "It reads ONLY a partitioned table, which has no rows.";
		return "no_table";
	}
	if (check_enable_rls(rte->relid, InvalidOid, true) != RLS_NONE)
	{
		*detail = "Row-level security of a table that it reads depends on who reads it, and how.";
		return "row_security";
	}
	return NULL;
}

static void collect(Chooser *chooser, EltLevel *level, Node *node);

static void
collect_query(Chooser *chooser, Query *query, EltLevel *outer)
{
	EltLevel	level = {query, outer};

	if (query->setOperations != NULL)
		collect(chooser, &level, query->setOperations);
	else
		collect(chooser, &level, (Node *) query->jointree);
}

static void
collect_entry(Chooser *chooser, EltLevel *level, RangeTblEntry *rte)
{
	if (rte->rtekind == RTE_SUBQUERY)
		collect_query(chooser, rte->subquery, level);
	else if (rte->rtekind == RTE_CTE)
	{
		EltLevel   *owner;
		CommonTableExpr *cte = elt_survey_cte(rte, level, &owner);

		/* more than one reader: each reads the whole */
		if (cte != NULL && !cte->cterecursive && cte->cterefcount == 1)
			collect_query(chooser, castNode(Query, cte->ctequery), owner);
	}
	else if (rte->rtekind == RTE_RELATION)
	{
		const char *detail = NULL;
		const char *why = refusal(rte, &detail);
		Candidate  *candidate;
		double		blocks = why == NULL || RELKIND_HAS_TABLE_AM(rte->relkind) || rte->relkind == RELKIND_PARTITIONED_TABLE ? blocks_of_tree(rte->relid) : 0;

		if (blocks >= chooser->largest)
		{
			chooser->largest = blocks;
			chooser->reason = why;
			chooser->detail = detail;
		}
		if (why != NULL)
			return;
		candidate = palloc0(sizeof(Candidate));
		candidate->rte = rte;
		candidate->blocks = blocks;
		candidate->partitioned = rte->relkind == RELKIND_PARTITIONED_TABLE && rte->inh;
		chooser->candidates = lappend(chooser->candidates, candidate);
	}
}

/* A join tree or a tree of set operations. */
static void
collect(Chooser *chooser, EltLevel *level, Node *node)
{
	ListCell   *lc;

	if (node == NULL)
		return;
	check_stack_depth();
	if (IsA(node, RangeTblRef))
		collect_entry(chooser, level, list_nth_node(RangeTblEntry, level->query->rtable, ((RangeTblRef *) node)->rtindex - 1));
	else if (IsA(node, JoinExpr))
	{
		collect(chooser, level, ((JoinExpr *) node)->larg);
		collect(chooser, level, ((JoinExpr *) node)->rarg);
	}
	else if (IsA(node, SetOperationStmt))
	{
		collect(chooser, level, ((SetOperationStmt *) node)->larg);
		collect(chooser, level, ((SetOperationStmt *) node)->rarg);
	}
	else
	{
		foreach(lc, castNode(FromExpr, node)->fromlist)
			collect(chooser, level, lfirst(lc));
	}
}

/*
 * Attempts
 */

static bool
same_keys(PartitionKey a, PartitionKey b)
{
	if (a->strategy != b->strategy || a->partnatts != b->partnatts)
		return false;
	for (int i = 0; i < a->partnatts; i++)
	{
		/*
		 * lists and ranges are compared by value, which takes the same type;
		 * hash values agree within an operator family
		 */
		if (a->partopfamily[i] != b->partopfamily[i] || a->partcollation[i] != b->partcollation[i] ||
			(a->strategy != PARTITION_STRATEGY_HASH && a->parttypid[i] != b->parttypid[i]))
			return false;
	}
	return true;
}

/* Does the n-th partition of one take the keys that the n-th of the other takes? */
static bool
same_partitioning(Candidate *one, Candidate *other)
{
	Relation	a = relation_open(one->rte->relid, AccessShareLock);
	Relation	b = relation_open(other->rte->relid, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(a);
	PartitionDesc desc_a = RelationGetPartitionDesc(a, true);
	PartitionDesc desc_b = RelationGetPartitionDesc(b, true);
	bool		same = RelationGetRelid(a) == RelationGetRelid(b);

	if (!same && same_keys(key, RelationGetPartitionKey(b)) && desc_a->nparts == desc_b->nparts && desc_a->nparts > 0)
		same = partition_bounds_equal(key->partnatts, key->parttyplen, key->parttypbyval, desc_a->boundinfo, desc_b->boundinfo);
	relation_close(a, NoLock);
	relation_close(b, NoLock);
	return same;
}

static int
compare_attempts(const ListCell *a, const ListCell *b)
{
	double		one = ((Attempt *) lfirst(a))->blocks;
	double		other = ((Attempt *) lfirst(b))->blocks;

	return one > other ? -1 : one < other;
}

static List *
attempts_of(Chooser *chooser)
{
	List	   *together = NIL;
	List	   *alone = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, chooser->candidates)
	{
		Candidate  *candidate = lfirst(lc);
		Attempt    *attempt = palloc0(sizeof(Attempt));
		bool		found = false;

		attempt->candidates = list_make1(candidate);
		attempt->blocks = candidate->blocks;
		alone = lappend(alone, attempt);
		if (!candidate->partitioned)
			continue;
		foreach(lc2, together)
		{
			Attempt    *group = lfirst(lc2);

			if (!found && same_partitioning(linitial(group->candidates), candidate))
			{
				group->candidates = lappend(group->candidates, candidate);
				group->blocks += candidate->blocks;
				found = true;
			}
		}
		if (!found)
		{
			attempt = palloc0(sizeof(Attempt));
			attempt->candidates = list_make1(candidate);
			attempt->blocks = candidate->blocks;
			together = lappend(together, attempt);
		}
	}
	list_sort(alone, compare_attempts);
	foreach(lc, together)
	{
		/* those of one table are among the others */
		if (list_length(((Attempt *) lfirst(lc))->candidates) == 1)
			together = foreach_delete_current(together, lc);
	}
	list_sort(together, compare_attempts);
	return list_concat(together, alone);
}

/*
 * Choosing
 */

static List *
numbers_of(Query *query, Attempt *attempt)
{
	List	   *mentions = elt_split_mentions(query);
	List	   *numbers = NIL;
	ListCell   *lc;

	foreach(lc, attempt->candidates)
	{
		RangeTblEntry *rte = ((Candidate *) lfirst(lc))->rte;

		for (int i = 0; i < list_length(mentions); i++)
			if (((EltMention *) list_nth(mentions, i))->rte == rte)
				numbers = lappend_int(numbers, i);
	}
	return numbers;
}

static EltSurvey *
survey_of(Query *query, Attempt *attempt)
{
	List	   *drivers = NIL;
	bool		by_partition = true;
	ListCell   *lc;

	foreach(lc, attempt->candidates)
	{
		Candidate  *candidate = lfirst(lc);

		drivers = lappend(drivers, candidate->rte);
		by_partition = by_partition && candidate->partitioned;
	}
	return elt_survey_begin(query, drivers, by_partition);
}

static EltSplit *
split_of_survey(Chooser *chooser, Attempt *attempt, EltSurvey *survey)
{
	Candidate  *first = linitial(attempt->candidates);
	EltSplit   *split;

	/* where nothing depends on the key, large partitions can be taken apart */
	if (!survey->keys_used && list_length(attempt->candidates) == 1)
	{
		split = first->partitioned ? new_split(ELT_SPLIT_SHARDS, "partitions", "Each row of the result comes from one row of a partitioned table.", NULL) :
			new_split(ELT_SPLIT_BLOCKS, "row_wise", "Each row of the result comes from one row of the table.", NULL);
		/* children would have rows at the same places */
		split->row_wise = first->partitioned || !first->rte->inh || !has_subclass(first->rte->relid);
	}
	else
	{
		split = new_split(ELT_SPLIT_SHARDS, list_length(attempt->candidates) > 1 ? "colocated" : "partition_key",
						  list_length(attempt->candidates) > 1 ? "Tables with the same partitioning are joined on their partition keys." :
						  "Groups are by the partition key, so that none is in two partitions.", NULL);
		split->by_partition = true;
	}
	split->drivers = numbers_of(chooser->query, attempt);
	return split;
}

static EltSplit *
partial_split(Chooser *chooser, Attempt *attempt, EltSurvey *survey, Query *partial, Query *combine)
{
	EltSplit   *split = new_split(ELT_SPLIT_PARTIAL, "partial_aggregate", "Aggregates of parts are combined, which gives the same.", NULL);

	split->partial = partial;
	split->combine = combine;
	/* subqueries may group by the key even where the query does not */
	split->by_partition = survey->keys_used || list_length(attempt->candidates) > 1;
	split->drivers = numbers_of(chooser->query, attempt);
	return split;
}

/* It is no gain to divide a small table and read a large one again in each task. */
static bool
is_worthwhile(Chooser *chooser, Attempt *attempt)
{
	return attempt->blocks * 2 >= chooser->largest;
}

static EltSplit *
choose_partial(Chooser *chooser, List *attempts)
{
	Query	   *partial;
	Query	   *combine;
	ListCell   *lc;

	if (!elt_partial_make(chooser->query, &partial, &combine))
		return NULL;
	foreach(lc, attempts)
	{
		Attempt    *attempt = lfirst(lc);
		EltSurvey  *survey = survey_of(chooser->query, attempt);

		if (is_worthwhile(chooser, attempt) && elt_survey_from(survey))
			return partial_split(chooser, attempt, survey, partial, combine);
	}
	return NULL;
}

EltSplit *
elt_split_choose(Query *query)
{
	Chooser		chooser = {query};
	Forbidding	forbidding = {0};
	EltSurvey  *first = NULL;
	EltSplit   *split;
	List	   *attempts;
	ListCell   *lc;

	if (is_forbidden(query, &forbidding))
		return new_split(ELT_SPLIT_SERIAL, forbidding.reason, forbidding.detail, NULL);
	collect_query(&chooser, query, NULL);
	if (chooser.candidates == NIL)
		return new_split(ELT_SPLIT_SERIAL, chooser.reason != NULL ? chooser.reason : "no_table",
						 chooser.detail != NULL ? chooser.detail : "It reads no table in FROM that could be divided.",
						 "Read the tables themselves, in FROM.");
	attempts = attempts_of(&chooser);
	foreach(lc, attempts)
	{
		Attempt    *attempt = lfirst(lc);
		EltSurvey  *survey;

		if (!is_worthwhile(&chooser, attempt))
			continue;
		survey = survey_of(query, attempt);
		if (elt_survey_query(survey))
			return split_of_survey(&chooser, attempt, survey);
		if (first == NULL)
			first = survey;
	}
	split = choose_partial(&chooser, attempts);
	if (split != NULL)
		return split;
	if (first == NULL)
		return new_split(ELT_SPLIT_SERIAL, chooser.reason != NULL ? chooser.reason : "small_table",
						 chooser.detail != NULL ? chooser.detail : "The table that could be divided is the smaller one.", NULL);
	return new_split(ELT_SPLIT_SERIAL, first->reason, first->detail, first->hint);
}
