/* Rows of elt.shard_run: what has been committed for tables that are being sharded. */
#ifndef ELT_CATALOG_SHARD_H
#define ELT_CATALOG_SHARD_H

#include "nodes/pg_list.h"

typedef struct EltShardRun
{
	int32		id;
	Oid			relid;
	int32		consumer;
	bool		tracked_here;
	List	   *tables;			/* OIDs */
} EltShardRun;

extern int32 elt_shard_run_insert(const EltShardRun *run);
extern EltShardRun *elt_shard_run_by_relation(Oid relid);	/* the latest; NULL:
															 * there is none */
extern List *elt_shard_run_all(void);	/* EltShardRun */
extern void elt_shard_run_delete(int32 id);

/* While a table is being sharded: held by who does it, to the end of the transaction. False where another session has it. */
extern bool elt_shard_run_try_lock(Oid relid);

#endif
