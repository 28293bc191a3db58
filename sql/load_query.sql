-- What a load's query may be: queries that can be fed with changed rows alone, and every refusal of others.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA load_query;
SET search_path = load_query;

CREATE TABLE item (id int PRIMARY KEY, v text, n int, at date, tags text[]);
CREATE TABLE look (k int PRIMARY KEY, w text);
CREATE TABLE target (id int PRIMARY KEY, v text, n bigint);
CREATE TABLE root (id int PRIMARY KEY, v text, n int) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (1000);
INSERT INTO item SELECT i, 'v' || i, i % 3, '2024-01-01'::date + i, ARRAY['a', 'b'] FROM generate_series(1, 20) i;
INSERT INTO root SELECT id, v, n FROM item;
INSERT INTO look VALUES (0, 'zero'), (1, 'one');

-- what refuses(query) raises: SQLSTATE, message, detail, hint, context; or 'accepted'. Nothing may be left of what is refused.
CREATE FUNCTION refuses(query text, source regclass DEFAULT 'item', mode text DEFAULT 'upsert') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text; context text;
BEGIN
    PERFORM elt.create_load('q', 'target', source => source, query => query, mode => mode);
    PERFORM elt.drop_load('q');
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RETURN concat_ws(E'\n', SQLSTATE || ': ' || message, '   detail: ' || nullif(detail, ''), '   hint: ' || nullif(hint, ''),
                     '   context: ' || substring(context FROM '^(query of load[^\n]*)'));
END $$;

-- An accepted query: loaded, fed with changes, and compared with itself run over everything (mirror). The result is what differs.
CREATE PROCEDURE accepts(query text, source regclass DEFAULT 'item', key text[] DEFAULT '{id}') LANGUAGE plpgsql AS $$
DECLARE
    differences text;
BEGIN
    EXECUTE format('CREATE TABLE load_query.result AS SELECT * FROM (%s) q WITH NO DATA', query);
    EXECUTE format('ALTER TABLE load_query.result ADD PRIMARY KEY (%s)', (SELECT string_agg(quote_ident(k), ', ') FROM unnest(key) k));
    PERFORM elt.create_load('accepted', 'load_query.result', source => source, query => query, mode => 'mirror');
    FOR i IN 1 .. 3 LOOP
        PERFORM elt.run_batch('accepted');
        EXECUTE format('SELECT string_agg(d::text, '' '') FROM ((SELECT ''lacks'', * FROM (%1$s) q EXCEPT ALL SELECT ''lacks'', * FROM load_query.result)
                        UNION ALL (SELECT ''has'', * FROM load_query.result EXCEPT ALL SELECT ''has'', * FROM (%1$s) q)) d', query) INTO differences;
        IF differences IS NOT NULL THEN
            RAISE NOTICE 'batch %: %', i, differences;
        END IF;
        EXECUTE format('UPDATE %s SET n = n + 1, v = v || ''!'' WHERE id %% 3 = %s', source, i);
        EXECUTE format('DELETE FROM %s WHERE id = %s', source, 3 * i);
        EXECUTE format('UPDATE %s SET id = id + 100 WHERE id = %s', source, 3 * i + 1);
        EXECUTE format('INSERT INTO %s (id, v, n) VALUES (%s, ''new'', %s)', source, 200 + i, i);
    END LOOP;
    RAISE NOTICE 'accepted, % rows', (SELECT count(*) FROM load_query.result);
    ROLLBACK;
END $$;
CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
CREATE FUNCTION rows_of(int) RETURNS SETOF int STABLE LANGUAGE sql AS 'SELECT generate_series(1, $1)';
CREATE VIEW looks AS SELECT k, upper(w) AS w FROM look;
CREATE MATERIALIZED VIEW mat AS SELECT k, w FROM look;

