-- images => 'key': the log has the primary keys of what changed, and nothing else of the rows.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_key_images CASCADE;
CREATE SCHEMA tap_key_images;
SET search_path = tap_key_images, public;
SELECT no_plan();

-- the ops in a row's data, see src/capture/log.c
CREATE FUNCTION ops(data bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text := '';
    at int := 0;
    len int;
BEGIN
    WHILE at < length(data) LOOP
        result := result || chr(get_byte(data, at));
        len := get_byte(data, at + 1) + 256 * get_byte(data, at + 2);
        at := CASE len WHEN 0 THEN length(data) ELSE at + 3 + len END;
    END LOOP;
    RETURN result;
END $$;

-- ops in the order in which they were logged, and whether a text is in one of the images
CREATE FUNCTION logged(relation regclass, text, OUT ops text, OUT has boolean) LANGUAGE plpgsql AS $$
DECLARE
    log regclass := (SELECT s.relation FROM elt.capture c JOIN elt.capture_segment s ON s.capture = c.id WHERE c.relation = $1 AND s.state = 'o');
BEGIN
    EXECUTE format('SELECT coalesce(string_agg(ops(data), '''' ORDER BY xid, serial), ''''), coalesce(bool_or(position(convert_to($1, ''UTF8'') IN data) > 0), false) FROM %s', log)
        INTO ops, has USING $2;
END $$;

CREATE TABLE item (id int, secret text, part text COLLATE "C", PRIMARY KEY (id, part));
SELECT elt.track('item', images => 'key');
SELECT is(images, 'key', 'elt.tracked says so') FROM elt.tracked WHERE relation = 'item'::regclass;
INSERT INTO item VALUES (1, 'confidential', 'p-one'), (2, 'confidential', 'p-two');
UPDATE item SET secret = 'confidential too' WHERE id = 1;
UPDATE item SET secret = secret;
UPDATE item SET part = 'p-three' WHERE id = 2;
DELETE FROM item WHERE id = 1;
SELECT is(ops, 'IIUOND', 'every change, but not one that changes nothing; one image where the key stays') FROM logged('item', 'x');
SELECT is(has, true, 'all columns of the key are in the log') FROM logged('item', 'p-three');
SELECT is(has, false, 'no other column is') FROM logged('item', 'confidential');

-- the same through partitions with layouts of their own
CREATE TABLE root (id int PRIMARY KEY, secret text) PARTITION BY RANGE (id);
CREATE TABLE leaf (secret text, gone int, id int NOT NULL);
ALTER TABLE leaf DROP COLUMN gone;
ALTER TABLE root ATTACH PARTITION leaf FOR VALUES FROM (0) TO (10);
CREATE TABLE leaf2 PARTITION OF root FOR VALUES FROM (10) TO (20);
SELECT elt.track('root', 'key');
INSERT INTO leaf VALUES ('confidential', 1);
INSERT INTO root VALUES (2, 'confidential');
UPDATE root SET id = 11, secret = 'confidential' WHERE id = 1;
UPDATE leaf SET secret = 'confidential too';
DELETE FROM root;
SELECT is(left(ops, 2) || length(ops), 'II7', 'seven images') FROM logged('root', 'x');
SELECT is(has, false, 'no other column from a leaf either') FROM logged('root', 'confidential');
SELECT throws_ok($$SELECT elt.create_stream('s', 'root')$$, '55000', NULL, 'a stream needs whole rows');

-- large values that are not logged cost nothing
CREATE TABLE doc (id int PRIMARY KEY, v text);
SELECT elt.track('doc', 'key');
INSERT INTO doc SELECT i, repeat(md5(i::text), 5000) FROM generate_series(1, 20) i;
UPDATE doc SET v = v || 'x';
DELETE FROM doc;
SELECT cmp_ok(log_bytes, '<', 40000::bigint, 'a log of keys stays small') FROM elt.tracked WHERE relation = 'doc'::regclass;
SELECT is(ops, repeat('I', 20) || repeat('U', 20) || repeat('D', 20), 'and complete') FROM logged('doc', 'x');

SELECT * FROM finish();
DROP SCHEMA tap_key_images CASCADE;
