-- Every error of precomputed views; nothing is left of what failed.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA view_errors;
SET search_path = view_errors;
CREATE ROLE regress_elt_viewer;
GRANT USAGE, CREATE ON SCHEMA view_errors TO regress_elt_viewer;

-- SQLSTATE, message, detail and hint of what a statement raises
CREATE FUNCTION raises(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(E'\n', SQLSTATE || ': ' || message, '   detail: ' || nullif(detail, ''),
                                    '   hint: ' || replace(nullif(hint, ''), quote_ident(session_user), 'the superuser')), '\mq\d+', 'qN', 'g');
END $$;
-- the same with elt.create_view('v', query, further arguments)
CREATE FUNCTION creates(query text, arguments text DEFAULT '', name text DEFAULT 'v') RETURNS text LANGUAGE sql AS $$
    SELECT raises(format('SELECT elt.create_view(%L, %L%s)', name, query, CASE WHEN arguments <> '' THEN ', ' || arguments ELSE '' END))
$$;
CREATE FUNCTION leftovers() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT format('%s nodes, %s views, %s parts, %s sources, %s consumers, %s captures, %s relations in elt_data', (SELECT count(*) FROM elt.node), (SELECT count(*) FROM elt.view),
                  (SELECT count(*) FROM elt.view_part), (SELECT count(*) FROM elt.view_source), (SELECT count(*) FROM elt.consumer), (SELECT count(*) FROM elt.capture),
                  (SELECT count(*) FROM pg_class WHERE relnamespace = 'elt_data'::regnamespace))
$$;

CREATE TABLE item (id int PRIMARY KEY, v text, n int);
CREATE TABLE other (id int);
CREATE TEMP TABLE temporary (id int);
CREATE VIEW over_temporary AS SELECT * FROM temporary;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE MATERIALIZED VIEW matview AS SELECT id FROM item;
CREATE SEQUENCE seq;
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
CREATE TYPE composite AS (a int, b text);

\echo == arguments
SELECT raises('SELECT elt.create_view(NULL, ''SELECT 1 AS a'')');
SELECT raises('SELECT elt.create_view(''v'', NULL)');
SELECT creates('SELECT id FROM item', 'refresh_mode => NULL');
SELECT creates('SELECT id FROM item', 'refresh_mode => ''sometimes''');
SELECT creates('SELECT id FROM item', 'with_data => NULL');
SELECT creates('SELECT id FROM item', 'on_schema_change => ''ignore''');
SELECT creates('SELECT id FROM item', 'if_exists => ''replace''');
SELECT creates('SELECT id FROM item', 'target_lag => ''-1 minute''');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT id FROM item', 'frozen_where => ''''');
SELECT creates('SELECT id FROM item', 'frozen_where => ''nothing = 1''');
SELECT creates('SELECT id FROM item', 'frozen_where => ''id''');
SELECT creates('SELECT id FROM item', 'frozen_where => ''id < random()''');
SELECT creates('SELECT id FROM item', 'frozen_where => ''id IN (SELECT id FROM other)''');
SELECT creates('SELECT id FROM item', 'frozen_where => ''true) LIMIT (1''');
SELECT creates('SELECT v FROM item', 'frozen_where => ''v IS NULL''');
SELECT raises('SELECT elt.refresh(NULL)');
SELECT raises('SELECT elt.verify_view(NULL)');
SELECT raises('SELECT elt.drop_view(NULL)');

SELECT count(elt.drop_view(name)) FROM elt.views;

