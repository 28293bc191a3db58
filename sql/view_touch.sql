-- Views whose appended tables change: the rows that a change may touch, and what the tables were before it. Windows change several tables at once, with keys that
-- move, NULLs, and rows that are equal; after each the views are compared with their queries, as text and both ways.
SET client_min_messages = warning;
CREATE SCHEMA touch;
SET search_path = touch, public;
CREATE TABLE ta (id int PRIMARY KEY, x int, y int, n numeric);
CREATE TABLE tb (id int PRIMARY KEY, x int, y int, n numeric);
CREATE TABLE tc (id int, x int, y int, n numeric);
CREATE TABLE td (id int PRIMARY KEY, x int, y int, n numeric);
CREATE TABLE te (id int, part int, x int NOT NULL, y int NOT NULL, n numeric, PRIMARY KEY (part, id));
CREATE TABLE tests (number serial, name text, query text, settled text, strategies text[], windows int DEFAULT 0);

CREATE FUNCTION roll(n int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT floor(random() * n)::int';
CREATE FUNCTION some_value() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT CASE WHEN random() < 0.2 THEN 'NULL' ELSE roll(3)::text END $$;
CREATE FUNCTION some_n() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT (ARRAY['1', '1.0', '1.00', '0', '2.5', 'NULL'])[1 + roll(6)] $$;

-- One window: some statements on some tables.
CREATE FUNCTION change_tables() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['ta', 'tb', 'tc', 'td'] LOOP
		EXECUTE format('DELETE FROM %I WHERE id > 6 + %s', t, roll(3));
	END LOOP;
	FOR i IN 1 .. (ARRAY[1, 1, 2, 3, 6])[1 + roll(5)] LOOP
		t := (ARRAY['ta', 'tb', 'tc', 'td', 'te'])[1 + roll(5)];
		CONTINUE WHEN t = 'te' AND roll(2) = 0;
		IF t = 'te' THEN
			CASE roll(4)
				WHEN 0, 1 THEN
					INSERT INTO te VALUES (1 + roll(3), roll(2), roll(3), roll(3), 1) ON CONFLICT DO NOTHING;
				WHEN 2 THEN
					DELETE FROM te WHERE id = 1 + roll(3);
				ELSE
					UPDATE te SET y = roll(3), x = x + 1 - roll(3) WHERE part = roll(2);
			END CASE;
		ELSIF random() < 0.45 THEN
			EXECUTE format('INSERT INTO %I VALUES (%s, %s, %s, %s) %s', t, 1 + roll(6), some_value(), some_value(), some_n(),
			               CASE WHEN t <> 'tc' THEN 'ON CONFLICT DO NOTHING' ELSE '' END);
		ELSIF random() < 0.45 THEN
			EXECUTE format('DELETE FROM %I WHERE id = %s', t, 1 + roll(6));
		ELSIF random() < 0.85 THEN
			EXECUTE format('UPDATE %I SET %I = %s WHERE id BETWEEN %s AND %s', t, (ARRAY['x', 'y'])[1 + roll(2)], some_value(), 1 + roll(6), 3 + roll(6));
		ELSE
			EXECUTE format('UPDATE %I SET id = 100 + id', t);
			EXECUTE format('UPDATE %I SET id = 109 - id', t);
		END IF;
	END LOOP;
END $$;

-- settled: the same query with an order that leaves nothing open, to compare with.
CREATE FUNCTION define(new_name text, new_query text, new_settled text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM elt.create_view('touch.v_' || new_name, new_query);
	INSERT INTO tests (name, query, settled) VALUES (new_name, new_query, COALESCE(new_settled, new_query));
END $$;

-- Refresh all views and compare them; what differs is told.
CREATE FUNCTION check_views(OUT name text, OUT difference text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	test tests;
	result record;
BEGIN
	FOR test IN SELECT * FROM tests ORDER BY number LOOP
		name := test.name;
		SELECT * INTO result FROM elt.refresh('touch.v_' || test.name);
		UPDATE tests SET windows = windows + 1, strategies = (SELECT array_agg(DISTINCT s ORDER BY s) FROM unnest(strategies || (result.strategy || COALESCE(' ' || result.reason, ''))) s)
		WHERE number = test.number;
		EXECUTE format('SELECT string_agg(CASE WHEN n < 0 THEN ''lacks '' ELSE ''has '' END || r, '', '' ORDER BY r) FROM '
		               '(SELECT r, sum(n) AS n FROM (SELECT v::text AS r, 1 AS n FROM touch.%I v UNION ALL SELECT q::text, -1 FROM (%s) q) x GROUP BY r HAVING sum(n) <> 0) y',
		               'v_' || test.name, test.settled) INTO difference;
		IF difference IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END $$;

CREATE PROCEDURE run_windows(n int) LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR i IN 1 .. n LOOP
		PERFORM change_tables();
		COMMIT;
		FOR r IN SELECT * FROM check_views() LOOP
			RAISE WARNING 'window %: % %', i, r.name, r.difference;
		END LOOP;
		COMMIT;
	END LOOP;
END $$;

-- one query for each way in which rows can be touched
SELECT define('on_sub', 'SELECT t1.id, t2.y AS r FROM (ta t1 LEFT JOIN tb t2 ON (t2.x=t1.x) AND (EXISTS (SELECT 1 FROM td t3 WHERE (t3.y=t2.y))))');
SELECT define('on_notsub', 'SELECT t1.id, t2.y AS r FROM (ta t1 LEFT JOIN tb t2 ON (t2.x=t1.x) AND (NOT EXISTS (SELECT 1 FROM tc t3 WHERE (t3.y=t2.y))))');
SELECT define('nest_on_coalesce', 'SELECT t1.id, t2.y AS r FROM (ta t1 LEFT JOIN (tb t2 LEFT JOIN td t3 ON (t3.y=t2.y)) ON (t2.x=t1.x) AND (coalesce(t3.x,1)=t1.y))');
SELECT define('nest_on_isnull', 'SELECT t1.id, t2.y AS r FROM (ta t1 LEFT JOIN (tb t2 LEFT JOIN tc t3 ON (t3.y=t2.y)) ON (t2.x=t1.x) AND (t3.x IS NULL))');
SELECT define('exists_outer_isnull', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (EXISTS (SELECT 1 FROM (tb t2 LEFT JOIN td t3 ON (t3.y=t2.y)) WHERE (t2.x=t1.x) AND (t3.id IS NULL)))');
SELECT define('notexists2', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (NOT EXISTS (SELECT 1 FROM tb t2 WHERE (t2.x=t1.x) AND (NOT EXISTS (SELECT 1 FROM td t3 WHERE (t3.y=t2.y) AND (t3.x=t1.y)))))');
SELECT define('any_limit', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (t1.y = ANY (SELECT t2.y FROM tb t2 WHERE (t2.x=t1.x) ORDER BY 1 LIMIT 1))');
SELECT define('any_not', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (NOT (t1.y = ANY (SELECT t2.y FROM tb t2 WHERE (t2.x=t1.x))))');
SELECT define('any_tgt', 'SELECT t1.id, t1.y = ANY (SELECT t2.y FROM tb t2 WHERE (t2.x=t1.x)) AS r FROM ta t1');
SELECT define('notin_or', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (((t1.y NOT IN (SELECT t2.y FROM tc t2)) OR (t1.x IS NULL)))');
SELECT define('any_coalesce', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (t1.y = ANY (SELECT coalesce(t3.x,1) FROM (tb t2 LEFT JOIN td t3 ON (t3.y=t2.y)) WHERE (t2.x=t1.x)))');
SELECT define('all_ctx', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (NOT (t1.y >= ALL (SELECT t2.y FROM tb t2 WHERE (t2.x=t1.x))))');
SELECT define('all_tgt', 'SELECT t1.id, t1.y <> ALL (SELECT t2.y FROM tb t2 WHERE (t2.x=t1.x)) AS r FROM ta t1');
SELECT define('where_coalesce', 'SELECT t1.id, t2.y AS r FROM (ta t1 LEFT JOIN tb t2 ON (t2.x=t1.x OR t2.x IS NULL)) WHERE (coalesce(t2.y,0)=t1.y)');
SELECT define('two_left', 'SELECT t1.id, t3.y AS r FROM ((ta t1 LEFT JOIN tb t2 ON (t2.x IS NOT DISTINCT FROM t1.x)) LEFT JOIN tc t3 ON (t3.x=t2.y OR t2.id IS NULL))');
SELECT define('left_then_inner', 'SELECT t1.id, t3.x AS r FROM ((ta t1 LEFT JOIN tb t2 ON (t2.x=t1.x)) INNER JOIN td t3 ON (coalesce(t2.y,0)=t3.y))');
SELECT define('lat_limit', 'SELECT t1.id, t2.x AS r FROM (ta t1 LEFT JOIN LATERAL (SELECT t3.y AS x, 1 AS y FROM tb t3 WHERE (t3.x=t1.x) ORDER BY 1 DESC LIMIT 1) t2 ON (t2.x=t1.y))');
SELECT define('lat_in_nullable', 'SELECT t1.id, t2.y AS r FROM (ta t1 LEFT JOIN (tb t2 LEFT JOIN LATERAL (SELECT count(*) AS x, 1 AS y FROM td t4 WHERE (t4.x=t2.y)) t3 ON (true)) ON (t2.x=t1.x) AND (t3.x=1))');
SELECT define('uncorr_or', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (((t1.x = (SELECT max(t2.x) FROM tb t2)) OR (t1.y=0)))');
SELECT define('exists_full', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (EXISTS (SELECT 1 FROM (tb t2 FULL JOIN td t3 ON (t2.x=t3.x)) WHERE (t3.y=t1.y) AND (t2.id IS NULL)))');
SELECT define('exists_having', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (EXISTS (SELECT 1 FROM tb t2 WHERE (t2.x=t1.x) HAVING (count(*)<2)))');
SELECT define('exists_offset', 'SELECT t1.id, t1.x AS r FROM ta t1 WHERE (NOT EXISTS (SELECT 1 FROM tb t2 WHERE (t2.x=t1.x) OFFSET 1))');

-- A1: conditions of a LEFT JOIN that read the inner nullable side
SELECT define('on_inner_null', 'SELECT a.id, b.y FROM ta a LEFT JOIN (tb b LEFT JOIN td c ON c.y = b.y) ON b.x = a.x AND c.x IS NULL');
SELECT define('on_inner_null2', 'SELECT a.id, b.y, d.id AS d FROM ta a LEFT JOIN ((tb b LEFT JOIN td c ON c.y = b.y) JOIN te d ON d.x = coalesce(c.x, 1)) ON b.x = a.x');
SELECT define('on_right', 'SELECT a.id, b.y FROM (td c RIGHT JOIN tb b ON c.y = b.y AND c.x > 0) RIGHT JOIN ta a ON b.x = a.x AND c.x IS DISTINCT FROM a.y');
-- A2: a subquery in the condition of an outer join
SELECT define('on_in', 'SELECT a.id, b.y FROM ta a LEFT JOIN tb b ON b.x = a.x AND b.y IN (SELECT c.y FROM td c WHERE c.x = a.y)');
SELECT define('on_deep', 'SELECT a.id, b.y FROM ta a LEFT JOIN (tb b JOIN tc c ON c.x = b.x AND NOT EXISTS (SELECT FROM td d WHERE d.y = c.y)) ON b.y = a.y');
SELECT define('on_or', 'SELECT a.id, b.y FROM ta a LEFT JOIN (tb b LEFT JOIN tc c ON c.x = b.x AND (c.y = 1 OR c.y = (SELECT max(d.y) FROM td d WHERE d.x = b.y))) ON b.y = a.y AND c.id IS NULL');
-- A3: FULL JOIN in an appended scope
SELECT define('full_exists', 'SELECT a.id FROM ta a WHERE NOT EXISTS (SELECT FROM tb b FULL JOIN td d ON d.x = b.x AND d.y = 1 WHERE d.x IS NULL AND b.y = a.y)');
SELECT define('full_nullable', 'SELECT a.id, b.y, d.y AS dy FROM ta a LEFT JOIN (tb b FULL JOIN td d ON d.x = b.x) ON coalesce(b.x, d.y) = a.x');
SELECT define('full_top', 'SELECT a.id, b.id AS b, a.y, b.y AS by FROM ta a FULL JOIN (tb b LEFT JOIN tc c ON c.x = b.y) ON a.x = b.x WHERE a.y IS NULL OR c.y IS NULL');
SELECT define('full_on', 'SELECT a.id FROM ta a WHERE EXISTS (SELECT FROM tb b FULL JOIN td d ON b.x = (SELECT max(e.y) FROM te e WHERE e.x = d.x) WHERE b.id IS NULL AND d.y = a.y)');
-- A4: what IN compares with is not what FROM has
SELECT define('in_offset', 'SELECT a.id FROM ta a WHERE a.y IN (SELECT b.y FROM tb b WHERE b.x = a.x ORDER BY b.y, b.id OFFSET 1)');
SELECT define('in_max', 'SELECT a.id FROM ta a WHERE a.y IN (SELECT max(b.y) FROM tb b WHERE b.x = a.x)');
SELECT define('in_window', 'SELECT a.id FROM ta a WHERE a.y IN (SELECT count(*) OVER () FROM tb b WHERE b.x = a.x)');
SELECT define('in_output_link', 'SELECT a.id FROM ta a WHERE a.y IN (SELECT (SELECT max(d.y) FROM td d WHERE d.x = b.y) FROM tb b WHERE b.x = a.x)');
SELECT define('in_nullable', 'SELECT a.id FROM ta a WHERE a.x IN (SELECT coalesce(d.y, 0) FROM tb b LEFT JOIN td d ON d.x = b.y WHERE b.x = a.y)');
SELECT define('in_group', 'SELECT a.id FROM ta a WHERE a.y IN (SELECT b.y FROM tb b WHERE b.x = a.x GROUP BY b.y HAVING count(*) > 1)');
SELECT define('in_distinct', 'SELECT a.id FROM ta a WHERE a.y IN (SELECT DISTINCT b.y FROM tb b WHERE b.x <> a.x)');
SELECT define('in_union', 'SELECT a.id FROM ta a WHERE a.y IN (SELECT b.y FROM tb b WHERE b.x = a.x UNION SELECT d.y FROM td d EXCEPT SELECT c.x FROM tc c)');
SELECT define('in_row', 'SELECT a.id FROM ta a WHERE (a.x, a.y) NOT IN (SELECT b.x, b.y FROM tb b)');
-- A5: NOT IN, ANY and ALL where NULL is not false
SELECT define('not_in', 'SELECT a.id FROM ta a WHERE a.x NOT IN (SELECT b.x FROM tb b)');
SELECT define('not_in_exact', 'SELECT e.id, e.part FROM te e WHERE e.x NOT IN (SELECT f.y FROM te f WHERE f.part = 1)');
SELECT define('not_in_exact_one', 'SELECT e.id, e.part FROM te e WHERE e.x NOT IN (SELECT b.y FROM tb b)');
SELECT define('not_in_nullable', 'SELECT a.id, e.id AS e FROM ta a LEFT JOIN te e ON e.x = a.x WHERE e.y NOT IN (SELECT f.y FROM te f WHERE f.x = a.y)');
SELECT define('in_output', 'SELECT a.id, a.x IN (SELECT b.x FROM tb b) AS is_in, a.x = ANY (SELECT e.x FROM te e WHERE e.y = a.y) AS is_any FROM ta a');
SELECT define('not_all', 'SELECT a.id FROM ta a WHERE NOT a.x < ALL (SELECT b.x FROM tb b WHERE b.y = a.y) OR a.y <> ALL (SELECT e.y FROM te e)');
SELECT define('all_conjunct', 'SELECT a.id FROM ta a WHERE a.x <= ALL (SELECT b.x FROM tb b WHERE b.y = a.y) AND a.y <= ALL (SELECT d.y FROM td d)');
SELECT define('all_exact', 'SELECT e.id, e.part, e.x > ALL (SELECT f.y FROM te f WHERE f.id = e.id) AS is_all FROM te e WHERE e.y <> ALL (SELECT f.x FROM te f WHERE f.part <> e.part)');
-- A6: LATERAL on the way, and what reads its output
SELECT define('lateral_chain', 'SELECT a.id FROM ta a WHERE EXISTS (SELECT FROM tb b, LATERAL (SELECT count(*) AS n FROM td d WHERE d.x = b.x) l, LATERAL (SELECT l.n + b.y AS m) m, '
              'LATERAL (SELECT e.id FROM te e WHERE e.x = m.m) o WHERE b.y = a.y AND l.n > 0 AND m.m < 5)');
SELECT define('lateral_nullable', 'SELECT a.id, l.n FROM ta a LEFT JOIN LATERAL (SELECT sum(o.y) AS n FROM (tb b LEFT JOIN td d ON d.x = b.y) CROSS JOIN LATERAL '
              '(SELECT e.y FROM te e WHERE e.x = coalesce(d.y, 2)) o WHERE b.x = a.x) l ON true');
SELECT define('lateral_group', 'SELECT a.id, l.y, l.n FROM ta a, LATERAL (SELECT b.y, count(d.id) AS n FROM tb b LEFT JOIN td d ON d.x = b.y WHERE b.x = a.x GROUP BY b.y) l WHERE l.n < 3');
SELECT define('lateral_simple', 'SELECT a.id, l.y, m.z FROM ta a LEFT JOIN LATERAL (SELECT b.x, b.y FROM tb b JOIN td d ON d.id = b.id WHERE b.x = a.x) l ON l.y > 0 '
              'LEFT JOIN LATERAL (SELECT max(e.y) AS z FROM te e WHERE e.x = l.y) m ON true');
SELECT define('function_link', 'SELECT a.id, s FROM ta a, generate_series(0, (SELECT count(*) FROM tb b WHERE b.x = a.x)) s');
SELECT define('values_link', 'SELECT a.id, v.x FROM ta a, LATERAL (VALUES ((SELECT count(*) FROM tb b WHERE b.x = a.x)), (a.y)) v(x)');
-- A7: HAVING, and subqueries that read aggregates from outside
SELECT define('having_link', 'SELECT a.id FROM ta a WHERE EXISTS (SELECT FROM tb b WHERE b.x = a.x HAVING EXISTS (SELECT FROM td d WHERE d.y < count(b.id) AND d.x = max(b.y)))');
SELECT define('output_link', 'SELECT a.id, (SELECT sum(b.y) + (SELECT count(*) FROM td d WHERE d.x < max(b.y)) FROM tb b WHERE b.x = a.x) AS s FROM ta a');
-- with groups, windows and other parts above
SELECT define('group_left', 'SELECT a.y, count(*) AS n, sum(b.y) AS s FROM ta a LEFT JOIN tb b ON b.x = a.x GROUP BY a.y');
SELECT define('group_exists', 'SELECT a.y, max(a.x) AS m FROM ta a WHERE EXISTS (SELECT FROM tb b WHERE b.x = a.x AND b.y NOT IN (SELECT d.y FROM td d)) GROUP BY a.y');
SELECT define('part_nullable', 'SELECT a.id, g.n FROM ta a LEFT JOIN (SELECT b.x, count(*) AS n FROM tb b GROUP BY b.x) g ON g.x = a.x');
SELECT define('part_in', 'SELECT a.id FROM ta a WHERE a.y NOT IN (SELECT count(*) FROM tc b GROUP BY b.x)');
SELECT define('window_link', 'SELECT a.id, row_number() OVER (PARTITION BY a.y ORDER BY a.id) AS r, EXISTS (SELECT FROM tc c WHERE c.x = a.x) AS e FROM ta a');
SELECT define('same_table', 'SELECT a.id FROM ta a LEFT JOIN ta b ON b.x = a.y WHERE NOT EXISTS (SELECT FROM ta c WHERE c.y = b.x AND c.id <> a.id)');
SELECT define('no_key', 'SELECT c.x, d.y FROM tc c LEFT JOIN tc d ON d.x = c.y WHERE c.n IN (SELECT e.n FROM tc e WHERE e.y = c.x)');

-- what depends on the order of rows: settled where ORDER BY leaves it open, else made anew
SELECT define('order_ties', 'SELECT a.id, l.y, l.n FROM ta a LEFT JOIN LATERAL (SELECT b.x, b.y, b.n FROM tb b WHERE b.x = a.x ORDER BY b.y DESC LIMIT 1) l ON true',
              'SELECT a.id, l.y, l.n FROM ta a LEFT JOIN LATERAL (SELECT b.x, b.y, b.n FROM tb b WHERE b.x = a.x ORDER BY b.y DESC, b.id LIMIT 1) l ON true');
SELECT define('order_no_key', 'SELECT a.id, (SELECT c.y FROM tc c WHERE c.x = a.x ORDER BY c.id LIMIT 1) AS y FROM ta a',
              'SELECT a.id, (SELECT c.y FROM tc c WHERE c.x = a.x ORDER BY c.id, c.y LIMIT 1) AS y FROM ta a');
SELECT define('order_array', 'SELECT a.id, ARRAY(SELECT b.id FROM tb b WHERE b.x = a.x ORDER BY b.y) AS ids, (SELECT array_agg(e.y ORDER BY e.x) FROM te e WHERE e.x <= a.x) AS ys FROM ta a',
              'SELECT a.id, ARRAY(SELECT b.id FROM tb b WHERE b.x = a.x ORDER BY b.y, b.id) AS ids, (SELECT array_agg(e.y ORDER BY e.x, e.y) FROM te e WHERE e.x <= a.x) AS ys FROM ta a');
SELECT define('order_on', 'SELECT a.id, l.id AS l FROM ta a, LATERAL (SELECT DISTINCT ON (b.y) b.y, b.id FROM tb b WHERE b.x = a.x ORDER BY b.y, b.n) l',
              'SELECT a.id, l.id AS l FROM ta a, LATERAL (SELECT DISTINCT ON (b.y) b.y, b.id FROM tb b WHERE b.x = a.x ORDER BY b.y, b.n, b.id) l');
SELECT define('order_string', 'SELECT a.id, (SELECT string_agg(b.id::text, '','') FROM tb b WHERE b.x = a.x) IS NULL AS s FROM ta a');
SELECT define('order_plain_limit', 'SELECT a.id, (SELECT b.id FROM tb b WHERE b.x = a.x LIMIT 1) IS NULL AS l FROM ta a');
SELECT define('order_array_all', 'SELECT a.id, cardinality(ARRAY(SELECT b.y FROM tb b WHERE b.x = a.x)) AS c FROM ta a');
SELECT define('order_float', 'SELECT a.y, count(*) FROM ta a WHERE (SELECT sum(b.n::float8) FROM tb b WHERE b.x = a.x) > 1 GROUP BY a.y');
SELECT define('order_numeric', 'SELECT a.id, (SELECT max(b.n) FROM tb b WHERE b.x = a.x) > 1 AS m FROM ta a');
SELECT define('order_window', 'SELECT a.id, rank() OVER (PARTITION BY a.x ORDER BY a.id) AS r, (SELECT max(q.r) FROM (SELECT row_number() OVER (ORDER BY b.y) AS r FROM tb b WHERE b.x = a.x) q) AS m FROM ta a');

SELECT setseed(0.25);
CALL run_windows(25);
SELECT name, strategies FROM tests ORDER BY number;
SELECT name, part, strategy, reason FROM tests, elt.explain_view('touch.v_' || name) WHERE part > 0 AND (reason IS NOT NULL OR name ~ '^order') ORDER BY number, part;

DROP SCHEMA touch CASCADE;
