-- What elt.shard_table refuses: by name, with SQLSTATE and hint, and nothing is left behind.
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA sherr;
SET search_path = sherr, public;

-- SQLSTATE, message and hint of a statement's error
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN state || ': ' || message || E'\n  ' || hint;
END $$;

CREATE TABLE t (id integer PRIMARY KEY, a integer, b text, p point, j json, g integer GENERATED ALWAYS AS (a + 1) STORED);
INSERT INTO t SELECT i, i % 7, 'text ' || i FROM generate_series(1, 100) i;

-- arguments
SELECT refused($$SELECT elt.shard_table('nowhere', '{id}')$$);
SELECT refused($$SELECT elt.shard_table(123456789, '{id}')$$);
SELECT refused($$SELECT elt.shard_table(NULL, '{id}')$$);
SELECT refused($$SELECT elt.shard_table('t', NULL)$$);
SELECT refused($$SELECT elt.shard_table('t', '{id,NULL}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{{id},{a}}')$$);
SELECT refused($$SELECT elt.shard_table('t', array_fill('id'::text, ARRAY[33]))$$);
SELECT refused($$SELECT elt.shard_table('t', '{id}', NULL)$$);
SELECT refused($$SELECT elt.shard_table('t', '{id}', 0)$$);
SELECT refused($$SELECT elt.shard_table('t', '{id}', -1)$$);
SELECT refused($$SELECT elt.shard_table('t', '{id}', 100000)$$);

-- columns
SELECT refused($$SELECT elt.shard_table('t', '{nothing}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{id + 1}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{ctid}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{id,id}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{a}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{id,a}')$$);
ALTER TABLE t DROP CONSTRAINT t_pkey;
SELECT refused($$SELECT elt.shard_table('t', '{p}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{id,j}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{g}')$$);
CREATE UNIQUE INDEX t_unique ON t (a, id, (b || 'x'));
SELECT refused($$SELECT elt.shard_table('t', '{b}')$$);
DROP INDEX t_unique;
CREATE UNIQUE INDEX t_collated ON t (b COLLATE "C");
SELECT refused($$SELECT elt.shard_table('t', '{b}')$$);
DROP INDEX t_collated;
ALTER TABLE t DROP COLUMN j;
SELECT refused($$SELECT elt.shard_table('t', '{j}')$$);
SELECT refused($$SELECT elt.shard_table('t', '{"........pg.dropped.5........"}')$$);
ALTER TABLE t ADD PRIMARY KEY (id);