\echo == names
SELECT creates('SELECT 1 AS a', name => '');
SELECT creates('SELECT 1 AS a', name => 'a b');
SELECT creates('SELECT 1 AS a', name => 'a.b.c.d');
SELECT creates('SELECT 1 AS a', name => '"unterminated');
SELECT creates('SELECT 1 AS a', name => 'no_such_schema.v');
SELECT creates('SELECT 1 AS a', name => 'otherdatabase.public.v');
SELECT creates('SELECT 1 AS a', name => 'item');
SELECT creates('SELECT 1 AS a', name => 'seq');
SELECT creates('SELECT 1 AS a', name => 'composite');
SELECT creates('SELECT 1 AS a', name => 'pg_temp.v');
SELECT raises('SELECT elt.refresh(''item'')');
SELECT raises('SELECT elt.refresh(''no_such_view'')');
SELECT raises('SELECT elt.refresh(''no_such_schema.v'')');
SELECT raises('SELECT elt.verify_view(''item'')');
SELECT raises('SELECT elt.drop_view(''item'')');
SELECT raises('SELECT elt.drop_view('''')');

SELECT count(elt.drop_view(name)) FROM elt.views;

\echo == queries
SELECT creates('');
SELECT creates('   ; ');
SELECT creates('-- nothing');
SELECT creates('SELECT id FROM item; SELECT id FROM item');
SELECT creates('SELECT id FROM item; DROP TABLE item');
SELECT creates('SELEKT id FROM item');
SELECT creates('INSERT INTO other VALUES (1) RETURNING id');
SELECT creates('DELETE FROM item');
SELECT creates('EXPLAIN SELECT 1');
SELECT creates('CREATE TABLE x (id int)');
SELECT creates('SELECT id INTO made FROM item');
SELECT creates('CREATE TABLE made AS SELECT 1 AS a');
SELECT creates('WITH d AS (DELETE FROM item RETURNING id) SELECT id FROM d');
SELECT creates('SELECT id FROM item FOR UPDATE');
SELECT creates('SELECT id FROM (SELECT id FROM item FOR SHARE) s');
SELECT creates('SELECT $1 AS a');
SELECT creates('SELECT id FROM no_such_table');
SELECT creates('SELECT no_such_column FROM item');
SELECT creates('SELECT nothing(id) AS a FROM item');
SELECT creates('SELECT n + v AS a FROM item');
SELECT creates('SELECT id, count(*) AS c FROM item');
SELECT creates('SELECT id FROM item WHERE');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('TABLE item; ');
SELECT elt.drop_view('v');

\echo == columns
SELECT creates('SELECT 1');
SELECT creates('SELECT id, id + 1 FROM item');
SELECT creates('SELECT id, n AS id FROM item');
SELECT creates('SELECT a.id, b.id FROM item a, item b');
SELECT creates('SELECT FROM item');
SELECT creates('SELECT id AS _elt_h FROM item');
SELECT creates('SELECT id AS "_elt_n" FROM item');
SELECT creates('SELECT id AS ctid FROM item');
SELECT creates('SELECT id AS xmin FROM item');
SELECT creates('SELECT ''x'' AS a, NULL AS b FROM item');
TABLE v;
SELECT elt.drop_view('v');
SELECT creates('SELECT ROW(id, v) AS r FROM item');
SELECT creates('SELECT array_agg(ROW(id, v)) AS r FROM item');
SELECT creates('SELECT i AS whole FROM item i');
SELECT elt.drop_view('v');
SELECT creates('SELECT ROW(id, v)::composite AS c FROM item');
SELECT elt.drop_view('v');
SELECT creates('SELECT typname::text AS t, typinput FROM pg_type WHERE false');
SELECT elt.drop_view('v');
SELECT count(elt.drop_view(name)) FROM elt.views;

\echo == sources
SELECT creates('SELECT id FROM temporary');
SELECT creates('SELECT id FROM over_temporary');
SELECT creates('SELECT id FROM item WHERE EXISTS (SELECT FROM temporary t WHERE t.id = item.id)');
SELECT creates('SELECT id FROM item', name => 'item');
SELECT creates('SELECT id FROM v');
SELECT creates('SELECT id FROM unlogged');
SELECT creates('SELECT id FROM matview');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT id FROM parent');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT id FROM child');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT last_value FROM seq');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT id FROM elt.node');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT relname FROM pg_class WHERE false');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT id FROM unlogged', 'refresh_mode => ''incremental''');
SELECT creates('SELECT id FROM matview', 'refresh_mode => ''incremental''');
SELECT creates('SELECT id, random() AS r FROM item', 'refresh_mode => ''incremental''');
SELECT creates('WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 5) SELECT a, id FROM r, item', 'refresh_mode => ''incremental''');
SELECT leftovers();

\echo == privileges
CREATE TABLE private (id int PRIMARY KEY);
SET ROLE regress_elt_viewer;
SELECT creates('SELECT id FROM private');
SELECT creates('SELECT 1 AS a', name => 'pg_catalog.v');
SELECT creates('SELECT 1 AS a', name => 'elt.v');
RESET ROLE;
GRANT SELECT ON private TO regress_elt_viewer;
SET ROLE regress_elt_viewer;
SELECT creates('SELECT id FROM private');
SELECT creates('SELECT p.id FROM private p, item i');
RESET ROLE;
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT leftovers();

