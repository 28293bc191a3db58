/* Where the changes of a relation are logged: a cache of each backend. */
#ifndef ELT_TARGET_H
#define ELT_TARGET_H

#include "access/attmap.h"
#include "access/tupdesc.h"
#include "utils/relcache.h"

typedef struct EltTarget
{
	Oid			relid;			/* hash key: a root, an intermediate or a leaf */
	bool		valid;
	bool		tracked;
	int32		capture;
	Oid			root;
	Oid			segment;		/* the open one */
	MemoryContext context;		/* of what follows */
	TupleDesc	rowdesc;		/* of the transition tables' rows */
	bool	   *pk;				/* per attribute, where updates may keep
								 * pointers to toasted values; else NULL */
	bool	   *keys;			/* per root attribute; NULL: whole rows */
	TupleDesc	keydesc;		/* the root's columns up to the last one of
								 * the key; where keys are logged */
	TupleDesc	rootdesc;
	AttrMap    *map;			/* to the root's columns; NULL: same layout */
} EltTarget;

/*
 * Find rel's target and lock its open segment for writing; NULL where rel is not tracked.
 */
extern EltTarget *elt_target_lock(Relation rel);

/* The tracked relation that rel is or belongs to, InvalidOid where there is none. */
extern Oid	elt_target_root(Oid relid, int32 *capture);

#endif
