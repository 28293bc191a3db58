/*
 * refresh.c
 *	  Refreshing views: elt.refresh.
 *
 *	  the view and those it reads, upstream first: lock them, lock their sources -> one snapshot
 *	  each in turn: windows of its sources -> nothing to do | changes: net, follow | marks, lost values, other columns: all anew
 *	  -> offsets stored
 *
 * A view that is read by another one is refreshed first, so that the result is the query's at the snapshot, through all levels. The storage of a view is
 * a source like any other: what was just written to it is in the window of those above, since that is opened when their turn comes.
 *
 * Locks: Exclusive on the nodes by id, then on the consumers; AccessShare on the sources, and on what a full part reads; then the snapshot. A crash, an error or a
 * cancel undoes all of it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "base/attempt.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/progress.h"
#include "base/query.h"
#include "base/secctx.h"
#include "base/sql.h"
#include "capture/image.h"
#include "capture/net.h"
#include "capture/segment.h"
#include "capture/track.h"
#include "capture/tree.h"
#include "catalog/table.h"
#include "view/block.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(elt_sql_refresh);

#define FOLLOW_PAGE_COST	"0.2"

/* A view on its way through a refresh. */
typedef struct Turn
{
	EltView    *view;
	EltShape   *shape;
	List	   *sources;		/* EltViewSource */
	List	   *batches;		/* EltBatch, beside them */
	int64		read;			/* changes, of which nothing may have been
								 * left */
	EltRefresh *result;
} Turn;

static void
refresh_error_context(void *arg)
{
	errcontext("precomputed view \"%s\"", ((EltView *) arg)->node.name);
}

Query *
elt_view_query(EltView *view)
{
	Relation	rel;
	Query	   *query;

	if (!OidIsValid(view->definition))
		return elt_view_query_of_text(view);
	rel = try_relation_open(view->definition, AccessShareLock);
	if (rel == NULL)
	{
		/* it may have been altered while this waited for the lock */
		EltView    *latest = elt_view_by_id(view->node.id);

		if (latest != NULL && latest->definition != view->definition)
			return elt_view_query(latest);
		if (latest == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("view \"%s\" was dropped meanwhile", view->node.name),
					 errhint("elt.views lists the views that are left.")));
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the query of view \"%s\" was dropped, with what it reads", view->node.name),
				 errhint("Drop the view with elt.drop_view, and create it anew.")));
	}
	query = copyObject(get_view_query(rel));

	/*
	 * not kept locked: who waits for the node's lock must not hold up who has
	 * it and drops the view
	 */
	table_close(rel, AccessShareLock);
	return query;
}

EltShape *
elt_view_shape(EltView *view)
{
	return elt_shape_make(elt_view_query(view), strcmp(view->refresh_mode, "full") == 0);
}

/* The attributes that a source's readers need, as text. */
static char *
used_columns(EltSource *source)
{
	StringInfoData text;
	int			attno = -1;

	initStringInfo(&text);
	while ((attno = bms_next_member(source->used, attno)) >= 0)
		appendStringInfo(&text, "%d ", attno);
	return text.data;
}

/* Does the consumer still read the log that the source has? Not after the tracking ended and began anew, or in a database restored from a dump. */
static bool
is_followed(EltViewSource *source)
{
	EltConsumer *consumer = elt_consumer_by_id(source->consumer);
	EltCapture *capture = elt_capture_by_relation(source->relid);

	return consumer != NULL && capture != NULL && consumer->capture == capture->id && elt_install_is(&consumer->install) &&
		elt_install_is(&capture->install);
}

void
elt_view_sync_sources(EltView *view, EltShape *shape)
{
	List	   *known = NIL;
	List	   *noted = elt_view_sources(view->node.id);
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, noted)
	{
		EltViewSource *row = lfirst(lc);
		bool		is_read = false;

		foreach(lc2, shape->sources)
			is_read |= ((EltSource *) lfirst(lc2))->part == NULL && ((EltSource *) lfirst(lc2))->relid == row->relid;
		if (is_read && is_followed(row))
			known = lappend(known, row);
		else
			elt_view_source_delete(view->node.id, row->relid);
	}
	foreach(lc, shape->sources)
	{
		EltSource  *source = lfirst(lc);
		EltCapture *capture;
		EltViewSource row = {source->relid, 0, used_columns(source)};
		bool		found = false;

		if (source->part != NULL)
			continue;
		foreach(lc2, known)
			found |= ((EltViewSource *) lfirst(lc2))->relid == source->relid;
		if (found)
			continue;
		capture = elt_track_for(source->relid, view->node.name);
		row.consumer = elt_consumer_create(capture->id, "view", view->node.name, false, false);
		elt_view_source_insert(view->node.id, &row);
		view->populated = false;
	}
}

