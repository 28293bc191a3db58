-- Views of every kind follow changes, a few of each: the rows that a way of following must not lose, double, or take for others. After each window the views that it
-- concerns are compared with their queries, as text and both ways.
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
CREATE SCHEMA follow;
SET search_path = follow, public;
CREATE TABLE tests (number serial, name text, query text);

CREATE FUNCTION define(new_name text, new_query text, frozen text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM elt.create_view('follow.' || new_name, new_query, frozen_where => frozen);
	INSERT INTO tests (name, query) VALUES (new_name, new_query);
END $$;

-- What is in a view and not in its query, or the other way round.
CREATE FUNCTION differences(name text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT string_agg(CASE WHEN n < 0 THEN ''lacks '' ELSE ''has '' END || r, '', '' ORDER BY r) FROM '
	               '(SELECT r, sum(n) AS n FROM (SELECT ROW(s.*)::text AS r, 1 AS n FROM follow.%I s UNION ALL SELECT ROW(w.*)::text, -1 FROM (%s) w) x GROUP BY r HAVING sum(n) <> 0) y',
	               name, query) INTO result;
	RETURN result;
END $$;

-- Refresh the views whose names begin so: how that was done, and what is wrong.
CREATE FUNCTION follows(prefix text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	test tests;
BEGIN
	FOR test IN SELECT * FROM tests WHERE starts_with(name, prefix) ORDER BY number LOOP
		RETURN QUERY SELECT concat_ws(' ', test.name || ':', strategy, reason, differences(test.name, test.query)) FROM elt.refresh('follow.' || test.name);
	END LOOP;
END $$;

\echo == joins: core and appended tables, each alone and together
CREATE TABLE a (id int PRIMARY KEY, x int, y int);
CREATE TABLE b (id int PRIMARY KEY, x int, y int);
CREATE TABLE c (id int PRIMARY KEY, x int, y int);
INSERT INTO a SELECT i, i % 4, i % 3 FROM generate_series(1, 9) i;
INSERT INTO b SELECT i, i % 3, i % 5 FROM generate_series(1, 7) i;
INSERT INTO c SELECT i, i % 2, i % 4 FROM generate_series(1, 3) i;
SELECT define('j_inner', 'SELECT a.id, b.id AS b, b.y FROM a JOIN b ON b.x = a.x');
SELECT define('j_three', 'SELECT a.id, b.id AS b, c.id AS c, a.y + b.y + c.y AS s FROM a JOIN b ON b.x = a.x JOIN c ON c.x = b.y');
SELECT define('j_self', 'SELECT a.y, count(*) AS n, sum(o.y) AS s FROM a JOIN a o ON o.x = a.y GROUP BY a.y');
SELECT define('j_left', 'SELECT a.id, b.id AS b, b.y FROM a LEFT JOIN b ON b.x = a.x');
SELECT define('j_sums', 'SELECT a.x, count(*) AS n, sum(b.y) AS s FROM a LEFT JOIN b ON b.x = a.x GROUP BY a.x');
SELECT define('j_two_left', 'SELECT a.id, b.y, c.y AS cy FROM a LEFT JOIN b ON b.x = a.x LEFT JOIN c ON c.x = b.y');
SELECT define('j_is_null', 'SELECT a.id, b.id AS b FROM a LEFT JOIN (b LEFT JOIN c ON c.x = b.y) ON b.x = a.x AND c.y IS NULL');
SELECT define('j_nested', 'SELECT a.id FROM a WHERE NOT EXISTS (SELECT FROM b WHERE b.x = a.x AND NOT EXISTS (SELECT FROM c WHERE c.x = b.y AND c.y = a.y))');
SELECT define('j_full', 'SELECT a.id, b.id AS b, a.y, b.y AS by FROM a FULL JOIN b ON b.x = a.x');
SELECT define('j_full_within', 'SELECT a.id FROM a WHERE EXISTS (SELECT FROM b FULL JOIN c ON c.x = b.x WHERE coalesce(b.y, c.y) = a.y AND (b.id IS NULL OR c.id IS NULL))');
SELECT define('j_constant', 'SELECT a.id FROM a WHERE a.x = (SELECT max(b.y) FROM b) OR a.y = 0');
SELECT define('j_not_in', 'SELECT a.id FROM a WHERE a.x NOT IN (SELECT c.y FROM c)');
SELECT define('j_not_any', 'SELECT a.id, a.y = ANY (SELECT b.y FROM b WHERE b.x = a.x) AS r FROM a');
SELECT define('j_in_having', 'SELECT a.id FROM a WHERE a.y IN (SELECT max(b.y) FROM b WHERE b.x = a.x)');
SELECT define('j_union', 'SELECT a.id FROM a WHERE a.y IN (SELECT b.y FROM b WHERE b.x = a.x UNION SELECT c.y FROM c)');
INSERT INTO a VALUES (20, 7, 1), (21, 1, 2);
SELECT follows('j_');
INSERT INTO b VALUES (20, 7, 1);
SELECT follows('j_');
UPDATE b SET x = 3 WHERE id = 20;
SELECT follows('j_');
INSERT INTO c VALUES (20, 3, 2);
UPDATE c SET y = 9 WHERE id = 1;
INSERT INTO b VALUES (24, 2, 7);
SELECT follows('j_');
DELETE FROM c WHERE id IN (1, 2);
DELETE FROM b WHERE id = 24;
SELECT follows('j_');
UPDATE a SET x = 8 WHERE id IN (1, 2);
INSERT INTO b VALUES (21, 8, 0), (22, 8, 2), (23, NULL, NULL);
SELECT follows('j_');
UPDATE b SET y = y + 1 WHERE id < 5;
UPDATE a SET y = y + 1, x = x - 1 WHERE id BETWEEN 2 AND 6;
INSERT INTO c VALUES (21, 0, NULL), (22, 2, 0), (23, 1, 1);
SELECT follows('j_');
DELETE FROM b WHERE id IN (21, 23, 1);
DELETE FROM a WHERE id IN (1, 20, 4);
UPDATE c SET x = x + 1 WHERE id > 2;
SELECT follows('j_');
TRUNCATE b;
INSERT INTO b VALUES (1, 1, 1);
SELECT follows('j_');

\echo == foreign keys
CREATE TABLE parent (id int PRIMARY KEY, name text);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, n int);
CREATE TABLE stray (id int PRIMARY KEY, parent int, n int);
CREATE TABLE late (id int PRIMARY KEY, parent int REFERENCES parent DEFERRABLE, n int);
INSERT INTO parent VALUES (1, 'one'), (2, 'two');
INSERT INTO child VALUES (1, 1, 1), (2, 2, 2);
INSERT INTO stray VALUES (1, 1, 1), (7, 7, 7);
ALTER TABLE stray ADD CONSTRAINT stray_parent FOREIGN KEY (parent) REFERENCES parent NOT VALID;
CREATE TABLE left_half (id int PRIMARY KEY, other int);
CREATE TABLE right_half (id int PRIMARY KEY, other int REFERENCES left_half);
ALTER TABLE left_half ADD FOREIGN KEY (other) REFERENCES right_half;
SELECT define('f_child', 'SELECT c.id, p.name, c.n FROM child c JOIN parent p ON p.id = c.parent');
SELECT define('f_stray', 'SELECT c.id, p.name, c.n FROM stray c JOIN parent p ON p.id = c.parent');
SELECT define('f_late', 'SELECT c.id, p.name, c.n FROM late c JOIN parent p ON p.id = c.parent');
SELECT define('f_halves', 'SELECT l.id, r.id AS r FROM left_half l JOIN right_half r ON r.id = l.other AND l.id = r.other');
INSERT INTO parent VALUES (3, 'three'), (7, 'seven');
INSERT INTO child VALUES (3, 3, 3);
SELECT follows('f_');
UPDATE parent SET name = upper(name);
SELECT follows('f_');
WITH l AS (INSERT INTO left_half VALUES (1, 1)) INSERT INTO right_half VALUES (1, 1);
SELECT follows('f_');
-- a key that is not enforced for a while
SELECT tgname AS trigger FROM pg_trigger WHERE tgrelid = 'child'::regclass AND tgname ~ 'RI_.*_c_' AND tgtype & 4 > 0 \gset
ALTER TABLE child DISABLE TRIGGER :"trigger";
INSERT INTO child VALUES (9, 9, 9);
SELECT follows('f_');
INSERT INTO parent VALUES (9, 'nine');
SELECT follows('f_');
ALTER TABLE child ENABLE TRIGGER :"trigger";
-- the row that refers is there before the other one, in a window of its own
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO late VALUES (10, 10, 10);
SELECT follows('f_late');
INSERT INTO parent VALUES (10, 'ten');
COMMIT;
SELECT follows('f_');

\echo == values that are equal
CREATE TABLE price (id int PRIMARY KEY, p numeric, q numeric(8, 2), r numeric(8, 0), t text);
CREATE TABLE loose (x int, y numeric);
INSERT INTO price VALUES (1, 1.0, 1.5, 10, 'x'), (2, 2, 2.25, 20, 'y'), (3, NULL, 3, 30, NULL);
INSERT INTO loose VALUES (1, 1.0), (1, 1.0), (1, 1.0), (1, 1.00), (2, NULL), (2, NULL);
SELECT define('e_plain', 'SELECT id, p FROM price');
SELECT define('e_left', 'SELECT l.x, p.p FROM loose l LEFT JOIN price p ON p.id = l.x');
SELECT define('e_loose', 'SELECT x, y FROM loose');
SELECT define('e_in_loose', 'SELECT p.id, l.y FROM price p LEFT JOIN loose l ON l.x = p.id');
SELECT define('e_scale', 'SELECT t, sum(CASE WHEN id % 2 = 1 THEN q ELSE r END) AS s, avg(CASE WHEN id % 2 = 1 THEN q ELSE r END) AS a FROM price GROUP BY t');
SELECT define('e_moments', 'SELECT sum(q) AS s, avg(r) AS a, stddev(q) AS d, var_pop(id) AS v, count(p) AS n, bool_and(q > 2) AS b FROM price');
UPDATE price SET p = 1.00 WHERE id = 1;
SELECT follows('e_');
DELETE FROM loose WHERE ctid = (SELECT min(ctid) FROM loose);
SELECT follows('e_');
INSERT INTO loose VALUES (1, 1.0), (1, 1.000), (3, 3);
DELETE FROM loose WHERE y IS NULL;
SELECT follows('e_');
INSERT INTO price VALUES (4, 4, 'NaN', 'NaN', 'x'), (5, 5, 'NaN', 5, 'z'), (6, 6, 6, 6, 'x');
SELECT follows('e_');
DELETE FROM price WHERE id IN (4, 5, 1);
SELECT follows('e_');
-- a column that no query reads, and those that some do
ALTER TABLE price ADD COLUMN unread int;
SELECT follows('e_plain');
UPDATE price SET unread = 1;
SELECT follows('e_');
UPDATE price SET t = 'w', q = q + 1 WHERE id = 2;
INSERT INTO price VALUES (7, 7, 7.25, 7, 'w');
SELECT follows('e_');
DELETE FROM price WHERE id = 7;
SELECT follows('e_');
-- another column of a table without a key, by whose rows what it was is told
ALTER TABLE loose ADD COLUMN z int;
SELECT follows('e_');
INSERT INTO loose VALUES (1, 1.0, 5);
SELECT follows('e_');

\echo == groups
CREATE TABLE item (id int PRIMARY KEY, g int, h text, n int);
CREATE TABLE factor (g int PRIMARY KEY, f int);
INSERT INTO item SELECT i, CASE WHEN i % 4 > 0 THEN i % 4 END, CASE WHEN i % 3 > 0 THEN 'h' || i % 3 END, i FROM generate_series(1, 12) i;
INSERT INTO factor VALUES (1, 1), (2, 2), (3, 3);
SELECT define('g_sums', 'SELECT g, h, count(*) AS rows, sum(n) AS n FROM item GROUP BY g, h');
SELECT define('g_extremes', 'SELECT g, min(n) AS least, max(n) AS most FROM item GROUP BY g');
SELECT define('g_global', 'SELECT max(n) AS most, count(*) AS rows FROM item');
SELECT define('g_product', 'SELECT i.g, max(i.n * f.f) AS most FROM item i JOIN factor f ON f.g = i.g GROUP BY i.g');
SELECT define('g_anew', 'SELECT h, string_agg(n::text, '','' ORDER BY n) AS ns FROM item GROUP BY h');
SELECT define('g_having', 'SELECT g, count(*) AS rows FROM item GROUP BY g HAVING count(*) > 2');
SELECT define('g_shown', 'SELECT q.g, q.rows, f.f FROM (SELECT g, count(*) AS rows FROM item GROUP BY g HAVING count(*) > 2) q JOIN factor f USING (g)');
SELECT define('g_above', 'SELECT g, most, rank() OVER (PARTITION BY most % 2 ORDER BY most, g) AS r FROM (SELECT g, max(n) AS most FROM item GROUP BY g HAVING count(*) > 2) q');
SELECT define('g_beside', 'SELECT f.g, f.f, q.s FROM factor f LEFT JOIN (SELECT g, sum(n) AS s FROM item GROUP BY g) q ON q.g IS NOT DISTINCT FROM nullif(f.g, 9)');
SELECT define('g_below', 'SELECT f.g, q.g AS below, q.s FROM factor f LEFT JOIN (SELECT g, sum(n) AS s FROM item GROUP BY g) q ON coalesce(q.g, 0) <= f.g');
SELECT define('g_distinct', 'SELECT DISTINCT g, h IS NULL AS o FROM item');
SELECT define('g_frozen', 'SELECT g, max(n) AS most, sum(n) AS n FROM item GROUP BY g', 'g = 2');
INSERT INTO factor VALUES (9, 9);
INSERT INTO item VALUES (20, NULL, NULL, 20), (21, 3, NULL, 21), (22, 5, 'h5', 22);
SELECT follows('g_');
UPDATE item SET n = n - 15 WHERE id IN (20, 21);
SELECT follows('g_');
DELETE FROM item WHERE id IN (22, 11, 3);
SELECT follows('g_');
-- the old row and the new factor never met
UPDATE item SET n = 100 WHERE id = 1;
SELECT follows('g_product');
UPDATE item SET n = 1 WHERE id = 1;
UPDATE factor SET f = 50 WHERE g = 1;
SELECT follows('g_');
DELETE FROM item WHERE g IS NULL;
SELECT follows('g_');
UPDATE item SET n = n + 1 WHERE g = 2;
SELECT strategy, rows_inserted, rows_updated, rows_deleted FROM elt.refresh('g_frozen');
SELECT * FROM g_frozen ORDER BY g;
DELETE FROM item WHERE g = 2;
SELECT strategy, rows_inserted, rows_updated, rows_deleted FROM elt.refresh('g_frozen');
SELECT * FROM g_frozen ORDER BY g;
DELETE FROM tests WHERE name = 'g_frozen';
DELETE FROM item;
SELECT follows('g_');
INSERT INTO item VALUES (1, 1, 'h', 1);
SELECT follows('g_');

\echo == set operations, windows, DISTINCT ON
CREATE TABLE p (id int PRIMARY KEY, x int, y int);
CREATE TABLE q (id int PRIMARY KEY, x int, y int);
INSERT INTO p SELECT i, i % 5, i % 2 FROM generate_series(1, 10) i;
INSERT INTO q SELECT i, i % 3, i % 2 FROM generate_series(1, 5) i;
SELECT define('s_except', 'SELECT x FROM p EXCEPT SELECT x FROM q');
SELECT define('s_except_all', 'SELECT x FROM p EXCEPT ALL SELECT x FROM q');
SELECT define('s_intersect', 'SELECT x FROM p INTERSECT SELECT x FROM q');
SELECT define('s_intersect_all', 'SELECT x FROM p INTERSECT ALL SELECT x FROM q');
SELECT define('s_union', 'SELECT x FROM p UNION SELECT x FROM q');
SELECT define('s_union_all', 'SELECT x, y FROM p UNION ALL SELECT y, x FROM q');
SELECT define('s_rank', 'SELECT id, x, rank() OVER (PARTITION BY x ORDER BY y, id) AS r, sum(y) OVER (PARTITION BY x) AS s FROM p');
SELECT define('s_on', 'SELECT DISTINCT ON (x) x, y, id FROM p ORDER BY x, y DESC, id');
SELECT define('s_sets', 'SELECT x, y, count(*) AS n FROM p GROUP BY GROUPING SETS ((x), (y), ())');
INSERT INTO q VALUES (10, 4, 1), (11, 7, 1);
SELECT follows('s_');
UPDATE p SET x = 9 WHERE id IN (1, 10);
SELECT follows('s_');
DELETE FROM q WHERE x IN (1, 4);
INSERT INTO p VALUES (20, NULL, 1), (21, NULL, 0), (22, 7, 0);
SELECT follows('s_');
UPDATE p SET x = NULL WHERE id = 22;
DELETE FROM p WHERE id IN (20, 2);
SELECT follows('s_');

\echo == ORDER BY ... LIMIT
CREATE TABLE score (id int PRIMARY KEY, n int);
INSERT INTO score SELECT i, i FROM generate_series(1, 40) i;
SELECT define('t_first', 'SELECT id, n FROM score ORDER BY n LIMIT 2');
SELECT define('t_ties', 'SELECT id, n FROM score ORDER BY n OFFSET 1 FETCH FIRST 1 ROWS WITH TIES');
SELECT define('t_above', 'SELECT q.id, s.n FROM (SELECT id, n FROM score ORDER BY n LIMIT 2) q JOIN score s ON s.id = q.id');
UPDATE score SET n = 3 WHERE id = 2;
SELECT follows('t_');
INSERT INTO score VALUES (100, 100), (101, 0);
SELECT follows('t_');
DELETE FROM score WHERE n BETWEEN 0 AND 22;
SELECT follows('t_');
INSERT INTO score VALUES (102, 200);
SELECT follows('t_');
DELETE FROM score WHERE n < 25;
SELECT follows('t_');
DELETE FROM score WHERE n < 99;
SELECT follows('t_');
INSERT INTO score VALUES (103, 50), (104, 300);
SELECT follows('t_');
DELETE FROM score WHERE n = 50;
INSERT INTO score SELECT i, -i FROM generate_series(201, 320) i;
SELECT follows('t_');
DELETE FROM score WHERE n < -202;
SELECT follows('t_');

\echo == views above views
SELECT define('v_1_rows', 'SELECT id, x, y FROM p WHERE y = 1');
SELECT define('v_2_sums', 'SELECT x, count(*) AS n FROM v_1_rows GROUP BY x HAVING count(*) > 1');
SELECT define('v_3_names', 'SELECT s.x, s.n, r.id FROM v_2_sums s LEFT JOIN v_1_rows r ON r.x = s.x');
SELECT define('w_1_rows', 'SELECT id, x, y FROM q WHERE y = 1');
SELECT define('w_2_sums', 'SELECT x, count(*) AS n FROM w_1_rows GROUP BY x');
INSERT INTO p VALUES (30, 3, 1), (31, 3, 1), (32, 9, 1);
SELECT follows('v_3');
SELECT follows('v_');
DELETE FROM p WHERE id = 31;
UPDATE p SET y = 1 - y WHERE id < 8;
SELECT follows('v_3');
SELECT follows('v_2');
SELECT follows('v_1');
UPDATE p SET x = 3 WHERE x = 9;
SELECT follows('v_2');
SELECT follows('v_3');

\echo == now()
CREATE TABLE event (id int PRIMARY KEY, at timestamptz, g int);
INSERT INTO event SELECT i, now() + i * interval '1 hour', i % 2 FROM generate_series(-3, 3) i;
SELECT define('n_past', 'SELECT id FROM event WHERE at <= now()');
SELECT define('n_future', 'SELECT g, count(*) AS n FROM event WHERE at > now() GROUP BY g');
INSERT INTO event VALUES (10, clock_timestamp() + interval '0.4 s', 1), (11, clock_timestamp() + interval '0.4 s', 0);
SELECT follows('n_');
SELECT pg_sleep(0.5);
DELETE FROM event WHERE id = 11;
SELECT follows('n_');
SELECT count(*) FROM n_past WHERE id = 10;
SELECT follows('n_');

\echo == what is left to a full refresh
CREATE TABLE top (id int PRIMARY KEY, b int, v int);
CREATE TABLE bottom (id int PRIMARY KEY, w int);
INSERT INTO top VALUES (1, 1, 10), (2, 2, 20);
INSERT INTO bottom VALUES (1, 5), (2, 4);
SELECT define('l_ratio', 'SELECT t.id, t.v / b.w AS r FROM top t JOIN bottom b ON b.id = t.b');
SELECT define('l_ratios', 'SELECT t.b, sum(t.v / b.w) AS r FROM top t JOIN bottom b ON b.id = t.b GROUP BY t.b');
-- rows that never met divide by zero
UPDATE bottom SET w = 0 WHERE id = 1;
DELETE FROM top WHERE id = 1;
SELECT follows('l_');
-- an error that the query is, too: nothing is lost by it
INSERT INTO top VALUES (3, 1, 30);
INSERT INTO bottom VALUES (3, 3);
INSERT INTO top VALUES (4, 3, 33);
DO $$ BEGIN PERFORM elt.refresh('l_ratio'); EXCEPTION WHEN division_by_zero THEN RAISE WARNING 'divided by zero'; END $$;
UPDATE bottom SET w = 1 WHERE id = 1;
SELECT follows('l_');
SELECT follows('l_');
-- somebody has written to the storage
SELECT define('l_rows', 'SELECT v FROM top');
DO $$ BEGIN EXECUTE format('DELETE FROM %s WHERE v = 33', (SELECT storage FROM elt.view WHERE relation = 'follow.l_rows'::regclass)); END $$;
DELETE FROM top WHERE id = 4;
SET client_min_messages = error;
SELECT follows('l_rows');
SET client_min_messages = warning;
SELECT follows('l_rows');

\echo == as whom, and with which settings
CREATE TABLE dates (id int PRIMARY KEY, t text);
INSERT INTO dates VALUES (1, '01/02/2026');
CREATE FUNCTION whoami() RETURNS text LANGUAGE sql STABLE AS 'SELECT current_user::text';
CREATE ROLE regress_elt_follow;
GRANT USAGE, CREATE ON SCHEMA follow TO regress_elt_follow;
GRANT SELECT ON dates TO regress_elt_follow;
SET ROLE regress_elt_follow;
SET datestyle = 'ISO, DMY';
SELECT elt.create_view('follow.o_dates', 'SELECT id, t::date AS d, whoami() AS w FROM dates');
RESET ROLE;
RESET datestyle;
INSERT INTO dates VALUES (2, '03/04/2026');
SELECT strategy, reason FROM elt.refresh('follow.o_dates');
SELECT id, to_char(d, 'YYYY-MM-DD'), w FROM o_dates ORDER BY id;

DROP SCHEMA follow CASCADE;
DROP ROLE regress_elt_follow;
