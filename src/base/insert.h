/* Rows of a statement, written to tables in batches. */
#ifndef ELT_INSERT_H
#define ELT_INSERT_H

#include "tcop/dest.h"

/*
 * frozen: the rows are visible to all snapshots, and to all if the transaction is rolled back too: only for a table that nobody else reads, and that is
 * dropped then. new_pages: write to new pages only. indexes: maintain those of the table that is written to.
 * check: rows are checked and not written.
 */
#define ELT_INSERT_FROZEN		0x01
#define ELT_INSERT_NEW_PAGES	0x02
#define ELT_INSERT_INDEXES		0x04
#define ELT_INSERT_CHECK		0x08

/* Where the rows of `target`, a table or the leaf of a partitioned one, are written to instead. */
typedef struct EltInsertPlace
{
	Oid			target;
	Oid			into;
} EltInsertPlace;

/*
 * A receiver of rows with the columns of `target`, at their attribute numbers. They are checked as rows of the target (NOT NULL, CHECK, partitions) and get its
 * stored generated columns; then they are written to where `places` say, or, where there are none, to the target itself. No triggers are fired, no foreign keys
 * checked, no row-level security. Locks: RowExclusive on what is written to and on the target's leaves; the target is locked already.
 */
extern DestReceiver *elt_insert_receiver(Oid target, const EltInsertPlace *places, int nplaces, int flags);

/* rows written so far and their bytes */
extern int64 elt_insert_rows(DestReceiver *receiver);
extern int64 elt_insert_bytes(DestReceiver *receiver);

/* Is this a table for such writing: no triggers, foreign keys, rules or row-level security of its own or of its leaves, and stored in heaps? NULL, or why not (a code). */
extern const char *elt_insert_refusal(Oid target);

/* May what is evaluated for a row of this table (constraints, generated columns, indexes, partition keys, domains) be evaluated while parallel workers give the rows? */
extern bool elt_insert_is_parallel_safe(Oid target);

#endif
