-- Loads as a user sees them: elt.create_load, elt.run_batch, CALL elt.run, elt.loads, elt.drop_load.
CREATE SCHEMA load;
SET search_path = load;

CREATE TABLE item (id int PRIMARY KEY, v text, n numeric(8,2));
INSERT INTO item VALUES (1, 'before', 1), (2, 'before', 2), (3, 'before', 3);

-- the three modes beside each other, without a query: the columns that source and target share
CREATE TABLE mirrored (LIKE item INCLUDING ALL);
CREATE TABLE upserted (v text, id int PRIMARY KEY, at_load timestamptz DEFAULT now());
CREATE TABLE appended (id int, v text, no bigint GENERATED ALWAYS AS IDENTITY);
SELECT elt.create_load('mirrored', 'mirrored', source => 'item', mode => 'mirror');
SELECT elt.create_load('upserted', 'upserted', source => 'item');
SELECT elt.create_load('appended', 'appended', source => 'item', mode => 'append');
SELECT * FROM elt.loads ORDER BY name;
SELECT relation, images, pending_rows, slowest_consumer, stale FROM elt.tracked;

-- the first batch copies the present rows
SELECT * FROM elt.run_batch('mirrored');
SELECT * FROM elt.run_batch('upserted');
SELECT * FROM elt.run_batch('appended');
TABLE mirrored ORDER BY id;
SELECT id, v, at_load IS NOT NULL AS has_default FROM upserted ORDER BY id;
SELECT id, v FROM appended ORDER BY id;
SELECT name, pending_rows, rejected_rows FROM elt.loads ORDER BY name;

-- and then what changes: several changes to one row are one
INSERT INTO item VALUES (4, 'new', 4), (5, 'never seen', 5);
UPDATE item SET v = 'changed' WHERE id = 1;
UPDATE item SET v = 'again' WHERE id = 1;
DELETE FROM item WHERE id IN (2, 5);
UPDATE item SET v = 'x' WHERE id = 3;
UPDATE item SET v = 'before' WHERE id = 3;
SELECT name, pending_rows FROM elt.loads ORDER BY name;
SELECT * FROM elt.run_batch('mirrored');
SELECT * FROM elt.run_batch('upserted');
SELECT * FROM elt.run_batch('appended');
TABLE mirrored ORDER BY id;					-- as the source
SELECT id, v FROM upserted ORDER BY id;				-- 2 stays
SELECT id, v, count(*) FROM appended GROUP BY id, v ORDER BY id, v;	-- every version that was committed
SELECT name, pending_rows FROM elt.loads ORDER BY name;

-- a batch without changes does nothing; nor does one rolled back
SELECT * FROM elt.run_batch('mirrored');
INSERT INTO item VALUES (6, 'six', 6);
BEGIN;
SELECT * FROM elt.run_batch('mirrored');
SELECT count(*) FROM mirrored;
ROLLBACK;
SELECT count(*) FROM mirrored;
SELECT * FROM elt.run_batch('mirrored');
SELECT count(*) FROM mirrored;

-- a key that changes is another row
UPDATE item SET id = 60 WHERE id = 6;
CALL elt.run('mirrored');
CALL elt.run('upserted');
SELECT id FROM mirrored ORDER BY id;
SELECT id FROM upserted ORDER BY id;

-- rows that are the same already are not written
UPDATE upserted SET v = 'by hand' WHERE id = 60;
UPDATE item SET n = n + 1;					-- not in the target
SELECT rows_read, inserted, updated, deleted FROM elt.run_batch('upserted');
SELECT id, v FROM upserted ORDER BY id;

