/*
 * choose.c
 *	  Incremental or full? For views of refresh mode auto, by what each would cost for the changes at hand.
 *
 * The planner's costs of both are turned into time by what the last refreshes of each kind took for theirs. Few changes are followed without asking, since planning
 * to find out would cost more than it saves. Now and then the loser is tried again, because its figure may have aged.
 *
 * Nothing is written or locked beyond what planning locks.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/rel.h"

#include "view/maintain.h"

/* So many changes, or this share of the rows, are few. */
#define FEW_CHANGES		500
#define FEW_SHARE		0.005

/* After so many incremental refreshes that were dearer than the last full one by this factor at most, that one is tried. */
#define RETRY_AFTER		50

/* Leaves of all terms of a block. */
#define MAX_TERM_LEAVES 100

/* A row that changes is looked up and written besides. */
#define WRITE_FACTOR	2.0

static double
cost_of_delta(EltMaintain *m)
{
	double		cost = 0;
	ListCell   *lc;

	foreach(lc, m->shape->parts)
	{
		EltPart    *part = lfirst(lc);
		char	   *sql = part->method == ELT_FULL ? NULL : elt_input_delta_sql(&m->places, part, m->changed, m->moved, m->then);

		if (sql != NULL)
			cost += elt_maintain_cost(m, sql) * WRITE_FACTOR;
		/* groups that are computed anew: as if each change made for one */
		else if (part->method == ELT_FULL)
			cost += elt_maintain_cost(m, elt_rows_sql(&m->places, part, NULL, 0));
	}
	return cost;
}

static double
cost_of_full(EltMaintain *m)
{
	double		cost = 0;
	ListCell   *lc;

	foreach(lc, m->shape->parts)
		cost += elt_maintain_cost(m, elt_rows_sql(&m->places, lfirst(lc), NULL, 0));
	return cost;
}

static bool
has_few_changes(EltMaintain *m)
{
	ListCell   *lc;

	foreach(lc, m->shape->sources)
	{
		EltSource  *source = lfirst(lc);
		Relation	rel;
		double		rows;

		if (m->deltas[source->number] == NULL || elt_delta_count(m->deltas[source->number]) < FEW_CHANGES)
			continue;
		rel = table_open(source->relid, AccessShareLock);
		rows = Max(rel->rd_rel->reltuples, 0);
		table_close(rel, NoLock);
		if (elt_delta_count(m->deltas[source->number]) > rows * FEW_SHARE)
			return false;
	}
	return true;
}

/* Is there a block of which so many leaves have changed that planning its terms takes longer than computing it? */
static bool
has_too_many_terms(EltMaintain *m)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, m->shape->parts)
	{
		EltPart    *part = lfirst(lc);
		int			changed = 0;

		foreach(lc2, part->leaves)
			changed += bms_is_member(((EltLeaf *) lfirst(lc2))->source->number, m->changed);
		if (part->method != ELT_FULL && changed * list_length(part->leaves) > MAX_TERM_LEAVES)
			return true;
	}
	return false;
}

bool
elt_full_is_cheaper(EltMaintain *m)
{
	EltView    *view = m->view;
	double		full_ms;
	double		delta_ms;
	double		per_cost;

	m->cost_delta = m->cost_full = 0;
	if (strcmp(view->refresh_mode, "auto") != 0)
		return false;
	if (has_too_many_terms(m))
		return true;
	if (has_few_changes(m))
		return false;
	elt_maintain_expect(m);
	m->cost_delta = cost_of_delta(m);
	m->cost_full = cost_of_full(m);
	elt_maintain_end_bags(m);
	if (view->full_ms <= 0 || view->full_cost <= 0)
		return m->cost_full < m->cost_delta;
	full_ms = view->full_ms * m->cost_full / view->full_cost;
	per_cost = view->delta_ms > 0 && view->delta_cost > 0 ? view->delta_ms / view->delta_cost : view->full_ms / view->full_cost;
	delta_ms = per_cost * m->cost_delta;
	if (view->since_full >= RETRY_AFTER && delta_ms > full_ms * 0.8)
		return true;
	return full_ms < delta_ms;
}

void
elt_note_cost(EltMaintain *m, bool full, double ms)
{
	EltView    *view = m->view;

	if (full)
	{
		view->full_ms = ms;
		view->full_cost = m->cost_full > 0 ? m->cost_full : cost_of_full(m);
		view->since_full = 0;
		return;
	}
	view->since_full++;
	if (m->cost_delta > 0)
	{
		view->delta_ms = ms;
		view->delta_cost = m->cost_delta;
	}
}
