-- What writes to partitioned tables leave in a stream: each change once, whichever relation of the tree the statement names.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_partitions CASCADE;
CREATE SCHEMA tap_partitions;
SET search_path = tap_partitions, public;
\ir include/changes.psql
SELECT no_plan();

-- root (1: leaf1 | 2, 3: middle (2: leaf2 | 3: leaf3) | other: rest), the leaves with layouts of their own
CREATE TABLE root (id int, part int, v text, n numeric DEFAULT 7, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES IN (1);
CREATE TABLE middle (v text, dropped int, part int NOT NULL, n numeric, id int NOT NULL) PARTITION BY LIST (part);
ALTER TABLE middle DROP COLUMN dropped;
CREATE TABLE leaf2 PARTITION OF middle FOR VALUES IN (2);
CREATE TABLE leaf3 (dropped int, n numeric, part int NOT NULL, id int NOT NULL, dropped2 text, v text);
ALTER TABLE leaf3 DROP COLUMN dropped, DROP COLUMN dropped2;
ALTER TABLE middle ATTACH PARTITION leaf3 FOR VALUES IN (3);
ALTER TABLE root ATTACH PARTITION middle FOR VALUES IN (2, 3);
CREATE TABLE rest PARTITION OF root DEFAULT;
INSERT INTO root SELECT i, i % 5, 'v' || i FROM generate_series(1, 50) i;
SELECT watch('root');

-- through each relation of the tree
INSERT INTO root SELECT i, i % 5, 'root' FROM generate_series(101, 110) i;
SELECT is(pending('root'), 10::bigint, 'rows inserted through the root are logged once');
SELECT changes('root', 'INSERT into the root');
INSERT INTO middle (id, part, v) SELECT i, 2 + i % 2, 'middle' FROM generate_series(111, 114) i;
SELECT is((SELECT count(*) FROM root_step), 4::bigint, 'rows inserted through an intermediate one are logged once');
SELECT changes('root', 'INSERT into an intermediate one');
INSERT INTO leaf1 VALUES (121, 1, 'leaf1', 1);
INSERT INTO leaf2 (id, part, v) VALUES (122, 2, 'leaf2');
INSERT INTO leaf3 (id, part, v, n) VALUES (123, 3, 'leaf3', 1);
INSERT INTO rest VALUES (124, 99, 'rest');
SELECT is((SELECT count(*) FROM root_step), 4::bigint, 'rows inserted into leaves are logged once');
SELECT changes('root', 'INSERT into leaves');
UPDATE root SET v = v || ' root', n = id;
SELECT changes('root', 'UPDATE of the root');
UPDATE middle SET v = 'updated', n = NULL WHERE id % 2 = 0;
SELECT changes('root', 'UPDATE of an intermediate one');
UPDATE leaf2 SET v = 'leaf2';
UPDATE leaf3 SET v = 'leaf3', id = id + 1000;
UPDATE leaf1 SET n = 1.50 WHERE id < 20;
SELECT changes('root', 'UPDATE of leaves');
DELETE FROM root WHERE id IN (1, 2, 3, 4, 5);
SELECT changes('root', 'DELETE from the root');
DELETE FROM middle WHERE id IN (7, 1008);
SELECT changes('root', 'DELETE from an intermediate one');
DELETE FROM leaf1 WHERE id = 6;
DELETE FROM leaf3 WHERE id = 1013;
DELETE FROM rest WHERE id = 9;
SELECT changes('root', 'DELETE from leaves');
UPDATE ONLY root SET v = 'nobody';
DELETE FROM ONLY middle;
SELECT is((SELECT count(*) FROM root_step), 0::bigint, 'ONLY the parent: no rows');

-- rows that move
UPDATE root SET part = 2 WHERE id IN (11, 16);
SELECT is((SELECT string_agg(_elt_op, ',' ORDER BY _elt_op) FROM root_step WHERE id = 11), 'delete,insert', 'a key that changes is a row that goes and one that comes');
SELECT changes('root', 'moves below an intermediate one');
UPDATE root SET part = part + 1, v = 'moved' WHERE part IN (1, 2, 3);
SELECT changes('root', 'moves everywhere');
UPDATE middle SET part = 5 - part, v = 'swapped' WHERE part IN (2, 3);
SELECT changes('root', 'moves between leaves of an intermediate one');
BEGIN;
UPDATE root SET part = 1 WHERE id = 17;
UPDATE root SET part = 3 WHERE id = 17;
UPDATE leaf3 SET v = 'after two moves' WHERE id = 17;
COMMIT;
SELECT changes('root', 'moved twice in a transaction');
SELECT all_changes('root');

-- COPY, by way of partition routing and without it
COPY root (id, part, v) FROM stdin;
201	1	copied
202	2	copied
203	3	copied
204	44	copied
\.
COPY middle (part, v, id) FROM stdin;
2	copied to middle	205
3	copied to middle	206
\.
COPY leaf3 (part, v, id) FROM stdin;
3	copied to leaf3	207
3	copied to leaf3	208
\.
COPY leaf1 FROM stdin;
209	1	copied to leaf1	0.0
\.
SELECT is((SELECT count(*) FROM root_step), 9::bigint, 'COPY: nine rows');
SELECT changes('root', 'COPY');
INSERT INTO root SELECT i, 1 + i % 4, 'bulk' FROM generate_series(3001, 6000) i;
DELETE FROM root WHERE id > 3000 AND id % 3 = 0;
SELECT changes('root', 'enough rows for multi-inserts');

-- ON CONFLICT
INSERT INTO root VALUES (201, 1, 'conflict'), (202, 2, 'conflict'), (203, 3, 'conflict'), (210, 3, 'new')
    ON CONFLICT (id, part) DO UPDATE SET v = excluded.v || root.v;
INSERT INTO middle (id, part, v) VALUES (203, 3, 'conflict'), (211, 2, 'new') ON CONFLICT DO NOTHING;
SELECT changes('root', 'ON CONFLICT');

-- MERGE
MERGE INTO root t USING (VALUES (201, 1, 'u'), (202, 2, 'd'), (203, 3, 'u'), (212, 1, 'i'), (213, 3, 'i'), (214, 50, 'i')) s (id, part, v)
    ON t.id = s.id AND t.part = s.part
    WHEN MATCHED AND s.v = 'd' THEN DELETE
    WHEN MATCHED THEN UPDATE SET v = 'merged'
    WHEN NOT MATCHED THEN INSERT (id, part, v) VALUES (s.id, s.part, s.v);
SELECT changes('root', 'MERGE with all its actions');
MERGE INTO root t USING (VALUES (201), (203), (210), (212)) s (id) ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET part = CASE t.part WHEN 1 THEN 2 WHEN 3 THEN 1 ELSE t.part END, v = 'merged and moved';
SELECT changes('root', 'MERGE that only updates, and moves');
MERGE INTO root t USING (VALUES (201), (203), (210), (212), (215)) s (id) ON t.id = s.id
    WHEN MATCHED AND t.id = 210 THEN DELETE
    WHEN MATCHED THEN UPDATE SET part = 4 - t.part, v = 'moved again'
    WHEN NOT MATCHED THEN INSERT (id, part, v) VALUES (s.id, 3, 'ins');
SELECT changes('root', 'MERGE that moves, deletes and inserts');
MERGE INTO root t USING (VALUES (215), (216)) s (id) ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET part = 1, v = 'moved'
    WHEN NOT MATCHED THEN INSERT (id, part, v) VALUES (s.id, 2, 'ins');
SELECT changes('root', 'MERGE that moves and inserts');
MERGE INTO root t USING (VALUES (215), (216)) s (id) ON t.id = s.id
    WHEN MATCHED AND t.id = 216 THEN DELETE
    WHEN MATCHED THEN UPDATE SET part = 99;
SELECT changes('root', 'MERGE that moves and deletes');
MERGE INTO middle t USING (SELECT 203 + i AS id FROM generate_series(1, 20) i) s ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET part = 5 - t.part, n = s.id;
SELECT changes('root', 'MERGE into an intermediate one, with moves');
MERGE INTO leaf3 t USING (SELECT id, v FROM leaf2) s ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET v = s.v
    WHEN NOT MATCHED THEN INSERT (id, part, v) VALUES (s.id, 3, 'from leaf2');
SELECT changes('root', 'MERGE into a leaf');
MERGE INTO root t USING (VALUES (1)) s (id) ON false WHEN NOT MATCHED THEN DO NOTHING;
MERGE INTO root t USING (VALUES (1)) s (id) ON t.id = -1 WHEN MATCHED THEN UPDATE SET part = 2;
SELECT is((SELECT count(*) FROM root_step), 0::bigint, 'MERGE without rows');
SELECT all_changes('root');

-- an update through the root fires users' triggers as often as without tracking
CREATE TABLE fired (what text);
SELECT watch('fired');
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fired VALUES (TG_OP || ' ' || TG_LEVEL || ' ' || TG_TABLE_NAME); RETURN NULL; END $$;
CREATE TRIGGER users_i AFTER INSERT ON root FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE TRIGGER users_u AFTER UPDATE ON root FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE TRIGGER users_d AFTER DELETE ON root FOR EACH STATEMENT EXECUTE FUNCTION note();
UPDATE root SET part = 1 WHERE id = 211;
MERGE INTO root t USING (VALUES (211)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET part = 3;
SELECT results_eq('SELECT * FROM fired', ARRAY['UPDATE STATEMENT root', 'UPDATE STATEMENT root'], 'users'' statement triggers fire as ever');
SELECT changes('root', 'beside triggers of users');
SELECT changes('fired', 'and what those wrote');
DROP TRIGGER users_i ON root;
DROP TRIGGER users_u ON root;
DROP TRIGGER users_d ON root;

-- triggers that change the row, send it elsewhere or stop it
CREATE FUNCTION change_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.v = 'stop' THEN RETURN NULL; END IF;
    NEW.v := 'changed ' || NEW.v;
    RETURN NEW;
END $$;
CREATE TRIGGER change_row BEFORE INSERT OR UPDATE ON root FOR EACH ROW EXECUTE FUNCTION change_row();
INSERT INTO root VALUES (221, 2, 'x'), (222, 3, 'stop'), (223, 1, 'x');
UPDATE root SET part = 3, v = 'y' WHERE id IN (221, 223);
SELECT changes('root', 'BEFORE ROW triggers that change rows');
-- the half of a move that deletes goes through, the half that inserts does not, or the other way round
CREATE FUNCTION stop_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER stop_insert BEFORE INSERT ON leaf2 FOR EACH ROW EXECUTE FUNCTION stop_row();
UPDATE root SET part = 2 WHERE id IN (221, 223, 17);
SELECT changes('root', 'moves whose insert is stopped');
DROP TRIGGER stop_insert ON leaf2;
CREATE TRIGGER stop_delete BEFORE DELETE ON leaf1 FOR EACH ROW EXECUTE FUNCTION stop_row();
INSERT INTO leaf1 VALUES (231, 1, 'a', 1), (232, 1, 'b', 1);
UPDATE root SET part = 2 WHERE id IN (231, 232);
SELECT changes('root', 'moves whose delete is stopped');
DROP TRIGGER stop_delete ON leaf1;
DROP TRIGGER change_row ON root;

-- AFTER ROW triggers on a leaf that write to the tree again
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.n < 3 THEN UPDATE root SET n = root.n + 1, part = CASE part WHEN 2 THEN 3 ELSE 2 END WHERE id = NEW.id; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT OR UPDATE ON root FOR EACH ROW EXECUTE FUNCTION again();
INSERT INTO leaf2 (id, part, v, n) VALUES (241, 2, 'again', 0);
INSERT INTO root (id, part, v, n) VALUES (242, 3, 'again', 1), (243, 1, 'again', 2);
UPDATE middle SET n = 0 WHERE id = 241;
SELECT is((SELECT n FROM root WHERE id = 241), 3::numeric, 'the trigger has moved its own row');
SELECT changes('root', 'triggers that move the row that fired them');
DROP TRIGGER again ON root;

-- savepoints and rollbacks of moves
BEGIN;
UPDATE root SET part = 1 WHERE id = 241;
SAVEPOINT a;
UPDATE root SET part = 3 WHERE id IN (241, 242);
DELETE FROM leaf1;
ROLLBACK TO a;
UPDATE root SET v = 'kept' WHERE id = 241;
SELECT changes('root', 'seen by the transaction that wrote it');
UPDATE root SET part = 2 WHERE id = 241;
COMMIT;
SELECT changes('root', 'and what it wrote later');
SELECT all_changes('root');

-- partitions that come empty and are written at once, in the same transaction too
CREATE TABLE leaf5 PARTITION OF root FOR VALUES IN (1005);
INSERT INTO root VALUES (251, 1005, 'new partition');
INSERT INTO leaf5 VALUES (252, 1005, 'new partition');
BEGIN;
CREATE TABLE middle6 PARTITION OF root FOR VALUES IN (1006, 1007) PARTITION BY LIST (part);
CREATE TABLE leaf6 PARTITION OF middle6 FOR VALUES IN (1006);
INSERT INTO root VALUES (253, 1006, 'newer partition');
INSERT INTO leaf6 VALUES (254, 1006, 'newer partition');
UPDATE middle6 SET v = v || '!';
COMMIT;
SELECT changes('root', 'new partitions');
SELECT all_changes('root');

-- a column added with a default, which the leaves' old rows do not store
ALTER TABLE root ADD COLUMN added text DEFAULT 'a default';
SELECT elt.drop_stream('root_step'), elt.drop_stream('root_all');
SELECT watch('root');
UPDATE root SET v = 'after ADD COLUMN' WHERE id IN (11, 17, 241, 252, 254);
DELETE FROM middle WHERE id = 242;
DELETE FROM leaf3 WHERE id = 123 + 1000;
DELETE FROM root WHERE id IN (251, 253);
INSERT INTO root (id, part) VALUES (261, 1);
INSERT INTO leaf3 (id, part) VALUES (262, 3);
SELECT changes('root', 'rows older than a column');
UPDATE root SET part = 98 WHERE id IN (11, 252) AND v = 'after ADD COLUMN' AND part <> 3;
MERGE INTO root t USING (VALUES (17), (261)) s (id) ON t.id = s.id AND t.part <> 3 WHEN MATCHED THEN UPDATE SET part = 97;
SELECT cmp_ok((SELECT count(*) FROM root_step WHERE _elt_op = 'delete' AND added = 'a default'), '>=', 3::bigint, 'some rows moved');
SELECT changes('root', 'and moves of them');
SELECT all_changes('root');

-- without a key
CREATE TABLE bag (a int, b text) PARTITION BY HASH (a);
CREATE TABLE bag0 PARTITION OF bag FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE bag1 (b text, a int);
ALTER TABLE bag ATTACH PARTITION bag1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT watch('bag');
INSERT INTO bag SELECT i % 4, 'same' FROM generate_series(1, 20) i;
INSERT INTO bag SELECT NULL, NULL FROM generate_series(1, 3) i;
SELECT changes('bag', 'duplicates, no key');
UPDATE bag SET a = a + 1 WHERE a < 2;
DELETE FROM bag1 WHERE ctid = (SELECT min(ctid) FROM bag1);
SELECT changes('bag', 'moves, no key');
SELECT all_changes('bag');

-- big rows, moved: their toasted values go along
CREATE TABLE big (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE big1 PARTITION OF big FOR VALUES IN (1);
CREATE TABLE big2 (v text, part int NOT NULL, id int NOT NULL);
ALTER TABLE big ATTACH PARTITION big2 FOR VALUES IN (2);
ALTER TABLE big1 ALTER v SET STORAGE EXTERNAL;
INSERT INTO big SELECT i, 1, repeat(md5(i::text), 2000) FROM generate_series(1, 6) i;
SELECT watch('big');
UPDATE big SET part = 2 WHERE id < 4;
SELECT changes('big', 'toasted values that move');
UPDATE big2 SET v = v || 'x' WHERE id = 1;
UPDATE big SET id = -id WHERE id = 2;
DELETE FROM big WHERE id = 3;
MERGE INTO big t USING (VALUES (4), (5)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET part = 2;
SELECT changes('big', 'toasted values that move by MERGE, and others');
SELECT all_changes('big');

SELECT * FROM finish();
DROP SCHEMA tap_partitions CASCADE;
