/* What would make a view follow changes better. */
#ifndef ELT_ADVICE_H
#define ELT_ADVICE_H

#include "view/shape.h"

/* What to do about a reason code; NULL: nothing is known. */
extern const char *elt_advice_for(const char *reason);

/*
 * List of char *: a CREATE INDEX statement for each column of a table by which changes of a part are looked up and that no index begins with. In the order in which
 * the query names them.
 */
extern List *elt_advice_indexes(EltShape *shape, EltPart *part);

/* Columns (lists of attribute numbers) by which other parts look up rows of this one's storage, other than by its key. */
extern List *elt_advice_part_indexes(EltShape *shape, EltPart *part);

#endif
