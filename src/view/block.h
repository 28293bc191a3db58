/* The delta of a block, as queries over its leaves' states. */
#ifndef ELT_BLOCK_H
#define ELT_BLOCK_H

#include "datatype/timestamp.h"

#include "view/shape.h"

/*
 * Queries whose rows, with weights in a last column _elt_w, add up to the change of the block's rows. changed: numbers of the sources that changed.
 * moved: the block's now() is that of `then` in the old state, and the transaction's in the new one. Leaves read elt_delta_<n>, elt_old_<n>, elt_was_<n>, elt_new_<n>.
 */
extern List *elt_block_delta(EltShape *shape, Query *block, Bitmapset *changed, bool moved, TimestampTz then);

/* So many rows has the source's delta: what statements look like depends on it. */
extern void elt_expect_changes(EltSource *source, double nchanges);

/* The block as it is now. */
extern Query *elt_block_now(EltShape *shape, Query *block);

/* Does it depend on now(); and only so that elt_block_delta can follow it? */
extern bool elt_reads_now(Node *node);
extern bool elt_now_is_bound(Query *block);

/* SQL text, without a semicolon. */
extern char *elt_query_text(Query *query);

/* references.c: leaves of the block that refer to this one by an enforced foreign key by which both are joined. */
extern List *elt_referring_leaves(EltShape *shape, Query *block, EltLeaf *leaf, List *leaves);

/* touch.c */

/* Restrict the level at which an appended leaf hangs to rows that its delta may touch. False: all rows may be. */
extern bool elt_touch(EltShape *shape, Query *block, EltLeaf *leaf);

/* for touch.c */
extern void elt_add_qual(Query *query, Node *qual);
extern List *elt_conjuncts(Node *quals);

/* In this tree the leaf reads its delta, whatever its sign; or the state that it does not have elsewhere. */
extern void elt_mark_touching(EltShape *shape, Node *node, EltLeaf *leaf);
extern void elt_mark_flipped(EltShape *shape, Node *node, EltLeaf *leaf);

#endif
