-- How queries are divided: one for each reason, with what makes it another one.
CREATE SCHEMA transform_split;
SET search_path = transform_split;

CREATE FUNCTION how(query text, OUT split text, OUT reason text, OUT tasks int) LANGUAGE sql AS $$
	SELECT split, reason, tasks FROM elt.explain_transform(query) WHERE step = 'tasks'
$$;
CREATE FUNCTION hash_table(name text, key text, parts int, columns text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE %I (%s) PARTITION BY HASH (%s)', name, columns, key);
	FOR i IN 0 .. parts - 1 LOOP
		EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)', name || i, name, parts, i);
	END LOOP;
END $$;

SELECT hash_table('h', 'k', 3, 'k int, k2 int, n numeric, f float8, t text');
SELECT hash_table('g', 'k', 3, 'x text, k bigint, d date');
SELECT hash_table('h4', 'k', 4, 'k int, n numeric');
SELECT hash_table('hh', 'k, k2', 3, 'k int, k2 int, n numeric');
SELECT hash_table('ht', 't', 3, 't text, n numeric');
CREATE TABLE r (k int, n numeric) PARTITION BY RANGE (k);
CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10);
CREATE TABLE r2 PARTITION OF r DEFAULT;
CREATE TABLE s (k int, m text) PARTITION BY RANGE (k);
CREATE TABLE s1 PARTITION OF s FOR VALUES FROM (0) TO (10);
CREATE TABLE s2 PARTITION OF s DEFAULT;
CREATE TABLE l (t text COLLATE "C", n numeric) PARTITION BY LIST (t);
CREATE TABLE l1 PARTITION OF l FOR VALUES IN ('a', 'b');
CREATE TABLE l2 PARTITION OF l FOR VALUES IN ('c', NULL);
CREATE TABLE e (k int, n numeric) PARTITION BY HASH ((k % 5));
CREATE TABLE e1 PARTITION OF e FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE p (k int, n numeric, t text);
CREATE TABLE small (k int, t text);
CREATE VIEW v AS SELECT * FROM p;
INSERT INTO h SELECT i % 100, i % 7, i, i, 't' || i % 5 FROM generate_series(1, 3000) i;
INSERT INTO g SELECT 'x', i % 100, NULL FROM generate_series(1, 3000) i;
INSERT INTO h4 SELECT i % 100, i FROM generate_series(1, 3000) i;
INSERT INTO hh SELECT i % 100, i % 7, i FROM generate_series(1, 3000) i;
INSERT INTO ht SELECT 't' || i % 100, i FROM generate_series(1, 3000) i;
INSERT INTO r SELECT i % 20, i FROM generate_series(1, 3000) i;
INSERT INTO s SELECT i % 20, 'm' FROM generate_series(1, 3000) i;
INSERT INTO l SELECT substr('abc', i % 3 + 1, 1), i FROM generate_series(1, 3000) i;
INSERT INTO e SELECT i % 100, i FROM generate_series(1, 3000) i;
INSERT INTO p SELECT i % 100, i, 't' || i % 5 FROM generate_series(1, 3000) i;
INSERT INTO small SELECT i, 's' FROM generate_series(1, 10) i;

