/* Marks: events after which changes alone do not tell a relation's state. */
#ifndef ELT_MARK_H
#define ELT_MARK_H

/* the reason of a mark that TRUNCATE leaves: rows are gone, but none is unknown */
#define ELT_MARK_TRUNCATE	"truncate"

/* reasons after which older images cannot be read, or rows are gone, but the log has every new row version */
#define ELT_MARK_REWRITE	"the table was rewritten"
#define ELT_MARK_COLUMN		"the type or the key membership of a column was changed"
#define ELT_MARK_DEFAULT	"a column with a default was added"
#define ELT_MARK_REMOVED	"a partition was removed"

/* reasons after which there may be rows that the log does not have */
#define ELT_MARK_DISABLED	"a trigger of change tracking was disabled or dropped"
#define ELT_MARK_ATTACHED	"a partition was attached"
#define ELT_MARK_INTERRUPTED	"change tracking was interrupted"

static inline bool
elt_mark_hides_rows(const char *reason)
{
	return strcmp(reason, ELT_MARK_TRUNCATE) != 0 && strcmp(reason, ELT_MARK_REWRITE) != 0 &&
		strcmp(reason, ELT_MARK_COLUMN) != 0 && strcmp(reason, ELT_MARK_DEFAULT) != 0 &&
		strcmp(reason, ELT_MARK_REMOVED) != 0;
}

/* Mark the tracked relation that relid is or belongs to; nothing where it is not tracked. */
extern void elt_mark_relation(Oid relid, const char *reason);

#endif
