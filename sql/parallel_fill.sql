-- First rows of views and loads: the server's parallel workers give them, as many as elt's limits leave.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA parallel_fill;
SET search_path = parallel_fill;
SET parallel_leader_participation = off;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;

-- Who computes a row?
CREATE FUNCTION computed_by(int) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN pg_backend_pid(); END $$;
CREATE TABLE source (id int PRIMARY KEY, g int NOT NULL);
INSERT INTO source SELECT i, i % 10 FROM generate_series(1, 20000) i;
ANALYZE source;

\echo == by workers
SELECT elt.create_view('by_workers', 'SELECT id, computed_by(id) AS pid FROM source');
SELECT count(*), bool_or(pid = pg_backend_pid()) AS by_session FROM by_workers;
SELECT elt.create_view('groups', 'SELECT g, count(*) AS n, max(computed_by(id)) AS pid FROM source GROUP BY g');
SELECT sum(n), bool_or(pid = pg_backend_pid()) AS by_session FROM groups;
CREATE TABLE copied (id int PRIMARY KEY, pid int, twice int GENERATED ALWAYS AS (id * 2) STORED, no int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE added (dropped int, id int, pid int, at int DEFAULT 7);
ALTER TABLE added DROP dropped;
SELECT elt.create_load('copied', 'copied', source => 'source', query => 'SELECT id, computed_by(id) AS pid FROM source');
SELECT elt.create_load('added', 'added', source => 'source', mode => 'append', query => 'SELECT id, computed_by(id) AS pid FROM source');
CALL elt.run('copied');
CALL elt.run('added');
-- an identity column is no work for parallel workers
SELECT count(*), bool_and(pid = pg_backend_pid()) AS by_session, bool_and(twice = id * 2) AS generated, count(DISTINCT no) FROM copied;
SELECT count(*), bool_or(pid = pg_backend_pid()) AS by_session, bool_and(at = 7) AS defaults FROM added;

\echo == by the session where there may be none
SET elt.max_workers_per_role = 0;
SELECT elt.create_view('by_session', 'SELECT id, computed_by(id) AS pid FROM source');
SELECT count(*), bool_and(pid = pg_backend_pid()) AS by_session FROM by_session;
RESET elt.max_workers_per_role;

\echo == a slot is held while such a query runs, and then no more
CREATE FUNCTION free_workers(int) RETURNS int LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$ BEGIN RETURN (elt.workers_available(8)).workers + $1; END $$;
SET elt.max_workers_per_role = 1;
SET elt.cpu_count = 4;
SELECT (elt.workers_available(4)).workers;
CREATE TABLE free (id int, n int);
SELECT elt.create_load('free', 'free', source => 'source', mode => 'append', query => 'SELECT id, free_workers(0) AS n FROM source WHERE computed_by(id) > 0');
CALL elt.run('free');
SELECT DISTINCT n FROM free;
SELECT (elt.workers_available(4)).workers;

\echo == a key that the source gives twice is for the upsert
CREATE TABLE once (g int PRIMARY KEY);
SELECT elt.create_load('once', 'once', source => 'source', query => 'SELECT g FROM source', key => '{g}');
\set VERBOSITY terse
CALL elt.run('once');
SELECT count(*) FROM once;

SET client_min_messages = warning;
SELECT elt.drop_load(name) IS NULL FROM elt.loads WHERE name IN ('copied', 'added', 'free', 'once');
DROP SCHEMA parallel_fill CASCADE;
