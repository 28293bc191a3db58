/* Incremental loads: what the files of this folder share. */
#ifndef ELT_LOAD_H
#define ELT_LOAD_H

#include "utils/relcache.h"

#include "base/exec.h"
#include "base/secctx.h"
#include "capture/net.h"
#include "catalog/load.h"

/* What a batch has done. */
typedef struct EltLoadCounts
{
	int64		rows_read;
	int64		inserted;
	int64		updated;
	int64		deleted;
	int64		rejected;
} EltLoadCounts;

/* A load that is being run, as its owner. */
typedef struct EltLoadRun
{
	EltLoad    *load;
	EltBatch   *batch;
	TupleDesc	desc;			/* of the source */
	EltSecContext context;
	EltLoadCounts counts;
	bool		keys_only;		/* the log has keys; rows are read again */
	bool		supersede;		/* there are rejected rows that a newer version may replace */
} EltLoadRun;

/* Changed source rows to apply: what was removed and what was added. Either bag may be NULL. */
typedef struct EltLoadRows
{
	Tuplestorestate *removed;
	Tuplestorestate *added;
	int64		nremoved;
	int64		nadded;
} EltLoadRows;

/* define.c */
extern EltLoad *elt_load_get(const char *name); /* exists, and the current user may run it */

/* apply.c */
extern void elt_apply(EltLoadRun *run, EltLoadRows *rows, Tuplestorestate *keys);
extern char *elt_apply_key_match(EltLoadRun *run, const char *left, const char *right);
extern void elt_apply_delete_others(EltLoadRun *run, Tuplestorestate *keys, TupleDesc desc, int64 nkeys);
extern TupleDesc elt_apply_key_desc(EltLoadRun *run);
extern char *elt_apply_source_columns(EltLoadRun *run, const char *alias);

/* quarantine.c */
extern void elt_apply_guarded(EltLoadRun *run, EltLoadRows *rows, EltDelta *groups, Tuplestorestate *keys);
extern void elt_reject_superseded(EltLoadRun *run, EltLoadRows *rows);

/* copy.c */
extern void elt_load_copy(EltLoadRun *run);

/* run.c */
extern void elt_load_become(EltLoadRun *run);

#endif
