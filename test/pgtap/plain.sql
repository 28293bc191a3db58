-- What statements on plain tables leave in a stream.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_plain CASCADE;
CREATE SCHEMA tap_plain;
SET search_path = tap_plain, public;
\ir include/changes.psql
SELECT no_plan();

CREATE TABLE item (id int PRIMARY KEY, v text, n numeric);
INSERT INTO item SELECT i, 'v' || i, i FROM generate_series(1, 20) i;
SELECT watch('item');

-- the test itself notices what is missing, too much or different
BEGIN;
SELECT is(difference('item', 'item_step', 'item_kept_step'), '', 'no difference where nothing happened');
UPDATE item_kept_step SET v = 'other' WHERE id = 1;
SELECT is(difference('item', 'item_step', 'item_kept_step'), 'lacks update (1,v1,1)', 'a missing update would be noticed');
ROLLBACK;
BEGIN;
INSERT INTO item VALUES (0, 'x', 1.0);
INSERT INTO item_kept_step VALUES (0, 'x', 1.00);
SELECT is(difference('item', 'item_step', 'item_kept_step'), E'lacks update (0,x,1.0)\nhas insert (0,x,1.0)', 'so would a wrong one');
ROLLBACK;

INSERT INTO item VALUES (21, 'new', NULL), (22, NULL, 22);
SELECT changes('item', 'INSERT');
UPDATE item SET v = v || '!' WHERE id BETWEEN 2 AND 4;
SELECT changes('item', 'UPDATE');
DELETE FROM item WHERE id IN (5, 6);
SELECT changes('item', 'DELETE');
UPDATE item SET id = id + 100 WHERE id < 5;
SELECT changes('item', 'UPDATE of the key');
UPDATE item SET id = CASE id WHEN 7 THEN 1007 ELSE id END, v = NULL WHERE id IN (7, 8);
UPDATE item SET id = 7 WHERE id = 8;
SELECT changes('item', 'a key that goes over to another row');

SELECT pending('item') AS before \gset
UPDATE item SET v = v, n = n, id = id;
SELECT is(pending('item'), :before::bigint, 'an update that changes nothing is not logged');
SELECT changes('item', 'update that changes nothing');
INSERT INTO item SELECT * FROM item WHERE false;
UPDATE item SET v = 'x' WHERE false;
DELETE FROM item WHERE false;
COPY item FROM stdin;
\.
SELECT is(pending('item'), :before::bigint, 'statements with zero rows log nothing');
SELECT changes('item', 'zero rows');
SELECT is(pg_current_xact_id_if_assigned(), NULL, 'no transaction yet');
BEGIN;
UPDATE item SET v = 'x' WHERE false;
SELECT is(pg_current_xact_id_if_assigned(), NULL, 'and zero rows take no transaction id');
ROLLBACK;

INSERT INTO item VALUES (30, 'scale', 1.0);
SELECT changes('item', 'row to change');
UPDATE item SET n = 1.00 WHERE id = 30;
SELECT is((SELECT n::text FROM item_step), '1.00', '1.0 -> 1.00 is a change');
SELECT changes('item', '1.0 -> 1.00');
UPDATE item SET n = 1.0 WHERE id = 30;
UPDATE item SET n = 1.00 WHERE id = 30;
SELECT is((SELECT count(*) FROM item_step), 0::bigint, '1.00 -> 1.0 -> 1.00 is none');
UPDATE item SET v = '' WHERE id = 30;
UPDATE item SET v = NULL WHERE id = 30;
SELECT changes('item', 'empty and null');

INSERT INTO item VALUES (31, 'a', 0) ON CONFLICT DO NOTHING;
INSERT INTO item VALUES (31, 'b', 0) ON CONFLICT DO NOTHING;
INSERT INTO item VALUES (31, 'c', 0), (32, 'd', 0), (30, 'e', 0) ON CONFLICT (id) DO UPDATE SET v = excluded.v WHERE item.id <> 30;
SELECT changes('item', 'ON CONFLICT');

MERGE INTO item t USING (VALUES (31, 'u'), (32, 'del'), (33, 'ins'), (10, 'not')) s (id, v) ON t.id = s.id
    WHEN MATCHED AND s.v = 'del' THEN DELETE
    WHEN MATCHED AND s.v = 'u' THEN UPDATE SET v = s.v
    WHEN MATCHED THEN DO NOTHING
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v, 1);
SELECT changes('item', 'MERGE');

