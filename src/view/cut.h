/* Cutting a query into parts: what the files that do it share. */
#ifndef ELT_CUT_H
#define ELT_CUT_H

#include "view/shape.h"

typedef struct EltCut
{
	EltShape   *shape;
	List	   *leaves;			/* of the part being made */
	List	   *cte_labels;		/* String, beside cte_sources */
	List	   *cte_sources;
} EltCut;

/* parts.c: the part that stores what the query gives. It is used, and changed. */
extern EltPart *elt_cut(EltCut *cut, Query *query);

/* scope.c: find the leaves of a query level and of those below it; core: its rows are linear in those that FROM preserves. */
extern void elt_scope(EltCut *cut, Query *query, bool core);

/* scope.c: note which columns of each source are read, after all parts are made. */
extern void elt_note_uses(EltShape *shape);

/* rowkey.c: indexes of output columns by which the rows of a part differ, NIL: there are none. */
extern List *elt_find_row_key(EltShape *shape, EltPart *part);

#endif
