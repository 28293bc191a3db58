-- Transforms as a user sees them: elt.create_transform, CALL elt.run, elt.transforms, elt.run_shards, elt.alter_transform, elt.drop_transform.
CREATE SCHEMA transform;
SET search_path = transform;

-- what a table lacks of a query, and has too many
CREATE FUNCTION differences(target text, query text, OUT lacks bigint, OUT has bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT (SELECT count(*) FROM (%1$s EXCEPT ALL SELECT * FROM %2$s) l), (SELECT count(*) FROM (SELECT * FROM %2$s EXCEPT ALL %1$s) h)', query, target)
		INTO lacks, has;
END $$;
-- relations that a run has left behind
CREATE VIEW leftovers AS SELECT relname FROM pg_class WHERE relnamespace = 'elt_data'::regnamespace AND relname ~ '^t[0-9]';

CREATE TABLE event (id int, customer int, amount numeric(10,2), note text);
INSERT INTO event SELECT i, i % 500, i % 97, 'note ' || i FROM generate_series(1, 20000) i;

-- overwrite: the target keeps its OID, rights, views, indexes, constraints; gets its defaults and generated columns
CREATE TABLE mart (id int PRIMARY KEY, note text NOT NULL, amount numeric CHECK (amount >= 0), twice numeric GENERATED ALWAYS AS (amount * 2) STORED,
	made timestamptz DEFAULT now(), no bigint GENERATED ALWAYS AS IDENTITY);
CREATE INDEX mart_note ON mart (lower(note)) WHERE amount > 50;
CREATE VIEW mart_view AS SELECT id, twice FROM mart;
CREATE ROLE transform_reader;
GRANT USAGE ON SCHEMA transform TO transform_reader;
GRANT SELECT ON mart TO transform_reader;
INSERT INTO mart (id, note, amount) VALUES (-1, 'old', 1);
SELECT 'mart'::regclass::oid AS mart_oid, 'mart_note'::regclass::oid AS index_oid \gset
SELECT elt.create_transform('mart', 'mart', 'SELECT id, note, amount FROM event WHERE id > 0', workers => 2);
SELECT step, split, tasks, workers, reason FROM elt.explain_transform('mart');
CALL elt.run('mart');
SELECT * FROM differences('(SELECT id, note, amount, twice FROM mart) x', 'SELECT id, note, amount, amount * 2 FROM event');
SELECT count(*), count(DISTINCT made), count(DISTINCT no), sum(twice) FROM mart;
SELECT 'mart'::regclass::oid = :mart_oid AS same, 'mart_note'::regclass::oid = :index_oid AS same_index, reltuples FROM pg_class WHERE oid = 'mart'::regclass;
SELECT count(*) FROM mart_view WHERE twice = 96 * 2;
SET enable_seqscan = off;
EXPLAIN (COSTS off) SELECT id FROM mart WHERE lower(note) = 'note 90' AND amount > 50;
SELECT id FROM mart WHERE lower(note) = 'note 90' AND amount > 50;
SELECT note FROM mart WHERE id = 77;
RESET enable_seqscan;
SET ROLE transform_reader;
SELECT count(*) FROM mart;
RESET ROLE;
INSERT INTO mart (id, note, amount) VALUES (77, 'twice', 1);
INSERT INTO mart (id, note, amount) VALUES (99999, 'one more', 1);
UPDATE mart SET amount = 5 WHERE id = 3;
VACUUM (FREEZE, ANALYZE) mart;
SELECT n_distinct FROM pg_stats WHERE tablename = 'mart' AND attname = 'id';
TABLE leftovers;
SELECT state, last_state, last_rows, rejected_rows FROM elt.transforms t, LATERAL (SELECT count(*) AS state FROM elt.run_shards s WHERE s.node = t.name) x;
SELECT shard, split_part(label, ' (', 1) AS label, state, attempts, worker > 0 AS by_worker, rows > 0 AS rows, bytes > 10000 AS bytes, wal_bytes > 10000 AS wal, elapsed_ms > 0 AS ms, error
FROM elt.run_shards ORDER BY shard;

-- once more, over what is there now
DELETE FROM event WHERE id % 2 = 0;
CALL elt.run('mart');
SELECT * FROM differences('(SELECT id, note, amount, twice FROM mart) x', 'SELECT id, note, amount, amount * 2 FROM event');

-- long values, in and out of TOAST
CREATE TABLE long_target (id int, long text);
SELECT elt.create_transform('long', 'long_target', $$SELECT id, (SELECT string_agg(md5(id::text || i), '') FROM generate_series(1, 200) i) AS long FROM event WHERE id < 400$$, workers => 2);
CALL elt.run('long');
CALL elt.run('long');
SELECT count(*), min(length(long)), count(DISTINCT long) FROM long_target;
SELECT count(*) FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid AND t.relname = 'pg_toast_' || c.oid
	JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class x ON x.oid = i.indexrelid AND x.relname = t.relname || '_index'
	WHERE c.oid = 'long_target'::regclass;
VACUUM FULL long_target;
SELECT count(DISTINCT long) FROM long_target;
TABLE leftovers;

-- groups by the partition key of a partitioned table, into a table partitioned by something else
CREATE TABLE sale (customer int, day date, amount numeric(10,2), f float8) PARTITION BY HASH (customer);
SELECT format('CREATE TABLE sale_%1$s PARTITION OF sale FOR VALUES WITH (MODULUS 4, REMAINDER %1$s)', i) FROM generate_series(0, 3) i \gexec
CREATE TABLE customer (customer bigint, name text) PARTITION BY HASH (customer);
SELECT format('CREATE TABLE customer_%1$s PARTITION OF customer FOR VALUES WITH (MODULUS 4, REMAINDER %1$s)', i) FROM generate_series(0, 3) i \gexec
INSERT INTO sale SELECT nullif(i % 300, 0), date '2026-01-01' + i % 90, i % 50, i / 3.0 FROM generate_series(1, 10000) i;
INSERT INTO customer SELECT i, 'customer ' || i FROM generate_series(1, 250) i;
CREATE TABLE by_customer (name text, customer int, n bigint, amount numeric, f float8) PARTITION BY LIST (n);
CREATE TABLE by_customer_33 (gone int, f float8, n bigint, name text, customer int, amount numeric);
ALTER TABLE by_customer_33 DROP COLUMN gone;
ALTER TABLE by_customer ATTACH PARTITION by_customer_33 FOR VALUES IN (33);
CREATE TABLE by_customer_rest PARTITION OF by_customer DEFAULT;
CREATE INDEX ON by_customer (customer);
SELECT elt.create_transform('by customer', 'by_customer', $$
	SELECT s.customer, c.name, count(*) AS n, sum(amount) AS amount, max(f) AS f FROM sale s LEFT JOIN customer c ON c.customer = s.customer GROUP BY 1, 2$$, workers => 2);
SELECT step, split, tasks, reason FROM elt.explain_transform('by customer');
CALL elt.run('by customer');
SELECT * FROM differences('(SELECT customer, name, n, amount, f FROM by_customer) x',
	'SELECT s.customer, c.name, count(*) AS n, sum(amount) AS amount, max(f) AS f FROM sale s LEFT JOIN customer c ON c.customer = s.customer GROUP BY 1, 2');
SELECT tableoid::regclass, count(*) FROM by_customer GROUP BY 1 ORDER BY 1;

-- partial aggregates
CREATE TABLE by_day (day date, n bigint, amount numeric, average numeric, lowest int, customers bigint, label text);
SELECT elt.create_transform('by day', 'by_day', $$
	SELECT day, count(*) AS n, sum(amount) AS amount, avg(amount) AS average, min(customer) AS lowest, count(customer) FILTER (WHERE amount > 10) AS customers,
	       'day ' || (row_number() OVER (ORDER BY day)) AS label
	FROM sale GROUP BY day HAVING sum(customer) > 0 ORDER BY day LIMIT 50$$, workers => 2);
SELECT step, split, tasks, reason FROM elt.explain_transform('by day');
CALL elt.run('by day');
SELECT * FROM differences('by_day', $$(SELECT day, count(*) AS n, sum(amount) AS amount, avg(amount) AS average, min(customer) AS lowest,
	count(customer) FILTER (WHERE amount > 10) AS customers, 'day ' || (row_number() OVER (ORDER BY day)) AS label
	FROM sale GROUP BY day HAVING sum(customer) > 0 ORDER BY day LIMIT 50)$$);
SELECT elt.alter_transform('by day', publish => 'mvcc');
CALL elt.run('by day');
SELECT count(*) FROM by_day;
-- without rows
CREATE TABLE empty (a int, b numeric) PARTITION BY HASH (a);
CREATE TABLE totals (n bigint, s numeric, m int);
SELECT elt.create_transform('totals', 'totals', 'SELECT count(*) AS n, sum(b) AS s, max(a) AS m FROM empty', workers => 2);
CALL elt.run('totals');
TABLE totals;
CREATE TABLE empty_0 PARTITION OF empty FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CALL elt.run('totals');
TABLE totals;
INSERT INTO empty VALUES (1, 2.50), (2, NULL);
CALL elt.run('totals');
TABLE totals;

-- append: not the same rows twice
CREATE TABLE arrived (id int, note text);
CREATE TABLE kept (id int, note text, at timestamptz DEFAULT now());
INSERT INTO arrived SELECT i, 'first' FROM generate_series(1, 5000) i;
SELECT elt.create_transform('keep', 'kept', 'SELECT id, note FROM arrived', mode => 'append', workers => 2);
SELECT step, split, reason FROM elt.explain_transform('keep');
SELECT elt.alter_transform('keep', query => 'SELECT id, replace(replace(replace(upper(lower(upper(lower(note || note || '''')))), ''FIRSTFIRST'', ''first''), ''SECONDSECOND'', ''second''), ''x'', ''y'') AS note FROM arrived');
SELECT step, split, reason FROM elt.explain_transform('keep');
CALL elt.run('keep');
CALL elt.run('keep');
INSERT INTO arrived VALUES (5001, 'second');
CALL elt.run('keep');
BEGIN;
TRUNCATE arrived;
INSERT INTO arrived SELECT i, 'second' FROM generate_series(5001, 8000) i;
COMMIT;
CALL elt.run('keep');
SELECT note, count(*), count(DISTINCT id) FROM kept GROUP BY note ORDER BY note;
SELECT elt.alter_transform('keep', repeat => true);
CALL elt.run('keep');
SELECT note, count(*), count(DISTINCT id) FROM kept GROUP BY note ORDER BY note;
-- each shard by itself
SELECT elt.alter_transform('keep', atomic => false);
SELECT step, split, reason FROM elt.explain_transform('keep');
CALL elt.run('keep');
SELECT note, count(*), count(DISTINCT id) FROM kept GROUP BY note ORDER BY note;

-- upsert
CREATE TABLE price (id int PRIMARY KEY, amount numeric);
INSERT INTO price VALUES (-5, 5), (7, 0);
SELECT elt.create_transform('price', 'price', 'SELECT id, abs(abs(abs(abs(abs(abs(abs(abs(amount)))))))) AS amount FROM event', mode => 'upsert', workers => 2);
SELECT step, split, reason FROM elt.explain_transform('price');
CALL elt.run('price');
SELECT count(*), min(id), (SELECT amount FROM price WHERE id = 7) FROM price;
SELECT elt.alter_transform('price', workers => 1);
SELECT step, split, reason, hint FROM elt.explain_transform('price');
CALL elt.run('price');

-- what a swap cannot do, DELETE and INSERT can: triggers, foreign keys
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent SELECT generate_series(0, 499);
CREATE TABLE child (customer int REFERENCES parent, id int, marked bool);
CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.marked := true; RETURN NEW; END $$;
CREATE TRIGGER mark BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION mark();
SELECT elt.create_transform('child', 'child', 'SELECT customer, id FROM event', workers => 2);
SELECT elt.create_transform('child', 'child', 'SELECT customer, id FROM event', workers => 2, publish => 'mvcc');
CALL elt.run('child');
CALL elt.run('child');
SELECT count(*), count(*) FILTER (WHERE marked) FROM child;
\set SHOW_CONTEXT never
INSERT INTO event VALUES (1, 777, 1, 'no such parent');
CALL elt.run('child');
SELECT count(*), count(*) FILTER (WHERE marked) FROM child;
\set SHOW_CONTEXT errors
DELETE FROM event WHERE customer = 777;

-- a shard that fails: named, and nothing is left behind
SELECT elt.alter_transform('mart', query => 'SELECT id, note, amount / (id - 4001) AS amount FROM event');
\set VERBOSITY terse
CALL elt.run('mart');
\set VERBOSITY default
TABLE leftovers;
SELECT count(*), min(amount) FROM mart;
SELECT last_state, last_error FROM elt.transforms WHERE name = 'mart';
SELECT state, count(*) > 0 AS some, count(error) > 0 AS with_error FROM elt.run_shards WHERE node = 'mart' AND run_state = 'failed' GROUP BY state HAVING state = 'failed';

-- definitions
SELECT elt.create_transform('mart', 'mart', 'SELECT id, note, amount FROM event', if_exists => 'skip');
SELECT elt.create_transform('mart', 'mart', 'SELECT id, note, amount FROM event', if_exists => 'alter', workers => 2);
SELECT name, target, mode, key, workers, atomic, publish, on_error FROM elt.transforms ORDER BY name;
CALL elt.run('mart');

-- rights: it runs as its owner
CREATE ROLE transform_owner;
GRANT USAGE, CREATE ON SCHEMA transform TO transform_owner;
SET ROLE transform_owner;
CREATE TABLE mine (who text, id int);
SELECT elt.create_transform('mine', 'mine', 'SELECT current_user::text AS who, id FROM event', workers => 2);
RESET ROLE;
GRANT SELECT ON event TO transform_owner;
SET ROLE transform_owner;
SELECT elt.create_transform('mine', 'mine', 'SELECT current_user::text AS who, id FROM event', workers => 2);
RESET ROLE;
CALL elt.run('mine');
SELECT who, count(*) FROM mine GROUP BY who;
SET ROLE transform_reader;
CALL elt.run('mine');
SELECT name FROM elt.transforms;
SELECT count(*) FROM elt.run_shards;
RESET ROLE;
-- what it reads may be a partition of a table that it may read
GRANT SELECT ON sale TO transform_owner;
SET ROLE transform_owner;
CREATE TABLE mine2 (customer int, n bigint);
SELECT elt.create_transform('mine2', 'mine2', 'SELECT customer, count(*) AS n FROM sale GROUP BY customer', workers => 2);
CALL elt.run('mine2');
SELECT count(*), sum(n) FROM mine2;
RESET ROLE;
REVOKE SELECT ON sale FROM transform_owner;
\set SHOW_CONTEXT never
CALL elt.run('mine2');

-- the end
SELECT elt.drop_transform(name) FROM elt.transforms;
SELECT count(*) FROM elt.transforms;
SELECT count(*) FROM elt.node_run;
SELECT count(*) FROM elt.run_shard;
TABLE leftovers;
SET client_min_messages = warning;
DROP SCHEMA transform CASCADE;
DROP OWNED BY transform_owner;
DROP ROLE transform_reader, transform_owner;
