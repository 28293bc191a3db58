/* A batch: what a consumer reads of a change log, from its offset to now. */
#ifndef ELT_BATCH_H
#define ELT_BATCH_H

#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "catalog/capture.h"
#include "catalog/consumer.h"

typedef struct EltBatch
{
	EltConsumer *consumer;		/* as stored; locked */
	EltCapture *capture;
	Relation	root;			/* the tracked relation, AccessShare; NULL
								 * until the batch is opened */
	Snapshot	snapshot;		/* everything of the batch is read under it;
								 * active */
	EltOffset  *to;				/* end of the window */
	const char *resync;			/* why the changes do not suffice; NULL: they
								 * do */
	bool		rows_hidden;	/* there may be rows that the log does not
								 * have */
	List	   *segments;		/* EltSegment, those that may hold rows of the
								 * window; AccessShare */
	int			chunks;			/* the window is applied in so many batches;
								 * 0: not decided */
	int			chunk;			/* this one */
	bool		fresh;			/* the window ends now: not one that was
								 * recorded before */
} EltBatch;

/*
 * First step of a batch: lock the consumer and its source's tree, and check that nothing has escaped the log. The batch has no snapshot and no root yet;
 * one that is not opened needs no end. All batches that are to share a snapshot are locked before it is taken. Errors: 55006 while a statement that
 * changes the source is running, 42P01 where the source is gone.
 */
extern EltBatch *elt_batch_lock(int32 consumer);

/* Second step: push the snapshot that batches read under, the latest or, in REPEATABLE READ, the transaction's, with all earlier commands. The caller pops it. */
extern Snapshot elt_snapshot_push(void);

/*
 * Third step: open the source and find the window. snapshot is the active one, from elt_snapshot_push; its command id is moved on, so the window
 * has what this transaction has written up to now, also since the snapshot was pushed. Errors: 40001 where the transaction's snapshot is older than
 * what it must see. For a consumer that only adds, a TRUNCATE is no reason to resynchronise.
 */
extern void elt_batch_open(EltBatch *batch, Snapshot snapshot);

/* Last step: store the new offset, or leave everything as it was. The snapshot stays active. */
extern void elt_batch_store(EltBatch *batch);
extern void elt_batch_close(EltBatch *batch);

/* A batch by itself: the first three steps at once. */
extern EltBatch *elt_batch_begin(int32 consumer);

/* Changes do not suffice for a reason of the consumer's own: the batch ends now, also where it continues a window in chunks. Before anything is written. */
extern void elt_batch_resync(EltBatch *batch, const char *reason);

/* Decide into how many chunks the window is split: enough that one has at most max_rows changes (0: by memory alone). */
extern void elt_batch_split(EltBatch *batch, int64 max_rows);

/* Its last step: pop the snapshot and store the new offset. */
extern void elt_batch_end(EltBatch *batch);

/* The same without a change: leave everything as it was. */
extern void elt_batch_cancel(EltBatch *batch);

/* Memory that netting the window takes, roughly; at most limit where that is clear without reading the log. */
extern int64 elt_batch_memory_needed(EltBatch *batch, int64 limit);

/* Changes in the window and not consumed yet; reads the log. */
extern int64 elt_batch_pending(EltBatch *batch);

/* The same for any consumer as of the active snapshot, without locking it. */
extern int64 elt_consumer_pending(EltConsumer *consumer, EltCapture *capture);

/* Has a consumer yet to read images that keep pointers to toasted values? As of the active snapshot, without locking it. */
extern bool elt_consumer_has_pointers(EltConsumer *consumer, EltCapture *capture);

/*
 * A batch for reading only, up to what snapshot sees: nothing is locked but the segments and nothing can be stored. The caller has checked and locked the
 * source; batch->root is left to it. Every mark that the offset does not contain asks for a resynchronisation, also one newer than `to`: the log is read
 * with the columns that the source has now.
 */
extern EltBatch *elt_batch_peek(EltConsumer *consumer, EltCapture *capture, Snapshot snapshot,
								EltOffset *to);

/*
 * The capture of a consumer. Errors: 42P01 where its source is gone or no longer tracked, 55000 where the offset comes from another database.
 */
extern EltCapture *elt_consumer_capture(EltConsumer *consumer);

/* In REPEATABLE READ the snapshot is older than the locks: 40001 where the offset, the log or a mark is newer than it. */
extern void elt_batch_check_snapshot(EltBatch *batch);

/* There, too: 40001 where the window has own changes and others, which they may rest on, are newer than the snapshot. For a window that ends now. */
extern void elt_batch_check_own_changes(EltBatch *batch);

/*
 * Register a consumer of relation's changes from its first batch on, or from now on: from what the transaction sees, so that a copy that it makes and the
 * changes together lack nothing. 40001 where the log has been trimmed, or a mark left, after the transaction's snapshot. only_adds: it
 * takes every new row version and cannot resynchronise, so the log keeps its images whole from now on.
 */
extern int32 elt_consumer_create(int32 capture, const char *kind, const char *name, bool from_now, bool only_adds);

/* The offset that contains just what snapshot sees. */
extern EltOffset *elt_offset_of_snapshot(Snapshot snapshot);

#endif
