/* Progress of what runs long, for other sessions to see. */
#ifndef ELT_PROGRESS_H
#define ELT_PROGRESS_H

typedef enum EltProgressPhase
{
	ELT_PHASE_READ,				/* netting the change log */
	ELT_PHASE_APPLY,			/* writing changes to the target */
	ELT_PHASE_COPY,				/* writing all rows to the target */
	ELT_PHASE_QUARANTINE,		/* looking for rows that cannot be written */
	ELT_PHASE_TASKS				/* a run's workers, or its leader, do tasks */
} EltProgressPhase;

/* This session works on a node (a number of elt.node), which `owner` may see, until elt_progress_end or the end of the transaction. */
extern void elt_progress_begin(int32 node, Oid owner);
extern void elt_progress_phase(EltProgressPhase phase);

/* rows finished since elt_progress_begin, and an estimate of all there are (0: unknown) */
extern void elt_progress_rows(int64 done, int64 total);

/*
 * A run of tasks begins, in what this session works on or, where it works on no node, by itself: true then, which elt_progress_leave wants to know. What else
 * is reported goes on: the rows of tasks are added to those finished before, where no total of rows is known.
 */
extern bool elt_progress_enter(void);
extern void elt_progress_leave(bool entered);

/* so many tasks are done, which is this part (0 to 1) of the work, workers work now, and tasks have done so many rows */
extern void elt_progress_tasks(int done, int total, int workers, int64 rows, double part);

/* the same once more, after the abort of a subtransaction */
extern void elt_progress_report(void);
extern void elt_progress_end(void);

#endif
