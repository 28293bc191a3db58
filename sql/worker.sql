-- Tasks done by background workers: what they see, what they are, what they cost, and how they fail.
CREATE SCHEMA worker;
SET search_path = worker, public;
-- the machine may have one processor only
SET elt.cpu_count = 4;
CREATE TABLE item (id int PRIMARY KEY, v text);

-- each command is a transaction of its own
SELECT command, state, worker > 0 AS by_worker, attempts, rows, sqlstate, error
FROM elt.run_parallel(ARRAY['INSERT INTO item SELECT i, ''a'' FROM generate_series(1, 100) i', 'INSERT INTO item SELECT i, ''b'' FROM generate_series(101, 150) i',
                            'SELECT 1', 'SELECT 1 WHERE false']);
SELECT v, count(*), count(DISTINCT xmin::text) AS transactions FROM item GROUP BY v ORDER BY v;
SELECT count(*) FROM elt.run_parallel('{}');

-- a worker is what the session is: role, settings, database, encoding
CREATE TABLE seen (what text, value text);
GRANT INSERT ON seen TO PUBLIC;
CREATE ROLE regress_elt_worker;
GRANT USAGE ON SCHEMA worker TO regress_elt_worker;
CREATE FUNCTION note(what text, value text) RETURNS void LANGUAGE sql AS $$ INSERT INTO worker.seen VALUES (what, value) $$;
SET ROLE regress_elt_worker;
SET search_path = worker;
SET DateStyle = 'German';
SET TimeZone = 'Asia/Tokyo';
SET client_encoding = 'LATIN1';
SET my.setting = 'mine';
SET work_mem = '8MB';
SELECT count(*) FROM elt.run_parallel(ARRAY[
    $$SELECT note('user', current_user::text)$$, format($$SELECT note('session user is the same', (session_user = %L)::text)$$, session_user),
    $$SELECT note('search_path', current_setting('search_path'))$$, $$SELECT note('date', date '2024-02-29' || '')$$,
    $$SELECT note('TimeZone', current_setting('TimeZone'))$$, $$SELECT note('client_encoding', current_setting('client_encoding'))$$,
    $$SELECT note('my.setting', current_setting('my.setting'))$$, $$SELECT note('work_mem', current_setting('work_mem'))$$,
    $$SELECT note('database is ' || (current_database() = 'contrib_regression')::text, NULL)$$,
    $$SELECT note('application_name', current_setting('application_name'))$$], workers => 2);
RESET ROLE;
SELECT count(*) FROM elt.run_parallel(ARRAY[$$SELECT note('backend_type', backend_type) FROM pg_stat_activity WHERE pid = pg_backend_pid()$$]);
SET elt.worker_memory = 0;
SELECT count(*) FROM elt.run_parallel(ARRAY[$$SELECT note('work_mem, each', current_setting('work_mem'))$$, 'SELECT 1'], workers => 2);
SET elt.worker_memory = '1MB';
SELECT count(*) FROM elt.run_parallel(ARRAY[$$SELECT note('work_mem, of a budget', current_setting('work_mem'))$$, 'SELECT 1'], workers => 2);
RESET elt.worker_memory; RESET client_encoding; RESET DateStyle; RESET TimeZone; RESET work_mem;
TABLE seen ORDER BY what;
SET search_path = worker, public;
TRUNCATE seen;

-- what a command sets is gone after it
SELECT command, state FROM elt.run_parallel(ARRAY['SET my.setting = ''changed''', $$SELECT note('my.setting', current_setting('my.setting'))$$], workers => 1);
TABLE seen;
TRUNCATE seen;

