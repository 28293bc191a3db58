-- Loads where something is unusual: rights, tables, keys, and what happens to them later.
SET client_min_messages = warning;
SET work_mem = '64kB';
CREATE SCHEMA load_review;
SET search_path = load_review;

-- rejected rows that do not fit into work_mem: their temporary files are closed
CREATE TABLE wide (id int PRIMARY KEY, v text, pad text);
CREATE TABLE wide_copy (id int PRIMARY KEY, v int, pad text);
INSERT INTO wide SELECT i, 'bad', repeat(md5(i::text), 20) FROM generate_series(1, 500) i;
SELECT elt.create_load('wide', 'wide_copy', 'wide', 'SELECT id, v::int AS v, pad FROM wide', on_error => 'quarantine');
CALL elt.run('wide');
SELECT count(*) FROM elt.rejected WHERE load = 'wide';
SELECT elt.retry_rejected('wide');
SELECT count(*) FROM elt.rejected WHERE load = 'wide';

-- likewise where rows to delete are found by the query
CREATE TABLE keyless (k text, v text, pad text);
CREATE TABLE keyless_copy (k text PRIMARY KEY, v int, pad text);
INSERT INTO keyless SELECT 'k' || i, i, repeat(md5(i::text), 20) FROM generate_series(1, 500) i;
SELECT elt.create_load('keyless', 'keyless_copy', 'keyless', 'SELECT k, v::int AS v, pad FROM keyless', mode => 'mirror',
                       on_error => 'quarantine');
CALL elt.run('keyless');
UPDATE keyless SET v = CASE k WHEN 'k7' THEN 'bad' ELSE v || '0' END;
CALL elt.run('keyless');
SELECT load, key, "row" ->> 'k' AS k FROM elt.rejected WHERE load = 'keyless';
SELECT k, v::int, pad FROM keyless WHERE v <> 'bad' EXCEPT ALL TABLE keyless_copy;
SELECT count(*) FROM keyless_copy;

-- mode append needs no right but INSERT
CREATE ROLE regress_load_writer;
GRANT USAGE, CREATE ON SCHEMA load_review TO regress_load_writer;
CREATE TABLE added (id int, v text);
GRANT INSERT ON added TO regress_load_writer;
SET ROLE regress_load_writer;
CREATE TABLE adding (id int PRIMARY KEY, v text);
INSERT INTO adding VALUES (1, 'present');
SELECT elt.create_load('adding', 'added', 'adding', mode => 'append');
CALL elt.run('adding');
INSERT INTO adding VALUES (2, 'later');
CALL elt.run('adding');
RESET ROLE;
TABLE added;

-- a target that others inherit from: their rows are none of the mirror's
CREATE TABLE item (id int PRIMARY KEY, v text);
CREATE TABLE item_copy (id int PRIMARY KEY, v text);
CREATE TABLE item_copy_child () INHERITS (item_copy);
INSERT INTO item_copy_child VALUES (1, 'child'), (7, 'child');
INSERT INTO item VALUES (1, 'one'), (2, 'two');
SELECT elt.create_load('item', 'item_copy', 'item', mode => 'mirror');
CALL elt.run('item');
DELETE FROM item WHERE id = 1;
CALL elt.run('item');
SELECT tableoid::regclass, * FROM item_copy ORDER BY 1, 2;

-- a source that was renamed: the query is text, so it would not be found, or another table in its place
CREATE TABLE entry (id int PRIMARY KEY, v text);
CREATE TABLE entry_copy (id int PRIMARY KEY, v text);
INSERT INTO entry VALUES (1, 'old');
SELECT elt.create_load('entry', 'entry_copy', 'entry', mode => 'mirror');
ALTER TABLE entry RENAME TO entry_old;
CALL elt.run('entry');
CREATE TABLE entry (LIKE entry_old INCLUDING ALL);
INSERT INTO entry VALUES (10, 'new');
CALL elt.run('entry');
DROP TABLE entry;
ALTER TABLE entry_old RENAME TO entry;
CALL elt.run('entry');
ALTER TABLE entry RENAME COLUMN v TO w;
INSERT INTO entry VALUES (2, 'old');
CALL elt.run('entry');
ALTER TABLE entry RENAME COLUMN w TO v;
ALTER TABLE entry_copy RENAME TO entry_kept;
CALL elt.run('entry');
TABLE entry_kept;