-- a query: names, expressions, a filter, a lookup; what stops matching the WHERE goes in a mirror
CREATE TABLE color (code int PRIMARY KEY, name text);
INSERT INTO color VALUES (1, 'red'), (2, 'blue');
CREATE TABLE paint (id int PRIMARY KEY, color int, liters numeric);
INSERT INTO paint VALUES (1, 1, 10), (2, 2, 20), (3, 3, 30), (4, 1, 0);
CREATE TABLE stock (paint_id int PRIMARY KEY, color_name text, milliliters numeric NOT NULL, note text DEFAULT 'from the default');
SELECT elt.create_load('stock', 'stock', source => 'paint', mode => 'mirror', query => $$
    SELECT p.id AS paint_id, coalesce(c.name, 'unknown') AS color_name, p.liters * 1000 AS milliliters
    FROM paint p LEFT JOIN color c ON c.code = p.color
    WHERE p.liters > 0
$$);
SELECT query FROM elt.loads WHERE name = 'stock';
SELECT * FROM elt.run_batch('stock');
TABLE stock ORDER BY paint_id;
UPDATE paint SET liters = 0 WHERE id = 1;
UPDATE paint SET liters = 4 WHERE id = 4;
UPDATE paint SET color = 2 WHERE id = 3;
UPDATE color SET name = 'navy' WHERE code = 2;			-- seen when a row of paint changes
SELECT * FROM elt.run_batch('stock');
TABLE stock ORDER BY paint_id;

-- the query is kept with every name qualified: it means the same under any search_path, and after a rename
SET search_path = pg_catalog;
INSERT INTO load.paint VALUES (5, 1, 5);
SELECT inserted FROM elt.run_batch('stock');
SET search_path = load;

-- several rows from one; the key has the source's key and more
CREATE TABLE post (id int PRIMARY KEY, tags text[]);
CREATE TABLE tag (post int, tag text, PRIMARY KEY (post, tag));
INSERT INTO post VALUES (1, '{a,b}'), (2, '{}'), (3, '{c}');
SELECT elt.create_load('tag', 'tag', source => 'post', mode => 'mirror',
                       query => 'SELECT p.id AS post, t.tag FROM post p CROSS JOIN LATERAL unnest(p.tags) AS t (tag)');
SELECT * FROM elt.run_batch('tag');
UPDATE post SET tags = '{b,d}' WHERE id = 1;
UPDATE post SET tags = '{e}' WHERE id = 2;
DELETE FROM post WHERE id = 3;
SELECT * FROM elt.run_batch('tag');
TABLE tag ORDER BY post, tag;

-- a key other than the primary key
CREATE TABLE by_code (no serial PRIMARY KEY, code int NOT NULL UNIQUE, name text);
SELECT elt.create_load('by code', 'by_code', source => 'color', key => '{code}');
CALL elt.run('by code');
UPDATE color SET name = 'green' WHERE code = 1;
CALL elt.run('by code');
SELECT no, code, name FROM by_code ORDER BY code;
SELECT name, key FROM elt.loads ORDER BY name;

-- initial => 'none': only what comes after elt.create_load
CREATE TABLE later (LIKE item INCLUDING ALL);
SELECT elt.create_load('later', 'later', source => 'item', initial => 'none');
SELECT pending_rows FROM elt.loads WHERE name = 'later';
SELECT * FROM elt.run_batch('later');
INSERT INTO item VALUES (7, 'later', 7);
SELECT * FROM elt.run_batch('later');
TABLE later;

-- elt.run: as many batches as it takes, a transaction each; batches of about batch_rows changes
CREATE TABLE big (id int PRIMARY KEY, v int);
CREATE TABLE big_copy (LIKE big INCLUDING ALL);
CREATE TABLE xids (xid xid8);
CREATE FUNCTION note_xid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO load.xids VALUES (pg_current_xact_id()); RETURN NULL; END $$;
CREATE TRIGGER note_xid AFTER INSERT OR UPDATE ON big_copy EXECUTE FUNCTION note_xid();
SELECT elt.create_load('big', 'big_copy', source => 'big', mode => 'mirror', batch_rows => 100);
CALL elt.run('big');
INSERT INTO big SELECT i, i FROM generate_series(1, 1000) i;
SELECT pending_rows FROM elt.loads WHERE name = 'big';
TRUNCATE xids;
CALL elt.run('big');
SELECT count(DISTINCT xid) FROM xids;
SELECT count(*), sum(v) FROM big_copy;
SELECT pending_rows FROM elt.loads WHERE name = 'big';
UPDATE big SET v = -v;
BEGIN;
SELECT rows_read BETWEEN 1 AND 400 AS a_part, inserted, rows_read = updated AS all_updates, pending > 0 AS more FROM elt.run_batch('big');
SELECT pending > 0 AS more FROM elt.run_batch('big');
COMMIT;
SELECT count(*) FILTER (WHERE v < 0) BETWEEN 2 AND 999 AS in_part FROM big_copy;
CALL elt.run('big');
SELECT count(*), sum(v) FROM big_copy;
SELECT * FROM elt.run_batch('big');

