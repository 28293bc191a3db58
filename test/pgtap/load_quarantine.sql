-- on_error 'quarantine': bad rows are set aside with their error, and come back when they can be loaded; in each mode.
SET client_min_messages = warning;
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA IF EXISTS tap_load_quarantine CASCADE;
CREATE SCHEMA tap_load_quarantine;
SET search_path = tap_load_quarantine, public;
SELECT no_plan();
\i test/pgtap/include/loads.psql

-- rejected rows of a load: sqlstate, key, a column
CREATE FUNCTION rejected(load text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat_ws(' ', sqlstate, key, "row" ->> 'v'), ', ' ORDER BY key, "row"::text COLLATE "C"), 'none') FROM elt.rejected r WHERE r.load = $1
$$;
-- what a mirror and its rejected rows should be: the rows that can be loaded, and those that cannot
CREATE FUNCTION is_number(text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT $1 ~ '^-?\d{1,6}$' $$;

CREATE TABLE item (id int PRIMARY KEY, v text);
CREATE TABLE m (id int PRIMARY KEY, n int CHECK (n >= 0));
CREATE TABLE u (id int PRIMARY KEY, n int CHECK (n >= 0));
CREATE TABLE a (id int, n int CHECK (n >= 0));
INSERT INTO item SELECT i, CASE WHEN i % 10 = 0 THEN 'bad' || i ELSE i::text END FROM generate_series(1, 100) i;
SELECT elt.create_load('m', 'm', source => 'item', mode => 'mirror', query => 'SELECT id, v::int AS n FROM item', on_error => 'quarantine');
SELECT elt.create_load('u', 'u', source => 'item', mode => 'upsert', query => 'SELECT id, v::int AS n FROM item', on_error => 'quarantine');
SELECT elt.create_load('a', 'a', source => 'item', mode => 'append', query => 'SELECT id, v::int AS n FROM item', on_error => 'quarantine');

-- the first copy
SELECT is(batch('m'), 'read 100, inserted 90, updated 0, deleted 0, rejected 10, pending 0', 'mirror: bad rows of the copy');
SELECT is(batch('u'), 'read 100, inserted 90, updated 0, deleted 0, rejected 10, pending 0', 'upsert');
SELECT is(batch('a'), 'read 100, inserted 90, updated 0, deleted 0, rejected 10, pending 0', 'append');
SELECT results_eq('SELECT * FROM m ORDER BY id', 'SELECT id, v::int FROM item WHERE is_number(v) ORDER BY id', 'all the others are loaded');
SELECT results_eq($$SELECT sqlstate, message, key, "row" FROM elt.rejected WHERE load = 'm' ORDER BY (key ->> 'id')::int LIMIT 1$$,
    $$VALUES ('22P02'::text, 'invalid input syntax for type integer: "bad10"'::text, '{"id": 10}'::jsonb, '{"id": 10, "v": "bad10"}'::jsonb)$$, 'with error, key and content');
SELECT results_eq('SELECT name, rejected_rows FROM elt.loads ORDER BY name', $$VALUES ('a'::text, 10::bigint), ('m', 10), ('u', 10)$$, 'elt.loads counts them');
SELECT is(elt.retry_rejected('m'), 0::bigint, 'a retry that does not help');
SELECT is(count(*), 10::bigint, 'keeps them') FROM elt.rejected WHERE load = 'm';

-- a newer version supersedes what was rejected: good, bad again, gone
DELETE FROM item WHERE id > 30;
UPDATE item SET v = '1000' WHERE id = 10;
UPDATE item SET v = 'worse' WHERE id = 20;
DELETE FROM item WHERE id = 30;
SELECT is(batch('m'), 'read 73, inserted 1, updated 0, deleted 63, rejected 1, pending 0', 'mirror: superseded');
SELECT is(rejected('m'), '22P02 {"id": 20} worse', 'mirror: good and gone are out, bad is the new one');
SELECT results_eq('SELECT * FROM m ORDER BY id', 'SELECT id, v::int FROM item WHERE is_number(v) ORDER BY id', 'mirror: as it should be');
SELECT matches(batch('u'), 'read 73, inserted 1, updated 0, deleted 0, rejected 1', 'upsert: superseded');
SELECT is(rejected('u'), '22P02 {"id": 20} worse', 'upsert: as well');
SELECT matches(batch('a'), 'read 73, inserted 1, updated 0, deleted 0, rejected 1', 'append: nothing is superseded');
SELECT is(count(*), 11::bigint, 'append: each version counts') FROM elt.rejected WHERE load = 'a';

-- a loaded row turns bad: a mirror has no row of it, an upsert its last good one
UPDATE item SET v = 'turned' WHERE id = 1;
UPDATE item SET v = '-5' WHERE id = 2;
UPDATE item SET v = '5' WHERE id = 3;
SELECT is(batch('m'), 'read 3, inserted 0, updated 1, deleted 2, rejected 2, pending 0', 'mirror: turned bad');
SELECT is(batch('u'), 'read 3, inserted 0, updated 1, deleted 0, rejected 2, pending 0', 'upsert: turned bad');
SELECT is(rejected('m'), '22P02 {"id": 1} turned, 23514 {"id": 2} -5, 22P02 {"id": 20} worse', 'mirror: with their errors');
SELECT is_empty('SELECT * FROM m WHERE id IN (1, 2)', 'mirror: no row');
SELECT results_eq('SELECT * FROM u WHERE id IN (1, 2, 3) ORDER BY id', 'VALUES (1, 1), (2, 2), (3, 5)', 'upsert: the last good one');
-- the target changes its mind: those that can now be loaded are, at once
ALTER TABLE m DROP CONSTRAINT m_n_check;
SELECT is(elt.retry_rejected('m'), 1::bigint, 'mirror: one can be loaded now');
SELECT results_eq('SELECT * FROM m WHERE id IN (1, 2, 3) ORDER BY id', 'VALUES (2, -5), (3, 5)', 'mirror: it is');
SELECT is(rejected('m'), '22P02 {"id": 1} turned, 22P02 {"id": 20} worse', 'mirror: the others stay');
ALTER TABLE a DROP CONSTRAINT a_n_check;
CALL elt.run('a');
SELECT is(elt.retry_rejected('a'), 0::bigint, 'append: none of the old ones');
-- a retry never brings back what was superseded, changed or deleted meanwhile and not loaded yet
UPDATE item SET v = '77' WHERE id = 1;
DELETE FROM item WHERE id = 20;
SELECT is(elt.retry_rejected('m'), 0::bigint, 'a retry before the batch that supersedes');
CALL elt.run('m');
SELECT is(rejected('m'), 'none', 'superseded by the batch');
SELECT results_eq('SELECT * FROM m ORDER BY id', 'SELECT id, v::int FROM item WHERE is_number(v) ORDER BY id', 'as it should be');

-- max_rejected: with those kept from before; the batch fails as a whole
CREATE TABLE limited (id int PRIMARY KEY, n int);
SELECT elt.create_load('limited', 'limited', source => 'item', mode => 'mirror', query => 'SELECT id, v::int AS n FROM item', on_error => 'quarantine', max_rejected => 3);
CALL elt.run('limited');
UPDATE item SET v = 'x' || id WHERE id IN (4, 5);
SELECT is(batch('limited'), 'read 2, inserted 0, updated 0, deleted 2, rejected 2, pending 0', 'two of three');
UPDATE item SET v = 'x' || id WHERE id IN (6, 7);
UPDATE item SET v = '800' WHERE id = 8;
SELECT throws_ok($$SELECT elt.run_batch('limited')$$, '53400', 'load "limited" has rejected more than 3 rows', 'two more are too many');
SELECT results_eq('SELECT * FROM limited WHERE id BETWEEN 4 AND 8 ORDER BY id', 'VALUES (6, 6), (7, 7), (8, 8)', 'nothing of that batch is there');
SELECT is(rejected('limited'), '22P02 {"id": 4} x4, 22P02 {"id": 5} x5', 'nor among the rejected');
UPDATE item SET v = '6' WHERE id = 6;
SELECT is(batch('limited'), 'read 4, inserted 0, updated 1, deleted 1, rejected 1, pending 0', 'three of three');
UPDATE item SET v = '4' WHERE id = 4;
UPDATE item SET v = 'x9' WHERE id = 9;
SELECT is(batch('limited'), 'read 2, inserted 1, updated 0, deleted 1, rejected 1, pending 0', 'one superseded makes room for one');
SELECT elt.create_load('none', 'u', source => 'item', query => 'SELECT id, v::int AS n FROM item', on_error => 'quarantine', max_rejected => 0, initial => 'none');
UPDATE item SET v = 'x11' WHERE id = 11;
SELECT throws_ok($$SELECT elt.run_batch('none')$$, '53400', NULL, 'max_rejected 0');
SELECT elt.drop_load('none');
SELECT elt.drop_load('limited');

-- constraints of every kind; other rows of the same batch are loaded
CREATE TABLE strict (id int PRIMARY KEY, u int UNIQUE, f int REFERENCES m, p varchar(3) NOT NULL, x int, EXCLUDE USING gist (int4range(x, x + 2) WITH &&));
CREATE TABLE loose (id int PRIMARY KEY, u int, f int, p text, x int, v text);
CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 6 THEN RAISE 'not that one'; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuses BEFORE INSERT ON strict FOR EACH ROW EXECUTE FUNCTION refuses();
SELECT elt.create_load('strict', 'strict', source => 'loose', mode => 'mirror', query => 'SELECT id, u, f, p, 100 / x AS x FROM loose', on_error => 'quarantine');
INSERT INTO loose VALUES (1, 1, 2, 'ok', 1), (2, 1, 2, 'u', 2), (3, 3, -1, 'f', 3), (4, 4, 2, 'long', 4), (5, 5, 2, NULL, 5), (6, 6, 2, 'rai', 6), (7, 7, 2, 'zer', 0),
                         (8, 8, 2, 'exc', 1), (9, 9, 2, 'ok', 50);
SELECT is(batch('strict'), 'read 9, inserted 2, updated 0, deleted 0, rejected 7, pending 0', 'constraints of every kind');
SELECT results_eq($$SELECT (key ->> 'id')::int, sqlstate FROM elt.rejected WHERE load = 'strict' ORDER BY 1$$,
    $$VALUES (2, '23505'::text), (3, '23503'), (4, '22001'), (5, '23502'), (6, 'P0001'), (7, '22012'), (8, '23P01')$$, 'each with its SQLSTATE');
-- rows that stand in each other's way only for a while
UPDATE loose SET u = 11 WHERE id = 1;
SELECT is(batch('strict'), 'read 1, inserted 0, updated 1, deleted 0, rejected 0, pending 0', 'the row in the way is changed');
SELECT is(elt.retry_rejected('strict'), 1::bigint, 'then the other can be loaded');
SELECT results_eq('SELECT id, u FROM strict ORDER BY id', 'VALUES (1, 11), (2, 1), (9, 9)', 'and is');
BEGIN;
UPDATE loose SET u = 99 WHERE id = 9;
UPDATE loose SET u = 9 WHERE id = 2;
COMMIT;
CALL elt.run('strict');
SELECT ok((SELECT u FROM strict WHERE id = 9) = 99, 'a unique value handed on within a batch: one way');
SELECT elt.retry_rejected('strict');
SELECT results_eq('SELECT id, u FROM strict ORDER BY id', 'VALUES (1, 11), (2, 9), (9, 99)', 'or by a retry');

-- a source without a key: told by content, one for each row that is equal
CREATE TABLE bag (v text, n int);
CREATE TABLE bag_a (v int, n int);
SELECT elt.create_load('bag', 'bag_a', source => 'bag', mode => 'append', query => 'SELECT v::int AS v, n FROM bag', on_error => 'quarantine');
INSERT INTO bag VALUES ('x', 1), ('x', 1), ('1', 1), ('y', 2);
CALL elt.run('bag');
SELECT results_eq($$SELECT key, "row" FROM elt.rejected WHERE load = 'bag' ORDER BY "row"::text COLLATE "C"$$,
    $$VALUES (NULL::jsonb, '{"n": 1, "v": "x"}'::jsonb), (NULL, '{"n": 1, "v": "x"}'), (NULL, '{"n": 2, "v": "y"}')$$, 'a source without a key');
CREATE TABLE bag_m (v int PRIMARY KEY, n int);
SELECT elt.create_load('bag mirror', 'bag_m', source => 'bag', mode => 'mirror', query => 'SELECT v::int AS v, n FROM bag', on_error => 'quarantine');
CALL elt.run('bag mirror');
SELECT is(count(*), 3::bigint, 'mirrored') FROM elt.rejected WHERE load = 'bag mirror';
DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag WHERE v = 'x' LIMIT 1);
SELECT lives_ok($$SELECT elt.run_batch('bag mirror')$$, 'a row that was never loaded goes');
SELECT is(rejected('bag mirror'), '22P02 x, 22P02 y', 'one of two equal rows is gone');
UPDATE bag SET v = '2' WHERE v = 'y';
SELECT lives_ok($$SELECT elt.run_batch('bag mirror')$$, 'or becomes good');
SELECT is(rejected('bag mirror'), '22P02 x', 'changed for good');
SELECT results_eq('TABLE bag_m ORDER BY v', 'VALUES (1, 1), (2, 2)', 'and loaded');

