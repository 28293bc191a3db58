-- Every error of loads; nothing is left of what failed.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA load_errors;
SET search_path = load_errors;
CREATE ROLE regress_elt_owner;
CREATE ROLE regress_elt_other;
GRANT USAGE, CREATE ON SCHEMA load_errors TO regress_elt_owner, regress_elt_other;

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
-- the same with elt.create_load('l', target, further arguments)
CREATE FUNCTION creates(target text, arguments text DEFAULT 'source => ''item''') RETURNS text LANGUAGE sql AS $$
    SELECT raises(format('SELECT elt.create_load(''l'', %L, %s)', target, arguments))
$$;
-- the load that an error's context names
CREATE FUNCTION context_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    context text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RETURN coalesce(substring(context FROM '(?n)^(load .*)$'), 'no context');
END $$;
CREATE FUNCTION leftovers() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT format('%s nodes, %s loads, %s consumers, %s captures, %s rejected', (SELECT count(*) FROM elt.node), (SELECT count(*) FROM elt.load),
                  (SELECT count(*) FROM elt.consumer), (SELECT count(*) FROM elt.capture), (SELECT count(*) FROM elt.rejected_row))
$$;

CREATE TABLE item (id int PRIMARY KEY, v text, n int);
CREATE TABLE target (id int PRIMARY KEY, v text, n int);
CREATE TABLE "No ""key""" (id int, "V's" text);

\echo == NULL in every argument
SELECT raises('SELECT elt.create_load(NULL, ''target'', source => ''item'')');
SELECT creates(NULL);
SELECT creates('target', 'source => NULL');
SELECT creates('target', 'source => ''item'', query => NULL');			-- as without it
SELECT elt.drop_load('l');
SELECT creates('target', 'source => ''item'', mode => NULL');
SELECT creates('target', 'source => ''item'', key => NULL');			-- likewise
SELECT elt.drop_load('l');
SELECT creates('target', 'source => ''item'', also_on => NULL');
SELECT creates('target', 'source => ''item'', initial => NULL');
SELECT creates('target', 'source => ''item'', cursor_column => NULL');		-- likewise
SELECT elt.drop_load('l');
SELECT creates('target', 'source => ''item'', lag => NULL');
SELECT creates('target', 'source => ''item'', batch_rows => NULL');		-- likewise
SELECT elt.drop_load('l');
SELECT creates('target', 'source => ''item'', on_error => NULL');
SELECT creates('target', 'source => ''item'', max_rejected => NULL');
SELECT creates('target', 'source => ''item'', on_schema_change => NULL');
SELECT creates('target', 'source => ''item'', scd2 => NULL, workers => NULL');	-- likewise
SELECT elt.drop_load('l');
SELECT creates('target', 'source => ''item'', if_exists => NULL');
SELECT raises('SELECT elt.drop_load(NULL)');
SELECT raises('SELECT elt.run_batch(NULL)');
SELECT raises('SELECT elt.retry_rejected(NULL)');
SELECT raises('CALL elt.run(NULL)');
SELECT raises('CALL elt.run(''l'', upstream => NULL)');
SELECT raises('CALL elt.run(''l'', downstream => NULL)');
SELECT elt.load_pending(NULL) IS NULL, elt.load_pending(0) IS NULL, elt.load_pending(-1) IS NULL;
SELECT elt.untrack('item');
SELECT leftovers();