COPY item FROM stdin;
40	copied	1
41	\N	2
\.
COPY item (v, id) FROM stdin (FORMAT csv, FREEZE false);
csv,42
\.
SELECT changes('item', 'COPY');

WITH gone AS (DELETE FROM item WHERE id IN (40, 41) RETURNING *),
     back AS (INSERT INTO item SELECT id + 10, v, n FROM gone RETURNING id),
     other AS (UPDATE item SET v = 'by the way' WHERE id = 42)
    SELECT count(*) FROM back;
SELECT changes('item', 'data-modifying CTEs');

-- one transaction, several statements
BEGIN;
INSERT INTO item VALUES (60, 'a', 1);
UPDATE item SET v = 'b' WHERE id = 60;
UPDATE item SET v = 'once' WHERE id = 9;
UPDATE item SET v = 'twice' WHERE id = 9;
DELETE FROM item WHERE id = 11;
INSERT INTO item VALUES (11, 'anew', 11);
DELETE FROM item WHERE id = 12;
INSERT INTO item VALUES (12, 'v12', 12);
INSERT INTO item VALUES (61, 'never', 1);
DELETE FROM item WHERE id = 61;
SELECT changes('item', 'seen by the transaction itself');
UPDATE item SET v = 'after that' WHERE id = 60;
COMMIT;
SELECT changes('item', 'and what it did after it had looked');
SELECT is((SELECT count(*) FROM item_step), 0::bigint, 'nothing twice');

-- savepoints
BEGIN;
INSERT INTO item VALUES (70, 'kept', 1);
SAVEPOINT a;
INSERT INTO item VALUES (71, 'undone', 1);
UPDATE item SET v = 'undone' WHERE id = 70;
SAVEPOINT b;
DELETE FROM item WHERE id = 70;
RELEASE b;
ROLLBACK TO a;
UPDATE item SET n = 2 WHERE id = 70;
SAVEPOINT c;
INSERT INTO item VALUES (72, 'released', 1);
RELEASE c;
COMMIT;
SELECT changes('item', 'savepoints');
BEGIN;
SAVEPOINT a;
DELETE FROM item WHERE id = 70;
SELECT changes('item', 'read in a subtransaction');
ROLLBACK TO a;
UPDATE item SET n = 3 WHERE id = 70;
SELECT changes('item', 'after that was undone');
SAVEPOINT b;
INSERT INTO item VALUES (73, 'undone', 1);
ROLLBACK TO b;
INSERT INTO item VALUES (73, 'not undone', 1);
COMMIT;
SELECT changes('item', 'serials are not reused by the next subtransaction');
BEGIN;
DELETE FROM item;
ROLLBACK;
SELECT changes('item', 'ROLLBACK');
DO $$ BEGIN
    FOR i IN 1..20 LOOP
        BEGIN
            INSERT INTO item VALUES (200 + i, 'loop', i);
            IF i % 3 = 0 THEN RAISE EXCEPTION 'undo'; END IF;
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
    END LOOP;
END $$;
SELECT changes('item', 'exception blocks');

-- not bypassed by what bypasses ordinary triggers
SET session_replication_role = replica;
INSERT INTO item VALUES (80, 'replica', 1);
UPDATE item SET v = 'replica' WHERE id = 13;
DELETE FROM item WHERE id = 14;
RESET session_replication_role;
SELECT changes('item', 'session_replication_role = replica');
SELECT all_changes('item');

-- triggers of users, which change rows before, instead, after, and other tables in between
CREATE TABLE audit (item int, at text);
SELECT watch('audit');
CREATE FUNCTION before_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.v = 'skip' THEN RETURN NULL; END IF;
    NEW.v := upper(NEW.v);
    RETURN NEW;
END $$;
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION before_row();
INSERT INTO item VALUES (300, 'lower', 1), (301, 'skip', 1);
UPDATE item SET v = CASE id WHEN 300 THEN 'skip' ELSE 'changed' END WHERE id IN (300, 15);
SELECT changes('item', 'BEFORE ROW triggers');
DROP TRIGGER before_row ON item;

