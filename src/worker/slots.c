/*
 * slots.c
 *	  How many workers the server, a database and a role may have, and how the runs of several sessions share them.
 *
 * No shared memory of our own: what counts is a heavyweight lock on an object that does not exist, which the end of its holder releases.
 *
 *	slot	exclusive, by a worker: one of `limit` numbers of the server, of its database and of its role
 *	run		shared, by a leader that could use more workers than it has: how many there are tells what a fair share is
 *	hungry	shared, by such a leader that has less than its share where no slot is free: runs with more than theirs give slots back
 *
 * They are the server's own kind of lock, not advisory ones, so that no function that a task calls releases them. The abort of a worker's
 * transaction does: elt_slots_keep takes them again. Nobody ever waits for one, so they have no part in a deadlock.
 */
#include "postgres.h"

#include <sched.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"

#include "base/compat.h"
#include "worker/pool.h"

/* in place of the OID of a catalog; the database of these locks is 0 */
#define CLASS_SLOT		0x656C7401
#define CLASS_RUN		0x656C7402
#define CLASS_HUNGRY	0x656C7403

/* of this worker */
static LOCKTAG taken[ELT_SCOPES];
static int	ntaken = 0;

static void
set_tag(LOCKTAG *tag, Oid class, const EltLimits *limits, EltScope scope, int number)
{
	SET_LOCKTAG_OBJECT(*tag, InvalidOid, class + scope * 16, limits->object[scope], number);
}

void
elt_limits_now(EltLimits *limits)
{
	limits->limit[ELT_SCOPE_CLUSTER] = elt_max_workers;
	limits->object[ELT_SCOPE_CLUSTER] = InvalidOid;
	limits->limit[ELT_SCOPE_DATABASE] = elt_max_workers_per_database;
	limits->object[ELT_SCOPE_DATABASE] = MyDatabaseId;
	limits->limit[ELT_SCOPE_ROLE] = elt_max_workers_per_role;
	limits->object[ELT_SCOPE_ROLE] = GetSessionUserId();
}

/* For people. */
const char *
elt_limit_text(const EltLimits *limits, EltScope scope)
{
	static const char *const names[] = {"elt.max_workers", "elt.max_workers_per_database", "elt.max_workers_per_role"};

	return psprintf("%s is %d", names[scope], limits->limit[scope]);
}

/* One slot of a scope; false: all are taken. */
static bool
take(const EltLimits *limits, EltScope scope, LOCKMODE mode, LOCKTAG *tag)
{
	for (int i = 0; i < limits->limit[scope]; i++)
	{
		set_tag(tag, CLASS_SLOT, limits, scope, i);
		/* that of a worker which leads a run itself is not free */
		if (!elt_lock_held(tag, ExclusiveLock) && LockAcquire(tag, mode, true, true) != LOCKACQUIRE_NOT_AVAIL)
			return true;
	}
	return false;
}

/* Is this a worker? It leads a run without waiting for others, who may wait for it. */
bool
elt_slots_held(void)
{
	return ntaken > 0;
}

/* Safe to call when an abort has released them already. */
void
elt_slots_drop(void)
{
	while (ntaken > 0)
	{
		ntaken--;
		if (elt_lock_held(&taken[ntaken], ExclusiveLock))
			LockRelease(&taken[ntaken], ExclusiveLock, true);
	}
}

/* In a worker: a slot of each scope that has a limit, or none of them: then *full is a scope that had none. */
bool
elt_slots_take(const EltLimits *limits, EltScope *full)
{
	for (int scope = 0; scope < ELT_SCOPES; scope++)
	{
		if (limits->limit[scope] < 0)
			continue;
		if (!take(limits, scope, ExclusiveLock, &taken[ntaken]))
		{
			elt_slots_drop();
			*full = scope;
			return false;
		}
		ntaken++;
	}
	return true;
}

/* After the abort of a transaction: does it hold its slots, or others in their place? */
bool
elt_slots_keep(const EltLimits *limits)
{
	EltScope	full;

	for (int i = 0; i < ntaken; i++)
		if (!elt_lock_held(&taken[i], ExclusiveLock))
		{
			elt_slots_drop();
			return elt_slots_take(limits, &full);
		}
	return true;
}