\echo == values that are none, or not there yet
SELECT raises('SELECT elt.create_load('''', ''target'', source => ''item'')');
SELECT creates('target', 'source => ''item'', mode => ''Upsert''');
SELECT creates('target', 'source => ''item'', mode => ''''');
SELECT creates('target', 'source => ''item'', mode => ''soft_delete''');
SELECT creates('target', 'source => ''item'', mode => ''scd2''');
SELECT creates('target', 'source => ''item'', mode => ''replace''');
SELECT creates('target', 'source => ''item'', mode => ''diff''');
SELECT creates('target', 'source => ''item'', also_on => ''{target}''');
SELECT creates('target', 'source => ''item'', initial => ''all''');
SELECT creates('target', 'source => ''item'', cursor_column => ''id''');
SELECT creates('target', 'source => ''item'', lag => ''1 minute''');
SELECT creates('target', 'source => ''item'', batch_rows => 0');
SELECT creates('target', 'source => ''item'', batch_rows => -2147483648');
SELECT creates('target', 'source => ''item'', on_error => ''ignore''');
SELECT creates('target', 'source => ''item'', max_rejected => -1');
SELECT creates('target', 'source => ''item'', max_rejected => 9223372036854775807');
SELECT creates('target', 'source => ''item'', on_schema_change => ''append''');
SELECT creates('target', 'source => ''item'', on_schema_change => ''ignore''');
SELECT creates('target', 'source => ''item'', on_schema_change => ''drop''');
SELECT creates('target', 'source => ''item'', scd2 => ''{}''');
SELECT creates('target', 'source => ''item'', workers => 2');
SELECT creates('target', 'source => ''item'', if_exists => ''replace''');
SELECT creates('target', 'source => ''no_such_table''');
SELECT creates('target', 'source => 4294967295::oid::regclass');
SELECT creates('no_such_table');
SELECT raises('SELECT elt.create_load(''l'', 4294967295::oid::regclass, source => ''item'')');
SELECT creates('target', 'source => ''item'', key => ''{}''');
SELECT creates('target', 'source => ''item'', key => ''{id,NULL}''');
SELECT creates('target', 'source => ''item'', key => ''{{id},{id}}''');		-- the same column named twice
SELECT elt.drop_load('l');
SELECT elt.untrack('item');
SELECT leftovers();

\echo == names of loads
SELECT raises('SELECT elt.drop_load(''no such load'')');
SELECT raises('SELECT elt.run_batch(''It''''s "no" load'')');
SELECT raises('SELECT elt.retry_rejected(''no such load'')');
SELECT raises('SELECT elt.run_batch('''')');
CALL elt.run('no such load');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO elt.node (name, kind, owner) VALUES ('a "view"', 'view', 'regress_elt_owner');
SELECT raises('SELECT elt.run_batch(''a "view"'')');
SELECT raises('SELECT elt.drop_load(''a "view"'')');
SELECT raises('SELECT elt.retry_rejected(''a "view"'')');
SELECT raises('SELECT elt.create_load(''a "view"'', ''target'', source => ''item'')');
SELECT raises('SELECT elt.create_load(''a "view"'', ''target'', source => ''item'', if_exists => ''skip'')');
DELETE FROM elt.node WHERE kind = 'view';
SELECT elt.create_load('a "load"', 'target', source => 'item', mode => 'mirror');
SELECT raises('SELECT elt.create_load(''a "load"'', ''target'', source => ''item'', mode => ''mirror'')');
SELECT raises('SELECT elt.create_load(''a "load"'', ''target'', source => ''item'', mode => ''mirror'', if_exists => ''alter'')');
SELECT raises('SELECT elt.create_load(''a "load"'', ''target'', source => ''item'', if_exists => ''alter'')');
SELECT raises('SELECT elt.create_load(''a "load"'', ''target'', source => ''item'', mode => ''mirror'', batch_rows => 5, if_exists => ''alter'')');
SELECT raises('SELECT elt.create_load(''a "load"'', ''target'', source => ''item'', mode => ''mirror'', on_error => ''quarantine'', if_exists => ''alter'')');
SELECT raises('SELECT elt.create_load(''a "load"'', ''target'', source => ''item'', mode => ''mirror'', query => ''SELECT id, v FROM item'', if_exists => ''alter'')');
SELECT raises('SELECT elt.create_load(''a "load"'', ''target'', source => ''item'', mode => ''mirror'', initial => ''none'', if_exists => ''alter'')');
SELECT elt.drop_load('a "load"');
SELECT elt.untrack('item');