/*
 * Changes of a source
 */

typedef struct Masked
{
	EltDelta   *delta;
	TupleDesc	desc;
	Bitmapset  *used;
	bool		all;			/* nothing to mask */
	Datum	   *values;
	bool	   *nulls;
} Masked;

/* Columns that the query does not read are NULL, so that a change of just these is none. */
static void
put_masked(Masked *masked, List *tuples, int64 weight)
{
	ListCell   *lc;

	foreach(lc, tuples)
	{
		HeapTupleData view;
		MinimalTuple tuple;

		if (masked->all)
		{
			elt_delta_add(masked->delta, lfirst(lc), weight);
			continue;
		}
		elt_tuple_of_minimal(lfirst(lc), &view);
		heap_deform_tuple(&view, masked->desc, masked->values, masked->nulls);
		for (int i = 0; i < masked->desc->natts; i++)
			if (!bms_is_member(i + 1, masked->used))
				masked->nulls[i] = true;
		tuple = elt_form_minimal_tuple(masked->desc, masked->values, masked->nulls);
		elt_delta_add(masked->delta, tuple, weight);
		pfree(tuple);
	}
}

static void
put_change(void *arg, List *removed, List *added)
{
	put_masked(arg, removed, -1);
	put_masked(arg, added, 1);
}

static bool
is_all_used(TupleDesc desc, Bitmapset *used)
{
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped && !bms_is_member(i + 1, used))
			return false;
	return true;
}

/* The netted change of a batch; NULL with *lost: the log lacks a value. NULL: no change. */
static EltDelta *
read_delta(EltBatch *batch, EltSource *source, int64 *read, bool *lost)
{
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(batch->root));
	Masked		masked = {elt_delta_begin(desc), desc, source->used, is_all_used(desc, source->used)};

	masked.values = palloc(sizeof(Datum) * (desc->natts + 1));
	masked.nulls = palloc(sizeof(bool) * (desc->natts + 1));
	batch->chunks = 1;
	*read += elt_net_each(batch, ELT_NET_ROWS, put_change, &masked, lost);
	if (*lost)
		return NULL;
	elt_delta_net(masked.delta);
	if (elt_delta_count(masked.delta) > 0)
		return masked.delta;
	elt_delta_free(masked.delta);
	return NULL;
}

static EltSource *
source_of(EltShape *shape, Oid relid)
{
	ListCell   *lc;

	foreach(lc, shape->sources)
		if (((EltSource *) lfirst(lc))->relid == relid)
		return lfirst(lc);
	elog(ERROR, "view does not read relation %u", relid);
	return NULL;
}

static bool
is_one_full_part(EltShape *shape)
{
	return list_length(shape->parts) == 1 && ((EltPart *) linitial(shape->parts))->method == ELT_FULL;
}

/* Why the changes do not suffice; NULL: they do. */
static char *
reason_for_full(Turn *turn, const char *forced)
{
	ListCell   *lc;
	ListCell   *lc2;

	if (forced != NULL)
		return pstrdup(forced);
	if (!turn->view->populated)
		return pstrdup("initial");
	if (turn->view->bodies == NULL || strcmp(turn->view->bodies, elt_view_bodies(turn->shape)) != 0)
		return pstrdup("source_altered");
	forboth(lc, turn->sources, lc2, turn->batches)
	{
		EltViewSource *row = lfirst(lc);
		EltBatch   *batch = lfirst(lc2);

		if (batch->consumer->offset == NULL)
			return pstrdup("initial");
		if (batch->resync != NULL)
			return psprintf("source_%s", strcmp(batch->resync, "truncate") == 0 ? "truncated" : "altered");
		if (strcmp(row->columns, used_columns(source_of(turn->shape, row->relid))) != 0)
			return pstrdup("source_altered");
		if (batch->capture->keys_only)
			return pstrdup(ELT_WHY_KEY_IMAGES);
	}
	if (is_one_full_part(turn->shape) && (turn->shape->reason != NULL || strcmp(turn->view->refresh_mode, "full") == 0))
		return pstrdup(turn->shape->reason != NULL ? turn->shape->reason : "refresh_mode");
	return NULL;
}