-- kinds of relations
CREATE VIEW v AS SELECT * FROM t;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM t;
CREATE SEQUENCE s;
CREATE TYPE ty AS (id integer, a integer);
CREATE TABLE typed OF ty;
CREATE UNLOGGED TABLE unlogged (id integer);
CREATE TEMP TABLE temporary (id integer);
CREATE TABLE hashed (id integer) PARTITION BY HASH (id);
CREATE TABLE ranged (id integer) PARTITION BY RANGE (id);
CREATE TABLE parent (id integer);
CREATE TABLE child (more integer) INHERITS (parent);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nothing FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE f (id integer) SERVER nothing;
SELECT refused($$SELECT elt.shard_table('v', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('mv', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('s', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('ty', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('t_pkey', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('typed', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('unlogged', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('temporary', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('hashed', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('ranged', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('parent', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('child', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('f', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('pg_catalog.pg_class', '{oid}')$$);
SELECT refused($$SELECT elt.shard_table('elt.capture', '{id}')$$);
CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (0) TO (100);
SELECT refused($$SELECT elt.shard_table('ranged_1', '{id}')$$);
CREATE FOREIGN TABLE ranged_2 PARTITION OF ranged FOR VALUES FROM (100) TO (200) SERVER nothing;
SELECT refused($$SELECT elt.shard_table('ranged', '{id}')$$);
DROP FOREIGN TABLE ranged_2;
DROP TABLE ranged_1;
CREATE TABLE ranged_3 PARTITION OF ranged FOR VALUES FROM (200) TO (300) PARTITION BY HASH (id);
SELECT refused($$SELECT elt.shard_table('ranged', '{id}')$$);
SELECT refused($$SELECT elt.shard_table('ranged_3', '{id}')$$);

-- what a partitioned table cannot have, or has in another sense
CREATE TABLE refers (t integer REFERENCES t);
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
DROP TABLE refers;
CREATE TABLE itself (id integer PRIMARY KEY, up integer REFERENCES itself);
SELECT refused($$SELECT elt.shard_table('itself', '{id}')$$);
CREATE TABLE excluding (id integer, r int4range, EXCLUDE USING gist (r WITH &&));
SELECT refused($$SELECT elt.shard_table('excluding', '{id}')$$);
ALTER TABLE t ADD CONSTRAINT not_checked CHECK (a < 3) NOT VALID;
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
ALTER TABLE t DROP CONSTRAINT not_checked, ADD CONSTRAINT own CHECK (a < 30) NO INHERIT;
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
ALTER TABLE t DROP CONSTRAINT own;
CREATE FUNCTION trigger_function() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER each_row BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION trigger_function();
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
DROP TRIGGER each_row ON t;
CREATE VIEW only_view AS SELECT id FROM (SELECT id FROM ONLY t WHERE id IN (SELECT 1)) q;
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
DROP VIEW only_view;
CREATE VIEW only_view AS SELECT 1 AS one WHERE EXISTS (SELECT FROM ONLY t);
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
DROP VIEW only_view;
SET client_min_messages = error;
CREATE PUBLICATION leaves FOR TABLE t;
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
DROP PUBLICATION leaves;
CREATE PUBLICATION all_tables FOR ALL TABLES;
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
DROP PUBLICATION all_tables;
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA sherr;
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
DROP PUBLICATION of_schema;
RESET client_min_messages;
CREATE INDEX invalid ON t (a);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'invalid'::regclass;
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
DROP INDEX invalid;

-- rights
CREATE ROLE sherr_other;
GRANT USAGE ON SCHEMA sherr TO sherr_other;
GRANT ALL ON t TO sherr_other;
SET ROLE sherr_other;
SELECT refused($$SELECT elt.shard_table('t', '{id}')$$);
RESET ROLE;
-- an owner who may not create tables in the schema
CREATE TABLE others (id integer);
ALTER TABLE others OWNER TO sherr_other;
SET ROLE sherr_other;
SELECT refused($$SELECT elt.shard_table('others', '{id}')$$);
RESET ROLE;

-- not now
BEGIN READ ONLY;
SELECT elt.shard_table('t', '{id}');
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t;
FETCH 1 FROM c;
SELECT elt.shard_table('t', '{id}');
ROLLBACK;
CREATE FUNCTION from_within() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM elt.shard_table('t', '{id}'); RETURN NULL; END $$;
CREATE TRIGGER from_within AFTER INSERT ON t EXECUTE FUNCTION from_within();
INSERT INTO t VALUES (1000);
DROP TRIGGER from_within ON t;

-- whole-row references
CREATE TABLE whole (id integer, CHECK (whole IS NOT NULL));
SELECT elt.shard_table('whole', '{id}');

-- nothing is left behind
SELECT c.oid::regclass, c.relkind FROM pg_class c WHERE c.relname ~ '_s[0-9]+$' ORDER BY 1;
SELECT count(*) FROM elt.shard_run;
SELECT count(*) FROM elt.tracked;
SELECT count(*) FROM elt.consumer;
SELECT relkind, count(*) FROM t JOIN pg_class c ON c.oid = t.tableoid GROUP BY 1;
SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal;

SET client_min_messages = warning;
DROP SCHEMA sherr CASCADE;
DROP SERVER nothing;
DROP FOREIGN DATA WRAPPER nothing;
DROP ROLE sherr_other;
