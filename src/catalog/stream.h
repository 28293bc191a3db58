/* Rows of elt.stream: which view shows which consumer's changes. */
#ifndef ELT_CATALOG_STREAM_H
#define ELT_CATALOG_STREAM_H

#include "nodes/pg_list.h"
#include "utils/array.h"

typedef struct EltStream
{
	int32		consumer;
	Oid			relid;			/* the view */
	ArrayType  *attnums;		/* the source's column for each of the view's,
								 * without _elt_op */
} EltStream;

extern EltStream *elt_stream_by_consumer(int32 consumer);
extern EltStream *elt_stream_by_relation(Oid relid);
extern List *elt_stream_all(void);
extern void elt_stream_insert(const EltStream *stream);

/* Delete the stream's row and its consumer; nothing where they are gone. */
extern void elt_stream_delete(int32 consumer);

#endif
