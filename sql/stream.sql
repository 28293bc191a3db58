-- elt.create_stream, elt.advance_stream, elt.drop_stream and what a stream shows.
CREATE SCHEMA stream;
SET search_path = stream;

CREATE TABLE item (id int PRIMARY KEY, v text, n numeric(8,2));
INSERT INTO item VALUES (1, 'before', 1), (2, 'before', 2), (3, 'before', 3);

-- a view of the table's columns and _elt_op
SELECT elt.create_stream('item_changes', 'item');
SELECT a.attname, format_type(a.atttypid, a.atttypmod), c.relkind
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attrelid = 'item_changes'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT table_type FROM information_schema.tables WHERE table_schema = 'stream' AND table_name = 'item_changes';
SELECT relation, images, pending_rows, slowest_consumer, stale FROM elt.tracked;

-- it begins with what comes after it
SELECT * FROM item_changes ORDER BY id;
INSERT INTO item VALUES (4, 'new', 4), (5, 'new', 5);
UPDATE item SET v = 'changed' WHERE id = 1;
DELETE FROM item WHERE id = 2;
SELECT * FROM item_changes ORDER BY id;
SELECT relation, pending_rows, slowest_consumer FROM elt.tracked;

-- net changes: of several to one row what came of them, nothing where that is nothing
UPDATE item SET v = 'again' WHERE id = 1;		-- one update with the last state
UPDATE item SET v = 'new, changed' WHERE id = 4;	-- still an insert
DELETE FROM item WHERE id = 5;				-- never was
UPDATE item SET v = 'x' WHERE id = 3;
UPDATE item SET v = 'before' WHERE id = 3;		-- is as it was
INSERT INTO item VALUES (2, 'back', 2);			-- deleted and inserted: an update
SELECT * FROM item_changes ORDER BY id;
UPDATE item SET id = 30 WHERE id = 3;			-- another key is another row
SELECT * FROM item_changes ORDER BY id;

-- a read consumes nothing, nor does a transaction that is rolled back
BEGIN;
SELECT count(*) FROM item_changes;
SELECT elt.advance_stream('item_changes');
ROLLBACK;
SELECT count(*) FROM item_changes;

-- consumed with the offset in one transaction
CREATE TABLE kept (LIKE item_changes);
BEGIN;
INSERT INTO kept SELECT * FROM item_changes;
SELECT elt.advance_stream('item_changes');
COMMIT;
SELECT * FROM kept ORDER BY id;
SELECT * FROM item_changes;
SELECT relation, pending_rows, slowest_consumer FROM elt.tracked;

-- the first read of a transaction is the window, advance moves to its end and not beyond
INSERT INTO item VALUES (6, 'in the window', 6);
BEGIN;
SELECT * FROM item_changes;
INSERT INTO item VALUES (7, 'after the read', 7);
SELECT * FROM item_changes;
SELECT elt.advance_stream('item_changes');
SELECT * FROM item_changes;
SELECT elt.advance_stream('item_changes');
COMMIT;
SELECT * FROM item_changes;

-- own changes of the transaction before the read are in it, and not shown again
BEGIN;
INSERT INTO item VALUES (8, 'own, before', 8);
SELECT * FROM item_changes;
SELECT elt.advance_stream('item_changes');
INSERT INTO item VALUES (9, 'own, after', 9);
COMMIT;
SELECT * FROM item_changes;

-- EXPLAIN is not a read
BEGIN;
EXPLAIN (COSTS OFF) SELECT * FROM item_changes;
SELECT elt.advance_stream('item_changes');
ROLLBACK;

-- ROLLBACK TO undoes a read after the savepoint, not one before it
BEGIN;
SAVEPOINT s;
SELECT id FROM item_changes;
ROLLBACK TO s;
INSERT INTO item VALUES (10, 'after the rollback', 10);
SELECT id FROM item_changes ORDER BY id;
SAVEPOINT s2;
SELECT elt.advance_stream('item_changes');
ROLLBACK TO s2;
SELECT id FROM item_changes ORDER BY id;
SAVEPOINT s3;
SELECT elt.advance_stream('item_changes');
RELEASE s3;
COMMIT;
SELECT * FROM item_changes;

-- a filter or LIMIT hides changes, and advancing consumes them all the same
INSERT INTO item VALUES (11, 'a', 11), (12, 'b', 12);
BEGIN;
SELECT id FROM item_changes WHERE id = 11;
SELECT elt.advance_stream('item_changes');
COMMIT;
SELECT * FROM item_changes;

-- read again and again by one statement, in a join, in a function, by a cursor, WITH HOLD too
UPDATE item SET v = 'c' WHERE id IN (11, 12);
SELECT a.id, b.v FROM item_changes a JOIN item_changes b USING (id) ORDER BY 1;
SELECT i, (SELECT count(*) FROM item_changes WHERE id > i) FROM generate_series(10, 12) i;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM item_changes ORDER BY id;
FETCH 1 FROM c;
SELECT elt.advance_stream('item_changes');
FETCH ALL FROM c;
ROLLBACK;
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT id FROM item_changes ORDER BY id;
COMMIT;
INSERT INTO item VALUES (13, 'not for the cursor', 13);
FETCH ALL FROM h;
CLOSE h;
PREPARE p AS SELECT id FROM item_changes ORDER BY id;
EXECUTE p;
DELETE FROM item WHERE id = 13;
EXECUTE p;
DEALLOCATE p;