-- rights are the role's
SET ROLE regress_elt_worker;
SELECT command, state, sqlstate, error FROM elt.run_parallel(ARRAY['SELECT * FROM worker.item', 'RESET ROLE; SELECT count(*) FROM worker.item'], keep_going => true);
-- also after a command that has changed its own
SELECT command, state, sqlstate, error
FROM elt.run_parallel(ARRAY['SET ROLE NONE', 'SELECT * FROM worker.item', 'SELECT 1'], workers => 1, read_only => true, keep_going => true);
RESET ROLE;
CREATE FUNCTION definer(command text) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT coalesce(error, state) FROM elt.run_parallel(ARRAY[command], keep_going => true) $$;
SELECT definer('SELECT 1');
SELECT definer('SET ROLE regress_elt_worker');
-- nor in what runs as somebody else, restricted
CREATE FUNCTION restricted() RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT rows::int FROM elt.run_parallel(ARRAY['SELECT 1']) $$;
CREATE MATERIALIZED VIEW never AS SELECT restricted();
-- deferred constraints fire as the role
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM worker.note('trigger of ' || new.id, current_user::text); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION who();
GRANT INSERT ON item TO regress_elt_worker;
SET ROLE regress_elt_worker;
SELECT state FROM elt.run_parallel(ARRAY['INSERT INTO worker.item VALUES (1000, ''late'')']);
RESET ROLE;
TABLE seen;
DROP TRIGGER late ON item;

-- an error comes whole, and ends the run
CREATE FUNCTION fails() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'it failed' USING ERRCODE = 'XX123', DETAIL = 'the detail', HINT = 'the hint', CONSTRAINT = 'c', TABLE = 't';
END $$;
DO $$
DECLARE
    state text; message text; detail text; hint text; context text; name text; relation text;
BEGIN
    PERFORM elt.run_parallel(ARRAY['SELECT worker.fails()', 'SELECT pg_sleep(100)']);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT, name = CONSTRAINT_NAME, relation = TABLE_NAME;
    RAISE INFO '%', concat_ws(E'\n', state, message, detail, hint, name, relation, context);
END $$;
SELECT * FROM elt.run_parallel(ARRAY['SELECT 1/0']);
SELECT elt.run_parallel(ARRAY['SELECT zero FROM nothing']);
-- or not
SELECT command, state, sqlstate, error, context
FROM elt.run_parallel(ARRAY['SELECT 1/0', 'INSERT INTO item VALUES (2000, ''there'')', 'SELECT worker.fails()', 'INSERT INTO item VALUES (1, ''twice'')', 'COMMIT'], keep_going => true);
SELECT * FROM item WHERE id >= 2000;
-- notices too
SELECT state FROM elt.run_parallel(ARRAY[$$DO 'BEGIN RAISE NOTICE ''from afar: %'', 1; END'$$]);

-- reading only
SELECT command, state, rows FROM elt.run_parallel(ARRAY['SELECT * FROM item WHERE id <= 10', 'SELECT 1'], read_only => true);
SELECT elt.run_parallel(ARRAY['INSERT INTO item VALUES (3000)'], read_only => true);
SELECT elt.run_parallel(ARRAY['SET transaction_read_only = off; INSERT INTO item VALUES (3000)'], read_only => true);
BEGIN READ ONLY;
SELECT elt.run_parallel(ARRAY['INSERT INTO item VALUES (3000)']);
ROLLBACK;

-- one snapshot: what one command commits no other one sees
CREATE TABLE counted (n bigint);
SELECT state FROM elt.run_parallel(ARRAY['INSERT INTO item VALUES (4000)', 'INSERT INTO counted SELECT count(*) FROM item WHERE id = 4000',
                                         'INSERT INTO counted SELECT count(*) FROM item WHERE id = 4000'], workers => 1, same_snapshot => true);
TABLE counted;
TRUNCATE counted;
SELECT state FROM elt.run_parallel(ARRAY['INSERT INTO item VALUES (5000)', 'INSERT INTO counted SELECT count(*) FROM item WHERE id = 5000'], workers => 1);
TABLE counted;
BEGIN;
SELECT now() AS began \gset
SELECT bool_and(result = :'began') AS same, max(worker) > 0 AS by_workers
FROM elt.run_parallel(ARRAY['SELECT now(), pg_sleep(0.1)', 'SELECT now(), pg_sleep(0.1)', 'SELECT now()'], workers => 2, same_snapshot => true);
SELECT count(DISTINCT result), min(result::timestamptz) > now() AS later FROM elt.run_parallel(ARRAY['SELECT now(), pg_sleep(0.01)', 'SELECT now(), pg_sleep(0.01)'], workers => 1);
COMMIT;
-- an update of what was changed since is a serialization failure, which is not tried again
SELECT command, state, attempts, sqlstate FROM elt.run_parallel(ARRAY['UPDATE item SET v = ''x'' WHERE id = 1', 'UPDATE item SET v = ''y'' WHERE id = 1'],
    workers => 1, same_snapshot => true, keep_going => true, retries => 2);

