/* Cleaning up after a caller that rolls back or is ended. */
#ifndef ELT_SHARD_SWEEP_H
#define ELT_SHARD_SWEEP_H

#include "postgres_ext.h"

/* From now on workers commit things for this table: unless one of the others is called, a worker removes them when the transaction has ended. */
extern void elt_shard_sweep_want(Oid relid);

/* They are used by this transaction, if it commits. */
extern void elt_shard_sweep_swapped(void);

/* They are gone. */
extern void elt_shard_sweep_done(void);

#endif
