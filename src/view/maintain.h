/* Bringing the storages of a view up to date. */
#ifndef ELT_MAINTAIN_H
#define ELT_MAINTAIN_H

#include "catalog/view.h"
#include "view/change.h"
#include "view/statements.h"

typedef struct EltMaintain
{
	EltView    *view;
	EltShape   *shape;
	EltPlaces	places;
	Oid		   *storages;		/* by part number */
	bool	   *complete;		/* EltViewPart.complete, by part number */
	EltDelta  **deltas;			/* by source number; NULL: it did not change */
	Tuplestorestate **removed;	/* rows of those with a negative weight, and */
	Tuplestorestate **added;	/* with a positive one; once a statement reads
								 * them */
	Bitmapset  *changed;		/* numbers of sources */
	bool		anew;			/* everything is computed, nothing followed */
	bool		moved;			/* now() is another one than at the last
								 * refresh */
	TimestampTz then;
	EltChangeCounts counts;		/* of the last part */
	double		cost_full;		/* by the planner, 0: not asked */
	double		cost_delta;
	bool		broken;			/* a storage is not what it should be */
} EltMaintain;

/* Everything anew, written as a difference; empty: there is nothing yet. Runs as the view's owner, under the active snapshot. */
extern void elt_maintain_full(EltMaintain *m, bool empty);

/* Tell the sources how large their deltas are, before statements are made. */
extern void elt_maintain_expect(EltMaintain *m);

/* Parts whose sources changed. After it, m->broken: the storages do not fit the changes, and have to be made anew in full. */
extern void elt_maintain_delta(EltMaintain *m);


/* For choose.c: look at the deltas, before statements are made; and what the planner says that one costs. */
extern void elt_maintain_end_bags(EltMaintain *m);
extern double elt_maintain_cost(EltMaintain *m, const char *sql);

/* choose.c: is a full refresh cheaper, for a view that may choose; and note in the view what one has taken. */
extern bool elt_full_is_cheaper(EltMaintain *m);
extern void elt_note_cost(EltMaintain *m, bool full, double ms);

#endif