-- where the session has written, it does the commands itself
BEGIN;
INSERT INTO item VALUES (6000, 'mine');
SELECT command, state, worker, rows FROM elt.run_parallel(ARRAY['SELECT * FROM item WHERE id = 6000', 'INSERT INTO item VALUES (6001, ''in the transaction'')'], same_snapshot => true);
SAVEPOINT s;
SELECT elt.run_parallel(ARRAY['SELECT 1/0'], same_snapshot => true);
ROLLBACK TO s;
SELECT command, state, worker, sqlstate, attempts
FROM elt.run_parallel(ARRAY['SELECT 1/0', 'SELECT * FROM item WHERE id = 6001', 'SET my.setting = ''changed'''], same_snapshot => true, keep_going => true, retries => 1);
SELECT elt.run_parallel(ARRAY['INSERT INTO item VALUES (6002)'], same_snapshot => true, read_only => true);
ROLLBACK;
SELECT count(*) FROM item WHERE id >= 6000;
SHOW my.setting;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT state, worker FROM elt.run_parallel(ARRAY['SELECT 1'], same_snapshot => true);
COMMIT;

-- limits
SET elt.max_workers_per_role = 0;
SELECT state, worker FROM elt.run_parallel(ARRAY['SELECT 1', 'SELECT 2']);
SET elt.max_workers_per_role = 1;
SELECT count(DISTINCT worker) FROM elt.run_parallel(ARRAY['SELECT pg_sleep(0.05)', 'SELECT pg_sleep(0.05)']);
RESET elt.max_workers_per_role;
SET elt.max_workers_per_database = 1;
SELECT count(DISTINCT worker) FROM elt.run_parallel(ARRAY['SELECT pg_sleep(0.05)', 'SELECT pg_sleep(0.05)']);
SELECT scope, max_workers, in_use FROM elt.worker_limits() WHERE scope <> 'cluster';
RESET elt.max_workers_per_database;
SET elt.cpu_count = 1;
SELECT count(DISTINCT worker) FROM elt.run_parallel(ARRAY['SELECT pg_sleep(0.05)', 'SELECT pg_sleep(0.05)'], workers => 2);
SELECT count(DISTINCT worker) FROM elt.run_parallel(ARRAY['SELECT pg_sleep(0.05)', 'SELECT pg_sleep(0.05)']);
SET elt.cpu_count = 4;
SELECT count(DISTINCT worker) FROM elt.run_parallel(ARRAY['SELECT pg_sleep(1)', 'SELECT pg_sleep(1)', 'SELECT pg_sleep(1)']);

SELECT * FROM elt.workers_available(2);
SELECT * FROM elt.workers_available(5);
SET elt.cpu_count = 10;
SELECT * FROM elt.workers_available(9);
SET elt.max_workers_per_role = 2;
SELECT * FROM elt.workers_available(9);
SELECT result FROM elt.run_parallel(ARRAY['SELECT elt.workers_available(9)', 'SELECT elt.workers_available(1)'], workers => 1);
RESET elt.max_workers_per_role;
SELECT elt.workers_available(0);
SET elt.cpu_count = 4;

-- a lock of the session itself
SET deadlock_timeout = '50ms';
BEGIN;
LOCK TABLE item;
SELECT elt.run_parallel(ARRAY['SELECT * FROM item']);
ROLLBACK;
RESET deadlock_timeout;
SET elt.worker_lock_timeout = '50ms';
BEGIN;
LOCK TABLE item;
SELECT elt.run_parallel(ARRAY['SELECT * FROM item'], retries => 2);
ROLLBACK;
SET lock_timeout = '10ms';
SELECT state FROM elt.run_parallel(ARRAY[$$SELECT note('lock_timeout', current_setting('lock_timeout'))$$]);
RESET lock_timeout;
SELECT state FROM elt.run_parallel(ARRAY[$$SELECT note('elt.worker_lock_timeout', current_setting('lock_timeout'))$$]);
RESET elt.worker_lock_timeout;
SELECT * FROM seen WHERE what LIKE '%lock_timeout' ORDER BY what;

