-- Tables that are tracked stay tracked when they are sharded: loads, streams and precomputed views go on where they were, with nothing lost and nothing twice.
CREATE SCHEMA shtrack;
SET search_path = shtrack;
SET client_min_messages = warning;
CREATE TABLE t (gone integer, id integer PRIMARY KEY, k integer, v text, g integer GENERATED ALWAYS AS (k * 2) STORED);
ALTER TABLE t DROP COLUMN gone;
INSERT INTO t SELECT i, i % 10, 'old ' || i FROM generate_series(1, 200) i;
SELECT elt.track('t');
CREATE TABLE mirrored (id integer PRIMARY KEY, k integer, v text, g integer);
CREATE TABLE appended (id integer, k integer, v text, g integer);
SELECT elt.create_load('mirror', 'mirrored', source => 't', mode => 'mirror');
SELECT elt.create_load('append', 'appended', source => 't', mode => 'append', initial => 'none');
SELECT elt.create_stream('changes', 't');
SELECT elt.create_view('sums', 'SELECT k, count(*) AS n, sum(g) AS g FROM t GROUP BY k');
CALL elt.run('mirror');
CALL elt.run('append');

CREATE PROCEDURE compare() LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    FOR n IN SELECT 1 FROM (TABLE t EXCEPT ALL TABLE mirrored) d UNION ALL SELECT 2 FROM (TABLE mirrored EXCEPT ALL TABLE t) d LOOP
        RAISE 'the mirror differs';
    END LOOP;
    FOR n IN SELECT 1 FROM (SELECT k, count(*) AS n, sum(g) AS g FROM t GROUP BY k EXCEPT ALL TABLE sums) d UNION ALL SELECT 2 FROM (TABLE sums EXCEPT ALL SELECT k, count(*), sum(g) FROM t GROUP BY k) d LOOP
        RAISE 'the view differs';
    END LOOP;
END $$;

-- changes that nobody has read yet
INSERT INTO t (id, k, v) VALUES (1001, 1, 'before'), (1002, 2, 'before');
UPDATE t SET v = v || '!' WHERE id IN (5, 6);
DELETE FROM t WHERE id = 7;
SELECT elt.shard_table('t', '{id}', 3);
SELECT relation, pending_rows, slowest_consumer IS NOT NULL AS read, stale FROM elt.tracked;
SELECT tgrelid::regclass, count(*) FROM pg_trigger WHERE tgname LIKE 'elt%' GROUP BY tgrelid ORDER BY tgrelid::regclass::text;
INSERT INTO t (id, k, v) VALUES (2001, 1, 'after'), (2002, 2, 'after'), (1001, 3, 'again') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
UPDATE t SET id = id + 5000 WHERE id IN (8, 9);
DELETE FROM t WHERE id = 10;
INSERT INTO t_s0 (id, k, v) SELECT id, k, v FROM t_s0 WHERE false;
UPDATE t_s1 SET v = 'leaf' WHERE id = (SELECT min(id) FROM t_s1);
SELECT count(*), _elt_op FROM changes GROUP BY 2 ORDER BY 2;
SELECT id, v, g, _elt_op FROM changes ORDER BY 1, 4;
SELECT elt.advance_stream('changes');
CALL elt.run('mirror');
CALL elt.run('append');
SELECT strategy, reason FROM elt.refresh('sums');
CALL compare();
SELECT * FROM appended ORDER BY id, v;
-- and from then on
UPDATE t SET k = k + 1, v = repeat('long ', 2000) WHERE id % 50 = 0;
DELETE FROM t WHERE id BETWEEN 20 AND 25;
CALL elt.run('mirror');
SELECT strategy, reason FROM elt.refresh('sums');
CALL compare();
TRUNCATE t_s2;
CALL elt.run('mirror');
SELECT strategy FROM elt.refresh('sums');
CALL compare();
SELECT elt.drop_view('sums'), elt.drop_load('mirror'), elt.drop_load('append'), elt.drop_stream('changes');
SELECT elt.untrack('t');
DROP TABLE t, mirrored, appended;