-- the inner statement's rows are logged before the outer one's
CREATE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit VALUES (NEW.id, 'row');
    IF NEW.n < 5 THEN
        UPDATE item SET n = item.n + 1 WHERE id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER after_row AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION after_row();
INSERT INTO item VALUES (310, 'nested', 1), (311, 'nested', 3);
SELECT is((SELECT n FROM item WHERE id = 310), 5::numeric, 'the trigger has updated its own row');
SELECT changes('item', 'AFTER ROW trigger that updates the same row: insert');
UPDATE item SET n = 0 WHERE id IN (310, 311);
SELECT changes('item', 'AFTER ROW trigger that updates the same row: update');
INSERT INTO item VALUES (310, 'x', 2) ON CONFLICT (id) DO UPDATE SET n = 2;
SELECT changes('item', 'AFTER ROW trigger that updates the same row: upsert');
SELECT changes('audit', 'and what it inserted elsewhere');
CREATE OR REPLACE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM item WHERE id = NEW.id AND NEW.v = 'to be deleted';
    RETURN NULL;
END $$;
INSERT INTO item VALUES (312, 'to be deleted', 1), (313, 'to stay', 1);
UPDATE item SET v = 'to be deleted' WHERE id IN (310, 313);
SELECT changes('item', 'AFTER ROW trigger that deletes the same row');
DROP TRIGGER after_row ON item;
CREATE FUNCTION after_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 4 THEN
        UPDATE item SET n = n + 1 WHERE id IN (311, 15);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER a_statement AFTER UPDATE ON item FOR EACH STATEMENT EXECUTE FUNCTION after_statement();
CREATE TRIGGER z_statement AFTER UPDATE ON item FOR EACH STATEMENT EXECUTE FUNCTION after_statement();
UPDATE item SET v = 'statement' WHERE id = 311;
SELECT changes('item', 'AFTER STATEMENT triggers that update the same table');
DROP TRIGGER a_statement ON item;
DROP TRIGGER z_statement ON item;

-- deferred
CREATE CONSTRAINT TRIGGER deferred AFTER UPDATE ON item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.n < 1000) EXECUTE FUNCTION after_row();
CREATE OR REPLACE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET n = n + 1000 WHERE id = NEW.id;
    RETURN NULL;
END $$;
BEGIN;
UPDATE item SET v = 'deferred' WHERE id IN (310, 311);
COMMIT;
SELECT changes('item', 'deferred trigger');
DROP TRIGGER deferred ON item;

-- a rule and an updatable view write to the table in the end
CREATE VIEW small AS SELECT id, v FROM item WHERE id < 1000;
INSERT INTO small VALUES (400, 'through a view');
UPDATE small SET v = 'through a view' WHERE id = 15;
DELETE FROM small WHERE id = 16;
CREATE TABLE front (id int);
CREATE RULE instead AS ON INSERT TO front DO INSTEAD INSERT INTO item VALUES (NEW.id, 'through a rule', 0);
INSERT INTO front VALUES (401), (402);
SELECT changes('item', 'views and rules');

-- foreign keys
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, a int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE,
                    b int DEFAULT 1 REFERENCES parent ON DELETE SET NULL ON UPDATE CASCADE, c int DEFAULT 1 REFERENCES parent ON DELETE SET DEFAULT ON UPDATE CASCADE);
CREATE TABLE grandchild (id int PRIMARY KEY, child int REFERENCES child ON DELETE CASCADE);
INSERT INTO parent SELECT generate_series(1, 9);
SELECT watch('parent'), watch('child'), watch('grandchild');
INSERT INTO child VALUES (1, 2, 3, 4), (2, 3, 4, 5), (3, 3, 3, 3);
INSERT INTO grandchild SELECT i, i % 3 + 1 FROM generate_series(1, 10) i;
SELECT changes('child', 'rows with foreign keys');
UPDATE parent SET id = id + 20 WHERE id IN (2, 4);
SELECT changes('child', 'ON UPDATE CASCADE');
DELETE FROM parent WHERE id IN (3, 5);
SELECT changes(t, 'cascades of a DELETE: ' || t) FROM unnest('{parent, child, grandchild}'::regclass[]) t;
BEGIN;
DELETE FROM parent WHERE id = 22;
SELECT changes(t, 'cascades, seen in the same transaction: ' || t) FROM unnest('{parent, child, grandchild}'::regclass[]) t;
INSERT INTO parent VALUES (22);
COMMIT;
SELECT changes(t, 'and what came after: ' || t) FROM unnest('{parent, child, grandchild}'::regclass[]) t;
SELECT all_changes(t) FROM unnest('{item, audit, parent, child, grandchild}'::regclass[]) t;

