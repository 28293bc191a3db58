-- elt.shard_table on a plain table: rows, and whatever belongs to the table, before and after. NOTICEs of calls in a transaction that wrote before are part of it.
CREATE SCHEMA shard;
SET search_path = shard;
SET client_min_messages = warning;
CREATE ROLE shard_owner;
CREATE ROLE shard_reader;
GRANT ALL ON SCHEMA shard TO shard_owner;
GRANT USAGE ON SCHEMA shard TO shard_reader;

-- A table with one of everything. Columns were dropped and added; rows are older than some of them.
CREATE TABLE region (id integer PRIMARY KEY, name text);
INSERT INTO region SELECT i, 'region ' || i FROM generate_series(0, 9) i;
CREATE SEQUENCE own_seq;
CREATE TABLE t (
    gone integer,
    id bigint GENERATED ALWAYS AS IDENTITY,
    customer integer NOT NULL DEFAULT 7,
    amount numeric(12,2) CHECK (amount >= 0),
    twice numeric GENERATED ALWAYS AS (amount * 2) STORED,
    region integer CONSTRAINT in_region REFERENCES region ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE,
    note text COMPRESSION pglz COLLATE "C",
    number bigint DEFAULT nextval('own_seq'),
    at timestamptz DEFAULT now(),
    CONSTRAINT t_key PRIMARY KEY (id, customer) INCLUDE (amount),
    CONSTRAINT t_second UNIQUE NULLS NOT DISTINCT (customer, id, note) DEFERRABLE,
    CONSTRAINT sensible CHECK (customer > 0 AND id < 1000000000)
) WITH (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_vacuum_threshold = 99);
ALTER SEQUENCE own_seq OWNED BY t.number;
ALTER TABLE t OWNER TO shard_owner;
INSERT INTO t (gone, customer, amount, region, note, at)
SELECT i, 1 + i % 50, i, nullif(i % 11, 10), CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN repeat(md5(i::text), 200) ELSE 'note ' || i END, '2026-01-01'::timestamptz + i * '1 minute'::interval
FROM generate_series(1, 3000) i;
ALTER TABLE t DROP COLUMN gone;
ALTER TABLE t ADD COLUMN late text DEFAULT 'late', ADD COLUMN later integer;
UPDATE t SET later = id WHERE id % 3 = 0;
DELETE FROM t WHERE id % 17 = 0;
CREATE INDEX t_customer ON t (customer DESC NULLS LAST) INCLUDE (amount) WITH (fillfactor = 80) WHERE amount > 5;
CREATE INDEX t_lower ON t (lower(note) text_pattern_ops, (customer + 1));
CREATE INDEX t_brin ON t USING brin (at);
CREATE INDEX t_hash ON t USING hash (note);
ALTER TABLE t CLUSTER ON t_lower;
ALTER TABLE t REPLICA IDENTITY FULL;
ALTER TABLE t ALTER note SET STORAGE external, ALTER amount SET STATISTICS 250, ALTER customer SET (n_distinct = 50);
CREATE STATISTICS t_stats (ndistinct, mcv) ON customer, region FROM t;
COMMENT ON TABLE t IS 'the table';
COMMENT ON COLUMN t.amount IS 'the amount';
COMMENT ON INDEX t_brin IS 'the index';
COMMENT ON CONSTRAINT sensible ON t IS 'the constraint';
COMMENT ON CONSTRAINT t_key ON t IS 'the key';
GRANT SELECT ON t TO shard_reader;
GRANT UPDATE (note, amount) ON t TO shard_reader WITH GRANT OPTION;
ANALYZE t;

