/* Appending full pages to a segment. */
#ifndef ELT_PAGE_H
#define ELT_PAGE_H

#include "access/htup.h"
#include "utils/relcache.h"

#define ELT_PAGES_AT_ONCE	16

/* Write each tuple, of at most MaxHeapTupleSize, to a page of its own at the end of the relation. At most ELT_PAGES_AT_ONCE of them. */
extern void elt_page_append(Relation rel, HeapTuple *tuples, int ntuples, CommandId cid);

#endif
