/*
 * pieces.c
 *	  The parts of tables that tasks read: cut out, and put into a query in the place of the tables.
 *
 *	  partitions -> a task for each                          (several tables: the n-th partition of each)
 *	  blocks     -> ranges of about equal size, by TID        (leaves of a partitioned table: each leaf, large ones in ranges)
 *
 * In the query a mention becomes a subquery over the part, with the columns of the whole in their places, so that nothing else in the query changes.
 *
 * Locks: AccessShare on what is read, to the end of the transaction.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_inherits.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/sql.h"
#include "transform/split.h"

/* so many tasks a worker, that none waits long for another */
#define TASKS_PER_WORKER	4

static bool
mention_walker(Node *node, void *context)
{
	List	  **mentions = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		foreach(lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
			EltMention *mention;

			if (rte->rtekind != RTE_RELATION)
				continue;
			mention = palloc(sizeof(EltMention));
			mention->query = query;
			mention->rte = rte;
			*mentions = lappend(*mentions, mention);
		}
		return query_tree_walker(query, mention_walker, context, 0);
	}
	return expression_tree_walker(node, mention_walker, context);
}

List *
elt_split_mentions(Query *query)
{
	List	   *mentions = NIL;

	(void) mention_walker((Node *) query, &mentions);
	return mentions;
}

static BlockNumber
blocks_of(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	BlockNumber blocks = RELKIND_HAS_STORAGE(rel->rd_rel->relkind) ? RelationGetNumberOfBlocks(rel) : 0;

	relation_close(rel, NoLock);
	return blocks;
}

/* all leaves, for a relation that is partitioned, or else itself */
static List *
leaves_of(Oid relid)
{
	List	   *leaves = NIL;
	ListCell   *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return list_make1_oid(relid);
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_PARTITIONED_TABLE)
			leaves = lappend_oid(leaves, lfirst_oid(lc));
	}
	return leaves;
}

static EltShard *
new_shard(int npieces)
{
	EltShard   *shard = palloc0(sizeof(EltShard));

	shard->pieces = palloc0(sizeof(EltPiece) * npieces);
	return shard;
}

static void
add_piece(EltShard *shard, int mention, Oid relid, BlockNumber lower, BlockNumber upper, double blocks)
{
	EltPiece   *piece = &shard->pieces[shard->npieces++];

	piece->mention = mention;
	piece->relid = relid;
	piece->lower = lower;
	piece->upper = upper;
	shard->weight += blocks;
}

static EltMention *
driver(List *mentions, List *drivers, int n)
{
	return list_nth(mentions, list_nth_int(drivers, n));
}

/* A copy of the OIDs of a table's partitions, in the order of their bounds. */
static Oid *
partitions_of(Oid relid, int *n)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	Oid		   *oids = palloc(sizeof(Oid) * (desc->nparts + 1));

	*n = desc->nparts;
	if (desc->nparts > 0)
		memcpy(oids, desc->oids, sizeof(Oid) * desc->nparts);
	relation_close(rel, NoLock);
	for (int i = 0; i < *n; i++)
		LockRelationOid(oids[i], AccessShareLock);
	return oids;
}

static double
blocks_below(Oid relid)
{
	double		blocks = 0;
	ListCell   *lc;

	foreach(lc, leaves_of(relid))
		blocks += blocks_of(lfirst_oid(lc));
	return blocks;
}

static List *
shards_by_partition(const EltSplit *split, List *mentions)
{
	List	   *shards = NIL;
	int			ndrivers = list_length(split->drivers);

	for (int d = 0; d < ndrivers; d++)
	{
		int			n;
		Oid		   *oids = partitions_of(driver(mentions, split->drivers, d)->rte->relid, &n);

		for (int i = 0; i < n; i++)
		{
			if (d == 0)
				shards = lappend(shards, new_shard(ndrivers));
			add_piece(list_nth(shards, i), list_nth_int(split->drivers, d), oids[i], 0, InvalidBlockNumber, blocks_below(oids[i]));
		}
	}
	return shards;
}

static List *
shards_by_block(const EltSplit *split, List *mentions, int workers)
{
	List	   *shards = NIL;
	int			mention = linitial_int(split->drivers);
	List	   *leaves = leaves_of(driver(mentions, split->drivers, 0)->rte->relid);
	double		all = 0;
	BlockNumber step;
	ListCell   *lc;

	foreach(lc, leaves)
		all += blocks_of(lfirst_oid(lc));
	step = (BlockNumber) Max(all / (workers * TASKS_PER_WORKER) + 1, 1);
	foreach(lc, leaves)
	{
		BlockNumber blocks = blocks_of(lfirst_oid(lc));
		BlockNumber from = 0;

		do
		{
			/*
			 * the rest may be half a step larger; what is added meanwhile
			 * belongs to it
			 */
			bool		last = blocks - from < step + step / 2 || step > MaxBlockNumber / 2;
			EltShard   *shard = new_shard(1);

			add_piece(shard, mention, lfirst_oid(lc), from, last ? InvalidBlockNumber : from + step, last ? blocks - from : step);
			shards = lappend(shards, shard);
			from = last ? blocks : from + step;
		} while (from < blocks);
	}
	return shards;
}