\echo == accepted
CALL accepts('SELECT id, v, n FROM item');
CALL accepts('SELECT * FROM item');
CALL accepts('SELECT i.* FROM load_query.item AS i');
CALL accepts('TABLE item');
CALL accepts('SELECT id, v, n FROM ONLY item');
CALL accepts('SELECT id, twice(n) AS n, CASE WHEN n > 1 THEN upper(v) END AS v FROM item WHERE n <> 0 OR v LIKE ''%!''');
CALL accepts('SELECT x AS id, y AS v FROM item AS i (x, y)');
CALL accepts('SELECT id, i::text AS v, to_jsonb(i) AS j, i AS whole FROM item i');
CALL accepts('SELECT i.id, l.w FROM item i LEFT JOIN look l ON l.k = i.n');
CALL accepts('SELECT i.id, l.w FROM look l RIGHT JOIN item i ON l.k = i.n');
CALL accepts('SELECT i.id, l.w FROM item i, look l WHERE l.k = i.n');
CALL accepts('SELECT id, w FROM item JOIN (SELECT k AS n, w FROM look) l USING (n)');
CALL accepts('SELECT i.id, l.k FROM item i CROSS JOIN look l', key => '{id,k}');
CALL accepts('SELECT i.id, a.w, b.w AS w2 FROM (look a LEFT JOIN look b ON b.k = a.k + 1) JOIN item i ON i.n = a.k');
CALL accepts('SELECT i.id, t.ord, t.tag FROM item i CROSS JOIN LATERAL unnest(i.tags) WITH ORDINALITY AS t (tag, ord)', key => '{id,ord}');
CALL accepts('SELECT id, rows_of(n) AS r FROM item', key => '{id,r}');
CALL accepts('SELECT i.id, l.w FROM item i LEFT JOIN LATERAL (SELECT w FROM look WHERE k = i.n ORDER BY w LIMIT 1) l ON true');
CALL accepts('SELECT id, (SELECT w FROM look WHERE k = n) AS w, ARRAY(SELECT k FROM look ORDER BY k) AS a FROM item');
CALL accepts('SELECT id, v FROM item WHERE EXISTS (SELECT FROM look WHERE k = n) AND n NOT IN (SELECT k FROM look WHERE w = ''one'')');
CALL accepts('SELECT id, w FROM item JOIN looks ON k = n');
CALL accepts('SELECT id, w FROM item JOIN mat ON k = n');
CALL accepts('SELECT id, c FROM item JOIN (SELECT count(*) AS c, max(k) AS m FROM look GROUP BY k) g ON g.m = n');
CALL accepts('SELECT id, k FROM item JOIN (SELECT k FROM look UNION SELECT 7) u ON u.k = n');
CALL accepts('SELECT id, k FROM item JOIN (SELECT k, row_number() OVER () FROM look) u ON u.k = n');
CALL accepts('SELECT s.id, s.double FROM (SELECT id, n * 2 AS double FROM (SELECT * FROM item WHERE n > 0) i) s WHERE s.double > 2');
CALL accepts('WITH a AS (SELECT id, v, n FROM item WHERE n > 0), b AS MATERIALIZED (SELECT * FROM a) SELECT b.id, b.v FROM b');
CALL accepts('WITH unused AS (SELECT count(*) FROM item), l AS (SELECT * FROM look) SELECT id, l.w, m.w AS w2 FROM item JOIN l ON k = n JOIN l m ON m.k = n');
CALL accepts('WITH RECURSIVE r AS (SELECT 0 AS k UNION ALL SELECT k + 1 FROM r WHERE k < 2) SELECT id, k FROM item JOIN r ON k = n');
CALL accepts('SELECT id, v FROM item ORDER BY v');
CALL accepts('SELECT id, at + 1 AS at, at::timestamptz AS tz, ''2024-01-31''::date AS d, 1.5::float8 AS f, interval ''1 day'' AS i, E''\\\\'' AS b FROM item');
CALL accepts('SELECT id, coalesce(n, 0)::numeric(6,2) AS n, v COLLATE "C" AS v, tags[1] AS t FROM item');
CALL accepts('SELECT id, v FROM item, generate_series(1, 1) g WHERE (SELECT i.k FROM (SELECT k FROM look WHERE k = n) i) IS NOT NULL');
CALL accepts('SELECT (r).id, (r).v FROM (SELECT i AS r FROM item i) s');
CALL accepts('SELECT root.id, v FROM root', 'root');
CALL accepts('SELECT root.*, look.w FROM root LEFT JOIN look ON k = n', 'root');
CALL accepts('SELECT id, current_setting(''TimeZone'') AS tz, clock_timestamp() > ''2000-01-01'' AS late FROM item');

