-- After TRUNCATE and DDL changes alone do not tell what happened: a mirror and an upsert are brought to what there is, and go on. Partitioned tables.
SET client_min_messages = warning;
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA IF EXISTS tap_load_resync CASCADE;
CREATE SCHEMA tap_load_resync;
SET search_path = tap_load_resync, public;
SELECT no_plan();
\i test/pgtap/include/loads.psql

CREATE FUNCTION mirrors(load text, description text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    l elt.loads := (SELECT l FROM elt.loads l WHERE name = $1);
    columns text := (SELECT string_agg(format('q.%I', attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = l.target AND attnum > 0 AND NOT attisdropped);
    n int := batches(load);
BEGIN
    RETURN is(coalesce(rows_apart('mirror', format('TABLE %s', l.target), format('SELECT %s FROM (%s) q', columns, l.query)), ''), '', description);
END $$;

CREATE TABLE item (id int PRIMARY KEY, v text, n int);
CREATE TABLE m (id int PRIMARY KEY, v text);
CREATE TABLE u (id int PRIMARY KEY, v text);
INSERT INTO item SELECT i, 'v' || i, i FROM generate_series(1, 20) i;
SELECT elt.create_load('m', 'm', source => 'item', mode => 'mirror');
SELECT elt.create_load('u', 'u', source => 'item');
SELECT mirrors('m', 'the first copy');
SELECT batches('u') AS n \gset
-- a target that has rows already is brought to it: rows that are the same are not written
TRUNCATE item;
INSERT INTO item SELECT i, CASE WHEN i = 5 THEN 'other' ELSE 'v' || i END, i FROM generate_series(5, 25) i;
SELECT is(batch('m'), 'read 21, inserted 5, updated 1, deleted 4, rejected 0, pending 0', 'TRUNCATE: mirror');
SELECT is(batch('u'), 'read 21, inserted 5, updated 1, deleted 0, rejected 0, pending 0', 'TRUNCATE: upsert');
SELECT results_eq('SELECT id FROM u ORDER BY id', 'SELECT generate_series(1, 25)', 'an upsert keeps what is gone');
INSERT INTO item VALUES (30, 'more', 1);
SELECT mirrors('m', 'goes on');
BEGIN;
TRUNCATE item;
SELECT batch('m') AS b1 \gset
INSERT INTO item VALUES (1, 'own', 1);
SELECT batch('m') AS b2 \gset
COMMIT;
SELECT matches(:'b1'::text, 'read 0, inserted 0, updated 0, deleted 22', 'TRUNCATE of one''s own transaction');
SELECT is(:'b2'::text, 'read 1, inserted 1, updated 0, deleted 0, rejected 0, pending 0', 'and what comes after it');
BEGIN;
TRUNCATE item;
ROLLBACK;
SELECT is(batch('m'), 'read 0, inserted 0, updated 0, deleted 0, rejected 0, pending 0', 'TRUNCATE rolled back is none');

-- ALTER TABLE of the source
INSERT INTO item SELECT i, 'v' || i, i FROM generate_series(2, 10) i;
ALTER TABLE item ADD COLUMN late text DEFAULT 'late';
UPDATE item SET late = 'x', v = 'altered' WHERE id < 3;
SELECT mirrors('m', 'ADD COLUMN');
ALTER TABLE item ALTER n TYPE text USING 'n' || n;
UPDATE item SET n = 'other', v = 'n' WHERE id = 4;
SELECT mirrors('m', 'ALTER TYPE of a column that is not loaded');
ALTER TABLE item DROP COLUMN n;
DELETE FROM item WHERE id = 5;
SELECT mirrors('m', 'DROP COLUMN of it');
UPDATE item SET v = 'before' WHERE id = 6;
ALTER TABLE item ALTER v TYPE varchar(20);
UPDATE item SET v = 'after' WHERE id = 7;
SELECT mirrors('m', 'ALTER TYPE of one that is');
ALTER TABLE item ALTER v TYPE varchar(40);
UPDATE item SET v = 'longer' WHERE id = 8;
SELECT mirrors('m', 'and again, without a rewrite');
ALTER TABLE item ADD COLUMN filled timestamptz DEFAULT clock_timestamp();
UPDATE item SET v = 'filled' WHERE id = 9;
SELECT mirrors('m', 'ADD COLUMN with a volatile default');
ALTER TABLE item DROP CONSTRAINT item_pkey;
DELETE FROM item WHERE id = 10;
UPDATE item SET v = 'keyless' WHERE id = 9;
SELECT throws_ok($$SELECT elt.run_batch('m')$$, '55000', 'the key of table "item" was changed since load "m" was made', 'without its primary key');
ALTER TABLE item ADD PRIMARY KEY (id);
UPDATE item SET id = 90 WHERE id = 9;
SELECT mirrors('m', 'with it again');
CLUSTER item USING item_pkey;
VACUUM FULL item;
UPDATE item SET v = 'clustered' WHERE id = 90;
SELECT mirrors('m', 'CLUSTER and VACUUM FULL');
ALTER TABLE item SET SCHEMA public;
ALTER TABLE public.item SET SCHEMA tap_load_resync;
UPDATE item SET v = 'back' WHERE id = 90;
SELECT mirrors('m', 'away and back');
-- of the target: columns may come, and be moved
ALTER TABLE m ADD COLUMN at timestamptz DEFAULT now(), ADD COLUMN more text;
INSERT INTO item VALUES (50, 'after', 'y');
SELECT is(batch('m'), 'read 1, inserted 1, updated 0, deleted 0, rejected 0, pending 0', 'more columns of the target');
ALTER TABLE m DROP COLUMN at, DROP COLUMN more;
ALTER TABLE m RENAME TO moved;
UPDATE item SET v = 'moved' WHERE id = 50;
SELECT mirrors('m', 'a target that was renamed');
TRUNCATE moved;
SELECT is(batch('m'), 'read 0, inserted 0, updated 0, deleted 0, rejected 0, pending 0', 'what others do to a target is theirs');
UPDATE item SET v = 'only' WHERE id = 50;
SELECT batches('m') AS n \gset
SELECT results_eq('TABLE moved', $$VALUES (50, 'only')$$, 'a change brings its row back');
-- tracking interrupted: elt.track resumes it
ALTER TABLE item DISABLE TRIGGER ALL;
DELETE FROM item WHERE id < 5;
ALTER TABLE item ENABLE TRIGGER ALL;
SELECT throws_ok($$SELECT elt.run_batch('m')$$, '55000', NULL, 'interrupted');
SELECT elt.track('item');
SELECT mirrors('m', 'tracked again');

-- append: what the log never had cannot be appended, whether something was pending or not
CREATE TABLE flow (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE flow1 PARTITION OF flow FOR VALUES FROM (0) TO (100);
CREATE TABLE flow_a (id int, v text);
SELECT elt.create_load('flow', 'flow_a', source => 'flow', mode => 'append');
INSERT INTO flow VALUES (1, 'a');
CALL elt.run('flow');
CREATE TABLE flow2 PARTITION OF flow FOR VALUES FROM (100) TO (200);
INSERT INTO flow VALUES (100, 'b');
SELECT lives_ok($$SELECT elt.run_batch('flow')$$, 'append: a new partition');
TRUNCATE flow2;
INSERT INTO flow VALUES (101, 'c');
SELECT lives_ok($$SELECT elt.run_batch('flow')$$, 'append: TRUNCATE takes nothing back');
SELECT results_eq('TABLE flow_a ORDER BY id', $$VALUES (1, 'a'), (100, 'b'), (101, 'c')$$, 'append: each once');
CREATE TABLE flow3 (id int NOT NULL, v text);
INSERT INTO flow3 VALUES (250, 'attached');
ALTER TABLE flow ATTACH PARTITION flow3 FOR VALUES FROM (200) TO (300);
SELECT throws_ok($$SELECT elt.run_batch('flow')$$, '55000', 'load "flow" cannot append what happened to table "flow"', 'append: a partition that came with rows');
SELECT elt.drop_load('flow');
CREATE TABLE stopped (id int PRIMARY KEY);
CREATE TABLE stopped_a (id int);
SELECT elt.create_load('stopped', 'stopped_a', source => 'stopped', mode => 'append');
INSERT INTO stopped VALUES (1);
CALL elt.run('stopped');
ALTER TABLE stopped DISABLE TRIGGER ALL;
INSERT INTO stopped VALUES (2);
ALTER TABLE stopped ENABLE TRIGGER ALL;
SELECT elt.track('stopped');
SELECT throws_ok($$SELECT elt.run_batch('stopped')$$, '55000', 'load "stopped" cannot append what happened to table "stopped"', 'append: rows written while tracking was interrupted');
SELECT elt.drop_load('stopped');

-- a column that another query names; the shape of the target changed with the source, by a load made anew
SELECT elt.drop_load('m');
DROP TABLE moved;
CREATE TABLE m (id int PRIMARY KEY, v text, late text);
SELECT elt.create_load('m', 'm', source => 'item', mode => 'mirror');
SELECT mirrors('m', 'made anew');

-- partitioned source and target, not partitioned alike; partitions with layouts of their own
CREATE TABLE fact (gone int, id int, day date, v text, n int, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
ALTER TABLE fact DROP COLUMN gone;
CREATE TABLE fact1 PARTITION OF fact FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE fact2 (v text, junk int, n int, day date NOT NULL, id int NOT NULL);
ALTER TABLE fact2 DROP COLUMN junk;
ALTER TABLE fact ATTACH PARTITION fact2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
CREATE TABLE fact_rest PARTITION OF fact DEFAULT PARTITION BY HASH (id);
CREATE TABLE fact_rest0 PARTITION OF fact_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE fact_rest1 PARTITION OF fact_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE fact_m (v text, day date, id int, n int, PRIMARY KEY (id, day)) PARTITION BY HASH (id);
CREATE TABLE fact_m0 PARTITION OF fact_m FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE fact_m1 (n int, id int NOT NULL, v text, day date NOT NULL);
ALTER TABLE fact_m ATTACH PARTITION fact_m1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT elt.create_load('fact', 'fact_m', source => 'fact', mode => 'mirror', batch_rows => 40, query => 'SELECT v, n, id, day FROM fact WHERE n > 0');
INSERT INTO fact SELECT i, '2024-01-15'::date + i % 60, 'v' || i, i % 10 FROM generate_series(1, 200) i;
SELECT mirrors('fact', 'partitioned: the copy');
INSERT INTO fact SELECT 1000 + i, '2024-01-15'::date + i % 90, 'new', i FROM generate_series(1, 100) i;
UPDATE fact SET n = n - 5 WHERE id % 2 = 0;
UPDATE fact SET day = day + 30 WHERE id % 3 = 0;
DELETE FROM fact2 WHERE id % 5 = 0;
INSERT INTO fact1 (id, day, v, n) VALUES (5000, '2024-01-05', 'into the partition', 1);
UPDATE fact2 SET v = 'in the partition' WHERE id < 20;
SELECT mirrors('fact', 'partitioned: rows written, moved between partitions, deleted');
TRUNCATE fact1;
INSERT INTO fact VALUES (1, '2024-01-02', 'after TRUNCATE', 1);
SELECT mirrors('fact', 'TRUNCATE of one partition');
UPDATE fact SET v = 'before' WHERE id = 1;
CREATE TABLE fact3 (id int NOT NULL, day date NOT NULL, v text, n int);
INSERT INTO fact3 SELECT i, '2030-01-01'::date + i, 'attached', 1 FROM generate_series(1, 10) i;
ALTER TABLE fact ATTACH PARTITION fact3 FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
UPDATE fact SET v = 'changed' WHERE day = '2030-01-03';
SELECT mirrors('fact', 'a partition attached');
ALTER TABLE fact DETACH PARTITION fact2;
UPDATE fact2 SET v = 'no longer';
SELECT mirrors('fact', 'a partition detached');
DROP TABLE fact3;
INSERT INTO fact VALUES (7, '2030-01-03', 'in the default partition', 3);
SELECT mirrors('fact', 'a partition dropped');
-- a target partition that is missing is an error, and the load goes on when it is there
CREATE TABLE month_m (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE month_m1 PARTITION OF month_m FOR VALUES FROM ('2020-01-01') TO ('2024-01-01');
CREATE TABLE month (id int, day date, v text, PRIMARY KEY (day, id));
SELECT elt.create_load('month', 'month_m', source => 'month', mode => 'mirror');
INSERT INTO month VALUES (1, '2023-01-01', 'a'), (2, '2024-01-01', 'b');
SELECT throws_ok($$SELECT elt.run_batch('month')$$, '23514', 'no partition of relation "month_m" found for row', 'no partition for a row');
CREATE TABLE month_m2 PARTITION OF month_m DEFAULT;
SELECT mirrors('month', 'there is one now');
UPDATE month SET day = day + 365 WHERE id = 1;
SELECT mirrors('month', 'moved to another one');

SELECT * FROM finish();
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA tap_load_resync CASCADE;
