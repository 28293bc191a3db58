/* Rows of elt.capture, elt.capture_segment and elt.mark. */
#ifndef ELT_CATALOG_CAPTURE_H
#define ELT_CATALOG_CAPTURE_H

#include "nodes/pg_list.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

typedef struct EltCapture
{
	int32		id;
	Oid			relid;			/* root of the tracked tree */
	bool		keys_only;		/* images => 'key' */
	char	   *on_partition_drop;
	char	   *columns;		/* see elt_columns_signature */
	pg_uuid_t	install;
	int32		trimmed;		/* highest segment number that was truncated */
	TransactionId xmin;			/* who wrote this version of the row */
} EltCapture;

#define ELT_SEGMENT_OPEN	'o'
#define ELT_SEGMENT_CLOSED	'c'
#define ELT_SEGMENT_SEALED	's'
#define ELT_SEGMENT_FREE	'f'

typedef struct EltSegment
{
	int32		capture;
	int32		slot;
	int32		segno;
	char		state;
	Oid			relid;
	TransactionId xmin;			/* who wrote this version of the row */
} EltSegment;

typedef struct EltMark
{
	int64		id;
	int64		xid;
	int64		serial;
	TransactionId xmin;
	char	   *reason;
} EltMark;

/* All results are palloc'd; a missing row is NULL. */
extern EltCapture *elt_capture_by_id(int32 id);
extern EltCapture *elt_capture_by_relation(Oid relid);
extern List *elt_capture_all(void);
extern bool elt_capture_any(void);
extern int32 elt_capture_insert(const EltCapture *capture);
extern void elt_capture_set_trimmed(int32 id, int32 segno);
extern void elt_capture_set_columns(int32 id, const char *columns);
extern void elt_capture_delete(int32 id);

/* OIDs of the relations of a capture's tree, as last noted */
extern List *elt_member_list(int32 capture);

/* ids of the captures in whose trees a relation was noted */
extern List *elt_member_captures(Oid relid);
extern void elt_member_insert(int32 capture, Oid relid);
extern void elt_member_delete(int32 capture, Oid relid);
extern void elt_member_delete_all(int32 capture);

/* segments by rising segno, free ones last; snapshot NULL: latest */
extern List *elt_segment_list(int32 capture, Snapshot snapshot);
extern Oid	elt_segment_open_relid(int32 capture);
extern void elt_segment_insert(const EltSegment *segment);
extern void elt_segment_update(const EltSegment *segment);
extern void elt_segment_delete_all(int32 capture);

extern void elt_mark_insert(int32 capture, int64 xid, int64 serial, const char *reason);
extern List *elt_mark_list(int32 capture);
extern void elt_mark_delete(int32 capture, int64 id);
extern void elt_mark_delete_all(int32 capture);

#endif
