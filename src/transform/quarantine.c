#include "postgres.h"

#include "transform/transform.h"

int64
elt_quarantine_task(EltTransform *transform, EltRun *run, const char *sql, const EltPiece *piece, DestReceiver *dest)
{
	elog(ERROR, "not yet");
	return 0;
}
