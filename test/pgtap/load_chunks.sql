-- Windows applied in chunks (batch_rows), with writes, rollbacks and TRUNCATE between the chunks; and segments of the log trimmed behind loads.
SET client_min_messages = warning;
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA IF EXISTS tap_load_chunks CASCADE;
CREATE SCHEMA tap_load_chunks;
SET search_path = tap_load_chunks, public;
SELECT no_plan();
\i test/pgtap/include/loads.psql

CREATE TABLE item (id int PRIMARY KEY, v text, n int);
INSERT INTO item SELECT i, 'v' || i, i FROM generate_series(1, 100) i;
SELECT load_all('item', 'SELECT id, v, n FROM %1$s WHERE n > 0', batch_rows => 50);
SELECT check_all('item', 'the first copy');
SELECT is(batches('item mirror'), 1, 'nothing to do: one batch');
INSERT INTO item SELECT i, 'v' || i, i FROM generate_series(101, 1100) i;
SELECT is(pending_rows, 1000::bigint, 'pending before: all') FROM elt.loads WHERE name = 'item mirror';
SELECT is(batches('item mirror'), 20, '1000 changes in batches of 50');
SELECT check_all('item', 'inserted in chunks');

-- pending goes down to 0, and each batch reads a part
UPDATE item SET v = v || '!';
CREATE TABLE counts (no serial, rows_read bigint, inserted bigint, updated bigint, deleted bigint, rejected bigint, pending bigint);
INSERT INTO counts (rows_read, inserted, updated, deleted, rejected, pending) SELECT b.* FROM generate_series(1, 22) i, LATERAL elt.run_batch('item mirror' || left(i::text, 0)) b;
SELECT results_eq('SELECT sum(rows_read), sum(updated), min(pending) FILTER (WHERE no < 22) > 0, max(pending) FILTER (WHERE no = 22) FROM counts',
                  'VALUES (1100::numeric, 1100::numeric, true, 0::bigint)', 'each change is read once');
SELECT ok(bool_and(rows_read < 120), 'by hash of the key, about 50 each') FROM counts;
SELECT check_all('item', 'updated in chunks');

-- several changes to one row stay together, and a key that moves is two rows in two chunks
UPDATE item SET n = n + 1;
UPDATE item SET id = id + 5000 WHERE id % 3 = 0;
DELETE FROM item WHERE id % 5 = 1;
INSERT INTO item SELECT i, 'again', i FROM generate_series(3, 600, 3) i ON CONFLICT DO NOTHING;
SELECT check_all('item', 'everything at once, in chunks');

-- writes between the chunks belong to the next window
UPDATE item SET v = 'first window';
SELECT note_result('item');
SELECT batch('item mirror') AS b1, batch('item upsert') AS b2, batch('item append') AS b3 \gset
UPDATE item SET v = 'second window', n = -n WHERE id % 2 = 0;
SELECT batch('item mirror') AS b1, batch('item upsert') AS b2, batch('item append') AS b3 \gset
DELETE FROM item WHERE id % 7 = 0;
UPDATE item SET id = id + 20000 WHERE id % 11 = 0;
SELECT is(count(*) FILTER (WHERE v = 'second window'), 0::bigint, 'not before') FROM item_m;
SELECT check_all('item', 'written between chunks');

-- a chunk that is rolled back is done again; one that fails, too
UPDATE item SET v = 'rolled back';
SELECT batch('item mirror') AS b1 \gset
SELECT count(*) AS done FROM item_m WHERE v = 'rolled back' \gset
BEGIN;
SELECT batch('item mirror') AS b2, batch('item mirror') AS b3 \gset
ROLLBACK;
SELECT is(count(*), :done::bigint, 'rolled back') FROM item_m WHERE v = 'rolled back';
BEGIN;
SELECT batch('item mirror') AS b4 \gset
SAVEPOINT a;
SELECT batch('item mirror') AS b5 \gset
ROLLBACK TO a;
SELECT batch('item mirror') AS b6 \gset
COMMIT;
SELECT is(:'b2'::text, :'b4'::text, 'the same chunk');
SELECT is(:'b5'::text, :'b6'::text, 'also after ROLLBACK TO');
ALTER TABLE item_m ADD CONSTRAINT no_x CHECK (v <> 'rolled back') NOT VALID;
SELECT throws_ok($$SELECT elt.run_batch('item mirror')$$, '23514', NULL, 'a chunk fails');
ALTER TABLE item_m DROP CONSTRAINT no_x;
SELECT check_all('item', 'and is done');

-- own writes between chunks of one transaction
UPDATE item SET v = 'window';
SELECT note_result('item');
BEGIN;
SELECT batch('item mirror') AS b1 \gset
UPDATE item SET v = 'own, between' WHERE id % 2 = 0;
SELECT batches('item mirror') AS n1 \gset
SELECT batches('item mirror') AS n2 \gset
COMMIT;
SELECT check_all('item', 'own writes between chunks');