static EltMaintain *
begin_maintain(Turn *turn)
{
	EltMaintain *m = palloc0(sizeof(EltMaintain));
	int			nparts = list_length(turn->shape->parts);
	ListCell   *lc;

	m->view = turn->view;
	m->shape = turn->shape;
	m->storages = elt_storage_list(turn->view, turn->shape);
	m->places.shape = turn->shape;
	m->places.storages = palloc0(sizeof(char *) * (nparts + 1));
	for (int i = 1; i <= nparts; i++)
		m->places.storages[i] = elt_qualified_name(m->storages[i]);
	m->places.frozen = turn->view->frozen_where;
	m->complete = palloc0(sizeof(bool) * (nparts + 1));
	foreach(lc, elt_view_parts(turn->view->node.id))
		m->complete[((EltViewPart *) lfirst(lc))->part] = ((EltViewPart *) lfirst(lc))->complete;
	m->deltas = palloc0(sizeof(EltDelta *) * (list_length(turn->shape->sources) + 1));
	m->removed = palloc0(sizeof(Tuplestorestate *) * (list_length(turn->shape->sources) + 1));
	m->added = palloc0(sizeof(Tuplestorestate *) * (list_length(turn->shape->sources) + 1));
	m->then = turn->view->as_of;
	m->moved = turn->shape->moving && turn->view->as_of != GetCurrentTransactionStartTimestamp();
	return m;
}

/* Net the windows; false: the log lacks a value. */
static bool
read_deltas(Turn *turn, EltMaintain *m)
{
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, turn->sources, lc2, turn->batches)
	{
		EltSource  *source = source_of(turn->shape, ((EltViewSource *) lfirst(lc))->relid);
		bool		lost = false;

		m->deltas[source->number] = read_delta(lfirst(lc2), source, &turn->read, &lost);
		if (lost)
			return false;
		if (m->deltas[source->number] != NULL)
			m->changed = bms_add_member(m->changed, source->number);
	}
	return true;
}

static void
refuse_full(EltView *view, const char *reason)
{
	if (strcmp(view->refresh_mode, "incremental") != 0 || strcmp(reason, "initial") == 0 || strcmp(reason, "key_too_long") == 0 || strncmp(reason, "source_", 7) == 0 ||
		strcmp(reason, "asked") == 0 || strcmp(reason, "altered") == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("view \"%s\" cannot be refreshed incrementally: %s", view->node.name, reason),
			 errhint("elt.explain_view tells why; elt.alter_view(%s, refresh_mode => 'auto') allows full refreshes.",
					 quote_literal_cstr(view->node.name))));
}

