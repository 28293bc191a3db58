/*
 * counters.c
 *	  What a task costs: differences of this process's own counters.
 *
 * No locks; nothing to lose in a crash.
 */
#include "postgres.h"

#include "worker/pool.h"

static double
milliseconds(const struct timeval *from, const struct timeval *to)
{
	return (to->tv_sec - from->tv_sec) * 1000.0 + (to->tv_usec - from->tv_usec) / 1000.0;
}

void
elt_counters_start(EltCounters *counters)
{
	counters->buffers = pgBufferUsage;
	counters->wal = pgWalUsage;
	INSTR_TIME_SET_CURRENT(counters->since);
	if (getrusage(RUSAGE_SELF, &counters->usage) != 0)
		memset(&counters->usage, 0, sizeof(counters->usage));
}

/* Adds what there was since the start; rows, bytes and rejected are not counted here. */
void
elt_counters_stop(EltCounters *counters, EltTaskCounts *counts)
{
	const BufferUsage *before = &counters->buffers;
	struct rusage now;
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, counters->since);
	if (getrusage(RUSAGE_SELF, &now) != 0)
		now = counters->usage;
	counts->buffers_hit += pgBufferUsage.shared_blks_hit - before->shared_blks_hit + pgBufferUsage.local_blks_hit - before->local_blks_hit;
	counts->buffers_read += pgBufferUsage.shared_blks_read - before->shared_blks_read + pgBufferUsage.local_blks_read - before->local_blks_read;
	counts->buffers_written += pgBufferUsage.shared_blks_written - before->shared_blks_written +
		pgBufferUsage.local_blks_written - before->local_blks_written;
	counts->temp_bytes += (pgBufferUsage.temp_blks_written - before->temp_blks_written) * BLCKSZ;
	counts->wal_bytes += (int64) (pgWalUsage.wal_bytes - counters->wal.wal_bytes);
	counts->user_ms += milliseconds(&counters->usage.ru_utime, &now.ru_utime);
	counts->system_ms += milliseconds(&counters->usage.ru_stime, &now.ru_stime);
	counts->elapsed_ms += INSTR_TIME_GET_MILLISEC(elapsed);
}
