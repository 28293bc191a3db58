-- Every error of elt.track and elt.untrack.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA track_errors;
SET search_path = track_errors;
CREATE ROLE regress_elt_owner;
CREATE ROLE regress_elt_other;
GRANT USAGE, CREATE ON SCHEMA track_errors TO regress_elt_owner, regress_elt_other;

-- SQLSTATE, message, detail and hint of what a statement raises
CREATE FUNCTION raises(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', SQLSTATE || ': ' || message, '   detail: ' || nullif(detail, ''), '   hint: ' || nullif(hint, ''));
END $$;

CREATE TABLE plain (id int PRIMARY KEY, v text);
CREATE TABLE keyless (v text);

-- NULL in every argument
SELECT raises('SELECT elt.track(NULL)');
SELECT raises('SELECT elt.track(''plain'', images => NULL)');
SELECT raises('SELECT elt.track(''plain'', method => NULL)');
SELECT raises('SELECT elt.track(''plain'', on_partition_drop => NULL)');
SELECT raises('SELECT elt.untrack(NULL)');
SELECT raises('SELECT elt.untrack(''plain'', force => NULL)');

-- values that are none
SELECT raises('SELECT elt.track(''no_such_table'')');
SELECT raises('SELECT elt.track(4294967295::oid)');
SELECT raises('SELECT elt.track(0::oid)');
SELECT raises('SELECT elt.untrack(4294967295::oid)');
SELECT raises('SELECT elt.track(''plain'', images => ''rows'')');
SELECT raises('SELECT elt.track(''plain'', images => '''')');
SELECT raises('SELECT elt.track(''plain'', images => ''ROW'')');
SELECT raises('SELECT elt.track(''plain'', method => ''%s "quoted" %d'')');
SELECT raises('SELECT elt.track(''plain'', on_partition_drop => ''drop'')');
SELECT raises('SELECT elt.track(''plain'', method => ''wal'')');
SELECT raises('SELECT elt.track(''plain'', on_partition_drop => ''delete'')');
SELECT raises('SELECT elt.track(''plain'', on_partition_drop => ''ignore'')');

-- what cannot be tracked
CREATE VIEW a_view AS SELECT * FROM plain;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM plain;
CREATE FOREIGN DATA WRAPPER regress_elt_fdw;
CREATE SERVER regress_elt_server FOREIGN DATA WRAPPER regress_elt_fdw;
CREATE FOREIGN TABLE a_foreign_table (id int) SERVER regress_elt_server;
CREATE TEMP TABLE a_temp_table (id int PRIMARY KEY);
CREATE UNLOGGED TABLE an_unlogged_table (id int PRIMARY KEY);
CREATE SEQUENCE a_sequence;
CREATE TYPE a_type AS (id int);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE middle PARTITION OF root FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE foreign_root (id int) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE foreign_leaf PARTITION OF foreign_root FOR VALUES FROM (0) TO (10) SERVER regress_elt_server;
SELECT raises('SELECT elt.track(''a_view'')');
SELECT raises('SELECT elt.track(''a_matview'')');
SELECT raises('SELECT elt.track(''a_foreign_table'')');
SELECT raises('SELECT elt.track(''a_temp_table'')');
SELECT raises('SELECT elt.track(''an_unlogged_table'')');
SELECT raises('SELECT elt.track(''a_sequence'')');
SELECT raises('SELECT elt.track(''a_type'')');
SELECT raises('SELECT elt.track(''plain_pkey'')');
SELECT raises('SELECT elt.track(''pg_catalog.pg_class'')');
SELECT raises('SELECT elt.track(''elt.capture'')');
SELECT raises('SELECT elt.track(''parent'')');
SELECT raises('SELECT elt.track(''child'')');
SELECT raises('SELECT elt.track(''leaf'')');
SELECT raises('SELECT elt.track(''middle'')');
SELECT raises('SELECT elt.track(''foreign_root'')');
SELECT raises('SELECT elt.track(''keyless'', images => ''key'')');

-- not even a log
SELECT elt.track('plain');
SELECT regexp_replace(raises(format('SELECT elt.track(%s::oid)', s.relation::oid)), 'c\d+_', 'cN_')
FROM elt.capture c JOIN elt.capture_segment s ON s.capture = c.id;
SELECT elt.untrack('plain');

-- a table that is not tracked
SELECT raises('SELECT elt.untrack(''plain'')');
SELECT raises('SELECT elt.untrack(''plain'', force => true)');
SELECT raises('SELECT elt.untrack(''a_view'')');
SELECT raises('SELECT elt.untrack(''plain_pkey'')');

-- what is read
SELECT elt.create_stream('one', 'plain');
SELECT elt.create_stream('two', 'plain');
SELECT raises('SELECT elt.track(''plain'', images => ''key'')');
SELECT raises('SELECT elt.untrack(''plain'')');
SELECT raises('SELECT elt.untrack(''plain'', force => false)');
SELECT elt.untrack('plain', force => true);
SELECT raises('SELECT * FROM one') ~ '^42P01: the source of stream .* was dropped or is no longer tracked';
SELECT elt.drop_stream('one');
SELECT elt.drop_stream('two');

-- who does not own it: neither by SELECT nor by all rights on it
ALTER TABLE plain OWNER TO regress_elt_owner;
GRANT ALL ON plain TO regress_elt_other;
SET ROLE regress_elt_other;
SELECT raises('SELECT elt.track(''plain'')');
SELECT raises('SELECT elt.untrack(''plain'')');
SELECT raises('SELECT elt.track(''elt.capture'')');
RESET ROLE;
CREATE TABLE "It's" (id int PRIMARY KEY);
GRANT SELECT ON "It's" TO regress_elt_other;
SET ROLE regress_elt_other;
SELECT raises($$SELECT elt.track('"It''s"')$$);
SELECT raises($$SELECT elt.create_stream('s', '"It''s"')$$);
RESET ROLE;
SET ROLE regress_elt_owner;
SELECT elt.track('plain');
RESET ROLE;
SET ROLE regress_elt_other;
SELECT raises('SELECT elt.track(''plain'')');
SELECT raises('SELECT elt.untrack(''plain'')');
SELECT raises('SELECT elt.untrack(''plain'', force => true)');
SELECT raises('ALTER TABLE plain DISABLE TRIGGER elt_capture_insert');
RESET ROLE;
SELECT elt.untrack('plain');

-- the trigger functions are for the triggers that elt.track creates
SELECT raises('SELECT elt.capture()');
SELECT raises('SELECT elt.on_sql_drop()');
CREATE TRIGGER each_row AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION elt.capture();
SELECT raises('INSERT INTO plain VALUES (1)');
DROP TRIGGER each_row ON plain;
CREATE TRIGGER before_it BEFORE UPDATE ON plain FOR EACH STATEMENT EXECUTE FUNCTION elt.capture();
SELECT raises('UPDATE plain SET v = v');
DROP TRIGGER before_it ON plain;
CREATE TRIGGER moves AFTER UPDATE ON plain FOR EACH STATEMENT EXECUTE FUNCTION elt.capture_moves();
SELECT raises('UPDATE plain SET v = v');
DROP TRIGGER moves ON plain;
CREATE TRIGGER generated AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION elt.capture_generated();
SELECT raises('INSERT INTO plain VALUES (1)');
DROP TRIGGER generated ON plain;
CREATE TRIGGER moves BEFORE DELETE ON plain FOR EACH STATEMENT EXECUTE FUNCTION elt.capture_moves();
SELECT raises('DELETE FROM plain');
DROP TRIGGER moves ON plain;
SET ROLE regress_elt_owner;
SELECT raises('CREATE TRIGGER mine AFTER INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION elt.capture()');
RESET ROLE;

-- settings
SELECT left(raises('SET elt.segment_size = 0'), 5);
SELECT left(raises('SET elt.batch_memory = ''1kB'''), 5);
SELECT left(raises('SET elt.no_such_setting = 1'), 5);
SET ROLE regress_elt_owner;
SELECT raises('SET elt.segment_size = 128');
SELECT raises('SET elt.debug_points = ''capture-locked''');
RESET ROLE;

-- the identity of the database is gone
BEGIN;
DELETE FROM elt.install;
SELECT raises('SELECT elt.track(''plain'')');
ROLLBACK;

-- none of all this has left anything behind
SELECT count(*) FROM elt.capture;
SELECT count(*) FROM pg_class WHERE relnamespace = 'elt_log'::regnamespace AND relkind = 'r';

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA track_errors CASCADE;
DROP SERVER regress_elt_server;
DROP FOREIGN DATA WRAPPER regress_elt_fdw;
DROP ROLE regress_elt_owner, regress_elt_other;
