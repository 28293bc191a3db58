-- Changed rows that are looked up by hash while a refresh joins them: types, collations, keys of several columns and of NULLs, subqueries. Several tables change in
-- one window; after each the views are compared with their queries, both ways. Nested loops only, so that rows are looked up.
SET client_min_messages = warning;
CREATE SCHEMA bags;
SET search_path = bags, public;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_memoize = off;
CREATE TABLE a (id int PRIMARY KEY, i int, b bigint, t text, c char(6), v varchar(10), n numeric, d date, f float8);
CREATE TABLE b (id int PRIMARY KEY, i int, b bigint, t text COLLATE "C", c char(4), v varchar(10), n numeric, d date, f float8);
CREATE TABLE e (id int, gone text, i int, t text, n numeric);
ALTER TABLE e DROP COLUMN gone;
CREATE INDEX ON a (i);
CREATE INDEX ON a (t);
CREATE INDEX ON b (i);
CREATE INDEX ON b (t);
CREATE INDEX ON e (i);
CREATE TABLE tests (name text, query text);

-- a value of each type, by a number: few of them, some NULL, some equal with different images
CREATE FUNCTION fill(t regclass, first int, n int, seed int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($q$INSERT INTO %s SELECT g, nullif((g * 7 + %3$s) %% 9, 0), nullif((g * 5 + %3$s) %% 7, 0), nullif('t' || (g + %3$s) %% 6, 't0'),
		(ARRAY['x', 'y', 'x ', NULL])[1 + (g + %3$s) %% 4], (ARRAY['x', 'y', '', NULL])[1 + (g * 3 + %3$s) %% 4],
		(ARRAY[1, 1.0, 1.00, 'NaN', NULL, 2]::numeric[])[1 + (g + %3$s) %% 6], date '2024-01-01' + (g + %3$s) %% 5,
		(ARRAY[0, '-0', 'NaN', 1, NULL]::float8[])[1 + (g * 2 + %3$s) %% 5] FROM generate_series(%2$s, %2$s + %4$s - 1) g$q$, t, first, seed, n);
END $$;
SELECT fill('a', 1, 40, 1), fill('b', 1, 40, 2);
INSERT INTO e SELECT g, nullif(g % 5, 0), 't' || g % 4, g % 3 FROM generate_series(1, 20) g;
INSERT INTO e SELECT * FROM e WHERE id < 6;

CREATE FUNCTION define(new_name text, new_query text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM elt.create_view('bags.v_' || new_name, new_query, refresh_mode => 'incremental');
	INSERT INTO tests VALUES (new_name, new_query);
END $$;

CREATE FUNCTION check_views(OUT name text, OUT strategy text, OUT difference text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	query text;
BEGIN
	FOR name, query IN SELECT * FROM tests ORDER BY 1 LOOP
		SELECT r.strategy INTO strategy FROM elt.refresh('bags.v_' || name) r;
		EXECUTE format('SELECT string_agg(n || '' '' || r, '', '' ORDER BY r) FROM '
		               '(SELECT r, sum(n) AS n FROM (SELECT v::text AS r, 1 AS n FROM bags.%I v UNION ALL SELECT q::text, -1 FROM (%s) q) x GROUP BY r HAVING sum(n) <> 0) y',
		               'v_' || name, query) INTO difference;
		IF difference IS NOT NULL OR strategy <> 'incremental' THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END $$;

SELECT define('int', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.i = b.i');
SELECT define('int_bigint', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.i = b.b');
SELECT define('bigint_int', 'SELECT a.id, b.id AS b FROM a JOIN b ON b.i = a.b');
SELECT define('text', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.t = b.t COLLATE "C"');
SELECT define('text_expression', 'SELECT a.id, b.id AS b FROM a JOIN b ON upper(a.t) = upper(b.t) COLLATE "POSIX"');
SELECT define('bpchar', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.c = b.c');
SELECT define('bpchar_text', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.c::text = b.v');
SELECT define('varchar', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.v = b.v');
SELECT define('numeric', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.n = b.n');
SELECT define('numeric_int', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.n = b.i');
SELECT define('float', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.f = b.f');
SELECT define('two', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.i = b.i AND a.d = b.d');
SELECT define('three', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.i = b.i AND a.n = b.n AND a.c = b.c AND a.id < b.id + 30');
SELECT define('between', 'SELECT a.id, b.id AS b FROM a JOIN b ON b.i BETWEEN a.i - 1 AND a.i AND a.d = b.d');
SELECT define('chain', 'SELECT a.id, b.id AS b, e.id AS e FROM a JOIN b ON a.i = b.i JOIN e ON e.i = b.i AND e.t = a.t');
SELECT define('chain_two', 'SELECT a.id, b.id AS b, e.id AS e FROM a JOIN e ON e.i = a.i JOIN b ON b.i = a.b AND b.t = e.t');
SELECT define('self', 'SELECT x.id, y.id AS y FROM a x JOIN a y ON x.i = y.b AND x.d = y.d');
SELECT define('base', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.i = b.i WHERE b.t = ''t1'' AND b.n < 2 AND a.c = ''x''');
SELECT define('nulls', 'SELECT a.id, b.id AS b FROM a JOIN b ON a.i IS NOT DISTINCT FROM b.i AND a.d = b.d');
SELECT define('left', 'SELECT a.id, b.id AS b, b.t FROM a LEFT JOIN b ON a.i = b.i AND b.d = a.d AND b.n = 1');
SELECT define('full', 'SELECT a.id, b.id AS b FROM a FULL JOIN b ON a.i = b.i AND a.t = b.t COLLATE "C"');
SELECT define('exists', 'SELECT a.id, a.t FROM a WHERE EXISTS (SELECT FROM b JOIN e ON e.i = b.b WHERE b.i = a.i)');
SELECT define('not_exists', 'SELECT a.id, a.t FROM a WHERE NOT EXISTS (SELECT FROM b WHERE b.i = a.i AND b.d = a.d)');
SELECT define('in', 'SELECT a.id, a.t FROM a WHERE a.i IN (SELECT b.b FROM b WHERE b.d = a.d)');
SELECT define('scalar', 'SELECT a.id, (SELECT max(b.d) FROM b WHERE b.i = a.i) AS m, (SELECT count(*) FROM e WHERE e.i = a.b AND e.t = a.t) AS n FROM a');
SELECT define('lateral_top', 'SELECT a.id, l.id AS b FROM a, LATERAL (SELECT b.id FROM b WHERE b.i = a.i ORDER BY b.id LIMIT 2) l');
SELECT define('lateral_sum', 'SELECT a.id, l.s FROM a LEFT JOIN LATERAL (SELECT sum(e.n) AS s FROM e JOIN b ON b.i = e.i WHERE e.i = a.i AND b.d = a.d) l ON true');
SELECT define('grouped', 'SELECT a.d, count(*) AS n, sum(b.n) AS s, max(b.t) AS m FROM a JOIN b ON a.i = b.i AND a.t = b.t COLLATE "C" GROUP BY a.d');
SELECT define('united', 'SELECT a.id, u.i FROM a JOIN (SELECT id, i FROM b UNION ALL SELECT id, i FROM e) u ON u.i = a.i AND u.id = a.b');
SELECT define('distinct', 'SELECT DISTINCT a.c, e.t FROM a JOIN b ON b.i = a.i JOIN e ON e.i = b.b');

-- rows come, go and change in all tables at once
CREATE PROCEDURE change(step int) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM fill('a', 100 + 10 * step, 6, step), fill('b', 100 + 10 * step, 6, step + 1);
	INSERT INTO e SELECT 100 + step, i, t, n FROM a WHERE id % 5 = step % 5;
	DELETE FROM a WHERE id % 11 = step % 11;
	DELETE FROM b WHERE id % 7 = step % 7;
	DELETE FROM e WHERE ctid IN (SELECT ctid FROM e ORDER BY id + step, ctid LIMIT 2);
	UPDATE a SET i = nullif((i + 1) % 9, 0), n = n * 1.0, d = d + 1 WHERE id % 6 = step % 6;
	UPDATE b SET i = coalesce(i, 3), c = 'y', t = 't' || id % 6, id = id + 1000 WHERE id % 8 = step % 8;
	UPDATE e SET i = i + 1 WHERE id % 4 = step % 4;
	COMMIT;
END $$;
CALL change(1);
SELECT * FROM check_views();
CALL change(2);
SELECT * FROM check_views();
CALL change(3);
SELECT * FROM check_views();
-- one side at a time
UPDATE a SET i = 1 + id % 3, b = 2;
SELECT * FROM check_views();
UPDATE b SET n = 1.0, i = 2, t = 't1' WHERE id % 2 = 0;
SELECT * FROM check_views();
-- hash tables that would not fit
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
INSERT INTO a SELECT 10000 + g, 10 + g, g, 't' || g FROM generate_series(1, 1000) g;
INSERT INTO b SELECT 10000 + g, 10 + g, g, 't' || g FROM generate_series(1, 1000) g;
SELECT * FROM check_views();
RESET work_mem;
RESET hash_mem_multiplier;
-- other joins
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_memoize;
CALL change(4);
SELECT * FROM check_views();
CALL change(5);
SELECT * FROM check_views();
DROP SCHEMA bags CASCADE;