/* In a leader: is a slot free in each scope? */
bool
elt_slots_free(const EltLimits *limits, EltScope *full)
{
	for (int scope = 0; scope < ELT_SCOPES; scope++)
	{
		LOCKTAG		tag;

		if (limits->limit[scope] < 0)
			continue;

		/* Share: two leaders who look do not meet */
		if (!take(limits, scope, ShareLock, &tag))
		{
			*full = scope;
			return false;
		}
		LockRelease(&tag, ShareLock, true);
	}
	return true;
}

static int
count_free(const EltLimits *limits, EltScope scope, int most)
{
	int			n = 0;

	for (int i = 0; i < limits->limit[scope] && n < most; i++)
	{
		LOCKTAG		tag;

		set_tag(&tag, CLASS_SLOT, limits, scope, i);
		if (elt_lock_held(&tag, ExclusiveLock) || LockAcquire(&tag, ShareLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
			continue;
		LockRelease(&tag, ShareLock, true);
		n++;
	}
	return n;
}

int
elt_slots_taken(const EltLimits *limits, EltScope scope)
{
	return limits->limit[scope] - count_free(limits, scope, limits->limit[scope]);
}

/* How many slots are free in each scope, up to `most`; *least is the scope that has fewer than that. */
int
elt_slots_count_free(const EltLimits *limits, int most, EltScope *least)
{
	for (int scope = 0; scope < ELT_SCOPES; scope++)
	{
		int			n = limits->limit[scope] < 0 ? most : count_free(limits, scope, most);

		if (n < most)
		{
			*least = scope;
			most = n;
		}
	}
	return most;
}

/* Other holders of a shared lock. */
static int
others(Oid class, const EltLimits *limits, EltScope scope)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	int			n = 0;

	set_tag(&tag, class, limits, scope, 0);
	holders = GetLockConflicts(&tag, ExclusiveLock, &n);
	pfree(holders);
	return n;
}

/* This run could use more workers than it has. */
void
elt_share_enter(EltShare *share)
{
	LOCKTAG		tag;

	if (share->entered)
		return;
	for (int scope = 0; scope < ELT_SCOPES; scope++)
	{
		set_tag(&tag, CLASS_RUN, &share->limits, scope, 0);
		(void) LockAcquire(&tag, ShareLock, true, true);
	}
	share->entered = true;
}

static void
release_shared(Oid class, EltShare *share, EltScope scope)
{
	LOCKTAG		tag;

	set_tag(&tag, class, &share->limits, scope, 0);
	if (elt_lock_held(&tag, ShareLock))
		LockRelease(&tag, ShareLock, true);
}

void
elt_share_leave(EltShare *share)
{
	for (int scope = 0; scope < ELT_SCOPES; scope++)
	{
		elt_share_hungry(share, scope, false);
		if (share->entered)
			release_shared(CLASS_RUN, share, scope);
	}
	share->entered = false;
}

void
elt_share_hungry(EltShare *share, EltScope scope, bool hungry)
{
	LOCKTAG		tag;

	if (share->hungry[scope] == hungry)
		return;
	if (hungry)
	{
		set_tag(&tag, CLASS_HUNGRY, &share->limits, scope, 0);
		(void) LockAcquire(&tag, ShareLock, true, true);
	}
	else
		release_shared(CLASS_HUNGRY, share, scope);
	share->hungry[scope] = hungry;
}

/* Has a run with so many workers less than its share of a scope? */
bool
elt_share_below(EltShare *share, EltScope scope, int mine)
{
	int			limit = share->limits.limit[scope];
	int			runs = others(CLASS_RUN, &share->limits, scope) + 1;

	return mine < limit / runs || (mine == 0 && limit > 0);
}

/* How many of its workers a run should let go for others: it keeps its share, and one at least. */
int
elt_share_surplus(EltShare *share, int mine)
{
	int			surplus = 0;

	for (int scope = 0; scope < ELT_SCOPES; scope++)
	{
		int			limit = share->limits.limit[scope];
		int			runs;

		if (limit < 0 || others(CLASS_HUNGRY, &share->limits, scope) == 0)
			continue;
		runs = others(CLASS_RUN, &share->limits, scope) + 1;
		surplus = Max(surplus, mine - Max((limit + runs - 1) / runs, 1));
	}
	return surplus;
}

/* Processors that this process may use. */
int
elt_cpus(void)
{
	int			n = 0;
#ifdef CPU_COUNT
	cpu_set_t	set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
#endif
	if (elt_cpu_count > 0)
		return elt_cpu_count;
	if (n <= 0)
		n = (int) sysconf(_SC_NPROCESSORS_ONLN);
	return Max(n, 1);
}
