-- What loads make of changes: keys, filters, several rows from one, sources without a key, own writes, several loads on one source.
SET client_min_messages = warning;
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA IF EXISTS tap_load CASCADE;
CREATE SCHEMA tap_load;
SET search_path = tap_load, public;
SELECT no_plan();
\i test/pgtap/include/loads.psql

-- keys change, come back, are swapped; the filter lets rows in and out
CREATE TABLE item (id int PRIMARY KEY, v text, n int);
INSERT INTO item SELECT i, 'v' || i, i FROM generate_series(1, 30) i;
SELECT load_all('item', 'SELECT id, v, n * 2 AS twice FROM %1$s WHERE n > 10 OR v IS NULL');
SELECT check_all('item', 'the first copy');
UPDATE item SET id = id + 100 WHERE id < 15;
SELECT check_all('item', 'keys changed');
UPDATE item SET id = -id;
UPDATE item SET id = -id + 1;
SELECT check_all('item', 'keys shifted by one');
BEGIN; UPDATE item SET id = 0 WHERE id = 20; UPDATE item SET id = 20 WHERE id = 21; UPDATE item SET id = 21 WHERE id = 0; COMMIT;
SELECT check_all('item', 'two keys swapped');
UPDATE item SET n = 30 - n;
SELECT check_all('item', 'rows that begin and stop to match the WHERE');
UPDATE item SET v = NULL WHERE n < 3;
UPDATE item SET v = 'x' WHERE v IS NULL AND n < 2;
SELECT check_all('item', 'NULLs');
DELETE FROM item WHERE id % 2 = 0;
INSERT INTO item SELECT i, 'again', i FROM generate_series(16, 24, 2) i ON CONFLICT DO NOTHING;
SELECT check_all('item', 'deleted and inserted');
INSERT INTO item SELECT id, 'conflict', 50 FROM item ON CONFLICT (id) DO UPDATE SET v = excluded.v, n = item.n + 1;
MERGE INTO item i USING (SELECT generate_series(10, 40) AS id) s ON s.id = i.id
    WHEN MATCHED AND i.id < 20 THEN DELETE WHEN MATCHED THEN UPDATE SET n = -n WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'merged', s.id);
SELECT check_all('item', 'ON CONFLICT and MERGE');
UPDATE item SET v = v, n = n;
SELECT is(batch('item mirror'), 'read 0, inserted 0, updated 0, deleted 0, rejected 0, pending 0', 'an update that changes nothing');
UPDATE item SET v = v || '!';
UPDATE item SET v = rtrim(v, '!');
SELECT matches(batch('item mirror'), 'inserted 0, updated 0, deleted 0, rejected 0, pending 0', 'and two that cancel each other');
UPDATE item SET n = n + 1000 WHERE n > 10;
SELECT matches(batch('item mirror'), 'inserted 0, updated [1-9]\d*, deleted 0', 'updates are updates');
SELECT check_all('item', 'all the same');
DELETE FROM item;
SELECT check_all('item', 'nothing left');

-- rows of the target that were changed there: a mirror restores what a change of the source touches, and nothing else
INSERT INTO item SELECT i, 'v', 50 FROM generate_series(1, 5) i;
SELECT check_all('item', 'rows again');
UPDATE item_m SET v = 'by hand' WHERE id IN (1, 2);
DELETE FROM item_m WHERE id IN (3, 4);
UPDATE item SET n = 51 WHERE id IN (1, 3);
DELETE FROM item WHERE id = 4;
SELECT is(batch('item mirror'), 'read 3, inserted 1, updated 1, deleted 0, rejected 0, pending 0', 'a target that was changed by others');
SELECT results_eq('SELECT id, v FROM item_m ORDER BY id', $$VALUES (1, 'v'), (2, 'by hand'), (3, 'v'), (5, 'v')$$, 'what the source did not touch stays');
UPDATE item_m SET v = 'v';