\echo == one SELECT
SELECT refuses('SELECT id FROM item;');
SELECT refuses('SELECT id FROM item; -- and that was it');
SELECT refuses('((SELECT id FROM item))');
SELECT refuses('');
SELECT refuses('   ;  ');
SELECT refuses('-- nothing');
SELECT refuses('SELECT id FROM item; SELECT id FROM item');
SELECT refuses('SELECT id FRM item');
SELECT refuses('SELECT no_such_column FROM item');
SELECT refuses('SELECT id FROM no_such_table');
SELECT refuses('SELECT id FROM item WHERE id = $1');
SELECT refuses('SELECT sum(count(*)) FROM item');
SELECT refuses('INSERT INTO target (id) SELECT id FROM item');
SELECT refuses('INSERT INTO target (id) SELECT id FROM item RETURNING id');
SELECT refuses('DELETE FROM item RETURNING id');
SELECT refuses('SELECT id INTO new_table FROM item');
SELECT refuses('CREATE TABLE new_table AS SELECT id FROM item');
SELECT refuses('EXPLAIN SELECT id FROM item');
SELECT refuses('CALL elt.run(''q'')');
SELECT refuses('DROP TABLE item');
SELECT refuses('DECLARE c CURSOR FOR SELECT id FROM item');
SELECT refuses('WITH w AS (DELETE FROM look RETURNING k) SELECT id FROM item JOIN w ON k = n');
SELECT refuses('VALUES (1)');
SELECT refuses('SELECT');
SELECT refuses('SELECT FROM item');

\echo == what is read
SELECT refuses('SELECT 1 AS id');
SELECT refuses('SELECT k AS id FROM look');
SELECT refuses('SELECT id FROM leaf', 'root');
SELECT refuses('WITH w AS (SELECT id FROM item) SELECT k AS id FROM look');
CREATE TEMP TABLE temporary (k int);
CREATE TEMP VIEW temporary_view AS SELECT 1 AS k;
SELECT regexp_replace(refuses('SELECT id FROM item JOIN temporary ON k = n'), 'pg_temp_\d+', 'pg_temp_N');
SELECT regexp_replace(refuses('SELECT id FROM item JOIN temporary_view ON k = n'), 'pg_temp_\d+', 'pg_temp_N');
SELECT refuses('SELECT id FROM item JOIN pg_class ON oid = n::oid');
SELECT refuses('SELECT id FROM item JOIN information_schema.tables ON table_name = v');
SELECT refuses('SELECT id, (SELECT count(*) FROM pg_catalog.pg_roles) AS n FROM item');
CREATE VIEW reads_catalog AS SELECT relname FROM pg_class;
SELECT refuses('SELECT id FROM item JOIN reads_catalog ON relname = v');
SELECT refuses('SELECT id FROM item FOR UPDATE');
SELECT refuses('SELECT id FROM item JOIN (SELECT k FROM look FOR SHARE) l ON k = n');
SELECT refuses('SELECT i.id, t.v FROM item i LEFT JOIN target t ON t.id = i.id');
CREATE VIEW of_target AS SELECT * FROM target;
SELECT refuses('SELECT i.id, t.v FROM item i LEFT JOIN of_target t ON t.id = i.id');
SELECT refuses('SELECT id, (SELECT max(v) FROM target) AS v FROM item');

\echo == several rows at a time
SELECT refuses('SELECT n AS id FROM item GROUP BY n');
SELECT refuses('SELECT n AS id, v, count(*) AS n FROM item GROUP BY ROLLUP (n, v)');
SELECT refuses('SELECT max(id) AS id FROM item');
SELECT refuses('SELECT 1 AS id FROM item HAVING true');
SELECT refuses('SELECT id, rank() OVER (ORDER BY v) AS n FROM item');
SELECT refuses('SELECT id, v FROM item WINDOW w AS (ORDER BY v)');
SELECT refuses('SELECT DISTINCT id FROM item');
SELECT refuses('SELECT DISTINCT ON (v) id, v FROM item');
SELECT refuses('SELECT id FROM item LIMIT 5');
SELECT refuses('SELECT id FROM item FETCH FIRST 5 ROWS WITH TIES');
SELECT refuses('SELECT id FROM item ORDER BY id FETCH FIRST 5 ROWS WITH TIES');
SELECT refuses('SELECT id FROM item OFFSET 5');
SELECT refuses('SELECT id FROM item UNION SELECT 7');
SELECT refuses('SELECT id FROM item UNION ALL SELECT k FROM look');
SELECT refuses('SELECT k AS id FROM look EXCEPT SELECT id FROM item');
SELECT refuses('SELECT id FROM item INTERSECT ALL SELECT k FROM look');
-- below the top, or in a CTE
SELECT refuses('SELECT s.id FROM (SELECT n AS id, count(*) FROM item GROUP BY n) s');
SELECT refuses('WITH w AS (SELECT DISTINCT id FROM item) SELECT id FROM w');
SELECT refuses('WITH w AS (SELECT id FROM item), x AS (SELECT id FROM w LIMIT 3) SELECT id FROM x');
SELECT refuses('SELECT l.id FROM look JOIN LATERAL (SELECT sum(n) AS id FROM item WHERE n = k) l ON true');
SELECT refuses('SELECT s.id FROM look JOIN (SELECT id, n FROM item UNION ALL SELECT k, k FROM look) s ON s.n = k');
SELECT refuses('WITH RECURSIVE r AS (SELECT id, n FROM item UNION ALL SELECT id, n - 1 FROM r WHERE n > 0) SELECT id, n FROM r');
SELECT refuses('WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT item.id FROM r JOIN item ON item.n = r.id) SELECT id FROM r');