-- a key that the query gives: rows that were never loaded are changed, deleted, and corrected; their keys handed on
CREATE TABLE account (id int PRIMARY KEY, code text);
CREATE TABLE account_m (code int PRIMARY KEY, id int);
SELECT elt.create_load('account', 'account_m', source => 'account', mode => 'mirror', query => 'SELECT code::int AS code, id FROM account', on_error => 'quarantine');
INSERT INTO account VALUES (1, '10'), (2, 'x2'), (3, 'x3'), (4, 'x4'), (5, '50');
CALL elt.run('account');
UPDATE account SET code = 'still ' || id WHERE id = 2;
DELETE FROM account WHERE id = 3;
UPDATE account SET code = '40' WHERE id = 4;
UPDATE account SET code = 'x5' WHERE id = 5;
SELECT lives_ok($$SELECT elt.run_batch('account')$$, 'by a key of the query: changed, deleted, corrected, spoilt');
SELECT results_eq('TABLE account_m ORDER BY code', 'VALUES (10, 1), (40, 4)', 'what can be loaded is');
SELECT results_eq($$SELECT (key ->> 'id')::int, "row" ->> 'code' FROM elt.rejected WHERE load = 'account' ORDER BY 1$$, $$VALUES (2, 'still 2'), (5, 'x5')$$, 'the rest is set aside');
BEGIN;
UPDATE account SET code = 'x1' WHERE id = 1;
UPDATE account SET code = '10' WHERE id = 4;
UPDATE account SET code = '40' WHERE id = 5;
COMMIT;
SELECT lives_ok($$SELECT elt.run_batch('account')$$, 'keys handed on among good and bad rows');
SELECT results_eq('TABLE account_m ORDER BY code', 'VALUES (10, 4), (40, 5)', 'are there once');
SELECT results_eq($$SELECT (key ->> 'id')::int, "row" ->> 'code' FROM elt.rejected WHERE load = 'account' ORDER BY 1$$, $$VALUES (1, 'x1'), (2, 'still 2')$$, 'and the rest is set aside again');
UPDATE account SET code = id::text WHERE code LIKE '%x%' OR code LIKE 'still%';
CALL elt.run('account');
SELECT results_eq('TABLE account_m ORDER BY code', 'VALUES (1, 1), (2, 2), (10, 4), (40, 5)', 'all corrected');
SELECT is(count(*), 0::bigint, 'nothing is left aside') FROM elt.rejected WHERE load = 'account';