-- several streams of one table are independent of each other; the slowest is named
SELECT elt.create_stream('second', 'item');
INSERT INTO item VALUES (14, 'both', 14);
SELECT 'first' AS stream, id FROM item_changes UNION ALL SELECT 'second', id FROM second ORDER BY 1, 2;
BEGIN;
SELECT count(*) FROM item_changes;
SELECT elt.advance_stream('item_changes');
COMMIT;
SELECT 'first' AS stream, id FROM item_changes UNION ALL SELECT 'second', id FROM second ORDER BY 1, 2;
SELECT relation, pending_rows, slowest_consumer FROM elt.tracked;

-- initial_rows: the present rows first, then the changes
SELECT elt.create_stream('from_the_start', 'item', initial_rows => true);
SELECT elt.create_stream('from_the_start2', 'item', true);
INSERT INTO item VALUES (15, 'later', 15);
SELECT * FROM item EXCEPT ALL SELECT id, v, n FROM from_the_start WHERE _elt_op = 'insert';
SELECT id, v, n FROM from_the_start WHERE _elt_op = 'insert' EXCEPT ALL SELECT * FROM item;
BEGIN;
SELECT count(*) = (SELECT count(*) FROM item) AS all_rows FROM from_the_start;
UPDATE item SET v = 'later still' WHERE id = 15;
SELECT elt.advance_stream('from_the_start');
COMMIT;
SELECT * FROM from_the_start;

-- of a view over the view and of a column that was given another name or position afterwards
CREATE VIEW over_it AS SELECT id, _elt_op FROM from_the_start;
SELECT * FROM over_it;
ALTER TABLE item RENAME COLUMN n TO number;
ALTER TABLE item ADD COLUMN added text;
UPDATE item SET added = 'x', number = 0 WHERE id = 15;
SELECT * FROM from_the_start;
ALTER TABLE item DROP COLUMN v;
SELECT * FROM from_the_start;
DROP VIEW over_it;

-- DROP VIEW is as good as elt.drop_stream: no offset stays behind
SELECT elt.drop_stream('item_changes');
SELECT elt.drop_stream('stream.second');
DROP VIEW from_the_start, from_the_start2;
SELECT (SELECT count(*) FROM elt.consumer) AS consumers, (SELECT count(*) FROM elt.stream) AS streams;
SELECT elt.untrack('item');

-- a stream tracks its table by itself where the caller owns it
CREATE TABLE other (id int PRIMARY KEY);
SELECT elt.create_stream('of_other', 'other');
SELECT relation, images FROM elt.tracked;
DROP TABLE other;
SELECT elt.drop_stream('of_other');
SELECT count(*) FROM elt.consumer;

-- names
CREATE SCHEMA "Streams, etc.";
CREATE TABLE "Item ""one""" ("select" int PRIMARY KEY, "Upper Case" text COLLATE "C", "it's" "char", """" varchar(3));
SELECT elt.create_stream('"Streams, etc."."Change''s ""of"" it"', '"Item ""one"""');
SELECT elt.create_stream('b23456789012345678901234567890123456789012345678901234567890123', '"Item ""one"""');
SELECT elt.create_stream('UPPER', '"Item ""one"""');
INSERT INTO "Item ""one""" VALUES (1, 'a', 'b', 'c');
SELECT * FROM "Streams, etc."."Change's ""of"" it";
BEGIN;
SELECT count(*) FROM b23456789012345678901234567890123456789012345678901234567890123;
SELECT elt.advance_stream('b23456789012345678901234567890123456789012345678901234567890123');
SELECT count(*) FROM "Streams, etc."."Change's ""of"" it";
SELECT elt.advance_stream('"Streams, etc."."Change''s ""of"" it"');
COMMIT;
SELECT count(*) FROM b23456789012345678901234567890123456789012345678901234567890123;
ALTER VIEW "Streams, etc."."Change's ""of"" it" RENAME TO renamed;
ALTER VIEW "Streams, etc.".renamed SET SCHEMA stream;
UPDATE "Item ""one""" SET "it's" = 'x';
BEGIN;
SELECT * FROM renamed;
SELECT elt.advance_stream('renamed');
COMMIT;
SELECT elt.drop_stream('renamed');
SELECT elt.drop_stream('upper');
SELECT elt.drop_stream('stream.b23456789012345678901234567890123456789012345678901234567890123');

-- every row type there is in a column list
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE typed (id int PRIMARY KEY, a int[], b pair, c positive, d numeric(5,1)[], e timestamptz(3), f interval day to second(2),
                    g bit varying(5), h char(4), i name, j jsonb, k int4range, l uuid, m text COLLATE "POSIX", n pair[]);
SELECT elt.create_stream('of_typed', 'typed');
INSERT INTO typed VALUES (1, '{1,NULL}', '(1,x)', 3, '{1.5}', '2020-01-01 00:00:00.1234+00', '1 day 2.345 s', '101', 'ab', 'n', '{"k": [1]}',
                          '[1,5)', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'm', '{"(1,y)"}');
\x
SELECT * FROM of_typed;
\x
SELECT attname, format_type(s.atttypid, s.atttypmod), s.attcollation::regcollation
FROM pg_attribute s LEFT JOIN pg_attribute t USING (attname)
WHERE s.attrelid = 'of_typed'::regclass AND t.attrelid = 'typed'::regclass AND s.attnum > 0
  AND (s.atttypid, s.atttypmod, s.attcollation) IS DISTINCT FROM (t.atttypid, t.atttypmod, t.attcollation);

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA "Streams, etc.", stream CASCADE;
SELECT (SELECT count(*) FROM elt.consumer) AS consumers, (SELECT count(*) FROM elt.stream) AS streams,
       (SELECT count(*) FROM elt.capture) AS captures;