-- TRUNCATE and DDL: the target is brought to what the query gives, and tracking goes on
TRUNCATE big;
INSERT INTO big VALUES (1, 100), (5000, 100);
SELECT * FROM elt.run_batch('big');
TABLE big_copy ORDER BY id;
ALTER TABLE big ALTER v TYPE bigint USING v + 1;
ALTER TABLE big ADD added int DEFAULT 3;
SELECT inserted, updated, deleted, pending FROM elt.run_batch('big');
TABLE big_copy ORDER BY id;
-- upsert keeps what was truncated, append only wants new rows
TRUNCATE item;
INSERT INTO item VALUES (8, 'after', 8);
SELECT inserted, updated, deleted FROM elt.run_batch('upserted');
SELECT rows_read, inserted FROM elt.run_batch('appended');
CALL elt.run('mirrored');
TABLE mirrored;
SELECT id, v FROM upserted ORDER BY id;

-- if_exists
SELECT elt.create_load('later', 'later', source => 'item', if_exists => 'skip');
SELECT elt.create_load('later', 'later', source => 'item', initial => 'none', if_exists => 'alter');
SELECT elt.create_load('another', 'later', source => 'item', initial => 'none', if_exists => 'alter');
SELECT name FROM elt.loads WHERE target = 'later'::regclass ORDER BY name;

-- a load over a view's and a sub-query's rows of other tables, CTEs
CREATE VIEW colors AS SELECT code, upper(name) AS name FROM color;
CREATE TABLE painted (id int PRIMARY KEY, color text, many boolean);
SELECT elt.create_load('painted', 'painted', source => 'paint', mode => 'mirror', query => $$
    WITH much AS (SELECT * FROM paint WHERE liters > 3)
    SELECT m.id, c.name AS color, m.liters > (SELECT count(*) FROM colors) AS many
    FROM much m JOIN colors c ON c.code = m.color
$$);
CALL elt.run('painted');
DELETE FROM paint WHERE id = 5;
INSERT INTO paint VALUES (6, 2, 3.5);
CALL elt.run('painted');
TABLE painted ORDER BY id;

-- the load of a load's target
CREATE TABLE chained (id int PRIMARY KEY);
SELECT elt.create_load('chained', 'chained', source => 'painted', mode => 'mirror');
CALL elt.run('chained');
DELETE FROM paint WHERE id = 6;
CALL elt.run('painted');
CALL elt.run('chained');
TABLE chained ORDER BY id;

-- quarantine: rows that cannot be loaded are kept aside
CREATE TABLE reading (id int PRIMARY KEY, value text);
CREATE TABLE checked (id int PRIMARY KEY, value int CHECK (value >= 0));
INSERT INTO reading VALUES (1, '1'), (2, 'two'), (3, '3'), (4, '-4');
SELECT elt.create_load('checked', 'checked', source => 'reading', mode => 'mirror', query => 'SELECT id, value::int AS value FROM reading',
                       on_error => 'quarantine', max_rejected => 5);