-- a source whose primary key was changed: a mirror cannot find what to delete by the old one
CREATE TABLE part (id int PRIMARY KEY, n int NOT NULL, v text);
CREATE TABLE part_copy (id int, n int, v text, PRIMARY KEY (id, n));
INSERT INTO part VALUES (1, 1, 'a'), (2, 1, 'b');
SELECT elt.create_load('part', 'part_copy', 'part', mode => 'mirror');
CALL elt.run('part');
ALTER TABLE part DROP CONSTRAINT part_pkey, ADD PRIMARY KEY (id, n);
INSERT INTO part VALUES (1, 2, 'c');
CALL elt.run('part');
DELETE FROM part WHERE n = 2;
ALTER TABLE part DROP CONSTRAINT part_pkey, ADD UNIQUE (id);
INSERT INTO part VALUES (3, 1, 'd');
CALL elt.run('part');
DELETE FROM part WHERE id = 2;
CALL elt.run('part');
TABLE part_copy ORDER BY id, n;

-- another primary key while a window is being applied in chunks, which are shares of the former key
CREATE TABLE share (id int PRIMARY KEY, k int NOT NULL UNIQUE, v text);
CREATE TABLE share_copy (id int PRIMARY KEY, k int, v text);
SELECT elt.create_load('share', 'share_copy', 'share', batch_rows => 10);
CALL elt.run('share');
INSERT INTO share SELECT i, 7 * i, 'v' || i FROM generate_series(1, 100) i;
SELECT pending > 0 AS pending FROM elt.run_batch('share');
SELECT pending > 0 AS pending FROM elt.run_batch('share');
ALTER TABLE share DROP CONSTRAINT share_pkey, ADD PRIMARY KEY (k);
CALL elt.run('share');
TABLE share EXCEPT ALL TABLE share_copy;
INSERT INTO share SELECT i, 7 * i, 'v' || i FROM generate_series(101, 200) i;
SELECT pending > 0 AS pending FROM elt.run_batch('share');
ALTER TABLE share DROP CONSTRAINT share_pkey;
CALL elt.run('share');
TABLE share EXCEPT ALL TABLE share_copy;
-- without one, shares of the whole row
INSERT INTO share SELECT i, 7 * i, 'v' || i FROM generate_series(201, 300) i;
SELECT pending > 0 AS pending FROM elt.run_batch('share');
ALTER TABLE share ADD COLUMN extra int;
SELECT pending > 0 AS pending FROM elt.run_batch('share');
ALTER TABLE share DROP COLUMN extra;
CALL elt.run('share');
TABLE share EXCEPT ALL TABLE share_copy;
DROP TABLE share CASCADE;
CREATE TABLE share (id int NOT NULL, k int NOT NULL, v text, extra int);
SELECT elt.drop_load('share');
SELECT elt.create_load('share', 'share_copy', 'share', 'SELECT id, k, v FROM share', batch_rows => 10);
CALL elt.run('share');
INSERT INTO share SELECT i, i, 'w' || i, i FROM generate_series(1, 100) i;
SELECT pending > 0 AS pending FROM elt.run_batch('share');
SELECT pending > 0 AS pending FROM elt.run_batch('share');
ALTER TABLE share DROP COLUMN extra;
CALL elt.run('share');
TABLE share EXCEPT ALL TABLE share_copy;

-- columns that come and go under a query that reads them: what did not change gives something else than before
CREATE TABLE doc (id int PRIMARY KEY, n int);
CREATE TABLE doc_copy (id int PRIMARY KEY, n int, doc jsonb);
INSERT INTO doc SELECT i, i FROM generate_series(1, 20) i;
SELECT elt.create_load('doc', 'doc_copy', 'doc', 'SELECT id, n, to_jsonb(doc) AS doc FROM doc', batch_rows => 2);
CALL elt.run('doc');
ALTER TABLE doc ADD COLUMN extra text DEFAULT 'x';
CALL elt.run('doc');
SELECT id, n, to_jsonb(doc) FROM doc EXCEPT ALL TABLE doc_copy;
UPDATE doc SET n = n + 1;
SELECT pending > 0 AS pending FROM elt.run_batch('doc');
ALTER TABLE doc DROP COLUMN n, ADD COLUMN other int DEFAULT 7;
ALTER TABLE doc RENAME other TO n;
CALL elt.run('doc');
SELECT id, n, to_jsonb(doc) FROM doc EXCEPT ALL TABLE doc_copy;
SELECT * FROM elt.run_batch('doc');
CREATE TABLE plain (id int PRIMARY KEY, n int);
CREATE TABLE plain_copy (id int PRIMARY KEY, n int);
INSERT INTO plain SELECT i, i FROM generate_series(1, 20) i;
SELECT elt.create_load('plain', 'plain_copy', 'plain', mode => 'mirror');
CALL elt.run('plain');
ALTER TABLE plain ADD COLUMN unread int DEFAULT 1;
SELECT * FROM elt.run_batch('plain');
ALTER TABLE plain DROP COLUMN n;
ALTER TABLE plain ADD COLUMN n int DEFAULT 8;
SELECT * FROM elt.run_batch('plain');
TABLE plain_copy EXCEPT ALL SELECT id, n FROM plain;