-- timeouts, also where a command catches that it is cancelled
SET statement_timeout = '200ms';
SELECT elt.run_parallel(ARRAY['SELECT pg_sleep(100)', 'SELECT pg_sleep(100)']);
RESET statement_timeout;
SET elt.max_snapshot_age = 1;
SELECT elt.run_parallel(ARRAY['SELECT pg_sleep(100)'], same_snapshot => true);
RESET elt.max_snapshot_age;

-- reading by itself it cannot write either, but can afterwards
SET elt.max_workers_per_role = 0;
SELECT elt.run_parallel(ARRAY['INSERT INTO counted VALUES (5)'], read_only => true);
SELECT command, state, error FROM elt.run_parallel(ARRAY['INSERT INTO counted VALUES (5)', 'SELECT 1'], read_only => true, keep_going => true);
BEGIN;
SELECT state FROM elt.run_parallel(ARRAY['SELECT 1'], read_only => true);
INSERT INTO counted VALUES (6);
COMMIT;
RESET elt.max_workers_per_role;

-- what it cost
SELECT command, buffers_hit > 0 AS hit, wal_bytes > 0 AS wal, temp_bytes > 0 AS temp, user_ms + system_ms > 0 AS cpu, elapsed_ms > 0 AS elapsed
FROM elt.run_parallel(ARRAY['INSERT INTO item SELECT i FROM generate_series(10001, 20000) i', 'SELECT count(*) FROM (SELECT i FROM generate_series(1, 200000) i ORDER BY 1 DESC OFFSET 10) s'],
    workers => 2);

-- results, and the order in which commands begin
SELECT command, rows, result FROM elt.run_parallel(ARRAY['SELECT i * 10, i FROM generate_series(1, 3) i', 'SELECT NULL::int', 'SELECT 1 WHERE false', 'SELECT', 'SELECT 1; SELECT ''last''',
    'INSERT INTO counted VALUES (88) RETURNING n + 1', 'EXPLAIN (COSTS OFF) SELECT 1', 'SET my.setting = 1', 'VALUES (''ä'')']);
SELECT length(result), right(result, 1) FROM elt.run_parallel(ARRAY['SELECT ''x'' || repeat(''ä'', 10000)']);
CREATE TABLE begun (id serial, n int);
SELECT count(*) FROM elt.run_parallel(array(SELECT format('INSERT INTO worker.begun (n) VALUES (%s)', i) FROM generate_series(1, 6) i), workers => 1, weights => ARRAY[2, NULL, 1e9, 2, 0.5, 3]);
SELECT string_agg(n::text, ' ' ORDER BY id) FROM begun;

-- arguments
SELECT elt.run_parallel(ARRAY['SELECT 1'], weights => ARRAY[1, 2]);
SELECT elt.run_parallel(ARRAY['SELECT 1'], weights => ARRAY['NaN'::float]);
SELECT elt.run_parallel(NULL);
SELECT elt.run_parallel(ARRAY['SELECT 1', NULL]);
SELECT elt.run_parallel(ARRAY['SELECT 1'], workers => 0);
SELECT elt.run_parallel(ARRAY['SELECT 1'], retries => -1);
SELECT elt.run_parallel(ARRAY['SELECT 1'], read_only => NULL);
SET SESSION AUTHORIZATION regress_elt_worker;
SET elt.max_workers_per_role = 100;
SET elt.cpu_count = 100;
RESET SESSION AUTHORIZATION;

-- a run in a run, and many
SELECT state FROM elt.run_parallel(ARRAY[$$SELECT elt.run_parallel(ARRAY['INSERT INTO worker.counted VALUES (77)'])$$]);
SELECT count(*) FROM counted WHERE n = 77;
-- which does not wait for the slot that it has itself
SET elt.max_workers_per_role = 1;
SET statement_timeout = '8s';
SELECT result FROM elt.run_parallel(ARRAY['SELECT state, worker FROM elt.run_parallel(ARRAY[''SELECT 1''])']);
RESET statement_timeout;
RESET elt.max_workers_per_role;
SELECT count(*), sum(rows) FROM elt.run_parallel(array(SELECT 'SELECT 1' FROM generate_series(1, 2000)), read_only => true, same_snapshot => true);
-- nothing is left
SELECT count(*) FROM elt.workers;
SELECT in_use FROM elt.worker_limits() WHERE scope = 'cluster';
SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND database = 0;

SET client_min_messages = warning;
DROP SCHEMA worker CASCADE;
DROP ROLE regress_elt_worker;