-- images that keep pointers to toasted values: those go with the old table, so consumers that have not read them are told to resynchronise
CREATE TABLE t (id integer PRIMARY KEY, k integer, v text, g integer);
ALTER TABLE t ALTER v SET STORAGE external;
INSERT INTO t SELECT i, i, repeat('x', 5000) || i, 0 FROM generate_series(1, 20) i;
CREATE TABLE mirrored (LIKE t INCLUDING ALL);
SELECT elt.create_load('mirror', 'mirrored', source => 't', mode => 'mirror');
SELECT elt.create_stream('changes', 't');
SELECT elt.create_view('sums', 'SELECT k, count(*) AS n, sum(g) AS g FROM t GROUP BY k');
CALL elt.run('mirror');
UPDATE t SET k = k + 1 WHERE id < 10;
SELECT elt.shard_table('t', '{id}', 2);
\set VERBOSITY terse
SELECT count(*) FROM changes;
\set VERBOSITY default
CALL elt.run('mirror');
SELECT strategy, reason FROM elt.refresh('sums');
CALL compare();
UPDATE t SET k = k + 1 WHERE id < 15;
CALL elt.run('mirror');
SELECT strategy, reason FROM elt.refresh('sums');
CALL compare();
SELECT elt.drop_view('sums'), elt.drop_load('mirror'), elt.drop_stream('changes');
DROP TABLE t, mirrored;

-- a log of keys
CREATE TABLE t (id integer PRIMARY KEY, k integer, v text, g integer);
INSERT INTO t SELECT i, i, 'v' || i, 0 FROM generate_series(1, 20) i;
SELECT elt.track('t', images => 'key');
CREATE TABLE mirrored (LIKE t INCLUDING ALL);
SELECT elt.create_load('mirror', 'mirrored', source => 't', mode => 'mirror');
SELECT elt.create_view('sums', 'SELECT k, count(*) AS n, sum(g) AS g FROM t GROUP BY k');
CALL elt.run('mirror');
UPDATE t SET k = k + 1 WHERE id < 10;
SET client_min_messages = notice;
SELECT elt.shard_table('t', '{id}', 2);
SET client_min_messages = warning;
DELETE FROM t WHERE id IN (3, 13);
CALL elt.run('mirror');
SELECT strategy FROM elt.refresh('sums');
CALL compare();
SELECT elt.drop_view('sums'), elt.drop_load('mirror');
DROP TABLE t, mirrored;

-- tables that loads write to, and a load whose target and source are sharded
CREATE TABLE t (id integer PRIMARY KEY, k integer, v text, g integer);
INSERT INTO t SELECT i, i, 'v' || i, 0 FROM generate_series(1, 20) i;
CREATE TABLE mirrored (LIKE t INCLUDING ALL);
SELECT elt.create_load('mirror', 'mirrored', source => 't', mode => 'mirror');
CALL elt.run('mirror');
UPDATE t SET v = 'changed' WHERE id < 5;
SELECT elt.shard_table('mirrored', '{id}', 2);
DELETE FROM t WHERE id = 9;
CALL elt.run('mirror');
SELECT elt.shard_table('t', '{id}', 4);
UPDATE t SET id = id + 100 WHERE id < 5;
CALL elt.run('mirror');
SELECT elt.create_view('sums', 'SELECT k, count(*) AS n, sum(g) AS g FROM t GROUP BY k');
CALL compare();
SELECT elt.drop_view('sums'), elt.drop_load('mirror');
DROP TABLE t, mirrored;

-- a tracked tree of ranges, with rows on their way
CREATE TABLE t (id integer, k integer, v text, g integer, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (MINVALUE) TO (5);
CREATE TABLE t_high (g integer, v text, k integer NOT NULL, id integer NOT NULL);
ALTER TABLE t ATTACH PARTITION t_high FOR VALUES FROM (5) TO (MAXVALUE);
INSERT INTO t SELECT i, i % 10, 'v' || i, i FROM generate_series(1, 100) i;
CREATE TABLE mirrored (LIKE t INCLUDING ALL);
SELECT elt.create_load('mirror', 'mirrored', source => 't', mode => 'mirror');
SELECT elt.create_view('sums', 'SELECT k, count(*) AS n, sum(g) AS g FROM t GROUP BY k');
CALL elt.run('mirror');
UPDATE t SET k = k + 4 WHERE id < 50;
SELECT elt.shard_table('t', '{id}', 2);
UPDATE t SET k = k - 3 WHERE id % 7 = 0;
DELETE FROM t WHERE id % 11 = 0;
CALL elt.run('mirror');
SELECT strategy, reason FROM elt.refresh('sums');
CALL compare();
CREATE TABLE t_new PARTITION OF t FOR VALUES FROM (MINVALUE) TO (5);
SELECT relation, stale FROM elt.tracked;
SELECT elt.drop_view('sums'), elt.drop_load('mirror');
SELECT elt.untrack('t');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'elt%';
SELECT count(*) FROM elt.shard_run;
SELECT count(*) FROM elt.consumer;
DROP SCHEMA shtrack CASCADE;
