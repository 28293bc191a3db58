/* Incremental loads: what the files of this folder share. */
#ifndef ELT_LOAD_H
#define ELT_LOAD_H

#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "utils/tuplestore.h"

#include "base/exec.h"
#include "base/secctx.h"
#include "capture/batch.h"
#include "catalog/key.h"
#include "catalog/load.h"
#include "load/rows.h"

/* What a batch has done, in rows. */
typedef struct EltLoadCounts
{
	int64		rows_read;		/* changes, or rows copied; an update counts
								 * once */
	int64		inserted;
	int64		updated;
	int64		deleted;
	int64		rejected;
} EltLoadCounts;

/* The statements of apply.c, planned once for when rows are taken apart. */
typedef struct EltLoadPlans
{
	EltPlan    *write;			/* query over the added rows -> target */
	EltPlan    *stage;			/* query over the added rows */
	EltPlan    *delete_staged;	/* what the removed rows had made and is not
								 * staged */
	EltPlan    *delete_all;		/* the same where nothing is staged */
	EltPlan    *write_staged;	/* staged -> target */
	TupleDesc	staged;
} EltLoadPlans;

/* A batch of a load, being run as the load's owner. */
typedef struct EltLoadRun
{
	EltLoad    *load;
	EltBatch   *batch;
	TupleDesc	desc;			/* of the source */
	EltSecContext context;
	EltLoadCounts counts;
	EltKey	   *key;			/* of the target; NULL for append */
	EltKey	   *source_key;		/* its primary key; NULL: none */
	char	   *source_columns; /* that the query reads now */
	bool		mirror;
	bool		append;
	bool		owned;			/* the target's key holds the source's primary
								 * key */
	bool		guarded;		/* bad rows go to quarantine */
	EltLoadPlans *plans;		/* NULL: each statement is planned for the
								 * rows at hand */
	int64		kept;			/* rejected rows of this load, while a batch
								 * is taken apart */
	bool		supersede;		/* there are rejected rows that a newer
								 * version may replace */
} EltLoadRun;

/* apply.c: write changed rows to the target, as one command each for what is to delete and to write. Adds to run->counts. */
extern void elt_apply(EltLoadRun *run, EltLoadRows *rows);

/* Rows that the query gave. */
typedef struct EltStaged
{
	Tuplestorestate *tuples;
	TupleDesc	desc;
	int64		ntuples;
} EltStaged;

/* For a run with plans: append to out what the query gives for the added rows; delete what has the keys of staged rows. */
extern void elt_apply_stage(EltLoadRun *run, EltLoadRows *rows, Tuplestorestate *out);
extern EltStaged *elt_staged_begin(EltLoadRun *run);
extern void elt_staged_append(EltStaged *staged, Tuplestorestate *tuples);
extern void elt_apply_delete_keys(EltLoadRun *run, EltStaged *staged);
extern void elt_staged_end(EltStaged *staged);

/* What elt_apply will run, planned for many small sets of rows; in the current memory context. */
extern EltLoadPlans *elt_apply_prepare(EltLoadRun *run);

/* The statement that writes what is selected from `from` (with the alias elt_q). */
extern char *elt_apply_insert_sql(EltLoadRun *run, const char *from);

/* The target under the name elt_t, to delete from: where it is an inheritance parent, its own rows only, as its key is theirs only. */
extern char *elt_apply_target(EltLoadRun *run);

/* The source under the name elt_s, read in full or, in a call with a bag that replaces it, from that bag. */
extern char *elt_apply_source(EltLoadRun *run);

/* quarantine.c: the same, but with on_error 'quarantine' rows that cannot be written are set aside. */
extern void elt_apply_guarded(EltLoadRun *run, EltLoadRows *rows);

/* The row that was rejected, with the columns that the source has now; in the current memory context. */
extern MinimalTuple elt_rejected_tuple(EltLoadRun *run, const EltRejected *rejected);

/* Forget rejected rows of which `rows` has a newer version or the end. */
extern void elt_reject_superseded(EltLoadRun *run, EltLoadRows *rows);

/* Run `work` in a subtransaction; false where it failed for a bad row, with that error in *error. Other errors are raised. */
typedef void (*EltAttempt) (EltLoadRun *run, void *arg);
extern bool elt_load_attempt(EltLoadRun *run, EltAttempt work, void *arg, ErrorData **error);

/* copy.c: bring the target to what the query gives over the whole source. */
extern void elt_load_copy(EltLoadRun *run);

/* run.c: in transactions of its own, from a procedure that may commit, with a snapshot active: until the load has caught up with what was committed before */
extern void elt_load_run(const char *name);

/* run.c: what the SQL functions of run.c and define.c share */
extern EltLoad *elt_load_get(const char *name); /* exists, and the current
												 * user may act for its owner;
												 * else an error */

#endif