\echo == the absence of rows
SELECT refuses('SELECT k AS id, v FROM look LEFT JOIN item ON n = k');
SELECT refuses('SELECT k AS id, v FROM item RIGHT JOIN look ON n = k');
SELECT refuses('SELECT k AS id, v FROM item FULL JOIN look ON n = k');
SELECT refuses('SELECT a.k AS id, i.v FROM look a LEFT JOIN (look b JOIN item i ON i.n = b.k) ON a.k = b.k');
SELECT refuses('SELECT k AS id, s.v FROM look LEFT JOIN LATERAL (SELECT v FROM item WHERE n = k) s ON true');
SELECT refuses('WITH w AS (SELECT * FROM item) SELECT k AS id, v FROM look LEFT JOIN w ON n = k');
SELECT refuses('SELECT k AS id FROM look WHERE NOT EXISTS (SELECT FROM item WHERE n = k)');
SELECT refuses('SELECT k AS id FROM look WHERE EXISTS (SELECT FROM item WHERE n = k)');
SELECT refuses('SELECT k AS id FROM look WHERE k IN (SELECT n FROM item)');
SELECT refuses('SELECT k AS id, (SELECT v FROM item WHERE id = k) AS v FROM look');
SELECT refuses('SELECT k AS id, ARRAY(SELECT n FROM item) AS n FROM look');
SELECT refuses('SELECT k AS id FROM look WHERE k > ALL (SELECT n FROM item)');
SELECT refuses('WITH w AS (SELECT n FROM item) SELECT k AS id FROM look WHERE k IN (SELECT n FROM w)');
SELECT refuses('SELECT g AS id FROM look, generate_series(1, (SELECT max(n) FROM item)) g');
SELECT refuses('SELECT l.id FROM look, LATERAL (VALUES ((SELECT max(id) FROM item))) l (id)');

\echo == the source read twice
SELECT refuses('SELECT a.id FROM item a JOIN item b ON b.id = a.id + 1');
SELECT refuses('SELECT id FROM item WHERE n = (SELECT max(n) FROM item)');
SELECT refuses('SELECT id FROM item a WHERE NOT EXISTS (SELECT FROM item b WHERE b.id > a.id)');
SELECT refuses('WITH w AS (SELECT * FROM item) SELECT a.id FROM w a JOIN w b ON b.id = a.n');
SELECT refuses('WITH w AS (SELECT * FROM item) SELECT a.id FROM w a JOIN item b ON b.id = a.n');
SELECT refuses('SELECT id FROM item UNION ALL SELECT id + 1 FROM item');
CREATE VIEW items AS SELECT * FROM item;
CREATE VIEW over_items AS SELECT id FROM items;
CREATE MATERIALIZED VIEW mat_items AS SELECT id FROM item;
SELECT refuses('SELECT id FROM items');
SELECT refuses('SELECT item.id FROM item JOIN items ON items.id = item.n');
SELECT refuses('SELECT item.id FROM item JOIN over_items ON over_items.id = item.n');
SELECT refuses('SELECT item.id FROM item JOIN mat_items m ON m.id = item.n');	-- as old as it is, in any case
SELECT refuses('SELECT root.id FROM root JOIN leaf ON leaf.n = root.id', 'root');
CREATE VIEW of_leaf AS SELECT * FROM leaf;
SELECT refuses('SELECT root.id FROM root WHERE n IN (SELECT n FROM of_leaf)', 'root');
CREATE TABLE parent (id int, n int);
CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (parent);
SELECT refuses('SELECT heir.id FROM heir JOIN parent p ON p.n = heir.id', 'heir');
CREATE TABLE adopted (id int PRIMARY KEY, n int);
SELECT elt.track('adopted');
ALTER EVENT TRIGGER elt_ddl_command_end DISABLE;
ALTER TABLE adopted INHERIT parent;
ALTER EVENT TRIGGER elt_ddl_command_end ENABLE ALWAYS;
SELECT refuses('SELECT adopted.id FROM adopted JOIN parent p ON p.n = adopted.id', 'adopted');

