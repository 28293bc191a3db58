-- Workers.

CREATE FUNCTION elt.run_parallel(commands text[], workers integer DEFAULT NULL, read_only boolean DEFAULT false, same_snapshot boolean DEFAULT false,
                                 keep_going boolean DEFAULT false, retries integer DEFAULT 0, weights double precision[] DEFAULT NULL,
                                 OUT command integer, OUT state text, OUT worker integer, OUT attempts integer, OUT rows bigint, OUT result text,
                                 OUT sqlstate text, OUT error text, OUT detail text, OUT hint text, OUT context text,
                                 OUT buffers_hit bigint, OUT buffers_read bigint, OUT buffers_written bigint, OUT temp_bytes bigint, OUT wal_bytes bigint,
                                 OUT user_ms double precision, OUT system_ms double precision, OUT elapsed_ms double precision) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'elt_sql_run_parallel';
COMMENT ON FUNCTION elt.run_parallel(text[], integer, boolean, boolean, boolean, integer, double precision[]) IS
'Runs SQL commands at the same time, by background workers, as the caller and with the caller''s settings; returns a row for each when all have ended. Each command '
'is a transaction, which commits whatever becomes of the caller''s; read_only: they cannot write, and each worker has one transaction. same_snapshot: all see what the caller''s '
'statement sees; not where the caller''s transaction has written. keep_going: a command''s error does not end the others, and is in its row. retries: for errors that may pass '
'(lock timeout, deadlock, serialization failure, lack of resources). weights: heavier ones begin first. result: first column of the first row. Where no worker can be had (see elt.worker_limits) the session does the commands itself, in its own transaction. '
'worker: 0 for that. Errors: 42501 within a security-restricted operation, 22004, 22023, 54000; those of the commands.';

CREATE FUNCTION elt.worker_rows(OUT pid integer, OUT leader_pid integer, OUT run bigint, OUT task text, OUT task_number integer, OUT tasks integer,
                                OUT rows bigint, OUT bytes bigint, OUT since timestamptz, OUT role oid) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'elt_sql_worker_rows';
COMMENT ON FUNCTION elt.worker_rows() IS 'what elt.workers shows, without names';

CREATE VIEW elt.workers WITH (security_barrier) AS
SELECT w.pid, w.leader_pid, w.run, w.task, w.task_number, w.tasks, w.rows, w.bytes, w.since, w.role::pg_catalog.regrole AS role
FROM elt.worker_rows() w;
COMMENT ON VIEW elt.workers IS
'The workers that work now in this database for the caller''s roles (all with pg_read_all_stats): run, what they do and since when, rows and bytes of all the tasks each has done. '
'NULL while a task runs a command with a progress view of its own.';

CREATE FUNCTION elt.worker_limits(OUT scope text, OUT max_workers integer, OUT in_use integer) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 3 AS 'MODULE_PATHNAME', 'elt_sql_worker_limits';
COMMENT ON FUNCTION elt.worker_limits() IS
'Limits of workers for this session, and how many of them are in use: of the cluster (elt.max_workers), its database (elt.max_workers_per_database) and its '
'user (elt.max_workers_per_role); NULL: no limit.';

CREATE FUNCTION elt.workers_available(wanted integer, OUT workers integer, OUT limited_by text) RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'elt_sql_workers_available';
COMMENT ON FUNCTION elt.workers_available(integer) IS
'How many workers a run with so many tasks would get now; limited_by: why not as many as wanted.';

GRANT SELECT ON elt.workers TO PUBLIC;