\echo == existing views
SELECT elt.create_view('v', 'SELECT id, v FROM item');
SELECT creates('SELECT id, v FROM item');
SELECT creates('SELECT id FROM item');
SELECT creates('SELECT id FROM item', 'if_exists => ''error''');
SELECT elt.create_view('v', 'SELECT id FROM item', if_exists => 'skip');
SELECT elt.create_view('v', 'SELECT id, v FROM item', if_exists => 'alter');
SELECT creates('SELEKT', 'if_exists => ''skip''');
SELECT creates('SELECT id FROM view_errors.v', name => 'v');
SELECT creates('SELECT id, v FROM item', name => 'view_errors.v');
SET ROLE regress_elt_viewer;
SELECT creates('SELECT 1 AS a');
SELECT raises('SELECT elt.refresh(''v'')');
SELECT raises('SELECT elt.drop_view(''v'')');
SELECT raises('SELECT elt.verify_view(''v'')');
RESET ROLE;
SELECT elt.create_view('v2', 'SELECT id FROM v');
SELECT raises('SELECT elt.drop_view(''v'')');
SELECT raises('DROP VIEW v');
SELECT raises('INSERT INTO v VALUES (1, ''x'')');
SELECT raises('ALTER TABLE item DROP COLUMN v');
SELECT raises('ALTER TABLE item ALTER v TYPE int USING 1');
SELECT raises('DROP TABLE item');
SELECT raises('ALTER TABLE v2 RENAME TO v');
SELECT raises('SELECT elt.untrack(''item'')');
SELECT elt.drop_view('v2');
SELECT elt.drop_view('v');

\echo == a load has the name
SELECT elt.create_load('view_errors.v', 'other', source => 'item', query => 'SELECT id FROM item', mode => 'append');
SELECT creates('SELECT 1 AS a');
SELECT raises('SELECT elt.refresh(''view_errors.v'')');
SELECT elt.drop_load('view_errors.v');

\echo == not followed
SELECT elt.create_view('v', 'SELECT id, n FROM item WHERE 10 / n > 1');
INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 0);
SELECT raises('SELECT elt.refresh(''v'')');
TABLE v;
DELETE FROM item WHERE id = 2;
SELECT strategy, rows_inserted FROM elt.refresh('v');
SELECT elt.untrack('item', force => true);
SELECT raises('SELECT elt.refresh(''v'')');
SELECT problem FROM elt.views;
SELECT elt.track('item');
SELECT strategy, reason FROM elt.refresh('v');
SELECT raises('INSERT INTO item VALUES (5, ''e'', 5) RETURNING elt.refresh(''v'')');
BEGIN;
ALTER TABLE item DISABLE TRIGGER ALL;
SELECT raises('SELECT elt.refresh(''v'')');
ROLLBACK;
UPDATE item SET n = n + 1;
BEGIN READ ONLY;
SELECT raises('SELECT elt.refresh(''v'')');
ROLLBACK;
SELECT elt.drop_view('v');
SELECT elt.create_view('v', 'SELECT id, n FROM item', on_schema_change => 'suspend');
ALTER TABLE item RENAME n TO m;
SELECT raises('SELECT elt.refresh(''v'')');
SELECT problem FROM elt.views;
ALTER TABLE item RENAME m TO n;
ALTER TABLE item ALTER n TYPE bigint;
SELECT raises('SELECT elt.refresh(''v'')');
ALTER TABLE item ALTER n TYPE int;
SELECT strategy, reason FROM elt.refresh('v');
SELECT elt.drop_view('v');

\echo == large
SELECT creates('SELECT ' || (SELECT string_agg('id + ' || i || ' AS c' || i, ', ') FROM generate_series(1, 500) i) || ' FROM item');
SELECT creates('SELECT ' || (SELECT string_agg('id + ' || i || ' AS c' || i, ', ') FROM generate_series(1, 1700) i) || ' FROM item');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT i1.id FROM item i1' || (SELECT string_agg(' JOIN item i' || i || ' USING (id)', '' ORDER BY i) FROM generate_series(2, 50) i),
               'with_data => false');
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT creates('SELECT id FROM item WHERE v <> ' || quote_literal(repeat('x', 200000)));
SELECT count(*) > 0 FROM v;
SELECT elt.drop_view('v');
SELECT creates('SELECT id FROM item WHERE ' || repeat('id > 0 AND ', 3000) || 'true');
SELECT elt.drop_view('v');
SELECT substr(creates('SELECT ' || repeat('(', 20000) || '1' || repeat(')', 20000) || ' AS a'), 1, 40);
SELECT count(elt.drop_view(name)) FROM elt.views;
SELECT leftovers();

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA view_errors CASCADE;
DROP OWNED BY regress_elt_viewer;
DROP ROLE regress_elt_viewer;
SELECT (SELECT count(*) FROM elt.node) AS nodes, (SELECT count(*) FROM elt.view) AS views, (SELECT count(*) FROM elt.consumer) AS consumers,
       (SELECT count(*) FROM elt.capture) AS captures;
