/*
 * reserve.c
 *	  Worker slots for what the server itself divides: a parallel query of the session's own, which fills a table, say.
 *
 * The workers of a parallel query are the server's, but they are busy all the same: the session holds a slot for each that there may be, so that they and those of
 * runs together are not more than the limits allow.
 *
 * Locks: the slots, see slots.c, held by the transaction. A crash releases them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "optimizer/cost.h"
#include "utils/guc.h"

#include "base/secctx.h"
#include "worker/pool.h"

/* more than a parallel query ever gets in practice */
#define MOST_RESERVED	32

static int
reserve(EltReserved *reserved, const EltLimits *limits, int wanted)
{
	int			n = 0;

	reserved->locks = palloc(sizeof(LOCKTAG) * wanted * ELT_SCOPES);
	reserved->nlocks = 0;
	while (n < wanted && elt_slots_reserve(limits, reserved->locks + reserved->nlocks, &reserved->nlocks))
		n++;
	return n;
}

void
elt_reserve_begin(EltReserved *reserved)
{
	EltLimits	limits;
	int			wanted = Min(Min(max_parallel_workers_per_gather, elt_cpus()), MOST_RESERVED);

	memset(reserved, 0, sizeof(*reserved));
	reserved->guc_nest_level = NewGUCNestLevel();
	if (wanted <= 0 || IsInParallelMode())
		return;
	elt_limits_now(&limits);
	elt_pin_setting("max_parallel_workers_per_gather", psprintf("%d", reserve(reserved, &limits, wanted)));
}

void
elt_reserve_end(EltReserved *reserved)
{
	AtEOXact_GUC(false, reserved->guc_nest_level);
	for (int i = 0; i < reserved->nlocks; i++)
		LockRelease(&reserved->locks[i], ExclusiveLock, false);
	reserved->nlocks = 0;
}
