-- on_error 'quarantine': rows that cannot be transformed are put aside.
CREATE SCHEMA transform_quarantine;
SET search_path = transform_quarantine;

CREATE TABLE raw (id int PRIMARY KEY, doc text, part int);
INSERT INTO raw SELECT i, CASE WHEN i % 1000 = 7 THEN '{broken' ELSE format('{"n": %s}', i) END, i % 3 FROM generate_series(1, 5000) i;
CREATE TABLE parsed (id int PRIMARY KEY, n int CHECK (n <> 4444));

SELECT elt.create_transform('parse', 'parsed', $$SELECT id, (doc::json ->> 'n')::int AS n FROM raw$$, workers => 2, on_error => 'quarantine');
CALL elt.run('parse');
SELECT count(*), sum(n) FROM parsed;
SELECT load, sqlstate, message, key, "row" FROM elt.rejected ORDER BY key;
SELECT rejected_rows, last_rows FROM elt.transforms;
SELECT sum(rejected), sum(rows) FROM elt.run_shards;
-- again: those of before are replaced
UPDATE raw SET doc = '{"n": 1}' WHERE id = 7;
CALL elt.run('parse');
SELECT count(*), sum(n) FROM parsed;
SELECT count(*) FROM elt.rejected;
-- too many
SELECT elt.alter_transform('parse', max_rejected => 3);
CALL elt.run('parse');
SELECT count(*), sum(n) FROM parsed;
SELECT count(*) FROM elt.rejected;
SELECT elt.alter_transform('parse', max_rejected => 100);
-- other ways for the rows to get there
SELECT elt.alter_transform('parse', publish => 'mvcc');
CALL elt.run('parse');
SELECT count(*), sum(n) FROM parsed;
SELECT count(*) FROM elt.rejected;
TRUNCATE parsed;
SELECT elt.alter_transform('parse', mode => 'append', atomic => false);
CALL elt.run('parse');
SELECT count(*), sum(n) FROM parsed;
SELECT count(*) FROM elt.rejected;
-- duplicate keys are found where rows are written one by one
SELECT elt.alter_transform('parse', repeat => true, max_rejected => 10000);
CALL elt.run('parse');
SELECT count(*), sum(n) FROM parsed;
SELECT sqlstate, count(*) FROM elt.rejected GROUP BY 1 ORDER BY 1;
SELECT elt.drop_transform('parse');
SELECT count(*) FROM elt.rejected;

-- joins, partitions, a table without a key
CREATE TABLE sharded (id int, divisor int) PARTITION BY HASH (id);
CREATE TABLE sharded_0 PARTITION OF sharded FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE sharded_1 PARTITION OF sharded FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO sharded SELECT i, i - 50 FROM generate_series(1, 100) i;
CREATE TABLE quotient (id int, q int);
SELECT elt.create_transform('divide', 'quotient', 'SELECT s.id, r.id / s.divisor AS q FROM sharded s JOIN raw r ON r.id = s.id', on_error => 'quarantine');
SELECT split, reason FROM elt.explain_transform('divide') WHERE step = 'tasks';
CALL elt.run('divide');
SELECT count(*), sum(q) FROM quotient;
SELECT load, sqlstate, message, key, "row" FROM elt.rejected;
-- what no row is to blame for stops the run
DROP TABLE raw;
CALL elt.run('divide');
SELECT count(*) FROM quotient;

SELECT elt.drop_transform(name) FROM elt.transforms;
SET client_min_messages = warning;
DROP SCHEMA transform_quarantine CASCADE;