-- a table without a key: rows are counted
CREATE TABLE bag (a int, b text);
INSERT INTO bag SELECT 1, 'same' FROM generate_series(1, 5);
SELECT watch('bag');
INSERT INTO bag VALUES (1, 'same'), (1, 'same'), (NULL, NULL), (NULL, NULL), (2, 'two');
SELECT changes('bag', 'duplicates');
DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE a = 1 LIMIT 3);
SELECT is((SELECT count(*) FROM bag_step WHERE _elt_op = 'delete'), 3::bigint, 'three of seven rows that are alike');
SELECT changes('bag', 'some of the duplicates');
UPDATE bag SET b = 'changed' WHERE ctid = (SELECT min(ctid) FROM bag WHERE a = 1);
UPDATE bag SET a = 3 WHERE a IS NULL;
SELECT is((SELECT string_agg(_elt_op || ' ' || b, ', ' ORDER BY _elt_op) FROM bag_step WHERE a = 1), 'delete same, insert changed',
          'without a key an update is a row that goes and one that comes');
SELECT changes('bag', 'update of one of them');
BEGIN;
DELETE FROM bag WHERE a = 1;
INSERT INTO bag SELECT 1, 'same' FROM generate_series(1, 4);
COMMIT;
SELECT changes('bag', 'replaced by fewer');
SELECT all_changes('bag');

-- keys that are equal and not the same
CREATE TABLE scale (n numeric PRIMARY KEY, c char(5), v text);
INSERT INTO scale VALUES (1.0, 'a', 'x'), (2.0, 'b', 'y');
SELECT watch('scale');
UPDATE scale SET n = 1.00 WHERE n = 1;
SELECT is((SELECT string_agg(_elt_op || n, ',') FROM scale_step), 'update1.00', 'an equal key with another image is an update');
SELECT changes('scale', 'key 1.0 -> 1.00');
DELETE FROM scale WHERE n = 2;
INSERT INTO scale VALUES (2.000, 'b', 'y');
SELECT changes('scale', 'deleted 2.0, inserted 2.000');
SELECT all_changes('scale');

-- types
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE typed (
    k1 text, k2 uuid, PRIMARY KEY (k2, k1),
    d positive, arr text[], p pair, ps pair[], m mood, js json, jb jsonb, x xml, by bytea, f8 float8, f4 float4, n numeric, t timestamptz, i interval,
    r int4range, mr int4multirange, bt bit(3), vb varbit, c char(4), ch "char", ip inet, pt point, nm name, o oid, tsv tsvector,
    g text GENERATED ALWAYS AS (k1 || '/' || coalesce(n, 0)) STORED,
    s int GENERATED BY DEFAULT AS IDENTITY);
SELECT watch('typed');
INSERT INTO typed (k1, k2, d, arr, p, ps, m, js, jb, by, f8, f4, n, t, i, r, mr, bt, vb, c, ch, ip, pt, nm, o, tsv)
SELECT 'k' || i, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, i, ARRAY['a', NULL, i::text], (i, 'x')::pair, ARRAY[(1, 'y')::pair, NULL], 'ok', '{"a" : 1}', '{"a": 1}',
       '\x00ff', '-0', 'NaN', 1.50, '2020-01-01', '1 day', '[1,5)', '{[1,2),[4,5)}', '101', '1', 'ab', 'z', '::1', '(1,2)', 'n', 7, 'a b'
