/* Rows of elt.consumer: who reads a log, and how far. */
#ifndef ELT_CATALOG_CONSUMER_H
#define ELT_CATALOG_CONSUMER_H

#include "nodes/pg_list.h"
#include "utils/uuid.h"

/*
 * A point in a change log. Xids are widened to 64 bits. Contains an image (xid, serial) when the xid was finished in the snapshot, or is
 * own_xid with serial <= own_serial.
 */
typedef struct EltOffset
{
	uint64		xmin;
	uint64		xmax;
	int			nxip;
	uint64	   *xip;			/* in progress, ascending */
	int64		own_xid;		/* 0: none */
	int64		own_serial;
	int32		passed;			/* segments up to here are wholly contained */
} EltOffset;

typedef struct EltConsumer
{
	int32		id;
	int32		capture;
	char	   *kind;
	char	   *name;
	pg_uuid_t	install;
	bool		only_adds;		/* takes every new row version, and cannot
								 * resynchronise */
	EltOffset  *offset;			/* NULL: nothing read yet */
	EltOffset  *end;			/* end of the window being applied in chunks,
								 * or NULL */
	int32		chunks;
	int32		chunks_done;
	char	   *chunk_key;		/* what the chunks were made by, or NULL */
	TransactionId xmin;			/* who wrote this version of the row */
} EltConsumer;

extern EltConsumer *elt_consumer_by_id(int32 id);	/* NULL: none */
extern List *elt_consumer_list(int32 capture);
extern int32 elt_consumer_insert(const EltConsumer *consumer);
extern void elt_consumer_update(const EltConsumer *consumer);
extern void elt_consumer_delete(int32 id);

extern bool elt_offset_contains(const EltOffset *offset, int64 xid, int64 serial);

#endif