SELECT * FROM elt.run_batch('checked');
TABLE checked ORDER BY id;
SELECT load, "time" IS NOT NULL AS has_time, sqlstate, message, key, "row" FROM elt.rejected ORDER BY key;
SELECT rejected_rows FROM elt.loads WHERE name = 'checked';
ALTER TABLE checked DROP CONSTRAINT checked_value_check;
SELECT elt.retry_rejected('checked');
SELECT sqlstate, message, key, "row" FROM elt.rejected ORDER BY key;
UPDATE reading SET value = '2' WHERE id = 2;
SELECT * FROM elt.run_batch('checked');
SELECT count(*) FROM elt.rejected;
TABLE checked ORDER BY id;

-- names
CREATE SCHEMA "Loads, etc.";
CREATE TABLE "Item ""one""" ("select" int PRIMARY KEY, "Upper Case" text COLLATE "C", "it's" "char", """" varchar(3));
CREATE TABLE "Loads, etc."."a23456789012345678901234567890123456789012345678901234567890123"
    ("it's" "char", "select" int, "Upper Case" text, """" varchar(3), PRIMARY KEY ("select"));
CREATE TABLE "Loads, etc."."Of ""it""" ("Key's" int PRIMARY KEY, "a b" text);
INSERT INTO "Item ""one""" VALUES (1, 'a', 'b', 'c'), (2, NULL, NULL, NULL);
SELECT elt.create_load('It''s a "load", Über-größe; -- %s', '"Loads, etc."."a23456789012345678901234567890123456789012345678901234567890123"',
                       source => '"Item ""one"""', mode => 'mirror');
SELECT elt.create_load(repeat('long name ', 30), '"Loads, etc."."Of ""it"""', source => '"Item ""one"""', mode => 'mirror', key => '{Key''s}',
                       query => 'SELECT i."select" AS "Key''s", i."Upper Case" || i."""" AS "a b" FROM "Item ""one""" i');
\pset format unaligned
SELECT name, source, target, key, query FROM elt.loads WHERE source = '"Item ""one"""'::regclass ORDER BY name;
\pset format aligned
CALL elt.run('It''s a "load", Über-größe; -- %s');
CALL elt.run(repeat('long name ', 30));
UPDATE "Item ""one""" SET "it's" = 'x', "Upper Case" = 'B' WHERE "select" = 1;
DELETE FROM "Item ""one""" WHERE "select" = 2;
CALL elt.run('It''s a "load", Über-größe; -- %s');
CALL elt.run(repeat('long name ', 30));
TABLE "Loads, etc."."a23456789012345678901234567890123456789012345678901234567890123";
TABLE "Loads, etc."."Of ""it""";
-- the target renamed and moved
ALTER TABLE "Loads, etc."."a23456789012345678901234567890123456789012345678901234567890123" RENAME TO renamed;
ALTER TABLE "Loads, etc.".renamed SET SCHEMA load;
UPDATE "Item ""one""" SET "it's" = 'y';
CALL elt.run('It''s a "load", Über-größe; -- %s');
TABLE renamed;

-- nothing is running now
SELECT * FROM elt.progress;

-- the end: nothing is left of a load but its target, and the source stays tracked
SELECT elt.drop_load('It''s a "load", Über-größe; -- %s');
SELECT elt.drop_load(repeat('long name ', 30));
SELECT elt.drop_load(name) FROM elt.loads WHERE source <> 'reading'::regclass;
SELECT elt.untrack('item');
SELECT name FROM elt.loads;
INSERT INTO reading VALUES (9, 'nine');
CALL elt.run('checked');
SELECT count(*) FROM elt.rejected;
SELECT elt.drop_load('checked');
SELECT count(*) FROM elt.rejected;
SELECT count(*) FROM checked;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA "Loads, etc.", load CASCADE;
SELECT (SELECT count(*) FROM elt.node) AS nodes, (SELECT count(*) FROM elt.load) AS loads, (SELECT count(*) FROM elt.rejected_row) AS rejected,
       (SELECT count(*) FROM elt.consumer) AS consumers, (SELECT count(*) FROM elt.capture) AS captures;