\echo == targets
CREATE VIEW "A View" AS SELECT * FROM target;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM target;
CREATE FOREIGN DATA WRAPPER regress_elt_fdw;
CREATE SERVER regress_elt_server FOREIGN DATA WRAPPER regress_elt_fdw;
CREATE FOREIGN TABLE a_foreign_table (id int) SERVER regress_elt_server;
CREATE TEMP TABLE a_temp_table (id int PRIMARY KEY);
CREATE UNLOGGED TABLE an_unlogged_table (id int PRIMARY KEY);
CREATE SEQUENCE a_sequence;
CREATE TYPE a_type AS (id int);
CREATE TABLE root (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
SELECT creates('"A View"');
SELECT creates('a_matview');
SELECT creates('a_foreign_table');
SELECT creates('a_temp_table');
SELECT creates('an_unlogged_table');
SELECT creates('a_sequence');
SELECT creates('a_type');
SELECT creates('target_pkey');
SELECT creates('pg_catalog.pg_class');
SELECT creates('information_schema.sql_features');
SELECT creates('elt.node');
SELECT creates('item');
SELECT creates('leaf', 'source => ''root''');
SELECT creates('root', 'source => ''leaf''');
SELECT creates('"No ""key"""', 'source => ''item''');
SELECT creates('"No ""key"""', 'source => ''item'', mode => ''append'', query => ''SELECT id, v AS "V''''S" FROM item''');
SELECT creates('"No ""key"""', 'source => ''item'', mode => ''append'', query => ''SELECT id AS ctid FROM item''');
CREATE TABLE other_columns (a int PRIMARY KEY, b text GENERATED ALWAYS AS ('b') STORED);
SELECT creates('other_columns');
CREATE TABLE only_generated (id int GENERATED ALWAYS AS (1) STORED);
SELECT creates('only_generated', 'source => ''item'', mode => ''append''');
SELECT creates('other_columns', 'source => ''item'', query => ''SELECT id AS a, v AS b FROM item''');
SELECT creates('target', 'source => ''item'', query => ''SELECT id, n AS v, v AS n FROM item''');
CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Number" int GENERATED ALWAYS AS IDENTITY);
SELECT creates('always', 'source => ''item'', query => ''SELECT id, n AS "Number" FROM item''');
SELECT creates('always', 'source => ''item'', query => ''SELECT id, n AS "Number" FROM item'', mode => ''append''');
SELECT elt.drop_load('l');
SELECT creates('always', 'source => ''item'', query => ''SELECT id FROM item''');
SELECT elt.drop_load('l');
CREATE TABLE deferred (id int PRIMARY KEY, item int CONSTRAINT "The fkey" REFERENCES target INITIALLY DEFERRED);
SELECT regexp_replace(creates('deferred', 'source => ''item'', on_error => ''quarantine'''), '_\d+"', '_N"');
SELECT creates('deferred', 'source => ''item''');
SELECT elt.drop_load('l');

\echo == keys
SELECT creates('target', 'source => ''item'', mode => ''append'', key => ''{id}''');
SELECT creates('target', 'source => ''item'', key => ''{id,"No such, \"column\""}''');
SELECT creates('target', 'source => ''item'', key => ''{ctid}''');
SELECT creates('target', 'source => ''item'', key => ''{v}''');
SELECT creates('target', 'source => ''item'', key => ''{id,v}''');
CREATE TABLE keys (a int UNIQUE, "B" int NOT NULL, c int NOT NULL UNIQUE DEFERRABLE, d int NOT NULL, e text NOT NULL, f int NOT NULL);
CREATE UNIQUE INDEX ON keys (d) WHERE d > 0;
CREATE UNIQUE INDEX ON keys (lower(e));
CREATE UNIQUE INDEX ON keys (f) INCLUDE (d);
SELECT creates('keys', 'source => ''item'', key => ''{a}'', query => ''SELECT id AS a, id AS "B", id AS c, id AS d, v AS e, id AS f FROM item''');
SELECT creates('keys', 'source => ''item'', key => ''{B}'', query => ''SELECT id AS a, id AS "B", id AS c, id AS d, v AS e, id AS f FROM item''');
SELECT creates('keys', 'source => ''item'', key => ''{c}'', query => ''SELECT id AS a, id AS "B", id AS c, id AS d, v AS e, id AS f FROM item''');
SELECT creates('keys', 'source => ''item'', key => ''{d}'', query => ''SELECT id AS a, id AS "B", id AS c, id AS d, v AS e, id AS f FROM item''');
SELECT creates('keys', 'source => ''item'', key => ''{e}'', query => ''SELECT id AS a, id AS "B", id AS c, id AS d, v AS e, id AS f FROM item''');
SELECT creates('keys', 'source => ''item'', key => ''{f}'', query => ''SELECT id AS a, id AS "B", id AS c, id AS d, v AS e, id AS f FROM item''');
SELECT elt.drop_load('l');
SELECT creates('target', 'source => ''item'', query => ''SELECT v, n FROM item''');
SELECT creates('target', 'source => ''item'', mode => ''mirror'', query => ''SELECT id::bigint, v FROM item''');
CREATE TABLE short (code varchar(3) PRIMARY KEY, "Amount" numeric(4,1));
SELECT creates('short', 'source => ''item'', mode => ''mirror'', query => ''SELECT v AS code FROM item''');
SELECT creates('short', 'source => ''item'', mode => ''mirror'', query => ''SELECT v::varchar(4) AS code FROM item''');
SELECT creates('short', 'source => ''item'', mode => ''mirror'', query => ''SELECT v::varchar(3) AS code FROM item''');
SELECT elt.drop_load('l');
SELECT creates('short', 'source => ''item'', query => ''SELECT v AS code FROM item''');		-- an upsert casts, and may fail
SELECT elt.drop_load('l');
SELECT creates('short', 'source => ''item'', mode => ''mirror'', query => ''SELECT i.v::varchar(3) AS code FROM item i JOIN target t USING (id)''');
SELECT elt.untrack('item');
SELECT elt.track('item', images => 'key');
SELECT creates('short', 'source => ''item'', mode => ''mirror'', query => ''SELECT v::varchar(3) AS code FROM item''');
SELECT creates('target', 'source => ''item'', mode => ''append''');
SELECT elt.untrack('item');

\echo == sources
SELECT creates('target', 'source => ''"A View"''');
SELECT creates('target', 'source => ''a_foreign_table''');
SELECT creates('target', 'source => ''a_temp_table''');
SELECT creates('target', 'source => ''an_unlogged_table''');
SELECT creates('target', 'source => ''leaf''');
SELECT creates('target', 'source => ''pg_catalog.pg_class''');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT creates('target');
ROLLBACK;
SELECT elt.track('item');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT creates('target');
ROLLBACK;
SELECT elt.untrack('item');
SELECT leftovers();

\echo == permissions
GRANT SELECT ON item TO regress_elt_owner;
SET ROLE regress_elt_owner;
CREATE TABLE "Of Owner" (id int PRIMARY KEY, v text);
SELECT creates('"Of Owner"');
RESET ROLE;
SELECT elt.track('item');
REVOKE SELECT ON item FROM regress_elt_owner;
GRANT SELECT (id, v) ON item TO regress_elt_owner;
SET ROLE regress_elt_owner;
SELECT creates('"Of Owner"');
RESET ROLE;
GRANT SELECT ON item TO regress_elt_owner;
SET ROLE regress_elt_owner;
SELECT creates('target');
SELECT creates('target', 'source => ''item'', mode => ''append''');
SELECT creates('target', 'source => ''item'', mode => ''mirror''');
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON target TO regress_elt_owner;
SET ROLE regress_elt_owner;
SELECT creates('target', 'source => ''item'', mode => ''mirror''');
SELECT creates('"Of Owner"', 'source => ''item'', query => ''SELECT i.id, k.e AS v FROM item i JOIN keys k ON k.a = i.n''');
SELECT elt.create_load('It''s "mine"', '"Of Owner"', source => 'item', mode => 'mirror');
SET ROLE regress_elt_other;
SELECT raises('SELECT elt.run_batch(''It''''s "mine"'')');
SELECT raises('SELECT elt.retry_rejected(''It''''s "mine"'')');
SELECT raises('SELECT elt.drop_load(''It''''s "mine"'')');
CALL elt.run('It''s "mine"');
\echo :LAST_ERROR_SQLSTATE
SELECT raises('SELECT elt.create_load(''It''''s "mine"'', ''"Of Owner"'', source => ''item'')');
SELECT count(*) FROM elt.loads;
CREATE TABLE of_other (id int PRIMARY KEY, v text);
SELECT raises('SELECT elt.create_load(''It''''s "mine"'', ''of_other'', source => ''of_other'', if_exists => ''alter'')');
CREATE TABLE of_other2 (id int PRIMARY KEY, v text);
SELECT raises('SELECT elt.create_load(''It''''s "mine"'', ''of_other'', source => ''of_other2'', if_exists => ''alter'')');
RESET ROLE;
SELECT leftovers();
-- rights that were taken away
REVOKE SELECT ON item FROM regress_elt_owner;
SELECT raises('SELECT elt.run_batch(''It''''s "mine"'')');
GRANT SELECT ON item TO regress_elt_owner;
ALTER TABLE "Of Owner" OWNER TO regress_elt_other;
SELECT raises('SELECT elt.run_batch(''It''''s "mine"'')');
ALTER TABLE "Of Owner" OWNER TO regress_elt_owner;
-- row-level security of source, target and lookups
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON item USING (true);
SET ROLE regress_elt_owner;
SELECT raises('SELECT elt.run_batch(''It''''s "mine"'')');
SELECT creates('"Of Owner"');
RESET ROLE;
ALTER TABLE item DISABLE ROW LEVEL SECURITY;
ALTER TABLE "Of Owner" ENABLE ROW LEVEL SECURITY;
SET ROLE regress_elt_owner;
SELECT raises('SELECT elt.run_batch(''It''''s "mine"'')');		-- no policy applies to the target's owner
RESET ROLE;
ALTER TABLE "Of Owner" FORCE ROW LEVEL SECURITY;
SET ROLE regress_elt_owner;
SELECT raises('SELECT elt.run_batch(''It''''s "mine"'')');
SELECT creates('"Of Owner"');
RESET ROLE;
SELECT raises('SELECT elt.run_batch(''It''''s "mine"'')');		-- who calls makes no difference
ALTER TABLE "Of Owner" DISABLE ROW LEVEL SECURITY;
-- the owner is gone
REASSIGN OWNED BY regress_elt_owner TO regress_elt_other;
DROP OWNED BY regress_elt_owner;
DROP ROLE regress_elt_owner;
SELECT raises('SELECT elt.run_batch(''It''''s "mine"'')');
SELECT raises('SELECT elt.retry_rejected(''It''''s "mine"'')');
CALL elt.run('It''s "mine"');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_elt_other;
SELECT raises('SELECT elt.drop_load(''It''''s "mine"'')');
RESET ROLE;
SELECT elt.drop_load('It''s "mine"');
SELECT leftovers();

\echo == where elt.run may be called
SELECT elt.create_load('l', 'target', source => 'item', mode => 'mirror');
BEGIN;
CALL elt.run('l');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT raises('CALL elt.run(''l'')');
DO $$ BEGIN CALL elt.run('l'); END $$;				-- not atomic: it may
CALL elt.run('l', upstream => true);
\echo :LAST_ERROR_SQLSTATE
CALL elt.run('l', downstream => true);
\echo :LAST_ERROR_SQLSTATE
CALL elt.run('l', true, true);
BEGIN; CALL elt.run('l', true); ROLLBACK;

\echo == while a statement uses the source
INSERT INTO item VALUES (1, 'one', 1);
SELECT raises('INSERT INTO item SELECT 2 FROM elt.run_batch(''l'')');
DELETE FROM item WHERE id = 2;
SELECT raises('INSERT INTO item SELECT g FROM generate_series(11, 13) g, elt.run_batch(left(''l'' || g, 1))');
SELECT raises('SELECT id, elt.run_batch(''l'') FROM item');
BEGIN;
SELECT pg_current_xact_id() IS NOT NULL;
DECLARE c CURSOR FOR SELECT * FROM item;
FETCH c;
SELECT raises('SELECT elt.run_batch(''l'')');
ROLLBACK;
SELECT raises('SELECT elt.run_batch(''l'') FROM target');		-- the target may be
SELECT elt.run_batch('l');
TABLE target;

TRUNCATE item;
INSERT INTO item VALUES (1, 'one', 1);
\echo == errors of rows
\set SHOW_CONTEXT never
SELECT elt.drop_load('l');
CREATE TABLE "Strict" (id int PRIMARY KEY, "V's" text NOT NULL CONSTRAINT "Short, please" CHECK (length("V's") < 5));
SELECT elt.create_load('strict "load"', '"Strict"', source => 'item', mode => 'mirror', query => 'SELECT id, v AS "V''s" FROM item');
INSERT INTO item VALUES (2, 'too long', 2);
SELECT elt.run_batch('strict "load"');
\echo :LAST_ERROR_SQLSTATE
CALL elt.run('strict "load"');
\echo :LAST_ERROR_SQLSTATE
SELECT context_of('SELECT elt.run_batch(''strict "load"'')');		-- while it copies
TABLE "Strict";
UPDATE item SET v = 'two' WHERE id = 2;
CALL elt.run('strict "load"');
UPDATE item SET v = NULL WHERE id = 2;
SELECT context_of('SELECT elt.run_batch(''strict "load"'')');		-- while it writes changes
CALL elt.run('strict "load"');
\echo :LAST_ERROR_SQLSTATE
SELECT elt.retry_rejected('strict "load"');				-- there are none
SELECT elt.drop_load('strict "load"');
DELETE FROM target;
UPDATE item SET v = 'x', n = 1;
DELETE FROM item WHERE id = 2;
SELECT elt.create_load('by n', 'target', source => 'item', query => 'SELECT n AS id, v FROM item');
INSERT INTO item VALUES (3, 'same n', 1);
SELECT raises('SELECT elt.run_batch(''by n'')');
DELETE FROM item WHERE id = 3;
SELECT elt.run_batch('by n');
INSERT INTO item VALUES (3, 'same n', 4), (4, 'same n', 4);
SELECT raises('SELECT elt.run_batch(''by n'')');
SELECT elt.drop_load('by n');
CREATE TABLE target2 AS SELECT 'x' AS v FROM generate_series(1, 2);
SELECT elt.create_load('subquery', 'target', source => 'item', query => 'SELECT id, (SELECT v FROM target2) AS v FROM item');
SELECT raises('SELECT elt.run_batch(''subquery'')');
DROP TABLE target2;
SELECT raises('SELECT elt.run_batch(''subquery'')');
SELECT elt.drop_load('subquery');

\echo == quarantine
TRUNCATE item, "Strict";
SELECT elt.create_load('"Q"', '"Strict"', source => 'item', mode => 'mirror', query => 'SELECT id, v AS "V''s" FROM item',
                       on_error => 'quarantine', max_rejected => 2);
INSERT INTO item VALUES (1, 'one', 1), (2, 'much too long', 2), (3, NULL, 3), (4, 'likewise', 4);
SELECT raises('SELECT elt.run_batch(''"Q"'')');
SELECT leftovers();
TABLE "Strict";
DELETE FROM item WHERE id = 4;
SELECT elt.run_batch('"Q"');
INSERT INTO item VALUES (5, 'one more', 5);
SELECT raises('SELECT elt.run_batch(''"Q"'')');			-- with those of earlier batches
DELETE FROM item WHERE id = 5;
-- not an error of a row: nothing is set aside
ALTER TABLE "Strict" RENAME "V's" TO v;
UPDATE item SET v = 'x' WHERE id = 1;
SELECT raises('SELECT elt.run_batch(''"Q"'')');
ALTER TABLE "Strict" RENAME v TO "V's";
-- a deletion that fails cannot be set aside
CREATE TABLE referring (strict int REFERENCES "Strict");
INSERT INTO referring VALUES (1);
DELETE FROM item WHERE id = 1;
SELECT raises('SELECT elt.run_batch(''"Q"'')');
DROP TABLE referring;
SELECT elt.run_batch('"Q"');
-- a retry reads rows with the columns that there were
ALTER TABLE item ALTER n TYPE bigint;
SELECT raises('SELECT elt.retry_rejected(''"Q"'')');
SELECT elt.run_batch('"Q"');
SELECT elt.retry_rejected('"Q"');
SELECT load, sqlstate, message, key, "row" FROM elt.rejected ORDER BY key;
SELECT elt.drop_load('"Q"');
SELECT leftovers();

\echo == what append cannot follow
CREATE TABLE appended (id int, v text);
SELECT elt.create_load('Append', 'appended', source => 'item', mode => 'append');
CALL elt.run('Append');
ALTER TABLE item ALTER n TYPE int;
SELECT raises('SELECT elt.run_batch(''Append'')');			-- nothing was pending: nothing is lost
INSERT INTO item VALUES (20, 'new', 20);
ALTER TABLE item ALTER n TYPE bigint;
SELECT raises('SELECT elt.run_batch(''Append'')');
CALL elt.run('Append');
\echo :LAST_ERROR_SQLSTATE
SELECT elt.drop_load('Append');
SELECT elt.create_load('Append', 'appended', source => 'item', mode => 'append', initial => 'none');
CALL elt.run('Append');
ALTER TABLE item DISABLE TRIGGER ALL;
DELETE FROM item WHERE id = 20;
ALTER TABLE item ENABLE TRIGGER ALL;
SELECT elt.track('item');
SELECT raises('SELECT elt.run_batch(''Append'')');			-- nothing was pending, and yet it cannot be known
SELECT elt.drop_load('Append');
ALTER TABLE item ALTER n TYPE int;

\echo == changed and dropped relations
SELECT elt.create_load('The load', 'target', source => 'item', mode => 'mirror');
CALL elt.run('The load');
DROP TABLE deferred;
ALTER TABLE target DROP CONSTRAINT target_pkey;
SELECT raises('SELECT elt.run_batch(''The load'')');
ALTER TABLE target ADD UNIQUE (id), ALTER id DROP NOT NULL;
SELECT raises('SELECT elt.run_batch(''The load'')');
ALTER TABLE target ALTER id SET NOT NULL;
SELECT raises('SELECT elt.run_batch(''The load'')');
SELECT raises('SELECT elt.create_load(''Another "mirror"'', ''target'', source => ''item'', mode => ''mirror'', key => ''{id}'')');
SELECT raises('SELECT elt.create_load(''upsert beside it'', ''target'', source => ''item'', key => ''{id}'')');
SELECT elt.drop_load('upsert beside it');
BEGIN;
ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id, n);
SELECT raises('SELECT elt.run_batch(''The load'')');
ROLLBACK;
BEGIN;
ALTER TABLE item DROP CONSTRAINT item_pkey;
SELECT raises('SELECT elt.run_batch(''The load'')');
ROLLBACK;
INSERT INTO item VALUES (10, 'ten', 10);
ALTER TABLE target RENAME v TO w;
SELECT raises('SELECT elt.run_batch(''The load'')');
ALTER TABLE target RENAME w TO v;
ALTER TABLE item RENAME v TO w;
SELECT raises('SELECT elt.run_batch(''The load'')');
SELECT context_of('SELECT elt.run_batch(''The load'')');
ALTER TABLE item RENAME w TO v;
ALTER TABLE item RENAME TO item2;
SELECT raises('SELECT elt.run_batch(''The load'')');
ALTER TABLE item2 RENAME TO item;
ALTER TABLE item DISABLE TRIGGER ALL;
SELECT raises('SELECT elt.run_batch(''The load'')');
ALTER TABLE item ENABLE TRIGGER ALL;
SELECT raises('SELECT elt.run_batch(''The load'')');
ALTER TABLE item SET UNLOGGED;
SELECT raises('SELECT elt.run_batch(''The load'')');
ALTER TABLE item SET LOGGED;
SELECT raises('SELECT elt.run_batch(''The load'')');
CREATE TABLE testator (id int NOT NULL, v text, n int);
ALTER EVENT TRIGGER elt_ddl_command_end DISABLE;
CREATE TABLE heir () INHERITS (item);
SELECT raises('SELECT elt.run_batch(''The load'')');
DROP TABLE heir;
ALTER TABLE item INHERIT testator;
SELECT raises('SELECT elt.run_batch(''The load'')');
ALTER TABLE item NO INHERIT testator;
ALTER EVENT TRIGGER elt_ddl_command_end ENABLE ALWAYS;
SELECT elt.track('item');
SELECT raises('SELECT elt.run_batch(''The load'')');
TABLE target;
SELECT raises('SELECT elt.untrack(''item'')');
BEGIN;
UPDATE elt.consumer SET install = gen_random_uuid();
SELECT raises('SELECT elt.run_batch(''The load'')');
ROLLBACK;
BEGIN;
UPDATE elt.consumer SET id = -id;
SELECT raises('SELECT elt.run_batch(''The load'')');
SELECT name, pending_rows FROM elt.loads;
SELECT elt.drop_load('The load');
ROLLBACK;
BEGIN;
DELETE FROM elt.install;
SELECT raises('SELECT elt.run_batch(''The load'')');
SELECT creates('appended', 'source => ''item'', mode => ''append''');
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP TABLE target CASCADE;
SELECT raises('SELECT elt.run_batch(''The load'')');
SELECT raises('SELECT elt.retry_rejected(''The load'')');
SELECT count(*) FROM elt.loads;
SELECT elt.drop_load('The load');
ROLLBACK;
BEGIN;
SELECT elt.untrack('item', force => true);
SELECT raises('SELECT elt.run_batch(''The load'')');
SELECT name, pending_rows FROM elt.loads;
SELECT elt.track('item');
SELECT raises('SELECT elt.run_batch(''The load'')');
SELECT elt.drop_load('The load');
ROLLBACK;
DROP TABLE item CASCADE;
SELECT raises('SELECT elt.run_batch(''The load'')');
SELECT raises('SELECT elt.retry_rejected(''The load'')');
CALL elt.run('The load');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM elt.loads;
SELECT elt.drop_load('The load');
SELECT leftovers();

\set SHOW_CONTEXT errors
\set VERBOSITY terse

\echo == nothing is written where nothing may be
CREATE TABLE quiet (id int PRIMARY KEY);
CREATE TABLE quiet_copy (id int PRIMARY KEY);
SELECT elt.create_load('quiet', 'quiet_copy', source => 'quiet');
SET default_transaction_read_only = on;
SELECT elt.track('quiet_copy');
SELECT elt.untrack('quiet');
SELECT elt.create_stream('quiet_changes', 'quiet');
SELECT elt.create_load('quiet too', 'quiet_copy', source => 'quiet');
SELECT elt.run_batch('quiet');
CALL elt.run('quiet');
SELECT elt.retry_rejected('quiet');
SELECT elt.drop_load('quiet');
SET default_transaction_read_only = off;
SELECT elt.drop_load('quiet');

SET client_min_messages = warning;
DROP SCHEMA load_errors CASCADE;
DROP SERVER regress_elt_server;
DROP FOREIGN DATA WRAPPER regress_elt_fdw;
DROP OWNED BY regress_elt_other;
DROP ROLE regress_elt_other;
SELECT (SELECT count(*) FROM elt.node) AS nodes, (SELECT count(*) FROM elt.load) AS loads, (SELECT count(*) FROM elt.consumer) AS consumers,
       (SELECT count(*) FROM elt.capture) AS captures;