/* A value that does not fit into an index. */
static bool
is_too_long(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

/* Has nothing been written to any storage yet? */
static bool
are_empty(EltMaintain *m)
{
	for (int i = 1; i <= list_length(m->shape->parts); i++)
	{
		Relation	rel = table_open(m->storages[i], AccessShareLock);
		bool		empty = RelationGetNumberOfBlocks(rel) == 0;

		table_close(rel, NoLock);
		if (!empty)
			return false;
	}
	return true;
}

static void
work_full(void *arg)
{
	EltMaintain *m = arg;

	elt_maintain_full(m, !m->view->populated && are_empty(m));
}


static void
full_refresh(Turn *turn, EltMaintain *m, char *reason)
{
	ErrorData  *error = NULL;

	refuse_full(turn->view, reason);
	turn->result->strategy = "full";
	elt_progress_phase(ELT_PHASE_COPY);
	turn->result->reason = reason;
	if (!elt_attempt(work_full, m, is_too_long, &error))
	{
		elt_storage_index_long_keys(turn->view, turn->shape);
		m = begin_maintain(turn);
		work_full(m);
	}
	turn->result->counts = m->counts;
}

/* Of the last storage it is known how much has changed. */
static bool
has_changed_much(Turn *turn)
{
	EltChangeCounts *c = &turn->result->counts;
	Relation	rel = table_open(turn->view->storage, AccessShareLock);
	double		rows = Max(rel->rd_rel->reltuples, 0);

	table_close(rel, NoLock);
	return c->inserted + c->deleted > rows / 5 || c->updated > rows / 2;
}

/* Statistics of storages that are new, or much of which has changed; the rest is left to autovacuum. */
static void
analyze_storages(Turn *turn, EltMaintain *m)
{
	int			last = list_length(turn->shape->parts);

	for (int i = 1; i <= last; i++)
		if (elt_storage_outgrew_statistics(m->storages[i]) || (i == last && has_changed_much(turn)))
			elt_sql_run(psprintf("ANALYZE %s", m->places.storages[i]));
}

/* Those of tables; those of parts do not outlive an attempt. */
static void
free_deltas(EltMaintain *m)
{
	ListCell   *lc;

	foreach(lc, m->shape->sources)
	{
		EltSource  *source = lfirst(lc);

		if (source->part == NULL && m->deltas[source->number] != NULL)
			elt_delta_free(m->deltas[source->number]);
		m->deltas[source->number] = NULL;
	}
	m->changed = NULL;
}

static void
work_delta(void *arg)
{
	elt_maintain_delta(arg);
}

/*
 * The terms of a delta combine rows of different times, which never met: an expression over them may be an error that the query itself is not.
 */
static bool
is_data_error(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case MAKE_SQLSTATE('2', '1', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '2', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('3', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('3', '9', '0', '0', '0'):
		case MAKE_SQLSTATE('P', '0', '0', '0', '0'):
			return true;
		default:
			return sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	}
}

/* Follow the changes; false: that did not do, and nothing is written. */
static bool
follow_changes(Turn *turn, EltMaintain *m, char **reason)
{
	ErrorData  *error = NULL;
	int			nest = NewGUCNestLevel();
	bool		done;

	/*
	 * rows are looked up one by one in pages that the last changes have
	 * brought into memory: an index is worth more than the server's setting
	 * says. A page costs the same in any order then, or a walk through all of
	 * an index would seem cheaper than one through its table.
	 */
	elt_pin_setting("random_page_cost", FOLLOW_PAGE_COST);
	elt_pin_setting("seq_page_cost", FOLLOW_PAGE_COST);

	/* so many terms are planned for so few rows: what seldom wins is left out */
	elt_pin_setting("enable_mergejoin", "off");
	elt_progress_phase(ELT_PHASE_APPLY);
	done = elt_attempt(work_delta, m, is_data_error, &error);
	AtEOXact_GUC(false, nest);
	if (!done)
	{
		*reason = pstrdup(is_too_long(error->sqlerrcode) ? "key_too_long" : "error_in_delta");
		return false;
	}
	if (!m->broken)
		return true;
	*reason = pstrdup("storage_differs");
	ereport(WARNING,
			(errmsg("the storage of view \"%s\" lacks rows that its changes remove", turn->view->node.name),
			 errdetail("It is made anew."),
			 errhint("Has somebody written to the tables in schema elt_data, or does the query call a function that does not always give the same?")));
	return false;
}

static EltMaintain *
refresh_turn(Turn *turn, const char *forced)
{
	EltMaintain *m = begin_maintain(turn);
	char	   *reason = reason_for_full(turn, forced);

	turn->result->strategy = "none";
	elt_progress_phase(ELT_PHASE_READ);
	if (reason == NULL && !read_deltas(turn, m))
		reason = pstrdup("source_value_lost");
	if (reason == NULL && m->changed != NULL && elt_full_is_cheaper(m))
		reason = pstrdup("cost");
	if (reason == NULL && (m->changed != NULL || m->moved))
	{
		turn->result->strategy = "incremental";
		if (follow_changes(turn, m, &reason))
			turn->result->counts = m->counts;
		if (reason == NULL && is_one_full_part(turn->shape))
		{
			turn->result->strategy = "full";
			turn->result->reason = pstrdup(elt_view_full_reason(turn->shape));
		}
	}
	if (reason != NULL)
	{
		free_deltas(m);
		/* what an attempt has noted is gone with it */
		m = begin_maintain(turn);
		full_refresh(turn, m, reason);
	}
	if (strcmp(turn->result->strategy, "none") != 0)
		analyze_storages(turn, m);
	free_deltas(m);
	return m;
}

/* Store what the next refresh begins with. */
static void
finish_turn(Turn *turn, EltMaintain *m, instr_time begin)
{
	EltView    *view = turn->view;
	EltRefresh *result = turn->result;
	bool		none = strcmp(result->strategy, "none") == 0;
	instr_time	now;
	ListCell   *lc;

	elt_debug_point("view-applied");
	foreach(lc, turn->batches)
	{
		EltBatch   *batch = lfirst(lc);

		if (none && turn->read == 0 && batch->to->passed == batch->consumer->offset->passed && !turn->shape->moving)
			elt_batch_close(batch);
		else
			elt_batch_store(batch);
	}
	if (!none)
		foreach(lc, turn->sources)
	{
		EltViewSource *row = lfirst(lc);
		char	   *columns = used_columns(source_of(turn->shape, row->relid));

		if (strcmp(columns, row->columns) != 0)
			elt_view_source_set_columns(view->node.id, row->relid, columns);
	}
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, begin);
	result->ms = INSTR_TIME_GET_MILLISEC(now);

	/*
	 * that there was nothing to do is noted once a second: a commit that
	 * writes nothing waits for no disk
	 */
	if (none && view->strategy != NULL && strcmp(view->strategy, "none") == 0 && turn->read == 0 && !turn->shape->moving && GetCurrentTimestamp() - view->refreshed < USECS_PER_SEC)
		return;
	view->populated = true;
	view->as_of = GetCurrentTransactionStartTimestamp();
	view->refreshed = GetCurrentTimestamp();
	view->strategy = pstrdup(result->strategy);
	view->reason = result->reason;
	view->last_ms = result->ms;
	if (!none)
		elt_note_cost(m, strcmp(result->strategy, "full") == 0, result->ms);
	view->bodies = elt_view_bodies(turn->shape);
	elt_view_update(view);
}

/*
 * Views above views
 */

static void
add_upstream(List **order, EltView *view, EltShape *shape, List *above)
{
	ListCell   *lc;
	ListCell   *lc2;

	check_stack_depth();
	foreach(lc, shape->sources)
	{
		EltSource  *source = lfirst(lc);
		EltView    *below = source->part == NULL ? elt_view_by_relation(source->relid) : NULL;
		bool		known = false;

		if (below == NULL)
			continue;
		foreach(lc2, *order)
			known |= ((Turn *) lfirst(lc2))->view->node.id == below->node.id;
		/* the node's owner may not be up to date: REASSIGN OWNED */
		if (known || list_member_int(above, below->node.id) || get_rel_name(below->relid) == NULL ||
			elt_relation_owner(below->relid) != view->node.owner)
			continue;
		{
			Turn	   *turn = palloc0(sizeof(Turn));

			turn->view = below;
			turn->shape = elt_view_shape(below);
			add_upstream(order, below, turn->shape, lappend_int(list_copy(above), below->node.id));
			*order = lappend(*order, turn);
		}
	}
}

static int
compare_views(const ListCell *a, const ListCell *b)
{
	return ((Turn *) lfirst(a))->view->node.id - ((Turn *) lfirst(b))->view->node.id;
}

/*
 * What a view that is one full part reads: it follows no changes, so no batch locks it. As for the others, the lock comes before the snapshot, which does not see
 * what a TRUNCATE then removes.
 */
static void
lock_tables(EltShape *shape)
{
	ListCell   *lc;

	foreach(lc, shape->tables)
		(void) elt_tree_members(lfirst_oid(lc), AccessShareLock);
}

/* A fixed snapshot is older than the locks: it must not write over what another session has stored since. Where there are batches, their offsets tell. */
static void
check_stored(Turn *turn, Snapshot snapshot)
{
	if (!IsolationUsesXactSnapshot() || turn->batches != NIL || !elt_view_is_newer(turn->view->node.id, snapshot))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access because view \"%s\" was refreshed after this transaction's snapshot", turn->view->node.name),
			 errhint("Run the transaction again, or use READ COMMITTED.")));
}

