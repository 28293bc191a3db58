-- elt.shard_table on range-partitioned tables: shards under each leaf, with bounds, indexes and constraints of the whole tree.
CREATE SCHEMA shrange;
SET search_path = shrange;
SET client_min_messages = warning;
CREATE TABLE kind (id integer PRIMARY KEY);
INSERT INTO kind SELECT generate_series(0, 4);
CREATE TABLE m (id bigint, day date NOT NULL, kind integer REFERENCES kind, v text, twice numeric GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE m_jan PARTITION OF m FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
-- another layout, attached
CREATE TABLE m_feb (gone text, v text, day date NOT NULL, id bigint NOT NULL, kind integer, twice numeric GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE m_feb DROP COLUMN gone;
INSERT INTO m_feb (v, day, id, kind) SELECT 'feb ' || i, '2026-02-01'::date + i % 28, i, i % 5 FROM generate_series(1, 500) i;
ALTER TABLE m ATTACH PARTITION m_feb FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
-- a level below
CREATE TABLE m_mar PARTITION OF m FOR VALUES FROM ('2026-03-01') TO ('2026-04-01') PARTITION BY RANGE (id);
CREATE TABLE m_mar_low PARTITION OF m_mar FOR VALUES FROM (MINVALUE) TO (250);
CREATE TABLE m_mar_high PARTITION OF m_mar FOR VALUES FROM (250) TO (MAXVALUE);
CREATE TABLE m_other PARTITION OF m DEFAULT;
INSERT INTO m (id, day, kind, v) SELECT i, '2026-01-01'::date + i % 31, i % 5, 'jan ' || i FROM generate_series(1, 500) i;
INSERT INTO m (id, day, kind, v) SELECT i, '2026-03-01'::date + i % 31, i % 5, 'mar ' || i FROM generate_series(1, 500) i;
INSERT INTO m (id, day, kind, v) SELECT i, '2026-06-01'::date + i % 31, i % 5, repeat('other ' || i, 1000) FROM generate_series(1, 500) i;
CREATE INDEX m_kind ON m (kind, v text_pattern_ops);
CREATE INDEX m_feb_only ON m_feb (lower(v));
CREATE VIEW kinds AS SELECT kind, count(*), sum(twice) FROM m GROUP BY kind;
CREATE VIEW february AS SELECT id, v FROM m_feb;
CREATE TABLE before AS SELECT m::text AS row, day FROM m;
ANALYZE m;

SELECT elt.shard_table('m', '{id}', 3);

(SELECT * FROM before EXCEPT ALL SELECT m::text, day FROM m) UNION ALL (SELECT m::text, day FROM m EXCEPT ALL SELECT * FROM before);
SELECT relid, parentrelid, isleaf, level, pg_get_expr(relpartbound, oid) FROM pg_partition_tree('m') JOIN pg_class ON oid = relid ORDER BY relid::text;
SELECT relation, count(*), sum(rows) FROM elt.shards WHERE relation::text LIKE 'm\_%' GROUP BY 1 ORDER BY relation::text;
SELECT p.relname, count(*), bool_and(indisvalid) FROM pg_class p JOIN pg_inherits ON inhparent = p.oid JOIN pg_index ON indexrelid = inhrelid
WHERE p.relkind = 'I' AND p.relnamespace = 'shrange'::regnamespace GROUP BY 1 ORDER BY 1;
SELECT conname, conrelid::regclass, coninhcount, convalidated, conparentid <> 0 AS has_parent FROM pg_constraint WHERE contype = 'f' AND conrelid IN (SELECT relid FROM pg_partition_tree('m_mar')) ORDER BY conrelid::regclass::text;
SELECT count(*) FROM pg_constraint WHERE conname LIKE 'elt%';
SELECT * FROM kinds ORDER BY 1;
SELECT count(*) FROM february;
EXPLAIN (COSTS OFF) SELECT v FROM m WHERE id = 300 AND day = '2026-03-10';

-- rows find their way, and move
INSERT INTO m (id, day, kind, v) VALUES (1000, '2026-01-05', 1, 'new'), (1000, '2026-03-05', 1, 'new'), (1000, '2027-01-01', 1, 'new');
UPDATE m SET day = day + 31 WHERE id = 1000;
UPDATE m SET id = id + 1 WHERE v = 'new';
SELECT tableoid::regclass, id, day FROM m WHERE v = 'new' ORDER BY 3;
INSERT INTO m (id, day, kind, v) VALUES (1001, '2026-02-05', 1, 'twice');
\set VERBOSITY terse
INSERT INTO m (id, day, kind, v) VALUES (1, '2026-02-05', 77, 'no such kind');
\set VERBOSITY default
DELETE FROM kind WHERE id = 99;
-- partitions come and go
CREATE TABLE m_may PARTITION OF m FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
INSERT INTO m (id, day, kind, v) SELECT i, '2026-05-01'::date + i % 31, i % 5, 'may ' || i FROM generate_series(1, 50) i;
SELECT elt.shard_table('m', '{id}', 2);
SELECT shard, partition, rows FROM elt.shards WHERE relation = 'm_may'::regclass ORDER BY 1;
SELECT elt.shard_table('m', '{id}', 3);
ALTER TABLE m DETACH PARTITION m_feb;
SELECT count(*) FROM m_feb;
DROP TABLE m_jan;
SELECT count(*) FROM m;
ALTER TABLE m ATTACH PARTITION m_feb FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
SELECT count(*) FROM m;
DROP TABLE m CASCADE;

-- a list-partitioned one, and two key columns, in a transaction that wrote before
CREATE TABLE l (id integer, place text, sub integer) PARTITION BY LIST (place);
CREATE TABLE l_a PARTITION OF l FOR VALUES IN ('a', NULL);
CREATE TABLE l_b PARTITION OF l FOR VALUES IN ('b');
INSERT INTO l SELECT i, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END, nullif(i % 5, 0) FROM generate_series(1, 300) i;
SET client_min_messages = notice;
BEGIN;
DELETE FROM l WHERE id <= 100;
SELECT elt.shard_table('l', '{sub,id}', 2);
SELECT relation, count(*), sum(rows) FROM elt.shards WHERE relation::text LIKE 'l\_%' GROUP BY 1 ORDER BY relation::text;
SELECT place, count(*) FROM l GROUP BY 1 ORDER BY 1;
COMMIT;
SELECT place, count(*) FROM l GROUP BY 1 ORDER BY 1;
-- foreign keys to a table with shards, from one that gets some
SET client_min_messages = warning;
CREATE TABLE referred (id integer PRIMARY KEY);
INSERT INTO referred SELECT generate_series(1, 20);
CREATE TABLE refers (id integer PRIMARY KEY, r integer NOT NULL REFERENCES referred ON DELETE CASCADE);
INSERT INTO refers SELECT i, 1 + i % 20 FROM generate_series(1, 100) i;
SELECT elt.shard_table('referred', '{id}', 2);
ALTER TABLE refers DROP CONSTRAINT refers_r_fkey;
SELECT elt.shard_table('referred', '{id}', 2);
ALTER TABLE refers ADD FOREIGN KEY (r) REFERENCES referred ON DELETE CASCADE;
SELECT elt.shard_table('refers', '{id}', 3);
SELECT regexp_replace(conname, '_([0-9])$', '\1') AS conname, conrelid::regclass, confrelid::regclass, convalidated FROM pg_constraint WHERE contype = 'f' AND conrelid::regclass::text LIKE 'refers%'
ORDER BY conrelid::regclass::text COLLATE "C", confrelid::regclass::text COLLATE "C";
INSERT INTO refers SELECT 100 + i, i FROM generate_series(1, 20) i;
\set VERBOSITY terse
INSERT INTO refers VALUES (1000, 21);
UPDATE refers SET r = 21 WHERE id = 5;
\set VERBOSITY default
DELETE FROM referred WHERE id <= 5;
SELECT count(*), min(r) FROM refers;
ALTER TABLE refers DROP CONSTRAINT refers_r_fkey;
SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid::regclass::text LIKE 'refers%';
SELECT count(*) FROM elt.shard_run;
SELECT count(*) FROM elt.tracked;
SET client_min_messages = warning;
DROP SCHEMA shrange CASCADE;