-- all columns come back from the image: toasted, composite, NULL, dropped columns
CREATE TABLE wide (id int PRIMARY KEY, gone int, v text, big text, c m, arr int[], g int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE wide DROP COLUMN gone;
ALTER TABLE wide ALTER big SET STORAGE EXTERNAL;
CREATE TABLE wide_m (id int PRIMARY KEY, v text CHECK (v <> 'bad'), big text, c m, arr int[], g int);
SELECT elt.create_load('wide', 'wide_m', source => 'wide', mode => 'mirror', on_error => 'quarantine');
INSERT INTO wide VALUES (1, 'bad', repeat('0123456789', 100000), '(1,2)', '{1,NULL}'), (2, 'good', 'x', NULL, NULL);
CALL elt.run('wide');
UPDATE wide SET v = 'bad', big = repeat('9876543210', 100000) WHERE id = 2;
CALL elt.run('wide');
DROP TABLE IF EXISTS wide_before;
CREATE TABLE wide_before AS TABLE wide;
ALTER TABLE wide_m DROP CONSTRAINT wide_m_v_check;
VACUUM wide;
SELECT is(elt.retry_rejected('wide'), 2::bigint, 'rows with megabytes');
SELECT results_eq('TABLE wide_m ORDER BY id', 'SELECT id, v, big, c, arr, g FROM wide_before ORDER BY id', 'are as they were');

-- many rows, many bad ones, in chunks of windows and over the pieces of a copy
CREATE TABLE many (id int PRIMARY KEY, v text);
CREATE TABLE many_m (id int PRIMARY KEY, n int);
SELECT elt.create_load('many', 'many_m', source => 'many', mode => 'mirror', query => 'SELECT id, v::int AS n FROM many', on_error => 'quarantine', batch_rows => 300);
INSERT INTO many SELECT i, CASE WHEN i % 97 = 0 THEN 'bad' ELSE i::text END FROM generate_series(1, 9000) i;
SELECT batches('many') AS n \gset
SELECT results_eq('SELECT * FROM many_m ORDER BY id', 'SELECT id, v::int FROM many WHERE is_number(v) ORDER BY id', 'a copy of several pieces');
SELECT results_eq($$SELECT (key ->> 'id')::int FROM elt.rejected WHERE load = 'many' ORDER BY 1$$, 'SELECT id FROM many WHERE NOT is_number(v) ORDER BY 1', 'and what is set aside');
UPDATE many SET v = CASE WHEN id % 89 = 0 THEN 'worse' WHEN id % 97 = 0 THEN id::text ELSE v END, id = CASE WHEN id % 500 = 0 THEN -id ELSE id END WHERE id > 4000;
DELETE FROM many WHERE id < 1000;
SELECT cmp_ok(batches('many'), '>', 3, 'changes of several chunks');
SELECT results_eq('SELECT * FROM many_m ORDER BY id', 'SELECT id, v::int FROM many WHERE is_number(v) ORDER BY id', 'are all there');
SELECT results_eq($$SELECT (key ->> 'id')::int FROM elt.rejected WHERE load = 'many' ORDER BY 1$$, 'SELECT id FROM many WHERE NOT is_number(v) ORDER BY 1', 'or set aside');
TRUNCATE many;
INSERT INTO many VALUES (1, '1'), (2, 'two');
CALL elt.run('many');
SELECT is(rejected('many'), '22P02 {"id": 2} two', 'TRUNCATE: what is set aside is of the rows that are there');
SELECT results_eq('TABLE many_m', 'VALUES (1, 1)', 'and the target too');

-- an own transaction
BEGIN;
INSERT INTO many VALUES (3, 'three');
SELECT batch('many') AS b1 \gset
SAVEPOINT a;
UPDATE many SET v = '3' WHERE id = 3;
SELECT batch('many') AS b2 \gset
ROLLBACK TO a;
SELECT rejected('many') AS r \gset
COMMIT;
SELECT is(:'b1'::text, 'read 1, inserted 0, updated 0, deleted 0, rejected 1, pending 0', 'rejected in the caller''s transaction');
SELECT is(:'b2'::text, 'read 1, inserted 1, updated 0, deleted 0, rejected 0, pending 0', 'superseded');
SELECT is(:'r'::text, '22P02 {"id": 2} two, 22P02 {"id": 3} three', 'undone by ROLLBACK TO');

-- what is no row's error ends the batch
ALTER TABLE m RENAME n TO other;
UPDATE item SET v = '5' WHERE id = 12;
SELECT throws_ok($$SELECT elt.run_batch('m')$$, '42703', NULL, 'a column that is gone');
ALTER TABLE m RENAME other TO n;
CREATE FUNCTION deadly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'stop' USING ERRCODE = '53200'; END $$;
CREATE TRIGGER deadly BEFORE INSERT OR UPDATE ON m FOR EACH ROW EXECUTE FUNCTION deadly();
SELECT throws_ok($$SELECT elt.run_batch('m')$$, '53200', NULL, 'an error of the server');
SELECT is(rejected('m') LIKE '%12%', false, 'is not set aside');

SELECT * FROM finish();
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA tap_load_quarantine CASCADE;
