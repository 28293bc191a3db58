-- elt.track, elt.untrack, elt.tracked: the interface, and what they leave in the catalog.

-- every function, view and table of the extension says what it is for
SELECT p.oid::regprocedure AS without_comment
FROM pg_proc p
WHERE p.pronamespace = 'elt'::regnamespace AND coalesce(obj_description(p.oid, 'pg_proc'), '') = ''
ORDER BY 1;
SELECT c.oid::regclass AS without_comment
FROM pg_class c
WHERE c.relnamespace = 'elt'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm')
  AND coalesce(obj_description(c.oid, 'pg_class'), '') = ''
ORDER BY 1;

-- names, parameters, defaults and results are what callers rely on
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
FROM pg_proc p
WHERE p.pronamespace = 'elt'::regnamespace
  AND p.proname IN ('track', 'untrack', 'create_stream', 'advance_stream', 'drop_stream')
ORDER BY 1, 2;
SELECT attname, format_type(atttypid, atttypmod)
FROM pg_attribute
WHERE attrelid = 'elt.tracked'::regclass AND attnum > 0
ORDER BY attnum;

-- what belongs to the extension's owner only, and what everybody may call
SELECT p.proname, has_function_privilege('public', p.oid, 'EXECUTE') AS public_executes
FROM pg_proc p
WHERE p.pronamespace = 'elt'::regnamespace
  AND p.proname IN ('track', 'untrack', 'create_stream', 'advance_stream', 'drop_stream',
                    'capture', 'capture_moves', 'capture_generated', 'on_ddl_command_end', 'on_table_rewrite', 'on_sql_drop')
ORDER BY 2, 1;
SELECT evtname, evtevent, evtenabled FROM pg_event_trigger WHERE evtname LIKE 'elt%' ORDER BY 1;

CREATE SCHEMA track;
SET search_path = track;

-- the triggers of a table, in the order of their names
CREATE FUNCTION triggers_of(relation regclass) RETURNS TABLE (name name, enabled "char", definition text)
LANGUAGE sql AS $$
    SELECT tgname, tgenabled,
           regexp_replace(pg_get_triggerdef(oid), '^CREATE TRIGGER \S+ (.*) ON .*? (REFERENCING .* )?FOR EACH (\w+) EXECUTE FUNCTION (.*)$',
                          '\1, each \3, \4')
    FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal ORDER BY 1
$$;

-- what a log is
CREATE VIEW logs AS
SELECT c.relation, s.slot, s.segno, s.state, s.relation::regclass = ('elt_log.c' || c.id || '_' || s.slot)::regclass AS named_so,
       r.relkind, r.relpersistence, r.relhasindex,
       (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = s.relation AND attnum > 0) AS columns,
       (SELECT string_agg(e.extname, ', ') FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = s.relation AND d.deptype = 'e') AS member_of,
       (SELECT count(*) FROM pg_depend d WHERE d.objid = s.relation AND d.refobjid = c.relation
                                            OR d.refobjid = s.relation AND d.objid = c.relation) AS ties_to_source
FROM elt.capture c JOIN elt.capture_segment s ON s.capture = c.id JOIN pg_class r ON r.oid = s.relation;

-- a plain table
CREATE TABLE plain (id int PRIMARY KEY, v text);
SELECT elt.track('plain');
SELECT * FROM triggers_of('plain');
\x
SELECT * FROM logs;
\x
SELECT relation, method, images, pending_rows, log_bytes, slowest_consumer, stale,
       tracked_since <= now() AND tracked_since > now() - interval '1 minute' AS since_now
FROM elt.tracked WHERE relation = 'plain'::regclass;

-- called again, it changes nothing
SELECT elt.track('plain', images => 'row', method => 'trigger', on_partition_drop => 'resync');
SELECT count(*) FROM triggers_of('plain');
SELECT count(*) FROM logs;
SELECT count(*) FROM elt.mark;

-- it repairs what is missing or does not fire always
ALTER TABLE plain DISABLE TRIGGER elt_capture_insert;
SELECT relation, stale FROM elt.tracked;
SELECT elt.track('plain');
SELECT relation, stale FROM elt.tracked;
ALTER TABLE plain ENABLE TRIGGER elt_capture_update;	-- would not fire in a replica session
SELECT relation, stale FROM elt.tracked;
SELECT elt.track('plain');
DROP TRIGGER elt_capture_delete ON plain;
SELECT relation, stale FROM elt.tracked;
SELECT elt.track('plain');
SELECT relation, stale FROM elt.tracked;
SELECT name, enabled FROM triggers_of('plain');

-- images may be changed while nothing reads the log
SELECT elt.track('plain', 'key');
SELECT relation, images FROM elt.tracked;
SELECT elt.track('plain');
SELECT relation, images FROM elt.tracked;

