/* Marks: events after which changes alone do not tell a relation's state. */
#ifndef ELT_MARK_H
#define ELT_MARK_H

/* the reason of a mark that TRUNCATE leaves: rows are gone, but none is unknown */
#define ELT_MARK_TRUNCATE	"truncate"

/* Mark the tracked relation that relid is or belongs to; nothing where it is not tracked. */
extern void elt_mark_relation(Oid relid, const char *reason);

#endif