-- what depends on it
CREATE VIEW v AS SELECT id, customer, sum(amount) OVER () AS total, t AS whole FROM t WHERE customer < 40;
GRANT SELECT ON v TO shard_reader;
COMMENT ON VIEW v IS 'the view';
CREATE VIEW updatable AS SELECT id, customer, amount, note FROM t WHERE customer > 3 WITH CHECK OPTION;
CREATE VIEW over_view AS SELECT customer, count(*) FROM v GROUP BY customer;
CREATE MATERIALIZED VIEW mv AS SELECT customer, count(*), sum(amount) FROM t GROUP BY customer;
CREATE FUNCTION newest(t) RETURNS timestamptz LANGUAGE sql AS 'SELECT $1.at';
CREATE FUNCTION total() RETURNS numeric LANGUAGE sql BEGIN ATOMIC SELECT sum(amount) FROM t; END;
CREATE TABLE has_rows (r t);
INSERT INTO has_rows SELECT t FROM t WHERE id = 5;
CREATE TABLE log (what text);
GRANT ALL ON log TO shard_owner, shard_reader;
CREATE RULE note_deletes AS ON DELETE TO t DO ALSO INSERT INTO log VALUES ('rule ' || old.id);
CREATE FUNCTION note_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shard.log SELECT TG_OP || ' of ' || count(*) FROM changed;
    RETURN NULL;
END $$;
CREATE TRIGGER note_updates AFTER UPDATE ON t REFERENCING NEW TABLE AS changed EXECUTE FUNCTION note_statement();
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON t TO shard_reader USING (amount < 100);

