-- Toasted values: the log points to those that an update leaves alone, and a stream has to show them whatever happens to them later.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_toast CASCADE;
CREATE SCHEMA tap_toast;
SET search_path = tap_toast, public;
\ir include/changes.psql
SELECT no_plan();

-- a value of `kb` kilobytes; what compresses badly, and what compresses well
CREATE FUNCTION noise(seed text, kb int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT left(string_agg(md5(seed || i), ''), kb * 1024) FROM generate_series(1, kb * 32) i
$$;
CREATE TABLE doc (id int PRIMARY KEY, n int, big text, well text, small text, other text);
ALTER TABLE doc ALTER big SET STORAGE EXTERNAL;
INSERT INTO doc SELECT i, 0, noise('big' || i, CASE WHEN i IN (1, 2) THEN 1024 ELSE 100 END), repeat('compressible ' || i, 10000), 'small', noise('other' || i, 8) FROM generate_series(1, 12) i;
SELECT watch('doc');

SELECT elt.create_stream('size', 'doc');
UPDATE doc SET n = n + 1;
SELECT cmp_ok((SELECT log_bytes FROM elt.tracked WHERE relation = 'doc'::regclass), '<', 100000::bigint, '1 MB values that an update leaves alone are not logged');
SELECT elt.drop_stream('size');
SELECT changes('doc', 'toasted values beside an update');

-- in one window: left alone, then ...
UPDATE doc SET n = n + 1;
DELETE FROM doc WHERE id = 1;
SELECT changes('doc', '... deleted');
UPDATE doc SET n = n + 1;
UPDATE doc SET big = noise('changed', 1024) WHERE id = 2;
UPDATE doc SET well = 'not toasted any more' WHERE id = 3;
UPDATE doc SET big = NULL, other = noise('changed', 8) WHERE id = 4;
SELECT changes('doc', '... changed');
UPDATE doc SET n = n + 1;
UPDATE doc SET id = id + 100 WHERE id = 5;
SELECT changes('doc', '... of a row whose key is changed');
UPDATE doc SET n = n + 1;
UPDATE doc SET big = big || '' WHERE id = 6;		-- the same value, stored anew
SELECT changes('doc', '... stored anew');
UPDATE doc SET n = n + 1 WHERE id = 7;
UPDATE doc SET big = noise('for a while', 100) WHERE id = 7;
UPDATE doc SET big = noise('big7', 100) WHERE id = 7;
UPDATE doc SET n = n - 1 WHERE id = 7;
SELECT is((SELECT count(*) FROM doc_step), 0::bigint, 'back to the same value, stored elsewhere: no change');
UPDATE doc SET n = n + 1 WHERE id = 8;
DELETE FROM doc WHERE id = 8;
INSERT INTO doc SELECT 8, 0, noise('big8', 100), 'x', 'x', 'x';
UPDATE doc SET n = n + 1 WHERE id = 8;
SELECT changes('doc', '... deleted and inserted again');
SELECT all_changes('doc');

-- the window ends before the value is deleted or changed: the log is read further than the window
UPDATE doc SET n = n + 1 WHERE id IN (9, 10, 11);
BEGIN;
SELECT count(*) FROM doc_step;
DELETE FROM doc WHERE id = 9;
UPDATE doc SET big = 'short', other = other || 'x' WHERE id = 10;
UPDATE doc SET id = 1100 WHERE id = 11;
SELECT is((SELECT string_agg(s._elt_op || s.id || md5(s.big) || length(s.well), ',' ORDER BY s.id) FROM doc_step s),
          (SELECT string_agg('update' || k.id || md5(k.big) || length(k.well), ',' ORDER BY k.id) FROM doc_kept_step k WHERE k.id IN (9, 10, 11)),
          'a window with pointers to values that are gone by now');
SELECT elt.advance_stream('doc_step');
SELECT is((SELECT md5(big) FROM doc_step WHERE id = 9), (SELECT md5(big) FROM doc_kept_step WHERE id = 9), 'and the next window');
ROLLBACK;
SELECT changes('doc', 'that was undone');

-- storage that moves below the log
UPDATE doc SET n = n + 1 WHERE id <> 12;
VACUUM FULL doc;
SELECT changes('doc', 'VACUUM FULL after the update');
UPDATE doc SET n = n + 1 WHERE id <> 12;
CLUSTER doc USING doc_pkey;
UPDATE doc SET n = n + 1 WHERE id <> 12;
SELECT changes('doc', 'CLUSTER between two updates');
UPDATE doc SET n = n + 1;
VACUUM doc;
SELECT changes('doc', 'VACUUM');
-- the value moved, and what took it away logs it from its new place: shown as it was, or an error, but nothing else
UPDATE doc SET n = n + 1 WHERE id = 12;
SELECT md5(big) AS big FROM doc WHERE id = 12 \gset
VACUUM FULL doc;
DELETE FROM doc WHERE id = 12;
CREATE FUNCTION deleted_12(OUT result text) LANGUAGE plpgsql AS $$
BEGIN
    SELECT coalesce(md5(big), 'null') INTO result FROM doc_step WHERE id = 12 AND _elt_op = 'delete';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS result = MESSAGE_TEXT;
END $$;
SELECT ok(deleted_12() IN (:'big', 'stream "doc_step" is stale: a toasted value was moved by VACUUM FULL'), 'VACUUM FULL, then DELETE, in one window');
SELECT elt.drop_stream('doc_step'), elt.drop_stream('doc_all');
DROP TABLE doc_kept_step, doc_kept_all;

-- the same with a trigger that updates the row again
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE doc SET n = n + 1, big = CASE id WHEN 3 THEN big || 'x' ELSE big END WHERE id = NEW.id AND n < 100;
    RETURN NULL;
END $$;
CREATE TRIGGER again AFTER UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION again();
SELECT watch('doc');
UPDATE doc SET n = 98;
SELECT changes('doc', 'nested updates beside toasted values');
UPDATE doc SET well = 'y', n = 99 WHERE id = 10;
DELETE FROM doc WHERE id = 3;
SELECT changes('doc', 'nested updates of toasted values');
DROP TRIGGER again ON doc;

-- a transaction's own, undone by a savepoint: the pointer must not lead to what was undone
BEGIN;
UPDATE doc SET n = 1 WHERE id = 2;
SAVEPOINT a;
UPDATE doc SET big = 'undone' WHERE id = 2;
DELETE FROM doc WHERE id = 4;
ROLLBACK TO a;
UPDATE doc SET n = 2 WHERE id = 2;
COMMIT;
SELECT changes('doc', 'values that a savepoint kept');
SELECT all_changes('doc');

-- without a primary key, with one of several columns, and with one that is toasted itself
CREATE TABLE keyless (n int, big text);
INSERT INTO keyless SELECT i, noise('keyless' || i % 2, 64) FROM generate_series(1, 4) i;
CREATE TABLE two_keys (a text COLLATE "C", b numeric, n int, big text, PRIMARY KEY (b, a));
INSERT INTO two_keys SELECT 'a' || i, i, 0, noise('two' || i, 64) FROM generate_series(1, 4) i;
CREATE TABLE big_key (k text PRIMARY KEY, n int, big bytea);
INSERT INTO big_key SELECT i || repeat('compressible', 1000), 0, convert_to(noise('key' || i, 64), 'UTF8') FROM generate_series(1, 4) i;
SELECT watch(t) FROM unnest('{keyless, two_keys, big_key}'::regclass[]) t;
UPDATE keyless SET n = n + 1;
UPDATE two_keys SET n = n + 1;
UPDATE big_key SET n = n + 1;
SELECT changes(t, 'values left alone: ' || t) FROM unnest('{keyless, two_keys, big_key}'::regclass[]) t;
UPDATE keyless SET n = n + 1;
DELETE FROM keyless WHERE n = 3;
UPDATE two_keys SET n = n + 1;
UPDATE two_keys SET b = 4.00 WHERE b = 4;
UPDATE two_keys SET n = n + 1;
DELETE FROM two_keys WHERE a = 'a1';
UPDATE big_key SET n = n + 1;
DELETE FROM big_key WHERE k ~ '^1';
UPDATE big_key SET big = '\x00' WHERE k ~ '^2';
SELECT changes(t, 'then some deleted or changed: ' || t) FROM unnest('{keyless, two_keys, big_key}'::regclass[]) t;
SELECT all_changes(t) FROM unnest('{keyless, two_keys, big_key}'::regclass[]) t;

-- the primary key goes while the log still points to values
UPDATE two_keys SET n = n + 1;
ALTER TABLE two_keys DROP CONSTRAINT two_keys_pkey;
CREATE FUNCTION images(stream text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SELECT string_agg(DISTINCT md5(big), '','' ORDER BY md5(big)) FROM %I', stream) INTO result;
    RETURN result;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    RETURN 'stale';
END $$;
SELECT ok(images('two_keys_step') IN ('stale', (SELECT string_agg(md5(big), ',' ORDER BY md5(big)) FROM two_keys)), 'a key that was dropped: the values or an error');

-- compressed in line, toasted in another compression, and arrays and composites that are toasted
CREATE TYPE pair AS (a int, b text);
CREATE TABLE various (id int PRIMARY KEY, n int, inline_ text, arr text[], p pair, js jsonb);
INSERT INTO various SELECT i, 0, repeat('x', 3000), ARRAY[noise('a' || i, 8), NULL], (i, noise('p' || i, 8))::pair, jsonb_build_object('k', noise('j' || i, 8)) FROM generate_series(1, 4) i;
SELECT watch('various');
UPDATE various SET n = 1;
UPDATE various SET p.a = 99 WHERE id = 1;
UPDATE various SET arr[2] = 'x' WHERE id = 2;
UPDATE various SET js = js || '{"l": 1}' WHERE id = 3;
DELETE FROM various WHERE id = 4;
SELECT changes('various', 'arrays, composites, jsonb');
SELECT all_changes('various');

SELECT * FROM finish();
DROP SCHEMA tap_toast CASCADE;