-- TRUNCATE between chunks: the window is given up, a mirror is brought to what there is; append has what was new
UPDATE item SET v = 'before TRUNCATE';
SELECT note_result('item');
SELECT batch('item mirror') AS b1, batch('item append') AS b3, batches('item upsert') AS n2 \gset
TRUNCATE item;
INSERT INTO item SELECT i, 'after TRUNCATE', i FROM generate_series(1, 70) i;
SELECT is(batch('item mirror'), (SELECT format('read 70, inserted %s, updated %s, deleted %s, rejected 0, pending 0', 70 - common, common, before - common)
                                 FROM (SELECT count(*) AS before, count(*) FILTER (WHERE id <= 70) AS common FROM item_m) x), 'a mirror starts anew');
SELECT check_all('item', 'TRUNCATE between chunks');
UPDATE item SET n = n + 1;
SELECT check_all('item', 'and goes on');

-- batch_rows 1: a row a batch
TRUNCATE item;
INSERT INTO item VALUES (1, 'a', 1);
CREATE TABLE single (LIKE item INCLUDING ALL);
SELECT elt.create_load('single', 'single', source => 'item', mode => 'mirror', batch_rows => 1);
SELECT batches('single') AS n \gset
UPDATE item SET v = 'b';
UPDATE item SET v = 'c';
INSERT INTO item SELECT i, 'x', i FROM generate_series(2, 5) i;
SELECT ok(batches('single') BETWEEN 2 AND 8, 'batches of one row');
SELECT results_eq('TABLE single ORDER BY id', 'TABLE item ORDER BY id', 'make the same');
SELECT elt.drop_load('single');
SELECT check_all('item', 'the others too');

-- a mirror that finds rows by what the query made of them is not split: one chunk could delete what another has written
CREATE TABLE named (id int PRIMARY KEY, name text);
INSERT INTO named SELECT i, 'n' || i FROM generate_series(1, 300) i;
SELECT load_all('named', 'SELECT name, id FROM %1$s', '{name}', batch_rows => 10);
SELECT check_all('named', 'keys that the query gives');
UPDATE named SET name = 'n' || (id % 300 + 1) || CASE WHEN id % 3 = 0 THEN '' ELSE 'x' END;
UPDATE named SET name = left(name, -1) WHERE name LIKE '%x';
SELECT is(batches('named mirror'), 1, 'one batch');
SELECT check_all('named', 'all names moved on by one');

-- append in chunks; a source without a key
CREATE TABLE bag (v text, n int);
SELECT load_all('bag', key => '{}', batch_rows => 25);
SELECT check_all('bag', 'empty');
INSERT INTO bag SELECT 'v' || i % 50, i % 3 FROM generate_series(1, 500) i;
UPDATE bag SET n = n + 1 WHERE v < 'v3';
SELECT batch('bag append') AS b1 \gset
INSERT INTO bag SELECT 'later', i FROM generate_series(1, 60) i;
DELETE FROM bag WHERE v = 'v40';
SELECT check_all('bag', 'a source without a key in chunks');

-- by memory alone: small memory, many rows
CREATE TABLE wide (id int PRIMARY KEY, v text);
SELECT load_all('wide');
SELECT check_all('wide', 'empty');
SET elt.batch_memory = '1MB';
SET elt.segment_size = '64kB';
INSERT INTO wide SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 20000) i;
SELECT cmp_ok(batches('wide mirror'), '>', 1, 'a window that does not fit into elt.batch_memory');
UPDATE wide SET v = 'short' WHERE id % 3 = 0;
SELECT check_all('wide', 'by memory');
RESET elt.batch_memory;

-- segments that all loads have passed are emptied; a load that lags keeps its own
CREATE FUNCTION rows_in_log(relation regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    log regclass;
    n bigint;
    total bigint := 0;
BEGIN
    FOR log IN SELECT s.relation FROM elt.capture c JOIN elt.capture_segment s ON s.capture = c.id WHERE c.relation = $1 LOOP
        EXECUTE format('SELECT count(*) FROM %s', log) INTO n;
        total := total + n;
    END LOOP;
    RETURN total;
END $$;
UPDATE wide SET v = repeat('lag', 100);
CALL elt.run('wide mirror');
CALL elt.run('wide append');
CALL elt.run('wide mirror');
SELECT rows_in_log('wide') AS kept \gset
SELECT cmp_ok(:kept, '>', 1000, 'kept for the load that lags');
SELECT is(pending_rows, 20000::bigint, 'which has it all to load') FROM elt.loads WHERE name = 'wide upsert';
CALL elt.run('wide upsert');
DO $$ BEGIN FOR i IN 1 .. 4 LOOP INSERT INTO wide VALUES (-i, repeat('next', 100)); CALL elt.run('wide mirror'); CALL elt.run('wide append'); CALL elt.run('wide upsert'); END LOOP; END $$;
SELECT cmp_ok(rows_in_log('wide'), '<', :kept / 10::bigint, 'emptied when nobody needs it');
SELECT check_all('wide', 'trimmed');
RESET elt.segment_size;

SELECT * FROM finish();
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA tap_load_chunks CASCADE;
