/* Custom scans that find a bag's rows by equality, through a hash table that is made once a statement. */
#ifndef ELT_BAGSCAN_H
#define ELT_BAGSCAN_H

#include "nodes/extensible.h"

/*
 * What a CustomScan's plan holds. custom_exprs: for each key the expression over the bag's row, then for each key the one that it must equal.
 * custom_scan_tlist: the columns of the bag that the plan uses. custom_private: a list of these.
 */
typedef enum EltBagScanPrivate
{
	ELT_BAG_NAME,				/* String: the bag's name */
	ELT_BAG_ATTNOS,				/* integers: where the bag has the columns of
								 * custom_scan_tlist */
	ELT_BAG_INNER_HASH,			/* oids: for each key, what hashes the bag's
								 * side */
	ELT_BAG_OUTER_HASH,			/* and the other one */
	ELT_BAG_COLLATIONS
}			EltBagScanPrivate;

/* The executor's side, see bagexec.c. */
extern const CustomScanMethods elt_bag_scan_methods;

/* When the library is loaded: the planner's hook. */
extern void elt_bagscan_init(void);

#endif