\echo == samples, ONLY
SELECT refuses('SELECT id FROM item TABLESAMPLE SYSTEM (10)');
SELECT refuses('SELECT id FROM item JOIN look TABLESAMPLE BERNOULLI (100) ON k = n');
SELECT refuses('SELECT id FROM ONLY root', 'root');

\echo == columns
SELECT refuses('SELECT id, xmin::text AS v FROM item');
SELECT refuses('SELECT id FROM item WHERE ctid = ''(0,1)''');
SELECT refuses('SELECT id, tableoid::regclass::text AS v FROM root', 'root');
SELECT refuses('SELECT s.id, s.x AS v FROM (SELECT id, cmax::text AS x FROM item) s');
SELECT refuses('SELECT id, (SELECT w FROM look WHERE k = i.tableoid::int) AS v FROM item i');
SELECT refuses('SELECT id, look.ctid::text AS v FROM item JOIN look ON k = n');	-- a lookup has them
SELECT refuses('SELECT id, n + 1 FROM item');
SELECT refuses('SELECT id, n + 1 AS "?column?" FROM item');
SELECT refuses('SELECT id, v, v FROM item');
SELECT refuses('SELECT * FROM item JOIN look l ON k = n JOIN look m ON m.k = n');
SELECT refuses('SELECT id, NULL AS v FROM item');
SELECT refuses('SELECT id, ''x'' AS v FROM item');
SELECT refuses('SELECT id, ROW(v, n) AS v FROM item');
SELECT refuses('SELECT id, ''1''::cstring AS v FROM item');

\echo == the meaning may not depend on search_path
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION odd_equal(pair, pair) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1.a OPERATOR(pg_catalog.=) $2.a';
CREATE FUNCTION int_equal(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR = (LEFTARG = int, RIGHTARG = int, PROCEDURE = int_equal);
SET search_path = load_query, pg_catalog;
SELECT refuses('SELECT id, v FROM item WHERE n IS DISTINCT FROM 1');
SELECT refuses('SELECT id, nullif(n, 1) AS n FROM item');
SELECT refuses('SELECT id, CASE n WHEN 1 THEN ''one'' END AS v FROM item');
SELECT refuses('SELECT id, w AS v FROM item JOIN (SELECT k AS n, w FROM look) l USING (n)');
SELECT refuses('SELECT id, v FROM item WHERE n = 1');			-- an operator has its schema
SET search_path = load_query;
DROP OPERATOR load_query.= (int, int);
SELECT refuses('SELECT id, v FROM item WHERE n IS DISTINCT FROM 1');

\echo == mirrors that could not tell what to delete
CREATE TABLE by_v (v text PRIMARY KEY, n int);
CREATE FUNCTION mirror_by_v(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    PERFORM elt.create_load('q', 'by_v', source => 'item', query => query, mode => 'mirror');
    PERFORM elt.drop_load('q');
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', SQLSTATE || ': ' || message, '   detail: ' || nullif(detail, ''), '   hint: ' || nullif(hint, ''));
END $$;
SELECT mirror_by_v('SELECT v, n FROM item');
SELECT mirror_by_v('SELECT upper(v) AS v, n FROM item');
SELECT mirror_by_v('SELECT v, n FROM item JOIN look ON k = n');
SELECT mirror_by_v('SELECT v, n FROM item WHERE n IN (SELECT k FROM looks)');
SELECT mirror_by_v('SELECT v || random() AS v, n FROM item');
SELECT mirror_by_v('SELECT v, (random() * 10)::int AS n FROM item');
SELECT mirror_by_v('SELECT v::varchar(3), n FROM item');
SELECT mirror_by_v('SELECT n AS v FROM item');

\echo == nothing is left
SELECT count(*) FROM elt.node;
SELECT count(*) FROM elt.load;
SELECT count(*) FROM elt.consumer;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA load_query CASCADE;
SELECT (SELECT count(*) FROM elt.node) AS nodes, (SELECT count(*) FROM elt.load) AS loads, (SELECT count(*) FROM elt.consumer) AS consumers,
       (SELECT count(*) FROM elt.capture) AS captures;
