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
	EltDelta  **deltas;			/* by source number; NULL: it did not change */
	Tuplestorestate **removed;	/* rows of those with a negative weight, and */
	Tuplestorestate **added;	/* with a positive one; once a statement reads
								 * them */
	Bitmapset  *changed;		/* numbers of sources */
	bool		moved;			/* now() is another one than at the last
								 * refresh */
	TimestampTz then;
	EltChangeCounts counts;		/* of the last part */
	bool		broken;			/* a storage is not what it should be */
} EltMaintain;

/* Everything anew, written as a difference; empty: there is nothing yet. Runs as the view's owner, under the active snapshot. */
extern void elt_maintain_full(EltMaintain *m, bool empty);

/* Parts whose sources changed. After it, m->broken: the storages do not fit the changes, and have to be made anew in full. */
extern void elt_maintain_delta(EltMaintain *m);


#endif
