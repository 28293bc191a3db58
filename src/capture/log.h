/* Writing the change log. */
#ifndef ELT_LOG_H
#define ELT_LOG_H

#include "utils/relcache.h"

#include "capture/image.h"

#define ELT_OP_INSERT	'I'
#define ELT_OP_DELETE	'D'
#define ELT_OP_OLD		'O'		/* old image of an update */
#define ELT_OP_NEW		'N'		/* new image of an update */

/* columns of a segment */
#define ELT_LOG_XID		1
#define ELT_LOG_SERIAL	2
#define ELT_LOG_OP		3
#define ELT_LOG_IMAGE	4
#define ELT_LOG_COLUMNS	4

typedef struct EltLog EltLog;

extern EltLog *elt_log_open(Oid segment);
extern void elt_log_append(EltLog *log, char op, const EltImage *image);
extern void elt_log_close(EltLog *log);

/* The current transaction's xid, widened (0: none yet), and how many log rows it has written. */
extern int64 elt_log_position(int64 *serial);

/* Stamp for an event in the log of this transaction; assigns an xid. */
extern int64 elt_log_next(int64 *serial);

#endif