FROM generate_series(1, 5) i;
INSERT INTO typed (k1, k2) VALUES ('all null', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12');
SELECT changes('typed', 'every kind of type, and nulls');
UPDATE typed SET arr[2] = 'b', p.a = NULL, ps[2] = (2, NULL)::pair WHERE k1 = 'k1';
UPDATE typed SET js = '{"a":1}', f8 = '+0', i = '24 hours' WHERE k1 = 'k2';
UPDATE typed SET n = 7, s = DEFAULT WHERE k1 = 'k3';
UPDATE typed SET k1 = 'k4 renamed' WHERE k1 = 'k4';
SELECT is((SELECT count(*) FROM typed_step), 5::bigint, 'values that are equal and not the same are changes');
SELECT changes('typed', 'updates of them');
DELETE FROM typed;
SELECT changes('typed', 'all deleted');
SELECT all_changes('typed');

-- many columns
SELECT format('CREATE TABLE wide (id int PRIMARY KEY, %s)', string_agg(format('c%s %s', i, CASE i % 3 WHEN 0 THEN 'text' WHEN 1 THEN 'int' ELSE 'bool' END), ', '))
FROM generate_series(1, 200) i \gexec
SELECT watch('wide');
INSERT INTO wide SELECT generate_series(1, 10);
UPDATE wide SET c3 = 'x', c99 = 'y', c198 = 'z', c199 = id WHERE id > 5;
SELECT changes('wide', '200 columns');
UPDATE wide SET c200 = true WHERE id = 1;
DELETE FROM wide WHERE id = 2;
SELECT changes('wide', 'the last of 200 columns');
SELECT all_changes('wide');

-- more changes than fit the memory of one pass
SET elt.batch_memory = '1MB';
CREATE TABLE many (id int PRIMARY KEY, v text);
INSERT INTO many SELECT i, repeat('x', 50) FROM generate_series(1, 5000) i;
SELECT watch('many');
UPDATE many SET v = v || id WHERE id % 2 = 0;
DELETE FROM many WHERE id % 5 = 0;
INSERT INTO many SELECT i, repeat('y', 50) FROM generate_series(5001, 20000) i;
UPDATE many SET id = -id WHERE id % 7 = 0;
SELECT changes('many', 'netted in several passes');
UPDATE many SET v = v || 'a';
UPDATE many SET v = left(v, -1);
SELECT changes('many', 'there and back again');
SELECT all_changes('many');
RESET elt.batch_memory;

-- the log in many segments, which are reused
SET elt.segment_size = '64kB';
CREATE TABLE rotated (id int PRIMARY KEY, v text);
SELECT watch('rotated');
CREATE TABLE failed (round int, difference text);
DO $$ BEGIN
    FOR round IN 1..12 LOOP
        INSERT INTO rotated SELECT round * 1000 + i, repeat('x', 100) FROM generate_series(1, 300) i;
        UPDATE rotated SET v = v || round WHERE id % 10 = round % 10;
        DELETE FROM rotated WHERE id % 17 = round;
        COMMIT;
        INSERT INTO failed
        SELECT round, d FROM difference('rotated', 'rotated_step', 'rotated_kept_step') d WHERE d <> '';
        PERFORM elt.advance_stream('rotated_step');
        PERFORM keep('rotated', 'rotated_kept_step');
        COMMIT;
    END LOOP;
END $$;
SELECT is_empty('SELECT * FROM failed', 'twelve rounds over many segments');
SELECT changes('rotated', 'after the last of many segments');
SELECT cmp_ok((SELECT count(*) FROM elt.capture_segment s JOIN elt.capture c ON c.id = s.capture WHERE c.relation = 'rotated'::regclass), '>', 3::bigint,
              'the second stream has kept the segments');
SELECT all_changes('rotated');
SELECT cmp_ok((SELECT count(*) FROM elt.capture_segment s JOIN elt.capture c ON c.id = s.capture WHERE c.relation = 'rotated'::regclass AND state = 'f'), '>', 2::bigint,
              'and they are free once both have passed them');
INSERT INTO rotated SELECT -i, repeat('z', 100) FROM generate_series(1, 2000) i;
SELECT changes('rotated', 'in a segment used again');
INSERT INTO rotated SELECT -i, repeat('z', 100) FROM generate_series(2001, 4000) i;
SELECT changes('rotated', 'and in the next');
SELECT all_changes('rotated');
SELECT max(slot) AS slots, max(segno) AS segments FROM elt.capture_segment s JOIN elt.capture c ON c.id = s.capture WHERE c.relation = 'rotated'::regclass \gset
SELECT cmp_ok(:segments, '>', :slots, 'a segment was used again');
RESET elt.segment_size;

SELECT * FROM finish();
DROP SCHEMA tap_plain CASCADE;
