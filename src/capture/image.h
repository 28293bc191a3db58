/* Row images of the change log. */
#ifndef ELT_IMAGE_H
#define ELT_IMAGE_H

#include "access/htup_details.h"
#include "executor/tuptable.h"

#include "base/compat.h"

/*
 * An image is the part of a MinimalTuple from t_infomask2 on. Two bits of t_infomask2 that tuples leave free tell what follows or is inside.
 */
#define ELT_IMAGE_TAGGED	0x0800	/* a trailer names the toasted values that
									 * were fetched */
#define ELT_IMAGE_POINTERS	0x1000	/* holds pointers to toasted values */

/* One entry of the trailer; after the entries stands their number as a uint16. */
typedef struct EltImageTag
{
	struct varatt_external pointer;
	AttrNumber	attnum;
} EltImageTag;

typedef struct EltImage
{
	MinimalTuple tuple;			/* with the two bits still in t_infomask2 */
	Size		len;			/* of the image */
	EltImageTag *tags;
	int			ntags;
	union
	{
		MinimalTupleData tuple;
		char		space[128];
	}			small;			/* where a key's tuple is made if it fits */
} EltImage;

/*
 * Make the image of the row in slot, in the current memory context; it may refer to the slot's tuple.
 *
 * partner: the row's other image where toasted values that both share may stay pointers (NULL: fetch all). tag: name the fetched values in the trailer.
 */
extern void elt_image_make(EltImage *image, TupleTableSlot *slot, TupleTableSlot *partner, bool tag);

/*
 * The same of the row's key alone: keydesc describes the columns up to the last one of the key, keys tells which of these belong to it. The others are NULL.
 */
extern void elt_image_make_key(EltImage *image, TupleTableSlot *slot, TupleDesc keydesc, const bool *keys);
extern bool elt_image_same(const EltImage *a, const EltImage *b);

/* Do two rows of transition tables have the same bytes? Toasted values count as the same where they are the same pointer. */
extern bool elt_image_same_bytes(TupleTableSlot *a, TupleTableSlot *b);

/* bytes of the image as stored, written to dest (image->len of them) */
extern void elt_image_write(const EltImage *image, char *dest);

/* the inverse: a MinimalTuple with clean flags; the bits are handed out in *flags */
extern MinimalTuple elt_image_read(const char *data, Size len, uint16 *flags);

/* View a MinimalTuple as a HeapTuple, for the routines that take one. */
static inline void
elt_tuple_of_minimal(MinimalTuple tuple, HeapTuple view)
{
	view->t_len = tuple->t_len + MINIMAL_TUPLE_OFFSET;
	ItemPointerSetInvalid(&view->t_self);
	view->t_tableOid = InvalidOid;
	view->t_data = (HeapTupleHeader) ((char *) tuple - MINIMAL_TUPLE_OFFSET);
}

extern int	elt_image_read_tags(const char *data, Size len, EltImageTag **tags);

#endif
