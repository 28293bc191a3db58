/* Analysis of a load's query: may it be fed with changed rows only? */
#ifndef ELT_QUERY_H
#define ELT_QUERY_H

#include "access/attnum.h"
#include "nodes/pg_list.h"

typedef struct EltLoadQuery
{
	char	   *sql;			/* canonical text: every name outside
								 * pg_catalog qualified, to be read under
								 * ELT_SEARCH_PATH */
	int			ncolumns;
	char	  **names;
	Oid		   *types;
	int32	   *typmods;
	Oid		   *collations;
	AttrNumber *passthrough;	/* attribute of the source that the column
								 * passes through unchanged, else 0 */
	bool		is_volatile;	/* calls a volatile function */
	List	   *lookups;		/* OIDs of the other relations that it names,
								 * views included */
	List	   *relations;		/* OIDs of those and of what views read */
} EltLoadQuery;

/*
 * Analyse a query that reads `source`, for the current user under the current search_path; an error that says what to do where feeding
 * it only some rows of source would not give those rows' part of the result. Result in the current memory context; the
 * relations read stay locked (AccessShareLock) until the transaction ends.
 */
extern EltLoadQuery *elt_load_query_analyze(const char *text, Oid source, const char *load_name);

/* Before a stored query runs: an error where it cannot be read any more, or where its names mean something else than its source. Gives the columns of the
 * source that it reads, as text to compare: where they are others than before, what it gave then is not what it gives now. */
extern char *elt_load_query_check(const char *sql, Oid source, const char *load_name);

/* The query of a load without one: the columns, by name, that source and target share, in the target's order, without its generated ones. */
extern EltLoadQuery *elt_load_query_default(Oid source, Oid target, const char *load_name);

#endif