-- row_wise, partitions: each row from one row
SELECT * FROM how('SELECT * FROM p');
SELECT * FROM how('SELECT p.*, s.t AS name FROM p LEFT JOIN small s USING (k) WHERE n > 3');
SELECT * FROM how('SELECT x.k, y.n FROM (SELECT k FROM p WHERE n > 3) x, LATERAL (SELECT x.k + 1 AS n) y');
SELECT * FROM how('SELECT k FROM p WHERE k IN (SELECT k FROM small) AND NOT EXISTS (SELECT FROM small s WHERE s.k = p.k + 1)');
SELECT * FROM how('SELECT k, generate_series(1, 3) AS i, now() AS at, current_date AS d FROM p');
SELECT * FROM how('WITH w AS (SELECT * FROM p) SELECT * FROM w');
SELECT * FROM how('SELECT * FROM h');
SELECT * FROM how('SELECT * FROM e');
-- partition_key
SELECT * FROM how('SELECT k, sum(n) AS s FROM h GROUP BY k');
SELECT * FROM how('SELECT t, k + 1 AS k1, array_agg(n ORDER BY n) AS a FROM h GROUP BY t, k');
SELECT * FROM how('SELECT DISTINCT t, k FROM h');
SELECT * FROM how('SELECT DISTINCT ON (k) k, n FROM h ORDER BY k, n');
SELECT * FROM how('SELECT k, rank() OVER (PARTITION BY k ORDER BY n) AS r, sum(n) OVER (PARTITION BY t, k) AS s FROM h');
SELECT * FROM how('SELECT k, k2, sum(n) AS n FROM hh GROUP BY k, k2');
SELECT * FROM how('SELECT k, stddev(n) AS n FROM r GROUP BY k');
SELECT * FROM how('SELECT t, stddev(n) AS n FROM l GROUP BY t');
SELECT * FROM how('SELECT z.k, max(z.s) AS m FROM (SELECT k, t, sum(n) AS s FROM h GROUP BY k, t) z GROUP BY z.k');
-- colocated
SELECT * FROM how('SELECT h.k, d FROM h JOIN g ON h.k = g.k');
SELECT * FROM how('SELECT h.k, d FROM h, g WHERE g.k = h.k AND n > 3');
SELECT * FROM how('SELECT k, d FROM h LEFT JOIN g USING (k)');
SELECT * FROM how('SELECT h.k, d FROM h FULL JOIN g ON h.k = g.k');
SELECT * FROM how('SELECT k, m FROM r JOIN s USING (k)');
SELECT * FROM how('SELECT a.k, b.n FROM h a JOIN h b ON a.k = b.k');
SELECT * FROM how('SELECT h.k, d FROM h JOIN small ON small.k = h.k JOIN g ON g.k = small.k');
SELECT * FROM how('SELECT w.k, d FROM (SELECT k, count(*) AS c FROM h GROUP BY k) w JOIN g ON g.k = w.k');
SELECT * FROM how('SELECT k, n FROM h WHERE n > 3 UNION ALL SELECT k, n FROM h WHERE n < 0');
-- partial_aggregate
SELECT * FROM how('SELECT t, count(*) AS c, sum(n) AS s, avg(k) AS a, min(t) AS m, bool_and(n > 0) AS b, count(n) FILTER (WHERE n > 3) AS f FROM h GROUP BY t');
SELECT * FROM how('SELECT count(*) AS c FROM p');
SELECT * FROM how('SELECT g.k, count(*) AS c FROM h LEFT JOIN g ON h.k = g.k GROUP BY g.k');
SELECT * FROM how('SELECT k % 5 AS k, count(*) AS c FROM e GROUP BY k % 5');
SELECT * FROM how('SELECT DISTINCT t, count(*) OVER () AS c, max(n) AS m FROM p GROUP BY t ORDER BY t LIMIT 3');
-- over what is by the partition key: by partition, not by blocks
SELECT * FROM how('SELECT s, count(*) AS c FROM (SELECT k, count(*) AS s FROM h GROUP BY k) z GROUP BY s');
SELECT * FROM how('SELECT count(*) AS c FROM (SELECT DISTINCT k FROM h) z');
SELECT * FROM how('SELECT t, max(r) AS m FROM (SELECT t, rank() OVER (PARTITION BY k ORDER BY n) AS r FROM h) z GROUP BY t');
-- partitions that are not the same, or not joined on
SELECT * FROM how('SELECT h.k, h4.n FROM h JOIN h4 ON h.k = h4.k');
SELECT * FROM how('SELECT h.k, h4.n FROM h LEFT JOIN h4 ON h.k = h4.k');
SELECT * FROM how('SELECT h.k, h4.n FROM h FULL JOIN h4 ON h.k = h4.k');
SELECT * FROM how('SELECT g.k, count(*) AS c FROM h JOIN g ON h.n = g.k GROUP BY g.k');
SELECT * FROM how('SELECT h.k, g.d FROM h FULL JOIN g ON h.k = g.k AND h.k2 = 3');
SELECT * FROM how('SELECT k, array_agg(n) AS n FROM hh GROUP BY k');
SELECT * FROM how('SELECT t COLLATE "POSIX" AS t, array_agg(n) AS n FROM l GROUP BY t COLLATE "POSIX"');
-- aggregate
SELECT * FROM how('SELECT t, sum(f) AS s FROM h GROUP BY t');
SELECT * FROM how('SELECT t, count(DISTINCT n) AS s FROM h GROUP BY t');
SELECT * FROM how('SELECT t, string_agg(t, '','') AS s FROM h GROUP BY t');
SELECT * FROM how('SELECT t, count(*) AS c, (SELECT max(k) FROM small) AS x FROM h GROUP BY t');
SELECT * FROM how('SELECT g.k, array_agg(n) AS c FROM h LEFT JOIN g ON h.k = g.k GROUP BY g.k');
-- order
SELECT * FROM how('SELECT k, sum(f) AS s FROM h GROUP BY k');
SELECT * FROM how('SELECT k, stddev(f) AS s FROM h GROUP BY k');
SELECT * FROM how('SELECT k, sum(f ORDER BY n) AS s FROM h GROUP BY k');
SELECT * FROM how('SELECT k, array_agg(n) AS s FROM h GROUP BY k');
SELECT * FROM how('SELECT k, array_agg(DISTINCT n) AS s FROM h GROUP BY k');
SELECT * FROM how('SELECT k, percentile_cont(0.5) WITHIN GROUP (ORDER BY f) AS s FROM h GROUP BY k');
SELECT * FROM how('SELECT k, row_number() OVER (PARTITION BY k) AS r FROM h');
SELECT * FROM how('SELECT k, row_number() OVER (PARTITION BY k ORDER BY n) AS r FROM h');
SELECT * FROM how('SELECT k, sum(f) OVER (PARTITION BY k) AS s FROM h');
SELECT * FROM how('SELECT k, sum(n) OVER (PARTITION BY k) AS s FROM h');
SELECT * FROM how('SELECT DISTINCT ON (k) k, n FROM h');
-- the others
SELECT * FROM how('SELECT k FROM p LIMIT 3');
SELECT * FROM how('SELECT DISTINCT t FROM h');
SELECT * FROM how('SELECT k, row_number() OVER (ORDER BY n) AS r FROM h');
SELECT * FROM how('SELECT t, k, count(*) AS c FROM h GROUP BY CUBE (t, k)');
SELECT * FROM how('SELECT s.k, p.n FROM small s LEFT JOIN p USING (k)');
SELECT * FROM how('SELECT k FROM p UNION SELECT k FROM small');
SELECT * FROM how('SELECT k FROM p UNION ALL SELECT k FROM small');
SELECT * FROM how('SELECT k FROM h UNION ALL SELECT k FROM h4 WHERE false');
SELECT * FROM how('SELECT k, random() AS r FROM p');
SELECT * FROM how('SELECT k, clock_timestamp() AS r FROM p');
SELECT * FROM how('SELECT k, pg_backend_pid() AS r FROM p');
SELECT * FROM how('SELECT k, current_setting(''application_name'') AS r FROM p');
-- as well in views that are looked up
CREATE VIEW volatile_view AS SELECT k, random() AS r FROM small;
CREATE VIEW sample_view AS SELECT k FROM small TABLESAMPLE bernoulli (50);
SELECT * FROM how('SELECT p.k, x.r FROM p JOIN volatile_view x USING (k)');
SELECT * FROM how('SELECT p.k FROM p JOIN sample_view x USING (k)');
SELECT * FROM how('SELECT k FROM p TABLESAMPLE SYSTEM (10)');
SELECT * FROM how('SELECT k, tableoid::regclass::text AS r FROM p');
SELECT * FROM how('SELECT p AS r FROM p');
SELECT * FROM how('SELECT s.k, x.n FROM small s, LATERAL (SELECT n FROM p WHERE p.k = s.k) x');
SELECT * FROM how('SELECT * FROM v');
SELECT * FROM how('SELECT 1 AS one');
SELECT * FROM how('SELECT * FROM ONLY h');
SELECT * FROM how('SELECT s.k, (SELECT sum(n) FROM p WHERE p.k = s.k) AS n FROM small s');
SELECT * FROM how('WITH w AS (SELECT k, count(*) AS c FROM p GROUP BY k) SELECT a.k, b.c FROM w a JOIN w b ON a.k = b.k');
CREATE POLICY few ON p USING (k > 3);
ALTER TABLE p ENABLE ROW LEVEL SECURITY;
ALTER TABLE p FORCE ROW LEVEL SECURITY;
CREATE ROLE transform_split_user;
GRANT USAGE ON SCHEMA transform_split TO transform_split_user;
GRANT SELECT ON p TO transform_split_user;
SET ROLE transform_split_user;
SELECT * FROM how('SELECT * FROM p');
RESET ROLE;
ALTER TABLE p NO FORCE ROW LEVEL SECURITY;
ALTER TABLE p DISABLE ROW LEVEL SECURITY;

-- the SQL of a task
SELECT step, split, generated_sql FROM elt.explain_transform('SELECT h.k, count(*) AS c FROM h LEFT JOIN g ON g.k = h.k GROUP BY h.k');
SELECT step, split, generated_sql FROM elt.explain_transform('SELECT t, avg(n) AS a FROM p GROUP BY t HAVING count(*) > 3');
-- all of a row
SELECT * FROM elt.explain_transform('SELECT t, sum(f) AS s FROM h GROUP BY t') \gx

SET client_min_messages = warning;
DROP SCHEMA transform_split CASCADE;
DROP ROLE transform_split_user;