-- a transaction's own writes are in its batches
BEGIN;
INSERT INTO item VALUES (6, 'own', 60);
SELECT batch('item mirror') AS first \gset
UPDATE item SET v = 'own, later' WHERE id = 6;
SELECT batch('item mirror') AS second \gset
SAVEPOINT a;
DELETE FROM item WHERE id = 6;
SELECT batch('item mirror') AS third \gset
ROLLBACK TO a;
SELECT batch('item mirror') AS fourth \gset
INSERT INTO item VALUES (7, 'own, not loaded', 70);
COMMIT;
SELECT is(:'first'::text, 'read 1, inserted 1, updated 0, deleted 0, rejected 0, pending 0', 'an own insert');
SELECT is(:'second'::text, 'read 1, inserted 0, updated 1, deleted 0, rejected 0, pending 0', 'an own update');
SELECT is(:'third'::text, 'read 1, inserted 0, updated 0, deleted 1, rejected 0, pending 0', 'an own delete');
SELECT is(:'fourth'::text, 'read 0, inserted 0, updated 0, deleted 0, rejected 0, pending 0', 'undone by ROLLBACK TO, with its offset');
SELECT results_eq('SELECT id, v FROM item_m WHERE id > 5', $$VALUES (6, 'own, later')$$, 'committed so');
SELECT check_all('item', 'what came after the last batch');
BEGIN;
DELETE FROM item;
SELECT batch('item mirror') AS first \gset
ROLLBACK;
SELECT matches(:'first'::text, 'deleted 6', 'a batch over own deletes');
SELECT check_all('item', 'rolled back wholly');

-- several rows from one: the key has the source's key and more
CREATE TABLE post (id int, part int, tags text[], PRIMARY KEY (part, id));
INSERT INTO post SELECT i % 5, i / 5, ARRAY[chr(97 + i % 3), chr(97 + i % 7), 'z' || i] FROM generate_series(1, 20) i;
SELECT load_all('post', 'SELECT p.part, t.tag, p.id AS post, t.ord FROM %1$s p, LATERAL (SELECT tag, min(ord) AS ord FROM unnest(p.tags) WITH ORDINALITY u (tag, ord) GROUP BY tag) t',
                '{part,post,tag}');
SELECT check_all('post', 'several rows from one');
UPDATE post SET tags = tags[2:] || ARRAY['new', 'a'] WHERE id < 3;
UPDATE post SET tags = '{}' WHERE part = 1;
UPDATE post SET tags = NULL WHERE part = 2;
SELECT check_all('post', 'other tags, fewer, none');
UPDATE post SET part = part + 10, tags = tags || 'moved'::text WHERE id = 2;
DELETE FROM post WHERE id = 3;
SELECT check_all('post', 'keys of several columns changed');

-- the order of key columns differs between source and target
CREATE TABLE pair (a int, b text, c int, PRIMARY KEY (a, b));
INSERT INTO pair SELECT i % 4, 'b' || i, i FROM generate_series(1, 20) i;
SELECT load_all('pair', 'SELECT b AS second, c, a AS first FROM %1$s', '{second,first}');
SELECT check_all('pair', 'composite key');
UPDATE pair SET a = a + 1, b = b || 'x' WHERE c % 3 = 0;
UPDATE pair SET c = -c WHERE a = 2;
DELETE FROM pair WHERE a = 3;
SELECT check_all('pair', 'composite key changed');

-- the target's key is not the source's: deleted by what the query made of the old row
CREATE TABLE account (id serial PRIMARY KEY, email text UNIQUE, name text);
INSERT INTO account (email, name) SELECT 'E' || i || '@x', 'n' || i FROM generate_series(1, 10) i;
SELECT load_all('account', 'SELECT lower(email) AS email, name FROM %1$s WHERE email IS NOT NULL', '{email}');
SELECT check_all('account', 'a key that the query computes');
UPDATE account SET email = 'moved' || id WHERE id < 4;
UPDATE account SET email = NULL WHERE id = 5;
DELETE FROM account WHERE id = 6;
BEGIN; UPDATE account SET email = 'e8@x' WHERE id = 7; UPDATE account SET email = 'e7@x' WHERE id = 8; COMMIT;
UPDATE account SET name = 'renamed' WHERE id = 9;
SELECT check_all('account', 'its keys changed and taken over by others');
DELETE FROM account WHERE id = 1;
INSERT INTO account (email, name) VALUES ('MOVED1', 'somebody else');
SELECT check_all('account', 'another row under the same key');

