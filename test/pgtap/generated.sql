-- Generated columns of partitions whose columns are in another order than the root's.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_generated CASCADE;
CREATE SCHEMA tap_generated;
SET search_path = tap_generated, public;
SELECT no_plan();

CREATE TABLE root (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY RANGE (id);
CREATE TABLE other (n int, id int NOT NULL, g int GENERATED ALWAYS AS (n * 2) STORED);
ALTER TABLE root ATTACH PARTITION other FOR VALUES FROM (0) TO (10);
CREATE TABLE same PARTITION OF root FOR VALUES FROM (10) TO (20);
SELECT elt.create_stream('changes', 'root');

INSERT INTO root VALUES (1, 5), (11, 6);
COPY root (id, n) FROM stdin;
2	7
\.
INSERT INTO other (id, n) VALUES (3, 8);
MERGE INTO root USING (VALUES (4, 9)) s (id, n) ON root.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.n);
INSERT INTO root VALUES (5, 10) ON CONFLICT (id) DO NOTHING;
SELECT set_eq('SELECT id, n, g FROM changes', 'TABLE root', 'the log has the generated values');
SELECT trigger_is('tap_generated', 'other', 'elt_capture_generated', 'elt', 'capture_generated', 'a trigger where columns differ');
SELECT hasnt_trigger('tap_generated', 'same', 'elt_capture_generated', 'none where they do not');

UPDATE root SET n = n + 1;
UPDATE root SET id = id + 10 WHERE id IN (2, 3);
SELECT set_eq('SELECT id, n, g FROM changes', 'TABLE root', 'after updates and moves');
DELETE FROM root;
SELECT is_empty('TABLE changes', 'what came and went cancels');

SELECT elt.drop_stream('changes');
ALTER TABLE root ADD h int GENERATED ALWAYS AS (n + 1) STORED, DROP g;
SELECT elt.create_stream('changes', 'root');
INSERT INTO root (id, n) VALUES (1, 5), (11, 6);
SELECT set_eq('SELECT id, n, h FROM changes', 'TABLE root', 'a generated column that came later');
SELECT elt.drop_stream('changes');
SELECT elt.untrack('root');
SELECT hasnt_trigger('tap_generated', 'other', 'elt_capture_generated', 'untrack removes the trigger');

SELECT finish();
DROP SCHEMA tap_generated CASCADE;