/* "shard 2/8 (public.t blocks 128 to 255)" */
static void
label_shard(EltShard *shard, int number, int all)
{
	StringInfoData label;

	initStringInfo(&label);
	appendStringInfo(&label, "shard %d/%d (", number, all);
	for (int i = 0; i < shard->npieces; i++)
	{
		EltPiece   *piece = &shard->pieces[i];

		appendStringInfo(&label, "%s%s", i > 0 ? ", " : "", elt_qualified_name(piece->relid));
		if (piece->upper != InvalidBlockNumber)
			appendStringInfo(&label, " blocks %u to %u", piece->lower, piece->upper - 1);
		else if (piece->lower > 0)
			appendStringInfo(&label, " blocks from %u", piece->lower);
	}
	appendStringInfoChar(&label, ')');
	shard->label = label.data;
}

List *
elt_split_shards(const EltSplit *split, Query *query, int workers)
{
	List	   *mentions = elt_split_mentions(split->partial != NULL ? split->partial : query);
	List	   *shards;
	int			number = 0;
	ListCell   *lc;

	if (split->kind == ELT_SPLIT_SERIAL)
		shards = list_make1(new_shard(1));
	else if (split->by_partition)
		shards = shards_by_partition(split, mentions);
	else
		shards = shards_by_block(split, mentions, Max(workers, 1));
	foreach(lc, shards)
	{
		EltShard   *shard = lfirst(lc);

		number++;
		if (shard->npieces > 0)
			label_shard(shard, number, list_length(shards));
		else
			shard->label = pstrdup("all");
	}
	return shards;
}

/*
 * Restriction
 */

/* The part's columns, in the places of those of the whole. */
static void
append_columns(StringInfo sql, RangeTblEntry *rte)
{
	for (int attno = 1; attno <= list_length(rte->eref->colnames); attno++)
	{
		char	   *name = get_attname(rte->relid, attno, true);
		HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(rte->relid), Int16GetDatum(attno));
		bool		dropped = !HeapTupleIsValid(tuple) || ((Form_pg_attribute) GETSTRUCT(tuple))->attisdropped;

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (attno > 1)
			appendStringInfoString(sql, ", ");
		if (dropped)
			appendStringInfo(sql, "NULL::pg_catalog.int4 AS elt_dropped_%d", attno);
		else
			appendStringInfo(sql, "elt_s.%s", quote_identifier(name));
	}
}

static char *
piece_sql(RangeTblEntry *rte, const EltPiece *piece)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_columns(&sql, rte);
	appendStringInfo(&sql, " FROM %s%s AS elt_s", rte->inh && (piece->relid == rte->relid || get_rel_relkind(piece->relid) == RELKIND_PARTITIONED_TABLE) ? "" : "ONLY ",
					 elt_qualified_name(piece->relid));
	if (piece->lower > 0 || piece->upper != InvalidBlockNumber)
		appendStringInfo(&sql, " WHERE elt_s.ctid OPERATOR(pg_catalog.>=) '(%u,%u)'::pg_catalog.tid", piece->lower, piece->lower_offset);
	if (piece->upper != InvalidBlockNumber)
		appendStringInfo(&sql, " AND elt_s.ctid OPERATOR(pg_catalog.<) '(%u,%u)'::pg_catalog.tid", piece->upper, piece->upper_offset);
	return sql.data;
}

static Query *
piece_query(RangeTblEntry *rte, const EltPiece *piece)
{
	char	   *sql;
	Query	   *query;

	/*
	 * a partition that was detached or dropped since the run was planned has
	 * no rows of the table
	 */
	LockRelationOid(piece->relid, AccessShareLock);
	if (piece->relid != rte->relid && !list_member_oid(find_all_inheritors(rte->relid, NoLock, NULL), piece->relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a partition of \"%s\" was detached or dropped while it was to be read", get_rel_name(rte->relid)),
				 errhint("Run the transform again.")));
	sql = piece_sql(rte, piece);
	query = parse_analyze_fixedparams(linitial_node(RawStmt, pg_parse_query(sql)), sql, NULL, 0, NULL);
	elt_allow_rte(query, linitial_node(RangeTblEntry, query->rtable));
	return query;
}

static void
restrict_mention(EltMention *mention, const EltPiece *piece)
{
	RangeTblEntry *rte = mention->rte;

	elt_check_rte_permissions(mention->query, rte);
	rte->subquery = piece_query(rte, piece);
	rte->rtekind = RTE_SUBQUERY;
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
	rte->inh = false;
	elt_clear_rte_permissions(rte);
}

void
elt_split_restrict(Query *query, const EltPiece *pieces, int npieces)
{
	List	   *mentions = elt_split_mentions(query);

	for (int i = 0; i < npieces; i++)
	{
		if (pieces[i].mention >= list_length(mentions))
			elog(ERROR, "query has %d mentions, not %d", list_length(mentions), pieces[i].mention + 1);
		restrict_mention(list_nth(mentions, pieces[i].mention), &pieces[i]);
	}
}
