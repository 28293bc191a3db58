/*
 * page.c
 *	  Appends full pages to a segment of the change log, several at a time.
 *
 * What a large statement logs is packed into tuples that each fill a page. Such pages are made here: the file is extended once for all of them, and a
 * page goes to the WAL as one image of itself, as the pages of an index being built do. Going through the table's access method would ask the free
 * space map and extend the file for each page, which would be the larger part of what tracking costs. The tuples are those that heap_insert makes;
 * snapshots, locks and vacuum treat them as any other.
 *
 * The file has its new pages, zeroed, before they are filled: a full disk is the writer's error. Logical decoding does not see these rows; a change log is
 * of no use elsewhere.
 *
 * Locks: the caller holds RowExclusive on the segment; the relation extension lock while pages are added; one page at a time. A crash leaves
 * at worst empty pages at the end, which readers skip.
 */
#include "postgres.h"

#include "access/hio.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/predicate.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "capture/page.h"

/* What heap_insert notes in a new tuple's header. */
static void
stamp(HeapTuple tuple, TransactionId xid, CommandId cid, Oid relid)
{
	HeapTupleHeader header = tuple->t_data;

	header->t_infomask &= ~HEAP_XACT_MASK;
	header->t_infomask2 &= ~HEAP2_XACT_MASK;
	header->t_infomask |= HEAP_XMAX_INVALID;
	HeapTupleHeaderSetXmin(header, xid);
	HeapTupleHeaderSetXmax(header, 0);
	HeapTupleHeaderSetCmin(header, cid);
	tuple->t_tableOid = relid;
}

/* Make the new page, holding the tuple; false where another writer has taken the page first. Releases the buffer. */
static bool
fill_page(Relation rel, Buffer buffer, HeapTuple tuple)
{
	Page		page = BufferGetPage(buffer);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!PageIsNew(page))
	{
		UnlockReleaseBuffer(buffer);
		return false;
	}
	START_CRIT_SECTION();
	PageInit(page, BufferGetPageSize(buffer), 0);
	RelationPutHeapTuple(rel, buffer, tuple, false);
	MarkBufferDirty(buffer);
	if (RelationNeedsWAL(rel))
		log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
	return true;
}

void
elt_page_append(Relation rel, HeapTuple *tuples, int ntuples, CommandId cid)
{
	TransactionId xid = GetCurrentTransactionId();
	Buffer		buffers[ELT_PAGES_AT_ONCE];
	int			done = 0;

	Assert(ntuples <= ELT_PAGES_AT_ONCE);
	CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);
	for (int i = 0; i < ntuples; i++)
		stamp(tuples[i], xid, cid, RelationGetRelid(rel));
	while (done < ntuples)
	{
		int			nbuffers = elt_extend_relation(rel, ntuples - done, buffers);

		for (int i = 0; i < nbuffers; i++)
			done += fill_page(rel, buffers[i], tuples[done]);
	}
	pgstat_count_heap_insert(rel, ntuples);
}