-- rules that INSERT ... ON CONFLICT does not go with
CREATE TABLE ruled (id int PRIMARY KEY, n int);
CREATE RULE again AS ON INSERT TO ruled DO ALSO INSERT INTO added VALUES (new.id, 'by a rule');
SELECT elt.create_load('ruled', 'ruled', 'plain');
SELECT elt.create_load('ruled', 'ruled', 'plain', 'SELECT id FROM plain WHERE id = 1', mode => 'append');
CALL elt.run('ruled');
TABLE ruled;
TABLE added;

-- a load that its own batch drops
CREATE TABLE dropping (id int PRIMARY KEY, n int);
CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM elt.drop_load('dropping');
    RETURN new;
END $$;
CREATE TRIGGER drop_it BEFORE INSERT ON dropping FOR EACH ROW EXECUTE FUNCTION drop_it();
SELECT elt.create_load('dropping', 'dropping', 'plain', 'SELECT id, n FROM plain WHERE id = 1');
CALL elt.run('dropping');

-- a newer version replaces a rejected one also where the key was made, or renamed, in between
CREATE TABLE late (k text, v int);
CREATE TABLE late_copy (k text PRIMARY KEY, v int CHECK (v < 100));
SELECT elt.create_load('late', 'late_copy', 'late', 'SELECT k, v FROM late', on_error => 'quarantine');
INSERT INTO late VALUES ('a', 100), ('b', 1), ('c', 300);
CALL elt.run('late');
ALTER TABLE late ADD PRIMARY KEY (k);
UPDATE late SET v = 5 WHERE k = 'a';
CALL elt.run('late');
SELECT key, "row" FROM elt.rejected WHERE load = 'late';
CREATE TABLE coded (id int PRIMARY KEY, k text, v int);
CREATE TABLE coded_copy (k text PRIMARY KEY, v int CHECK (v < 100));
SELECT elt.create_load('coded', 'coded_copy', 'coded', 'SELECT k, v FROM coded', on_error => 'quarantine');
INSERT INTO coded VALUES (1, 'a', 100), (2, 'b', 200);
CALL elt.run('coded');
ALTER TABLE coded RENAME id TO number;
ALTER TABLE coded ADD COLUMN extra text DEFAULT 'x';
UPDATE coded SET v = 5 WHERE number = 1;
CALL elt.run('coded');
ALTER TABLE coded_copy DROP CONSTRAINT coded_copy_v_check, ADD CHECK (v < 150);
SELECT elt.retry_rejected('coded');
SELECT key, "row" FROM elt.rejected WHERE load = 'coded';
TABLE coded_copy;

-- what is evaluated for rows of the target may not be able to run beside parallel workers
CREATE FUNCTION checked_divides(n int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		RETURN 1 / n >= 0;
	EXCEPTION WHEN division_by_zero THEN
		RETURN false;
	END;
END $$;
CREATE TABLE checked_parallel (id int PRIMARY KEY, n int);
CREATE TABLE checked_checked (id int PRIMARY KEY, n int CHECK (checked_divides(n)));
INSERT INTO checked_parallel SELECT i, i FROM generate_series(1, 5000) i;
ANALYZE checked_parallel;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SELECT elt.create_load('divides', source => 'checked_parallel', target => 'checked_checked');
CALL elt.run('divides');
SELECT count(*) FROM checked_checked;
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;

SELECT count(elt.drop_load(name)) > 0 AS dropped FROM elt.loads;
SET client_min_messages = warning;
DROP SCHEMA load_review CASCADE;
DROP OWNED BY regress_load_writer;
DROP ROLE regress_load_writer;
