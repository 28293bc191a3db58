/* The life of change log segments. */
#ifndef ELT_SEGMENT_H
#define ELT_SEGMENT_H

#include "utils/snapshot.h"

/* Make the first segment of a capture. */
extern void elt_segment_create_first(int32 capture);

/* Drop all of a capture's segments. The caller excludes writers and readers. */
extern void elt_segment_drop_all(int32 capture);

/* Seal, trim and rotate what can be without waiting. */
extern void elt_segment_maintain(int32 capture);

/* The highest segment number below which snapshot sees every segment sealed. */
extern int32 elt_segment_passed(int32 capture, Snapshot snapshot);

#endif
