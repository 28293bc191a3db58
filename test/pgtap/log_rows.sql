-- Rows of the change log: many images in one, some that fill a page, some with an image larger than that.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_log_rows CASCADE;
CREATE SCHEMA tap_log_rows;
SET search_path = tap_log_rows, public;
\ir include/changes.psql
SELECT no_plan();

-- rows and images in the open segment, and the pages that it has
CREATE FUNCTION logged(relation regclass, OUT rows bigint, OUT images bigint, OUT changes bigint, OUT pages bigint) LANGUAGE plpgsql AS $$
DECLARE
    log regclass := (SELECT s.relation FROM elt.capture c JOIN elt.capture_segment s ON s.capture = c.id WHERE c.relation = $1 AND s.state = 'o');
BEGIN
    EXECUTE format('SELECT count(*), sum(l.images), sum(l.changes) FROM %s l', log) INTO rows, images, changes;
    pages := pg_relation_size(log) / 8192;
END $$;

CREATE TABLE item (id int PRIMARY KEY, v text, n numeric);
SELECT watch('item');
INSERT INTO item SELECT i, 'v' || i, i FROM generate_series(1, 20000) i;
SELECT is(pending('item'), 20000::bigint, 'each row is a change');
SELECT unnest(ARRAY[is(images, 20000::bigint, 'each has an image'), is(changes, 20000::bigint, 'and counts'),
                    cmp_ok(rows, '<', 200::bigint, 'a row of the log holds many'), cmp_ok(pages, '<=', rows, 'and fills a page')])
FROM logged('item');
SELECT changes('item', 'INSERT of many rows');
UPDATE item SET v = v || '!' WHERE id % 2 = 0;
SELECT is(pending('item'), 30000::bigint, 'an update is one change');
SELECT unnest(ARRAY[is(images, 40000::bigint, 'with two images'), is(changes, 30000::bigint, 'of which one counts')]) FROM logged('item');
SELECT changes('item', 'UPDATE of many rows');
DELETE FROM item WHERE id % 4 < 2;
SELECT changes('item', 'DELETE of many rows');

-- part of it is undone, and statements of one row are in between
BEGIN;
INSERT INTO item SELECT i, 'kept', i FROM generate_series(30001, 32000) i;
SAVEPOINT a;
INSERT INTO item SELECT i, 'undone', i FROM generate_series(40001, 43000) i;
UPDATE item SET v = 'undone' WHERE id > 31000;
SELECT changes('item', 'seen within the subtransaction');
ROLLBACK TO a;
INSERT INTO item VALUES (40001, 'not undone', 1);
UPDATE item SET v = 'not undone' WHERE id BETWEEN 30500 AND 31500;
SELECT changes('item', 'after it was undone');
SAVEPOINT b;
DELETE FROM item WHERE id < 31000;
RELEASE b;
COMMIT;
SELECT changes('item', 'and after the commit');
SELECT all_changes('item');

-- an offset that lies between the images of one row
BEGIN;
INSERT INTO item VALUES (-1, 'before', 0);
SELECT changes('item', 'one row');
INSERT INTO item SELECT -i, 'one statement', i FROM generate_series(2, 1001) i;
COMMIT;
CREATE FUNCTION own_serial() RETURNS bigint LANGUAGE sql AS $$
    SELECT own_serial FROM elt.consumer WHERE name LIKE '%item_step' AND kind = 'stream'
$$;
CREATE FUNCTION move_to(serial bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE elt.consumer SET own_serial = serial WHERE name LIKE '%item_step' AND kind = 'stream'
$$;
SELECT own_serial() AS serial \gset
SELECT elt.drop_stream('item_all');
SELECT is((SELECT count(*) FROM item_step), 1000::bigint, 'all images of a row');
SELECT move_to(:serial + 37);
SELECT results_eq('SELECT min(id), max(id), count(*) FROM item_step', 'VALUES (-1001, -39, 963::bigint)', 'all but the first ones');
SELECT is(pending('item'), 963::bigint, 'they are counted');
SELECT move_to(:serial + 999);
SELECT results_eq('SELECT id FROM item_step', 'VALUES (-1001)', 'only the last one');
SELECT is(pending('item'), 1::bigint, 'it is counted');
SELECT move_to(:serial + 1000);
SELECT is((SELECT count(*) FROM item_step), 0::bigint, 'none');
SELECT is(pending('item'), 0::bigint, 'none is counted');
SELECT move_to(:serial - 1);
SELECT is((SELECT count(*) FROM item_step), 1001::bigint, 'the row before it too');
SELECT elt.drop_stream('item_step');

-- images around the size of a page
CREATE TABLE page (id int PRIMARY KEY, v text);
ALTER TABLE page ALTER v SET STORAGE PLAIN;
SELECT watch('page');
INSERT INTO page SELECT n, repeat('x', n) FROM generate_series(8060, 8120) n;
SELECT changes('page', 'images that just fit a page, and just not');
UPDATE page SET v = 'y' || right(v, -1) WHERE id % 3 = 0;
SELECT changes('page', 'UPDATE of them');
INSERT INTO page SELECT n, repeat('x', n % 4100) FROM generate_series(10001, 14100, 7) n;
SELECT changes('page', 'sizes of all kinds');
INSERT INTO page VALUES (1, ''), (2, repeat('x', 8100)), (3, NULL);
INSERT INTO page VALUES (4, repeat('x', 8100));
SELECT changes('page', 'large ones between small ones');
DELETE FROM page;
SELECT changes('page', 'DELETE of them');
SELECT all_changes('page');

-- and beyond
CREATE TABLE doc (id int PRIMARY KEY, v text, n int);
ALTER TABLE doc ALTER v SET STORAGE EXTERNAL;
SELECT watch('doc');
INSERT INTO doc SELECT i, repeat(md5(i::text), CASE WHEN i % 5 = 0 THEN 100000 ELSE i END), i FROM generate_series(1, 40) i;
SELECT changes('doc', 'some values of 3 MB');
UPDATE doc SET n = n + 1;
SELECT changes('doc', 'beside an update');
UPDATE doc SET n = n + 1, v = v || 'x' WHERE id % 2 = 0;
DELETE FROM doc WHERE id % 3 = 0;
SELECT changes('doc', 'replaced and removed');
SELECT all_changes('doc');

-- what was written and then undone by an error is skipped
CREATE TABLE strict (id int PRIMARY KEY, n int);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'too late'; END $$;
SELECT watch('strict');
INSERT INTO strict SELECT i, i FROM generate_series(1, 100) i;
CREATE TRIGGER zzz AFTER INSERT ON strict EXECUTE FUNCTION refuse();
SELECT throws_ok('INSERT INTO strict SELECT i, i FROM generate_series(101, 9000) i', 'P0001');
ALTER TABLE strict DISABLE TRIGGER zzz;
SELECT changes('strict', 'nothing of a failed statement');
INSERT INTO strict SELECT i, i FROM generate_series(101, 9000) i;
SELECT changes('strict', 'nor beside one that did not fail');

SELECT * FROM finish();
DROP SCHEMA tap_log_rows CASCADE;