/* Lock the views by number, then their sources. */
static void
lock_turns(List *turns)
{
	List	   *by_id = list_copy(turns);
	ListCell   *lc;
	ListCell   *lc2;

	list_sort(by_id, compare_views);
	foreach(lc, by_id)
		elt_node_lock(((Turn *) lfirst(lc))->view->node.id);
	foreach(lc, turns)
	{
		Turn	   *turn = lfirst(lc);

		/* it may have been refreshed, changed or dropped meanwhile */
		turn->view = elt_view_by_id(turn->view->node.id);
		if (turn->view == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("a view was dropped meanwhile"),
					 errhint("Run the refresh again.")));
		elt_view_follow_relation(turn->view);
		turn->shape = elt_view_shape(turn->view);
		elt_view_rebuild_if_needed(turn->view, turn->shape);
		elt_view_sync_sources(turn->view, turn->shape);
		turn->sources = elt_view_sources(turn->view->node.id);
		if (turn->sources == NIL)
			lock_tables(turn->shape);
		foreach(lc2, turn->sources)
			turn->batches = lappend(turn->batches, elt_batch_lock(((EltViewSource *) lfirst(lc2))->consumer));
	}
}

static void
maintain_logs(List *turns)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, turns)
		foreach(lc2, ((Turn *) lfirst(lc))->batches)
		elt_segment_maintain(((EltBatch *) lfirst(lc2))->capture->id);
}

