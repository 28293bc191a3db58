/*
 * debug_point.c
 *	  Named points in the code at which a test can make a session wait.
 *
 * A point does nothing unless its name is listed (comma separated) in elt.debug_points, a setting that only a superuser may change. Then the
 * session takes and releases the advisory lock hashtext(name), so that a test which holds that lock decides when it goes on.
 *
 * Locks: that advisory lock. A crash loses nothing.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"

#include "base/debug_point.h"
#include "base/guc.h"

static bool
point_listed(const char *name)
{
	const char *at = elt_debug_points;
	size_t		len = strlen(name);

	while (at != NULL && (at = strstr(at, name)) != NULL)
	{
		bool		starts = at == elt_debug_points || at[-1] == ',';

		if (starts && (at[len] == '\0' || at[len] == ','))
			return true;
		at += len;
	}
	return false;
}

void
elt_debug_point(const char *name)
{
	LOCKTAG		tag;
	uint32		key;

	if (likely(elt_debug_points == NULL || elt_debug_points[0] == '\0'))
		return;
	if (!point_listed(name))
		return;

	/* the same lock as pg_advisory_lock(0, hashtext(name)) */
	key = DatumGetUInt32(hash_any((const unsigned char *) name, strlen(name)));
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, key, 2);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	LockRelease(&tag, ExclusiveLock, true);
}
