/* Writing the change log. */
#ifndef ELT_LOG_H
#define ELT_LOG_H

#include "utils/relcache.h"

#include "capture/image.h"

#define ELT_OP_INSERT	'I'
#define ELT_OP_DELETE	'D'
#define ELT_OP_OLD		'O'		/* old image of an update */
#define ELT_OP_NEW		'N'		/* new image of an update */
#define ELT_OP_UPDATE	'U'		/* the only image of an update, where old and
								 * new one are the same: keys */

/* columns of a segment */
#define ELT_LOG_XID		1
#define ELT_LOG_SERIAL	2		/* of the first image */
#define ELT_LOG_IMAGES	3		/* how many there are; their serials follow on
								 * each other */
#define ELT_LOG_CHANGES	4		/* how many of them are not ELT_OP_NEW: an
								 * update counts once */
#define ELT_LOG_DATA	5
#define ELT_LOG_COLUMNS	5

typedef struct EltLog EltLog;

extern EltLog *elt_log_open(Oid segment);
extern void elt_log_append(EltLog *log, char op, const EltImage *image);
extern void elt_log_close(EltLog *log);

/* The image at `at` in a row's data, which ends at `end`; returns where the next one is. */
extern const char *elt_log_unpack(const char *at, const char *end, char *op, const char **image, Size *len);

/* The current transaction's xid, widened (0: none yet), and how many images it has logged. */
extern int64 elt_log_position(int64 *serial);

/* Stamp for an event in the log of this transaction; assigns an xid. */
extern int64 elt_log_next(int64 *serial);

#endif
