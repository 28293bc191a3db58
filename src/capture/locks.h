/* Object locks of the capture room; README.md tells their order. */
#ifndef ELT_LOCKS_H
#define ELT_LOCKS_H

#include "storage/lmgr.h"

#include "catalog/table.h"

#define ELT_LOCK_MAINTENANCE	1	/* rotate, seal, trim */
#define ELT_LOCK_TRIM			2	/* Share: an uncommitted consumer may need
									 * every segment; ShareUpdateExclusive:
									 * the columns are being noted */

/* All are held to the end of the transaction. */
static inline void
elt_lock_capture(int32 capture, uint16 what, LOCKMODE mode)
{
	LockDatabaseObject(elt_table_oid("capture"), (Oid) capture, what, mode);
}

static inline bool
elt_try_lock_capture(int32 capture, uint16 what, LOCKMODE mode)
{
	return ConditionalLockDatabaseObject(elt_table_oid("capture"), (Oid) capture, what, mode);
}

static inline void
elt_lock_consumer(int32 consumer)
{
	LockDatabaseObject(elt_table_oid("consumer"), (Oid) consumer, 0, ExclusiveLock);
}

#endif