-- a source without a key
CREATE TABLE bag (v text, n int);
INSERT INTO bag SELECT 'v' || i % 7, i % 7 FROM generate_series(1, 30) i;
SELECT load_all('bag', key => '{}');
SELECT check_all('bag', 'append from a table without a key');
INSERT INTO bag SELECT * FROM bag;
UPDATE bag SET n = n + 1 WHERE v = 'v3';
DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE v = 'v4' LIMIT 2);
SELECT check_all('bag', 'duplicates, updates and deletes of it');
CREATE TABLE unique_bag (v text NOT NULL UNIQUE, n int);
CREATE TABLE unique_bag_m (v text PRIMARY KEY, n int);
SELECT elt.create_load('unique', 'unique_bag_m', source => 'unique_bag', mode => 'mirror');
INSERT INTO unique_bag SELECT 'v' || i, i FROM generate_series(1, 20) i;
CALL elt.run('unique');
UPDATE unique_bag SET n = -n WHERE n < 5;
UPDATE unique_bag SET v = 'w' || n WHERE n BETWEEN 5 AND 9;
DELETE FROM unique_bag WHERE n > 15;
BEGIN; DELETE FROM unique_bag WHERE v = 'v12'; INSERT INTO unique_bag VALUES ('v12', 1200); COMMIT;
CALL elt.run('unique');
SELECT results_eq('TABLE unique_bag_m ORDER BY v', 'TABLE unique_bag ORDER BY v', 'a mirror of a table without a primary key');
INSERT INTO bag VALUES ('v0', 0);
CREATE TABLE first_of_bag (v text PRIMARY KEY, n int);
SELECT elt.create_load('bag mirror by v', 'first_of_bag', source => 'bag', mode => 'mirror');
SELECT throws_ok($$SELECT elt.run_batch('bag mirror by v')$$, '21000', NULL, 'rows with the same key are an error, not one of them');
SELECT elt.drop_load('bag mirror by v');

-- only the keys are tracked: rows are read as they are now
CREATE TABLE keyed (id int PRIMARY KEY, v text, n int);
CREATE TABLE keyed_m (id int PRIMARY KEY, v text);
CREATE TABLE keyed_u (id int PRIMARY KEY, v text);
INSERT INTO keyed SELECT i, 'v' || i, i FROM generate_series(1, 20) i;
SELECT elt.track('keyed', images => 'key');
SELECT elt.create_load('keyed mirror', 'keyed_m', source => 'keyed', mode => 'mirror', query => 'SELECT id, v FROM keyed WHERE n > 0');
SELECT elt.create_load('keyed upsert', 'keyed_u', source => 'keyed', query => 'SELECT id, v FROM keyed WHERE n > 0');
CALL elt.run('keyed mirror');
CALL elt.run('keyed upsert');
UPDATE keyed SET v = 'a' WHERE id < 5;
UPDATE keyed SET v = 'b' WHERE id < 3;
UPDATE keyed SET n = -n WHERE id IN (6, 7);
DELETE FROM keyed WHERE id IN (8, 9);
UPDATE keyed SET id = 100 WHERE id = 10;
INSERT INTO keyed VALUES (30, 'new', 1), (31, 'new', -1), (8, 'back', 1);
SELECT is(batch('keyed mirror'), 'read 14, inserted 2, updated 5, deleted 4, rejected 0, pending 0', 'keys tracked: a batch');
SELECT results_eq('TABLE keyed_m ORDER BY id', 'SELECT id, v FROM keyed WHERE n > 0 ORDER BY id', 'a mirror of the rows that are there');
CALL elt.run('keyed upsert');
SELECT results_eq('SELECT id FROM keyed_u EXCEPT SELECT id FROM keyed_m ORDER BY 1', 'VALUES (6), (7), (9), (10)', 'an upsert deletes none');
SELECT is_empty('TABLE keyed_m EXCEPT TABLE keyed_u', 'and has all');
BEGIN;
UPDATE keyed SET v = 'own' WHERE id = 1;
SELECT batch('keyed mirror') AS first \gset
COMMIT;
SELECT is(:'first'::text, 'read 1, inserted 0, updated 1, deleted 0, rejected 0, pending 0', 'keys tracked: own writes');
SELECT is((SELECT v FROM keyed_m WHERE id = 1), 'own', 'are read');

