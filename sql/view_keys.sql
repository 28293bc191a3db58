-- Keys of rows and groups: longer than an index takes, of types without a sort order, referred to by foreign keys.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA view_keys;
SET search_path = view_keys;
SELECT setseed(0.5);

-- What differs between a view and its query, by text, after a refresh.
CREATE FUNCTION differs(view text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	refreshed record;
	n bigint;
BEGIN
	SELECT * INTO refreshed FROM elt.refresh(view);
	EXECUTE format('SELECT count(*) FROM ((SELECT v::text FROM %1$s v EXCEPT ALL SELECT q::text FROM (%2$s) q) UNION ALL '
		'(SELECT q::text FROM (%2$s) q EXCEPT ALL SELECT v::text FROM %1$s v)) d', view, query) INTO n;
	RETURN CASE WHEN n > 0 THEN n || ' rows differ' ELSE concat_ws(' ', refreshed.strategy, refreshed.reason) END;
END $$;

\echo == values that no btree can hold, and types that none can have
CREATE TABLE long (id serial PRIMARY KEY, t text, x xid);
INSERT INTO long (t, x) VALUES ('a', '1'), ('b', '2');
SELECT elt.create_view('grouped', 'SELECT t, count(*) AS n FROM long GROUP BY t');
SELECT elt.create_view('distinct_rows', 'SELECT DISTINCT t, id % 2 AS m FROM long', refresh_mode => 'incremental');
SELECT elt.create_view('xids', 'SELECT x, count(*) AS n FROM long GROUP BY x');
INSERT INTO long (t, x) SELECT (SELECT string_agg(md5(i::text || k), '') FROM generate_series(1, 1000) i), '3' FROM generate_series(1, 3) k;
SELECT differs('grouped', 'SELECT t, count(*) AS n FROM long GROUP BY t');
SELECT differs('distinct_rows', 'SELECT DISTINCT t, id % 2 AS m FROM long');
SELECT differs('xids', 'SELECT x, count(*) AS n FROM long GROUP BY x');
INSERT INTO long (t, x) VALUES ('a', '3'), (NULL, '2');
DELETE FROM long WHERE id = 3;
SELECT differs('grouped', 'SELECT t, count(*) AS n FROM long GROUP BY t');
SELECT differs('distinct_rows', 'SELECT DISTINCT t, id % 2 AS m FROM long');
SELECT differs('xids', 'SELECT x, count(*) AS n FROM long GROUP BY x');
\echo == longer than the rows of an empty storage allow
SELECT elt.create_view('long_from_the_start', 'SELECT t, count(*) AS n FROM long GROUP BY t');
SELECT differs('long_from_the_start', 'SELECT t, count(*) AS n FROM long GROUP BY t');

\echo == what foreign keys refer to
CREATE TABLE dim (id int PRIMARY KEY, g int);
CREATE TABLE fact (id int PRIMARY KEY, d int REFERENCES dim, x int);
INSERT INTO dim SELECT i, i % 5 FROM generate_series(1, 20) i;
INSERT INTO fact SELECT i, i % 20 + 1, i FROM generate_series(1, 200) i;
CREATE TABLE query (name text, query text);
INSERT INTO query VALUES
	('by_group', 'SELECT g, count(*) AS n, sum(x) AS s FROM fact f JOIN dim ON dim.id = f.d GROUP BY g'),
	('joined', 'SELECT f.id, g FROM fact f, dim WHERE d = dim.id'),
	('twice', 'SELECT a.id AS a, b.id AS b FROM fact a JOIN dim ON a.d = dim.id JOIN fact b ON b.d = dim.id WHERE a.x % 7 = 1');
SELECT elt.create_view(name, query, refresh_mode => 'incremental') FROM query;
DO $$
DECLARE
	q record;
	found text;
BEGIN
	FOR k IN 1 .. 60 LOOP
		IF random() < 0.6 THEN INSERT INTO dim SELECT coalesce(max(id), 0) + 1, k % 7 FROM dim; END IF;
		IF random() < 0.6 THEN
			INSERT INTO fact SELECT coalesce((SELECT max(id) FROM fact), 0) + row_number() OVER (), id, k
				FROM (SELECT id FROM dim ORDER BY id DESC LIMIT (random() * 3)::int) d;
		END IF;
		IF random() < 0.2 THEN UPDATE fact SET d = (SELECT max(id) FROM dim) WHERE id IN (SELECT id FROM fact ORDER BY random() LIMIT 2); END IF;
		IF random() < 0.2 THEN UPDATE dim SET g = g + 1 WHERE id IN (SELECT id FROM dim ORDER BY random() LIMIT 1); END IF;
		IF random() < 0.2 THEN DELETE FROM fact WHERE id IN (SELECT id FROM fact ORDER BY random() LIMIT 3); END IF;
		IF random() < 0.2 THEN DELETE FROM dim WHERE NOT EXISTS (SELECT FROM fact WHERE d = dim.id); END IF;
		FOR q IN SELECT * FROM query LOOP
			found := differs(q.name, q.query);
			IF found NOT IN ('none', 'incremental') THEN RAISE NOTICE 'step %: % %', k, q.name, found; END IF;
		END LOOP;
	END LOOP;
END $$;
\echo == a foreign key that is not checked tells nothing
ALTER TABLE fact DROP CONSTRAINT fact_d_fkey;
INSERT INTO fact VALUES (100001, 200001, 1);
ALTER TABLE fact ADD CONSTRAINT fact_d_fkey FOREIGN KEY (d) REFERENCES dim NOT VALID;
SELECT differs(name, query) FROM query ORDER BY name;
INSERT INTO dim VALUES (200001, 3);
SELECT differs(name, query) FROM query ORDER BY name;

\echo == groups that were NULL before a constraint says that there are none
CREATE TABLE item (id int PRIMARY KEY, g int);
INSERT INTO item SELECT i, nullif(i % 4, 0) FROM generate_series(1, 40) i;
TRUNCATE query;
INSERT INTO query VALUES
	('items', 'SELECT g, count(*) AS n FROM item GROUP BY g HAVING count(*) > 3'),
	('of_groups', 'SELECT s.n, count(*) AS groups FROM (SELECT g, count(*) AS n FROM item GROUP BY g) s GROUP BY s.n'),
	('in_groups', 'SELECT i.id FROM item i WHERE EXISTS (SELECT FROM (SELECT g, count(*) AS n FROM item GROUP BY g HAVING count(*) > 8) s '
		'WHERE s.g IS NOT DISTINCT FROM i.g)'),
	('not_in', 'SELECT i.id FROM item i WHERE i.id NOT IN (SELECT g FROM item)'),
	('not_in_groups', 'SELECT i.id FROM item i WHERE i.id NOT IN (SELECT s.g FROM (SELECT g, count(*) AS n FROM item GROUP BY g) s)');
SELECT elt.create_view(name, query, refresh_mode => 'incremental') FROM query ORDER BY name;
DELETE FROM item WHERE g IS NULL;
ALTER TABLE item ALTER g SET NOT NULL;
SELECT differs(name, query) FROM query ORDER BY name;
UPDATE item SET g = 3 WHERE id % 5 = 0;
SELECT differs(name, query) FROM query ORDER BY name;
\echo == and what was made for a constraint, without it
SELECT elt.drop_view(name) FROM query;
SELECT elt.create_view(name, query) FROM query ORDER BY name;
SELECT c.relname ~ '_1$' AS below, a.attnotnull FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'g'
	WHERE c.relnamespace = 'elt_data'::regnamespace AND c.relkind = 'r' AND c.oid IN
	(SELECT p.storage FROM elt.view_part p JOIN elt.view v USING (node) WHERE v.relation::text IN (SELECT name FROM query)) ORDER BY 1, 2;
ALTER TABLE item ALTER g DROP NOT NULL;
INSERT INTO item SELECT i, NULL FROM generate_series(101, 112) i;
SELECT differs(name, query) FROM query ORDER BY name;
DELETE FROM item WHERE id > 104;
SELECT differs(name, query) FROM query ORDER BY name;
\echo == more counters than a row can hold
SELECT set_config('view_keys.query', 'SELECT id % 3 AS g, ' || string_agg(format('stddev(g + %s) AS s%s', i, i), ', ') || ' FROM item GROUP BY 1', false) IS NULL
	FROM generate_series(1, 400) i;
SELECT elt.create_view('wide', current_setting('view_keys.query'), refresh_mode => 'incremental');
SELECT strategy, reason, what FROM elt.explain_view('wide') WHERE part > 0;
INSERT INTO item VALUES (201, 1), (202, 7);
SELECT differs('wide', current_setting('view_keys.query'));
\echo == the columns of a view are those of its query
ALTER VIEW wide RENAME COLUMN g TO h;

SET client_min_messages = warning;
DROP SCHEMA view_keys CASCADE;
