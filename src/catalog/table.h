/* Direct access to the extension's own tables. */
#ifndef ELT_TABLE_H
#define ELT_TABLE_H

#include "access/genam.h"
#include "access/htup.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

/* is the extension there, in this database? */
extern bool elt_installed(void);

/* OID of elt.<name>; an error where the extension is absent */
extern Oid	elt_table_oid(const char *name);

/* open elt.<name> */
extern Relation elt_table_open(const char *name, LOCKMODE mode);

/* Start a scan of elt.<name> by an index's leading columns; snapshot NULL: the latest. */
extern SysScanDesc elt_table_scan(Relation rel, const char *index, int nkeys,
								  ScanKey keys, Snapshot snapshot);

extern void elt_key_int4(ScanKey key, AttrNumber attno, int32 value);
extern void elt_key_int8(ScanKey key, AttrNumber attno, int64 value);
extern void elt_key_oid(ScanKey key, AttrNumber attno, Oid value);

/* Delete the rows of elt.<name> whose leading columns, those of an index, match. */
extern void elt_table_delete(const char *name, const char *index, int nkeys, ScanKey keys);

/* text[] to a list of String, and back; not for arrays with nulls */
extern List *elt_strings_of_array(Datum array);
extern Datum elt_array_of_strings(List *strings);

/* oid[] to a list of OIDs, and back */
extern List *elt_oids_of_array(Datum array);
extern Datum elt_array_of_oids(List *oids);

/* next value of elt.<name> */
extern int64 elt_sequence_next(const char *name);

/* identity of this database */
extern pg_uuid_t elt_install_id(void);
extern bool elt_install_is(const pg_uuid_t *id);
extern Datum elt_uuid_datum(const pg_uuid_t *id);

#endif
