/*
 * mark.c
 *	  Marks: TRUNCATE and DDL in the change log's own order.
 *
 * A mark carries transaction and serial as an image does, so that a batch finds it with the window's own rule. It is written in the transaction
 * that does the marked thing, which holds an AccessExclusive lock on the table anyway.
 */
#include "postgres.h"

#include "capture/log.h"
#include "capture/mark.h"
#include "capture/target.h"
#include "catalog/capture.h"

void
elt_mark_relation(Oid relid, const char *reason)
{
	int32		capture;
	int64		serial;
	int64		xid;

	if (!OidIsValid(elt_target_root(relid, &capture)))
		return;
	xid = elt_log_next(&serial);
	elt_mark_insert(capture, xid, serial, reason);
}
