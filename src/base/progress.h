/* Progress of what runs long, for other sessions to see. */
#ifndef ELT_PROGRESS_H
#define ELT_PROGRESS_H

typedef enum EltProgressPhase
{
	ELT_PHASE_READ,				/* netting the change log */
	ELT_PHASE_APPLY,			/* writing changes to the target */
	ELT_PHASE_COPY,				/* writing all rows to the target */
	ELT_PHASE_QUARANTINE		/* looking for rows that cannot be written */
} EltProgressPhase;

/* This session works on a node (a number of elt.node), which `owner` may see, until elt_progress_end or the end of the transaction. */
extern void elt_progress_begin(int32 node, Oid owner);
extern void elt_progress_phase(EltProgressPhase phase);

/* rows finished since elt_progress_begin, and an estimate of all there are (0: unknown) */
extern void elt_progress_rows(int64 done, int64 total);

/* the same once more, after the abort of a subtransaction */
extern void elt_progress_report(void);
extern void elt_progress_end(void);

#endif