EltRefresh *
elt_view_refresh(EltView *view, const char *force_full)
{
	return elt_view_refresh_and(view, force_full, NULL, NULL);
}

EltRefresh *
elt_view_refresh_and(EltView *view, const char *force_full, void (*and) (EltView *view, EltShape *shape, void *arg), void *arg)
{
	EltSecContext context;
	Turn	   *last = palloc0(sizeof(Turn));
	List	   *turns = NIL;
	Snapshot	snapshot;
	ListCell   *lc;
	ListCell   *lc2;

	PreventCommandIfReadOnly("elt.refresh()");
	elt_become(&context, view->node.owner);
	last->view = view;
	elt_settings_pin(view->settings);
	last->shape = elt_view_shape(view);
	add_upstream(&turns, view, last->shape, list_make1_int(view->node.id));
	turns = lappend(turns, last);
	lock_turns(turns);
	snapshot = elt_snapshot_push();
	foreach(lc, turns)
	{
		Turn	   *turn = lfirst(lc);
		ErrorContextCallback errors = {error_context_stack, refresh_error_context, turn->view};
		instr_time	begin;
		int			nest = NewGUCNestLevel();

		error_context_stack = &errors;
		elt_progress_begin(turn->view->node.id, turn->view->node.owner);
		INSTR_TIME_SET_CURRENT(begin);
		elt_settings_pin(turn->view->settings);
		check_stored(turn, snapshot);
		foreach(lc2, turn->batches)
			elt_batch_open(lfirst(lc2), snapshot);
		turn->result = palloc0(sizeof(EltRefresh));
		finish_turn(turn, refresh_turn(turn, turn == last ? force_full : NULL), begin);
		if (turn == last && and != NULL)
			and(turn->view, turn->shape, arg);
		elt_progress_end();
		AtEOXact_GUC(false, nest);
		error_context_stack = errors.previous;
	}
	PopActiveSnapshot();
	elt_restore(&context);
	maintain_logs(turns);
	return last->result;
}

Datum
elt_sql_refresh(PG_FUNCTION_ARGS)
{
	EltView    *view = elt_view_get(elt_arg_text(fcinfo, 0, "name"));
	EltRefresh *result;
	TupleDesc	desc;
	Datum		values[7];
	bool		nulls[7] = {false};

	elt_check_may_write("elt.refresh()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result = elt_view_refresh(view, NULL);
	values[0] = CStringGetTextDatum(result->strategy);
	nulls[1] = result->reason == NULL;
	values[1] = result->reason == NULL ? (Datum) 0 : CStringGetTextDatum(result->reason);
	values[2] = Int64GetDatum(result->counts.inserted);
	values[3] = Int64GetDatum(result->counts.updated);
	values[4] = Int64GetDatum(result->counts.deleted);
	values[5] = Int64GetDatum(result->pending);
	values[6] = Float8GetDatum(result->ms);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