-- untracked: no triggers, no log, no row anywhere
SELECT elt.untrack('plain');
SELECT * FROM triggers_of('plain');
SELECT (SELECT count(*) FROM elt.capture) AS captures, (SELECT count(*) FROM elt.capture_member) AS members,
       (SELECT count(*) FROM elt.capture_segment) AS segments, (SELECT count(*) FROM elt.mark) AS marks,
       (SELECT count(*) FROM elt.tracked) AS tracked,
       (SELECT count(*) FROM pg_class WHERE relnamespace = 'elt_log'::regnamespace AND relkind = 'r') AS logs;

-- rolled back: neither
BEGIN;
SELECT elt.track('plain');
INSERT INTO plain VALUES (1, 'one');
ROLLBACK;
SELECT count(*) FROM triggers_of('plain');
SELECT count(*) FROM elt.capture;

-- a partitioned table: root, intermediate and leaf alike; a new partition gets the triggers with its CREATE
CREATE TABLE root (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES IN (1);
CREATE TABLE middle PARTITION OF root FOR VALUES IN (2, 3) PARTITION BY LIST (part);
CREATE TABLE leaf2 PARTITION OF middle FOR VALUES IN (2);
SELECT elt.track('root');
CREATE TABLE leaf3 PARTITION OF middle FOR VALUES IN (3);
CREATE TABLE attached (v text, part int NOT NULL, id int NOT NULL);
ALTER TABLE root ATTACH PARTITION attached FOR VALUES IN (4);
SELECT r AS relation, t.name, t.enabled, t.definition
FROM unnest('{root, leaf1, middle, leaf2, leaf3, attached}'::regclass[]) WITH ORDINALITY AS u (r, i), triggers_of(r) t
ORDER BY i, t.name;
SELECT m.relation::regclass FROM elt.capture_member m ORDER BY m.relation::regclass::text;
SELECT relation, stale FROM elt.tracked;

-- a detached partition loses them, a dropped one leaves nothing behind
ALTER TABLE root DETACH PARTITION attached;
SELECT count(*) FROM triggers_of('attached');
DROP TABLE leaf3;
SELECT m.relation::regclass FROM elt.capture_member m ORDER BY m.relation::regclass::text;
SELECT relation, stale FROM elt.tracked;
SELECT elt.untrack('root');
SELECT count(*) FROM unnest('{root, leaf1, middle, leaf2}'::regclass[]) r, triggers_of(r);

-- names that need quotes, or all 63 bytes
CREATE SCHEMA "Strange ""schema""";
CREATE TABLE "Strange ""schema"""."O'Table; --" ("select" int PRIMARY KEY, "Spaced ""col""" text);
SELECT elt.track('"Strange ""schema"""."O''Table; --"');
CREATE TABLE a23456789012345678901234567890123456789012345678901234567890123 (id int PRIMARY KEY);
SELECT elt.track('a23456789012345678901234567890123456789012345678901234567890123');
SELECT relation, images, stale FROM elt.tracked ORDER BY relation::text;
INSERT INTO "Strange ""schema"""."O'Table; --" VALUES (1, 'x');
ALTER TABLE "Strange ""schema"""."O'Table; --" RENAME TO "Other";
SELECT relation, images, stale FROM elt.tracked ORDER BY relation::text;
SELECT elt.untrack('"Strange ""schema"""."Other"');
SELECT elt.untrack('a23456789012345678901234567890123456789012345678901234567890123');

-- a dropped table takes its log along, in a dropped schema too
CREATE TABLE dropped (id int PRIMARY KEY);
SELECT elt.track('dropped');
DROP TABLE dropped;
CREATE TABLE "Strange ""schema""".dropped (id int PRIMARY KEY);
SELECT elt.track('"Strange ""schema""".dropped');
\set VERBOSITY terse
DROP SCHEMA "Strange ""schema""" CASCADE;
\set VERBOSITY default
SELECT (SELECT count(*) FROM elt.capture) AS captures, (SELECT count(*) FROM elt.capture_member) AS members,
       (SELECT count(*) FROM elt.capture_segment) AS segments, (SELECT count(*) FROM elt.mark) AS marks,
       (SELECT count(*) FROM pg_class WHERE relnamespace = 'elt_log'::regnamespace AND relkind = 'r') AS logs;

-- DROP of a tracked table in a transaction that is rolled back leaves the tracking as it was
SELECT elt.track('plain');
BEGIN;
DROP TABLE plain;
ROLLBACK;
INSERT INTO plain VALUES (1, 'one');
SELECT relation, stale FROM elt.tracked;
SELECT elt.untrack('plain');

-- the change log would be published along
SET client_min_messages = error;	-- wal_level is too low for it
CREATE PUBLICATION everything FOR ALL TABLES;
RESET client_min_messages;
SELECT elt.track('plain');
DROP PUBLICATION everything;
SELECT elt.untrack('plain');

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA track CASCADE;
