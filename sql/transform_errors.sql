-- What is refused, and what is said about it.
CREATE SCHEMA transform_errors;
SET search_path = transform_errors;
\set VERBOSITY verbose
\set SHOW_CONTEXT never

CREATE FUNCTION try(command text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	d text; h text;
BEGIN
	EXECUTE command;
	RAISE NOTICE 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	RAISE INFO '% %', SQLSTATE, SQLERRM USING DETAIL = d, HINT = h;
END $$;
\set VERBOSITY default

CREATE TABLE src (id int, v text, n numeric);
INSERT INTO src VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
CREATE TABLE dst (id int PRIMARY KEY, v text, n numeric, g int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE nokey (id int, v text);
CREATE VIEW view AS SELECT * FROM dst;
CREATE TEMP TABLE temporary (id int);
CREATE UNLOGGED TABLE unlogged (id int);
CREATE SEQUENCE sequence;

-- arguments
SELECT try($$SELECT elt.create_transform(NULL, 'dst', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('', 'dst', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', NULL, 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'nothing', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 1::regclass, 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', NULL)$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', mode => 'merge')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', mode => NULL)$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', publish => 'rename')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', workers => 0)$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', workers => 100000)$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', atomic => NULL)$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', repeat => NULL)$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', on_error => 'ignore')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', max_rejected => -1)$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', if_exists => 'replace')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', key => ARRAY['id'])$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', mode => 'upsert', key => ARRAY[NULL])$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', mode => 'upsert', key => '{}')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src', mode => 'upsert', key => ARRAY['nothing'])$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id, v FROM src', mode => 'upsert', key => ARRAY['v'])$$);
SELECT try($$SELECT elt.create_transform('t', 'nokey', 'SELECT id FROM src', mode => 'upsert')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT v FROM src', mode => 'upsert')$$);
SELECT try($$SELECT elt.explain_transform(NULL)$$);
SELECT try($$SELECT elt.drop_transform(NULL)$$);
SELECT try($$SELECT elt.drop_transform('nothing')$$);
SELECT try($$SELECT elt.alter_transform('nothing')$$);
SELECT try($$SELECT elt.alter_transform(NULL)$$);
-- targets
SELECT try($$SELECT elt.create_transform('t', 'view', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'temporary', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'unlogged', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'sequence', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'pg_class', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'elt.node', 'SELECT id FROM src')$$);
-- queries
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM nothing')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT nothing FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src; SELECT 1')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'DELETE FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'WITH w AS (DELETE FROM src RETURNING id) SELECT * FROM w')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src FOR UPDATE')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id + 1 FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id, id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id AS nothing FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id, id AS g FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT v AS id FROM src')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM temporary')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM dst')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src WHERE id NOT IN (SELECT id FROM dst)')$$);
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id, count(*) AS n FROM src GROUP BY id', on_error => 'quarantine')$$);
-- names
SELECT elt.create_transform('t', 'dst', 'SELECT id, v, n FROM src');
SELECT try($$SELECT elt.create_transform('t', 'dst', 'SELECT id FROM src')$$);
SELECT try($$SELECT elt.create_load('t', 'dst', source => 'src')$$);
SELECT try($$SELECT elt.run_batch('t')$$);
SELECT try($$SELECT elt.retry_rejected('t')$$);
SELECT try($$CALL elt.run('t')$$);
BEGIN;
CALL elt.run('t');
ROLLBACK;
CALL elt.run('t', upstream => true);
CALL elt.run(NULL);
CALL elt.run('nothing');
-- swaps
CREATE TABLE parent (id int);
CREATE TABLE heir () INHERITS (parent);
SELECT try($$SELECT elt.create_transform('u', 'parent', 'SELECT id FROM src')$$);
CREATE TABLE excluded (id int, r int4range, EXCLUDE USING gist (r WITH &&));
SELECT try($$SELECT elt.create_transform('u', 'excluded', 'SELECT id FROM src')$$);
CREATE TABLE referring (id int REFERENCES dst);
CALL elt.run('t');
DROP TABLE referring;
CREATE RULE rule AS ON INSERT TO nokey DO ALSO NOTIFY n;
SELECT try($$SELECT elt.create_transform('u', 'nokey', 'SELECT id FROM src')$$);
ALTER TABLE dst ENABLE ROW LEVEL SECURITY;
CALL elt.run('t');
ALTER TABLE dst DISABLE ROW LEVEL SECURITY;
-- what is altered or dropped later
ALTER TABLE dst RENAME v TO w;
CALL elt.run('t');
ALTER TABLE dst RENAME w TO v;
ALTER TABLE src RENAME v TO w;
CALL elt.run('t');
ALTER TABLE src RENAME w TO v;
CALL elt.run('t');
TABLE dst;
DROP TABLE dst CASCADE;
CALL elt.run('t');
SELECT last_state, last_rows FROM elt.transforms;
-- rights
CREATE ROLE transform_errors_user;
GRANT USAGE ON SCHEMA transform_errors TO transform_errors_user;
CREATE TABLE target (id int PRIMARY KEY);
GRANT SELECT ON src TO transform_errors_user;
SET ROLE transform_errors_user;
SELECT elt.create_transform('u', 'target', 'SELECT id FROM src');
SELECT elt.create_transform('u', 'target', 'SELECT id FROM src', mode => 'upsert');
SELECT elt.create_transform('u', 'target', 'SELECT id FROM src', publish => 'mvcc');
SELECT elt.create_transform('u', 'target', 'SELECT id FROM src', mode => 'append');
SELECT elt.alter_transform('t', workers => 2);
SELECT elt.drop_transform('t');
SELECT * FROM elt.explain_transform('t');
CALL elt.run('t');
RESET ROLE;
GRANT INSERT, TRUNCATE ON target TO transform_errors_user;
SET ROLE transform_errors_user;
SELECT elt.create_transform('u', 'target', 'SELECT id FROM src', workers => 2);
CALL elt.run('u');
RESET ROLE;
REVOKE TRUNCATE ON target FROM transform_errors_user;
CALL elt.run('u');
SELECT count(*) FROM target;
-- an owner who is gone
SELECT elt.drop_transform('u');
SELECT elt.drop_transform('t');
SELECT count(*) FROM elt.node_run;

SET client_min_messages = warning;
DROP OWNED BY transform_errors_user;
DROP ROLE transform_errors_user;
DROP SCHEMA transform_errors CASCADE;
