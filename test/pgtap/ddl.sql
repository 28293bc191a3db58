-- Streams of tables that are altered: the stream keeps its columns, the changes stay exact, and what cannot be told is an error.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_ddl CASCADE;
CREATE SCHEMA tap_ddl;
SET search_path = tap_ddl, public;
\ir include/changes.psql
SELECT no_plan();

CREATE FUNCTION state(stream text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SELECT string_agg(s::text, '' '' ORDER BY s::text) FROM %s s', stream) INTO result;
    RETURN coalesce(result, 'nothing');
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS result = MESSAGE_TEXT;
    RETURN regexp_replace(result, '^stream "[^"]*" is ', '');
END $$;

-- columns come, go and are renamed while the log has rows of each layout
CREATE TABLE item (id int PRIMARY KEY, a text, b int);
INSERT INTO item SELECT i, 'a' || i, i FROM generate_series(1, 9) i;
SELECT elt.create_stream('s', 'item');
UPDATE item SET a = 'x' WHERE id IN (1, 2);
ALTER TABLE item ADD COLUMN c text;
UPDATE item SET c = 'set' WHERE id IN (2, 3);
DELETE FROM item WHERE id = 4;
ALTER TABLE item DROP COLUMN b;
UPDATE item SET a = 'y' WHERE id IN (3, 5);
ALTER TABLE item RENAME COLUMN a TO renamed;
UPDATE item SET renamed = 'z' WHERE id = 6;
INSERT INTO item VALUES (10, 'new', 'new');
UPDATE item SET c = 'away' WHERE id = 7;
UPDATE item SET c = NULL WHERE id = 7;
SELECT is(state('s'), '(1,x,,update) (10,new,,insert) (2,x,,update) (3,y,,update) (4,a4,,delete) (5,y,,update) (6,z,,update)', 'columns added, dropped, renamed');
SELECT elt.create_stream('s2', 'item');
UPDATE item SET c = 'last' WHERE id = 1;
SELECT is(state('s2'), '(1,x,last,update)', 'a stream made later has the columns of then');
ALTER TABLE item ADD COLUMN b bigint;
UPDATE item SET b = 7 WHERE id = 1;
SELECT is(state('s2'), '(1,x,last,update)', 'a dropped name that comes back is another column');
SELECT elt.drop_stream('s'), elt.drop_stream('s2');

-- a row written before ADD COLUMN ... DEFAULT and the same row written after it are the same
CREATE TABLE missing (id int PRIMARY KEY, v int);
INSERT INTO missing VALUES (1, 1), (2, 2), (3, 3);
ALTER TABLE missing ADD COLUMN d int DEFAULT 5, ADD COLUMN e text;
SELECT elt.create_stream('m', 'missing');
UPDATE missing SET v = 10 WHERE id = 1;
UPDATE missing SET v = 1 WHERE id = 1;
SELECT is(state('m'), 'nothing', 'back to what it was');
DELETE FROM missing WHERE id = 2;
SELECT is(state('m'), '(2,2,5,,delete)', 'a row that does not store the default');
INSERT INTO missing VALUES (2, 2, 5, NULL);
SELECT is(state('m'), 'nothing', 'deleted, and inserted with the default');
DELETE FROM missing WHERE id = 2;
INSERT INTO missing VALUES (2, 2, NULL, NULL);
SELECT is(state('m'), '(2,2,,,update)', 'and without it');
BEGIN;
SELECT count(*) FROM m;
SELECT elt.advance_stream('m');
COMMIT;
ALTER TABLE missing ADD COLUMN f int DEFAULT 6;
UPDATE missing SET v = 33 WHERE id = 3;
SELECT is(state('m'), '(3,33,5,,update)', 'added while nothing was unread');
ALTER TABLE missing ADD COLUMN g int DEFAULT 7;
SELECT is(state('m'), 'stale: a column with a default was added', 'and while something was');

-- no rewrite, no interruption
CREATE TABLE soft (id int PRIMARY KEY, v varchar(10), n numeric(8,2));
INSERT INTO soft VALUES (1, 'one', 1), (2, 'two', 2);
SELECT watch('soft');
UPDATE soft SET v = 'eins' WHERE id = 1;
DROP VIEW IF EXISTS none;
ALTER TABLE soft ALTER v SET DEFAULT 'x', ALTER v SET NOT NULL, ALTER n SET STATISTICS 10, ADD CHECK (id > 0), SET (fillfactor = 50);
CREATE INDEX ON soft (v);
ANALYZE soft;
ALTER TABLE soft RENAME TO softer;
ALTER TABLE softer RENAME TO soft;
CREATE TRIGGER users BEFORE INSERT ON soft FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
DROP TRIGGER users ON soft;
UPDATE soft SET v = 'zwei' WHERE id = 2;
SELECT changes('soft', 'ALTERs without a rewrite');
ALTER TABLE soft ALTER v TYPE varchar(20);
ALTER TABLE soft ALTER v TYPE text;
UPDATE soft SET v = 'a value of more than ten characters' WHERE id = 1;
SELECT changes('soft', 'types that change without a rewrite');
SELECT all_changes('soft');
SELECT is(stale, false, 'not stale') FROM elt.tracked WHERE relation = 'soft'::regclass;

-- another key, or none, in the middle of a window
CREATE TABLE rekeyed (a int PRIMARY KEY, b int NOT NULL);
INSERT INTO rekeyed VALUES (1, 1), (2, 2), (3, 3);
SELECT watch('rekeyed');
UPDATE rekeyed SET b = b + 10;
ALTER TABLE rekeyed DROP CONSTRAINT rekeyed_pkey, ADD PRIMARY KEY (b);
UPDATE rekeyed SET a = a + 10 WHERE b = 12;
SELECT changes('rekeyed', 'another primary key');
UPDATE rekeyed SET b = b + 10 WHERE a < 3;
ALTER TABLE rekeyed DROP CONSTRAINT rekeyed_pkey;
INSERT INTO rekeyed SELECT a, b FROM rekeyed;
SELECT changes('rekeyed', 'no primary key any more');
SELECT all_changes('rekeyed');

-- events that changes alone do not tell
CREATE TABLE marked (id int PRIMARY KEY, v int);
INSERT INTO marked VALUES (1, 1);
SELECT elt.create_stream('before', 'marked');
BEGIN;
TRUNCATE marked;
ROLLBACK;
SELECT is(state('before'), 'nothing', 'a TRUNCATE that was rolled back is none');
BEGIN;
SAVEPOINT a;
TRUNCATE marked;
SELECT is(state('before'), 'stale: truncate', 'in the transaction itself');
ROLLBACK TO a;
SELECT is(state('before'), 'nothing', 'undone by a savepoint');
COMMIT;
INSERT INTO marked VALUES (2, 2);
TRUNCATE marked;
INSERT INTO marked VALUES (3, 3);
SELECT is(state('before'), 'stale: truncate', 'TRUNCATE');
SELECT elt.create_stream('after', 'marked');
SELECT elt.create_stream('initial', 'marked', initial_rows => true);
INSERT INTO marked VALUES (4, 4);
SELECT is(state('after'), '(4,4,insert)', 'a stream made after it is not concerned');
SELECT is(state('initial'), '(3,3,insert) (4,4,insert)', 'nor one that begins with the present rows');
SELECT is(state('before'), 'stale: truncate', 'the other stays stale');
BEGIN;
SELECT state('before');
SELECT throws_ok($$SELECT elt.advance_stream('before')$$, '55000', 'this transaction has not read stream "before"', 'and cannot be advanced over it');
COMMIT;
CREATE TABLE pointing (id int REFERENCES marked);
TRUNCATE marked CASCADE;
SELECT is(state('after'), 'stale: truncate', 'TRUNCATE ... CASCADE');
CREATE TABLE referenced (id int PRIMARY KEY);
ALTER TABLE marked ADD FOREIGN KEY (v) REFERENCES referenced;
SELECT elt.create_stream('cascaded', 'marked');
TRUNCATE referenced CASCADE;
SELECT is(state('cascaded'), 'stale: truncate', 'TRUNCATE of a table that it refers to, CASCADE');
SELECT elt.drop_stream('cascaded');
ALTER TABLE marked DROP CONSTRAINT marked_v_fkey;
SELECT elt.create_stream('rewritten', 'marked');
ALTER TABLE marked ADD COLUMN r float DEFAULT random();
SELECT matches(state('rewritten'), '^stale: ', 'a rewriting ADD COLUMN');
SELECT elt.drop_stream('rewritten');
SELECT elt.create_stream('rewritten', 'marked');
ALTER TABLE marked ALTER v TYPE text;
SELECT is(state('rewritten'), 'stale: the table was rewritten', 'a rewriting ALTER TYPE');
SELECT elt.drop_stream('rewritten');

-- writes that the triggers did not see, by somebody who disabled them
SELECT elt.create_stream('disabled', 'marked');
ALTER TABLE marked DISABLE TRIGGER USER;
INSERT INTO marked VALUES (50);
ALTER TABLE marked ENABLE ALWAYS TRIGGER elt_capture_insert;
ALTER TABLE marked ENABLE ALWAYS TRIGGER elt_capture_update;
ALTER TABLE marked ENABLE ALWAYS TRIGGER elt_capture_delete;
ALTER TABLE marked ENABLE ALWAYS TRIGGER elt_capture_truncate;
SELECT is(state('disabled'), 'stale: a trigger of change tracking was disabled or dropped', 'triggers that were disabled for a while');
SELECT elt.drop_stream('disabled');

-- TRUNCATE of a partition, and of a tree
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE leaf2 PARTITION OF root FOR VALUES FROM (10) TO (20);
INSERT INTO root VALUES (1), (11);
SELECT elt.create_stream('of_root', 'root');
TRUNCATE leaf1;
SELECT is(state('of_root'), 'stale: truncate', 'TRUNCATE of a partition');
SELECT elt.drop_stream('of_root');
SELECT elt.create_stream('of_root', 'root');
TRUNCATE root;
SELECT is(state('of_root'), 'stale: truncate', 'TRUNCATE of a partitioned table');
SELECT elt.drop_stream('of_root');
SELECT elt.create_stream('of_root', 'root');
ALTER TABLE root DETACH PARTITION leaf2;
INSERT INTO leaf2 VALUES (12);
SELECT is(state('of_root'), 'stale: a partition was removed', 'DETACH PARTITION');
SELECT elt.drop_stream('of_root');
SELECT elt.create_stream('of_root', 'root');
INSERT INTO leaf2 VALUES (13);
ALTER TABLE root ATTACH PARTITION leaf2 FOR VALUES FROM (10) TO (20);
SELECT is(state('of_root'), 'stale: a partition was attached', 'ATTACH PARTITION');
SELECT elt.drop_stream('of_root');

-- a dropped stream that this transaction has read; a stream made and read in one transaction
SELECT elt.create_stream('short', 'root');
BEGIN;
INSERT INTO root VALUES (2);
SELECT * FROM short;
SELECT elt.drop_stream('short');
SELECT elt.create_stream('short', 'root');
INSERT INTO root VALUES (3);
SELECT is(state('short'), '(3,insert)', 'a stream shows what its own transaction did after creating it');
SELECT elt.advance_stream('short');
INSERT INTO root VALUES (4);
COMMIT;
SELECT is(state('short'), '(4,insert)', 'and what it did after advancing it');
BEGIN;
INSERT INTO root VALUES (5);
SELECT elt.create_stream('shorter', 'root', initial_rows => true);
INSERT INTO root VALUES (6);
COMMIT;
SELECT is((SELECT count(*) FROM shorter), (SELECT count(*) FROM root), 'initial rows, created between two writes');

-- two-row swap of a tracked table by renaming: the tracking goes with the table, not with the name
ALTER TABLE root RENAME TO old_root;
CREATE TABLE root (id int PRIMARY KEY);
INSERT INTO root VALUES (1000);
INSERT INTO old_root VALUES (7);
SELECT is(state('short'), '(4,insert) (5,insert) (6,insert) (7,insert)', 'a renamed table');

SELECT * FROM finish();
DROP SCHEMA tap_ddl CASCADE;