-- two ways to see the table: its rows as they are, and what the catalogs say of it
CREATE TABLE before AS SELECT id, t::text AS row FROM t;
CREATE FUNCTION facts(relation regclass) RETURNS SETOF text LANGUAGE sql SET search_path = shard AS $$
    SELECT format('column %s %s %s null %s default %s identity %s generated %s storage %s compression %s target %s options %s grants %s comment %s', attname, format_type(atttypid, atttypmod),
                  nullif(attcollation, 0)::regcollation, NOT attnotnull, pg_get_expr(adbin, adrelid), CASE WHEN (SELECT relispartition FROM pg_class WHERE oid = attrelid) THEN '' ELSE attidentity END, attgenerated, attstorage, attcompression, nullif(attstattarget, -1), (SELECT string_agg(o, ',') FROM unnest(attoptions) o WHERE o LIKE 'n\_distinct%'), attacl,
                  col_description(attrelid, attnum))
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT format('index %s %s primary %s unique %s identity %s comment %s', indexrelid::regclass, regexp_replace(pg_get_indexdef(indexrelid), ' ONLY ', ' '), indisprimary, indisunique, indisreplident,
                            obj_description(indexrelid)) FROM pg_index WHERE indrelid = relation
    UNION ALL SELECT format('constraint %s %s %s comment %s', conname, contype, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')) FROM pg_constraint WHERE conrelid = relation AND contype <> 'n'
    UNION ALL SELECT format('statistics %s', pg_get_statisticsobjdef(oid)) FROM pg_statistic_ext WHERE stxrelid = relation
    UNION ALL SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal
    UNION ALL SELECT format('rule %s', pg_get_ruledef(oid)) FROM pg_rewrite WHERE ev_class = relation
    UNION ALL SELECT format('policy %s %s %s', polname, pg_get_expr(polqual, polrelid), polroles::regrole[]) FROM pg_policy WHERE polrelid = relation
    UNION ALL SELECT format('table owner %s replica identity %s row security %s grants %s comment %s rows %s', relowner::regrole, relreplident, relrowsecurity, relacl, obj_description(oid), reltuples)
    FROM pg_class WHERE oid = relation
    UNION ALL SELECT format('sequence %s', pg_get_serial_sequence(relation::text, attname)) FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT format('planner %s %s %s', attname, n_distinct, null_frac) FROM pg_stats WHERE schemaname || '.' || tablename = 'shard.' || relation
$$;
CREATE TABLE facts_before AS SELECT facts('t') AS fact;
SELECT oid AS t_oid FROM pg_class WHERE oid = 't'::regclass \gset

SET ROLE shard_owner;
SELECT elt.shard_table('t', '{customer,id}', 5);
RESET ROLE;

-- the same rows, under the same OID
SELECT 't'::regclass::oid = :t_oid AS same_oid;
(SELECT * FROM before EXCEPT ALL SELECT id, t::text FROM t) UNION ALL (SELECT id, t::text FROM t EXCEPT ALL SELECT * FROM before);
SELECT count(*) FROM t;
-- the same facts
SELECT 'gone: ' || fact FROM (SELECT fact FROM facts_before EXCEPT ALL SELECT facts('t')) d
UNION ALL SELECT 'new: ' || fact FROM (SELECT facts('t') AS fact EXCEPT ALL SELECT fact FROM facts_before) d;
SELECT count(*) > 40 AS many FROM facts_before;
-- and those of a shard
SELECT facts('t_s3') AS fact ORDER BY 1;
SELECT count(*) AS shards, sum(rows) AS rows, bool_and(bytes > 0) AS bytes, round(avg(skew), 2) AS mean_skew FROM elt.shards WHERE relation = 't'::regclass;
SELECT shard, partition FROM elt.shards WHERE relation = 't'::regclass ORDER BY 1;
SELECT relname, relreplident, reloptions, relowner::regrole, regexp_replace(relacl::text, 'arwdDxtm', 'arwdDxt') AS relacl, (SELECT reloptions FROM pg_class WHERE oid = c.reltoastrelid) AS toast
FROM pg_class c WHERE oid IN ('t'::regclass, 't_s0'::regclass) ORDER BY relname;
SELECT relkind, relfilenode, relam, reltoastrelid, relfrozenxid, reloptions FROM pg_class WHERE oid = 't'::regclass;
-- every index has its partition in each shard, and every constraint
SELECT parent.relname, count(*), bool_and(i.indisvalid) AS valid
FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent JOIN pg_index i ON i.indexrelid = inhrelid
WHERE i.indrelid IN (SELECT partition FROM elt.shards WHERE relation = 't'::regclass) GROUP BY 1 ORDER BY 1;
SELECT p.conname, count(*), bool_and(c.convalidated AND c.coninhcount = 1) AS attached FROM pg_constraint p JOIN pg_constraint c ON c.conparentid = p.oid
WHERE p.conrelid = 't'::regclass GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM pg_constraint WHERE conname LIKE 'elt%';
-- planner and statistics
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE customer = 5 AND id = 10;
SELECT count(*) FROM pg_statistic WHERE starelid = 't'::regclass AND NOT stainherit;
SELECT inherited FROM pg_stats_ext WHERE statistics_name = 't_stats';

-- what depends on it goes on
SELECT count(*), max(total), (SELECT (whole).late FROM v LIMIT 1) FROM v;
SELECT sum(count) FROM over_view;
SELECT total() = (SELECT sum(sum) FROM mv) AS same_total;
REFRESH MATERIALIZED VIEW mv;
SELECT total() = (SELECT sum(sum) FROM mv) AS same_total;
SELECT newest(t) FROM t WHERE id = 5;
SELECT (r).id, r = (SELECT t FROM t WHERE id = 5) AS same FROM has_rows;
BEGIN;
INSERT INTO updatable (customer, amount, note) VALUES (10, 1, 'through the view') RETURNING id > 3000 AS new_id, customer;
INSERT INTO t (amount, region) VALUES (5, 3) RETURNING customer, twice, late, number, region;
SAVEPOINT s;
INSERT INTO t (amount, region) VALUES (5, 333);
ROLLBACK TO s;
\set VERBOSITY terse
INSERT INTO t (amount) VALUES (-5);
\set VERBOSITY default
ROLLBACK TO s;
INSERT INTO t (id, customer) OVERRIDING SYSTEM VALUE VALUES (5, 6);
ROLLBACK TO s;
UPDATE t SET customer = customer + 1 WHERE id IN (20, 21, 22);
DELETE FROM t WHERE id IN (40, 41);
SELECT * FROM log ORDER BY 1;
DELETE FROM region WHERE id = 3;
SELECT count(*) FROM t WHERE region = 3;
UPDATE region SET id = 44 WHERE id = 4;
SELECT count(*) > 100 AS moved FROM t WHERE region = 44;
TRUNCATE t;
SELECT count(*) FROM t;
ROLLBACK;
SET ROLE shard_reader;
SELECT count(*), max(amount) FROM t;
UPDATE t SET note = 'x' WHERE id = 8;
UPDATE t SET customer = 3;
SELECT count(*) FROM t_s0;
SELECT count(*) > 0 AS any FROM v;
RESET ROLE;
-- DDL goes on, too
ALTER TABLE t ADD COLUMN newest integer DEFAULT 3;
DROP TABLE has_rows;
ALTER TABLE t ALTER COLUMN later TYPE bigint;
CREATE INDEX ON t (newest);
ALTER TABLE t DROP CONSTRAINT in_region, DROP CONSTRAINT t_second;
ALTER TABLE t RENAME COLUMN newest TO latest;
SELECT count(*), sum(latest) FROM t;
VACUUM ANALYZE t;
REINDEX TABLE t;
CLUSTER t_s0;
DROP TABLE t CASCADE;
SELECT relname FROM pg_class WHERE relnamespace = 'shard'::regnamespace AND relname ~ '^t(_|$)';

-- names that are taken, and long ones; quoting; one shard; NULL keys
CREATE TABLE taken_s0 ();
CREATE TABLE taken (id integer);
INSERT INTO taken SELECT nullif(i % 10, 0) FROM generate_series(1, 1000) i;
SELECT elt.shard_table('taken', '{id}', 2);
SELECT shard, partition, rows FROM elt.shards WHERE relation = 'taken'::regclass ORDER BY 1;
SELECT count(*), count(id) FROM taken;
CREATE TABLE "A name with ""quotes"" and 'more', so long that it is cut" ("the key" text, "Größe" text);
INSERT INTO "A name with ""quotes"" and 'more', so long that it is cut" SELECT i, i FROM generate_series(1, 100) i;
SELECT elt.shard_table('"A name with ""quotes"" and ''more'', so long that it is cut"', '{"the key","Größe"}', 1);
SELECT shard, partition, rows, skew FROM elt.shards WHERE relation::text LIKE '%quotes%';
CREATE TABLE empty (id integer);
SELECT elt.shard_table('empty', '{id}');
SELECT count(*), sum(rows), sum(skew) FROM elt.shards WHERE relation = 'empty'::regclass;
-- rows that are shorter than the table, whose columns stand as they do in the shards
CREATE TABLE short (id integer);
INSERT INTO short SELECT generate_series(1, 100);
ALTER TABLE short ADD COLUMN late text DEFAULT 'late', ADD COLUMN later integer;
SELECT elt.shard_table('short', '{id}', 2);
SELECT late, later, count(*) FROM short GROUP BY 1, 2;
CREATE TABLE many (id integer PRIMARY KEY);
INSERT INTO many SELECT generate_series(1, 5000);
SELECT elt.shard_table('many', '{id}', 200);
SELECT count(*), sum(rows) FROM elt.shards WHERE relation = 'many'::regclass;
SELECT count(*), count(DISTINCT tableoid) FROM many;

-- in a transaction that wrote before, or sees a fixed snapshot: there, with all it has done, savepoints included
SET client_min_messages = notice;
CREATE TABLE here (id integer PRIMARY KEY, v text);
INSERT INTO here SELECT i, 'old' FROM generate_series(1, 100) i;
BEGIN;
INSERT INTO here VALUES (101, 'new');
SAVEPOINT a;
DELETE FROM here WHERE id <= 10;
ROLLBACK TO a;
DELETE FROM here WHERE id <= 5;
SELECT elt.shard_table('here', '{id}', 3);
UPDATE here SET v = 'newer' WHERE id > 90;
SELECT count(*), count(*) FILTER (WHERE v = 'newer') FROM here;
SAVEPOINT b;
DROP TABLE here;
ROLLBACK TO b;
SELECT count(*) FROM here;
ROLLBACK;
SELECT relkind, (SELECT count(*) FROM here) FROM pg_class WHERE oid = 'here'::regclass;
BEGIN;
SAVEPOINT c;
SELECT elt.shard_table('here', '{id}', 3);
ROLLBACK TO c;
SELECT count(*) FROM here;
COMMIT;
-- a worker is about to clean up
DO $$ BEGIN WHILE EXISTS (SELECT FROM elt.shard_run) LOOP PERFORM pg_sleep(0.1); END LOOP; END $$;
SELECT relkind, (SELECT count(*) FROM here) FROM pg_class WHERE oid = 'here'::regclass;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT elt.shard_table('here', '{id}', 3);
COMMIT;
SELECT relkind, (SELECT count(*) FROM here) FROM pg_class WHERE oid = 'here'::regclass;
-- a table of the transaction's own
BEGIN;
CREATE TABLE newborn AS SELECT i AS id FROM generate_series(1, 50) i;
SELECT elt.shard_table('newborn', '{id}', 3);
INSERT INTO newborn VALUES (51);
COMMIT;
SELECT count(*) FROM newborn;
BEGIN;
LOCK TABLE taken_s0 IN SHARE MODE;
ALTER TABLE taken_s0 ADD COLUMN id integer;
SELECT elt.shard_table('taken_s0', '{id}', 2);
COMMIT;
-- a caller that rolls back: what was committed on the way is cleaned up
CREATE TABLE undone (id integer PRIMARY KEY, v text);
INSERT INTO undone SELECT i, 'v' FROM generate_series(1, 100) i;
BEGIN;
SELECT elt.shard_table('undone', '{id}', 4);
SELECT count(*) FROM undone;
ROLLBACK;
SELECT relkind, (SELECT count(*) FROM undone) FROM pg_class WHERE oid = 'undone'::regclass;
-- by a worker; or here, if there is none
CREATE PROCEDURE swept() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        IF NOT EXISTS (SELECT FROM elt.shard_run) THEN
            RETURN;
        END IF;
        PERFORM elt._clean_shards(), pg_sleep(0.1);
        COMMIT;
    END LOOP;
    RAISE 'elt.shard_run is not empty';
END $$;
CALL swept();
SELECT relname FROM pg_class WHERE relname LIKE 'undone%' ORDER BY 1;
SELECT elt.shard_table('undone', '{id}', 4);
SELECT count(*) FROM undone;
SELECT elt._clean_shards();
SELECT count(*) FROM elt.shard_run;
SELECT count(*) FROM elt.tracked;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'undone'::regclass;

-- two phases: what workers have committed would have nobody to clean it up
CREATE TABLE prepared (id integer);
BEGIN;
SELECT elt.shard_table('prepared', '{id}', 2);
PREPARE TRANSACTION 'sharded';
CALL swept();
SELECT relname FROM pg_class WHERE relname ~ '^prepared' ORDER BY 1;

-- default privileges give nothing of a shard away
ALTER DEFAULT PRIVILEGES IN SCHEMA shard GRANT SELECT ON TABLES TO shard_reader, PUBLIC;
CREATE TABLE secret (id integer);
REVOKE ALL ON secret FROM shard_reader, PUBLIC;
SELECT elt.shard_table('secret', '{id}', 2);
SELECT relname, has_table_privilege('shard_reader', oid, 'SELECT') AS may_read FROM pg_class WHERE relname ~ '^secret' ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA shard CASCADE;
DROP ROLE shard_owner, shard_reader;