-- several loads on one source, each with its own offset
CREATE TABLE shared (id int PRIMARY KEY, v text);
CREATE TABLE one (LIKE shared INCLUDING ALL);
CREATE TABLE two (LIKE shared INCLUDING ALL);
CREATE TABLE three (LIKE shared);
SELECT elt.create_load('one', 'one', source => 'shared', mode => 'mirror');
INSERT INTO shared VALUES (1, 'a');
CALL elt.run('one');
SELECT elt.create_load('two', 'two', source => 'shared', mode => 'mirror', initial => 'none');
INSERT INTO shared VALUES (2, 'b');
SELECT elt.create_load('three', 'three', source => 'shared', mode => 'append');
UPDATE shared SET v = 'c' WHERE id = 1;
SELECT results_eq('SELECT name, pending_rows FROM elt.loads WHERE source = ''shared''::regclass ORDER BY name',
                  $$VALUES ('one'::text, 2::bigint), ('three', NULL), ('two', 2)$$, 'each has its own pending rows');
SELECT is(batch('two'), 'read 2, inserted 2, updated 0, deleted 0, rejected 0, pending 0', 'one of them');
DELETE FROM shared WHERE id = 2;
SELECT is(batch('one'), 'read 3, inserted 0, updated 1, deleted 0, rejected 0, pending 0', 'another');
SELECT is(batch('three'), 'read 1, inserted 1, updated 0, deleted 0, rejected 0, pending 0', 'the third copies when it first runs');
SELECT is(batch('two'), 'read 1, inserted 0, updated 0, deleted 1, rejected 0, pending 0', 'and one again');
SELECT elt.drop_load('two');
INSERT INTO shared VALUES (3, 'd');
CALL elt.run('one');
CALL elt.run('three');
SELECT results_eq('TABLE one ORDER BY id', $$VALUES (1, 'c'), (3, 'd')$$, 'one is dropped, the others go on');
SELECT results_eq('TABLE three ORDER BY id', $$VALUES (1, 'c'), (3, 'd')$$, 'both of them');
SELECT is((SELECT pending_rows FROM elt.tracked WHERE relation = 'shared'::regclass), 0::bigint, 'nobody is behind');

-- the queries' settings are those of when the load was made
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German, DMY';
CREATE TABLE moment (id int PRIMARY KEY, at timestamptz, typed text);
SELECT load_all('moment', 'SELECT id, at::text AS shown, at::date AS day, typed::date AS read, format(''%%s'', at) AS formatted FROM %1$s');
INSERT INTO moment VALUES (1, '2024-06-30 20:00+00', '01.02.2024');
SELECT check_all('moment', 'with the settings of now');
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
INSERT INTO moment VALUES (2, '2024-06-30 20:00+00', '01.02.2024');
CALL elt.run('moment mirror');
SELECT results_eq('SELECT id, shown, day, read, formatted FROM moment_m ORDER BY id', $$
    VALUES (1, '01.07.2024 05:00:00 JST', '2024-07-01'::date, '2024-02-01'::date, '01.07.2024 05:00:00 JST'),
           (2, '01.07.2024 05:00:00 JST', '2024-07-01', '2024-02-01', '01.07.2024 05:00:00 JST')$$, 'and with those of then');
SELECT is(current_setting('TimeZone') || current_setting('DateStyle'), 'UTCISO, MDY', 'the session keeps its own');

SELECT * FROM finish();
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA tap_load CASCADE;
