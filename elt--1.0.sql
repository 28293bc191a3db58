/* Assembled by "make elt--1.0.sql" from the tables.sql and functions.sql of each folder in src/: change those. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION elt" to load this file. \quit

-- Made here and not by "schema = elt" in elt.control: so it belongs to the extension and goes with it, and a schema that
-- somebody else made before is refused.
CREATE SCHEMA elt;

-- The extension's own tables. They are read and written by src/catalog/ only.
CREATE SCHEMA elt_log;
REVOKE ALL ON SCHEMA elt_log FROM PUBLIC;
COMMENT ON SCHEMA elt_log IS 'change log segments of elt; read them through streams and loads';

GRANT USAGE ON SCHEMA elt TO PUBLIC;

-- Which database this is. Not dumped: a restored offset carries the id of the database it came from.
CREATE TABLE elt.install (
    id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
    installed timestamptz NOT NULL DEFAULT now()
);
INSERT INTO elt.install DEFAULT VALUES;
COMMENT ON TABLE elt.install IS 'identity of this database; offsets of another one are not valid here';

-- A tracked relation.
CREATE SEQUENCE elt.capture_id_seq AS integer;
CREATE TABLE elt.capture (
    id integer NOT NULL PRIMARY KEY,
    relation regclass NOT NULL CONSTRAINT capture_relation_key UNIQUE,
    keys_only boolean NOT NULL,
    on_partition_drop text NOT NULL,
    columns text NOT NULL,              -- attribute numbers and types, to notice ALTER TYPE
    install uuid NOT NULL,
    trimmed integer NOT NULL,           -- highest segment number that was truncated
    tracked_since timestamptz NOT NULL
);
COMMENT ON TABLE elt.capture IS 'relations whose changes are tracked';

-- The relations of its partition tree (just itself for a plain table), to notice what comes and goes.
CREATE TABLE elt.capture_member (
    capture integer NOT NULL,
    relation oid NOT NULL,
    PRIMARY KEY (capture, relation)
);
CREATE INDEX capture_member_relation_idx ON elt.capture_member (relation);
COMMENT ON TABLE elt.capture_member IS 'relations of each tracked partition tree';

-- Its log segments. Not dumped, as the segments themselves are not.
CREATE TABLE elt.capture_segment (
    capture integer NOT NULL,
    slot integer NOT NULL,              -- the table is elt_log.c<capture>_<slot>
    segno integer NOT NULL,             -- position in the chain; a reused slot gets a higher one
    state "char" NOT NULL,              -- o open, c closed, s sealed, f free
    relation oid NOT NULL,
    PRIMARY KEY (capture, slot)
);
COMMENT ON TABLE elt.capture_segment IS 'log segments of each tracked relation';

-- Events after which changes alone do not tell the state of a relation.
CREATE SEQUENCE elt.mark_id_seq AS bigint;
CREATE TABLE elt.mark (
    capture integer NOT NULL,
    id bigint NOT NULL,
    xid bigint NOT NULL,
    serial bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (capture, id)
);
COMMENT ON TABLE elt.mark IS 'TRUNCATE and DDL that make consumers resynchronise';

-- Who reads a log, and how far.
CREATE SEQUENCE elt.consumer_id_seq AS integer;
CREATE TABLE elt.consumer (
    id integer NOT NULL PRIMARY KEY,
    capture integer NOT NULL,
    kind text NOT NULL,                 -- load | stream | view
    name text NOT NULL,
    install uuid NOT NULL,
    only_adds boolean NOT NULL,         -- takes every new row version; cannot resynchronise
    snapshot pg_snapshot,               -- NULL: nothing read yet
    own_xid bigint NOT NULL,
    own_serial bigint NOT NULL,
    passed integer NOT NULL,            -- segments up to here are wholly consumed
    end_snapshot pg_snapshot,           -- end of the window being applied in chunks, else NULL
    end_own_xid bigint NOT NULL,
    end_own_serial bigint NOT NULL,
    end_passed integer NOT NULL,
    chunks integer NOT NULL,
    chunks_done integer NOT NULL,
    chunk_key text,                     -- the key by whose hash the chunks were made, else NULL
    advanced timestamptz NOT NULL
);
CREATE INDEX consumer_capture_idx ON elt.consumer (capture);
COMMENT ON TABLE elt.consumer IS 'offsets of loads, streams and precomputed views';

-- The view of each stream.
CREATE TABLE elt.stream (
    consumer integer NOT NULL PRIMARY KEY,
    relation regclass NOT NULL CONSTRAINT stream_relation_key UNIQUE,
    attnums smallint[] NOT NULL         -- the source's columns behind the view's
);
COMMENT ON TABLE elt.stream IS 'views that show the changes of a table';

-- Nodes: one namespace of names for loads, transforms, views, tasks and checks.
CREATE SEQUENCE elt.node_id_seq AS integer;
CREATE TABLE elt.node (
    id integer NOT NULL PRIMARY KEY DEFAULT nextval('elt.node_id_seq'),
    name text NOT NULL CONSTRAINT node_name_key UNIQUE,
    kind text NOT NULL,
    owner regrole NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE elt.node IS 'every load, transform, view, task and check';

SELECT pg_catalog.pg_extension_config_dump('elt.capture', '');
SELECT pg_catalog.pg_extension_config_dump('elt.capture_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('elt.mark_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('elt.consumer', '');
SELECT pg_catalog.pg_extension_config_dump('elt.consumer_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('elt.stream', '');
SELECT pg_catalog.pg_extension_config_dump('elt.node', '');
SELECT pg_catalog.pg_extension_config_dump('elt.node_id_seq', '');
-- Change tracking and streams.

CREATE FUNCTION elt.capture() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_capture';
COMMENT ON FUNCTION elt.capture() IS 'statement trigger that writes the change log; created by elt.track';

CREATE FUNCTION elt.capture_moves() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_capture_moves';
COMMENT ON FUNCTION elt.capture_moves() IS 'statement trigger for rows that a MERGE moves between partitions; created by elt.track';

CREATE FUNCTION elt.capture_generated() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_capture_generated';
COMMENT ON FUNCTION elt.capture_generated() IS 'row trigger for generated columns of partitions with another layout than the root; created by elt.track';

CREATE FUNCTION elt.track(relation regclass, images text DEFAULT 'row', method text DEFAULT 'trigger',
                          on_partition_drop text DEFAULT 'resync') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_track';
COMMENT ON FUNCTION elt.track(regclass, text, text, text) IS
'Tracks the changes of a table or partitioned table that the caller owns. images: ''row'' logs old and new rows, ''key'' primary keys only. '
'Waits for the table''s writers once (ShareRowExclusive lock, to the end of the transaction). Called again, it repairs missing or disabled '
'triggers and makes the table''s consumers resynchronise. Errors: 42809 for what cannot be tracked, 42501 for who does not own it.';

CREATE FUNCTION elt.untrack(relation regclass, force boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_untrack';
COMMENT ON FUNCTION elt.untrack(regclass, boolean) IS
'Ends the tracking of a table and drops its change log (AccessExclusive lock). Refused (2BP01) while a load or stream reads it, unless force '
'is true: then those are stale.';

CREATE FUNCTION elt.create_stream(name text, relation regclass, initial_rows boolean DEFAULT false) RETURNS regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_create_stream';
COMMENT ON FUNCTION elt.create_stream(text, regclass, boolean) IS
'Creates a view of the net changes of a table since the stream''s offset: the table''s columns and _elt_op (insert, update, delete). The offset begins now; with '
'initial_rows the first read shows the present rows as inserts. The caller needs SELECT on the table, and has to own it where it is not tracked yet.';

CREATE FUNCTION elt.advance_stream(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_advance_stream';
COMMENT ON FUNCTION elt.advance_stream(text) IS
'Moves the stream''s offset to exactly what this transaction last read of it. Errors: 55000 where it has not read it, 40001 where another '
'transaction advanced the stream meanwhile.';

CREATE FUNCTION elt.drop_stream(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_drop_stream';
COMMENT ON FUNCTION elt.drop_stream(text) IS 'Drops a stream: its view and its offset. The caller has to own it.';

-- The rows of a stream's view; checks SELECT on that view.
CREATE FUNCTION elt.stream_rows(consumer integer) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1000 AS 'MODULE_PATHNAME', 'elt_sql_stream_rows';
COMMENT ON FUNCTION elt.stream_rows(integer) IS 'the rows of a stream''s view; read the view instead';

CREATE FUNCTION elt.log_status(capture integer, OUT pending_rows bigint, OUT log_bytes bigint,
                               OUT slowest_consumer text, OUT stale boolean) RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'elt_sql_log_status';
COMMENT ON FUNCTION elt.log_status(integer) IS 'state of a change log, for elt.tracked; NULLs where the caller may not read its table';

CREATE VIEW elt.tracked WITH (security_barrier) AS
SELECT c.relation,
       'trigger'::text AS method,
       CASE WHEN c.keys_only THEN 'key' ELSE 'row' END AS images,
       s.pending_rows,
       s.log_bytes,
       s.slowest_consumer,
       s.stale,
       c.tracked_since
FROM elt.capture c
CROSS JOIN LATERAL elt.log_status(c.id) s
WHERE EXISTS (SELECT FROM pg_catalog.pg_class r WHERE r.oid OPERATOR(pg_catalog.=) c.relation)
  AND pg_catalog.has_table_privilege(c.relation, 'SELECT');
COMMENT ON VIEW elt.tracked IS
'Tracked tables: changes that the slowest consumer has not read, bytes of the change log, and whether tracking is interrupted (stale).';

CREATE FUNCTION elt.on_ddl_command_end() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_ddl_command_end';
CREATE FUNCTION elt.on_table_rewrite() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_table_rewrite';
CREATE FUNCTION elt.on_sql_drop() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_drop';
COMMENT ON FUNCTION elt.on_ddl_command_end() IS 'event trigger: follows partitions of tracked tables, notices disabled triggers';
COMMENT ON FUNCTION elt.on_table_rewrite() IS 'event trigger: makes consumers of a rewritten table resynchronise';
COMMENT ON FUNCTION elt.on_sql_drop() IS 'event trigger: removes the log of dropped tables';

CREATE EVENT TRIGGER elt_ddl_command_end ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TRIGGER', 'CREATE TRIGGER', 'CREATE RULE',
                 'CREATE SCHEMA')
    EXECUTE FUNCTION elt.on_ddl_command_end();
CREATE EVENT TRIGGER elt_table_rewrite ON table_rewrite EXECUTE FUNCTION elt.on_table_rewrite();
CREATE EVENT TRIGGER elt_sql_drop ON sql_drop EXECUTE FUNCTION elt.on_sql_drop();
ALTER EVENT TRIGGER elt_ddl_command_end ENABLE ALWAYS;
ALTER EVENT TRIGGER elt_table_rewrite ENABLE ALWAYS;
ALTER EVENT TRIGGER elt_sql_drop ENABLE ALWAYS;

REVOKE ALL ON FUNCTION elt.capture(), elt.capture_moves(), elt.capture_generated(), elt.on_ddl_command_end(), elt.on_table_rewrite(),
    elt.on_sql_drop() FROM PUBLIC;
GRANT SELECT ON elt.tracked TO PUBLIC;
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
-- Tables that are being sharded, or were when something ended it: what has been committed for them. Not dumped.
CREATE SEQUENCE elt.shard_run_id_seq AS integer;
CREATE TABLE elt.shard_run (
    id integer NOT NULL PRIMARY KEY,
    relation oid NOT NULL,
    consumer integer NOT NULL,          -- follows its changes
    tracked_here boolean NOT NULL,      -- change tracking began for this
    tables oid[] NOT NULL,              -- the shards so far
    started timestamptz NOT NULL
);
CREATE INDEX shard_run_relation_idx ON elt.shard_run (relation);
COMMENT ON TABLE elt.shard_run IS 'tables that are being sharded; what a failure leaves is removed by elt._clean_shards';
-- Hash shards.

CREATE FUNCTION elt.shard_table(relation regclass, shard_key text[], shards integer DEFAULT 8) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_shard_table';
COMMENT ON FUNCTION elt.shard_table(regclass, text[], integer) IS
'Turns a table into a hash-partitioned one, or puts hash shards under each partition of a range-partitioned one. The table keeps its OID, and with it views, grants, comments, constraints, '
'indexes and change tracking. Others go on reading and writing while background workers copy; the table is locked (AccessExclusive) from the swap at the end until the caller''s transaction ends. In a '
'transaction that has written before, or at an isolation level above READ COMMITTED, all of it is done under that lock. The caller has to own the table. Errors: 42809, 55000 for what cannot be '
'sharded, 42703, 42701, 42704, 0A000 for columns that cannot be the key, 22023, 22004, 42501, 55006, 55P03 when the lock could not be had, 40001 when the table was altered meanwhile.';

CREATE FUNCTION elt._clean_shards() RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_clean_shards';
COMMENT ON FUNCTION elt._clean_shards() IS
'Removes what elt.shard_table has left where a crash ended it or its caller rolled back: shards, and change tracking that began for it. Returns how many calls it cleaned up after; of tables '
'that the caller owns.';

-- Every partition of every hash-partitioned table, whoever made it.
CREATE VIEW elt.shards AS
WITH leaves AS (
    SELECT i.inhparent AS parent,
           i.inhrelid AS partition,
           -- as the planner estimates; a table that was never analysed has its statistics counters
           CASE WHEN c.reltuples OPERATOR(pg_catalog.<=) 0 OR c.relpages OPERATOR(pg_catalog.=) 0
                THEN pg_catalog.pg_stat_get_live_tuples(c.oid)::double precision
                ELSE c.reltuples::double precision OPERATOR(pg_catalog./) c.relpages::double precision
                     OPERATOR(pg_catalog.*) (pg_catalog.pg_relation_size(c.oid)
                                             OPERATOR(pg_catalog./) pg_catalog.current_setting('block_size')::bigint)::double precision
           END AS rows,
           pg_catalog.pg_total_relation_size(c.oid) AS bytes
    FROM pg_catalog.pg_partitioned_table p
    JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) p.partrelid
    CROSS JOIN LATERAL pg_catalog.pg_partition_tree(i.inhrelid::regclass) t
    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.relid::oid
    WHERE p.partstrat OPERATOR(pg_catalog.=) 'h'::"char" AND t.isleaf
), shards AS (
    SELECT l.parent, l.partition, pg_catalog.sum(l.rows) AS rows, pg_catalog.sum(l.bytes) AS bytes
    FROM leaves l
    GROUP BY l.parent, l.partition
)
SELECT s.parent::regclass AS relation,
       pg_catalog.substring(pg_catalog.pg_get_expr(c.relpartbound, c.oid), 'remainder ([0-9]+)')::integer AS shard,
       s.partition::regclass AS partition,
       pg_catalog.round(s.rows)::bigint AS rows,
       s.bytes::bigint AS bytes,
       pg_catalog.round((s.rows OPERATOR(pg_catalog./) NULLIF(pg_catalog.avg(s.rows) OVER (PARTITION BY s.parent), 0))::numeric, 3) AS skew
FROM shards s
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) s.partition;
COMMENT ON VIEW elt.shards IS
'The shards of hash-partitioned tables: number (the remainder), rows (an estimate), bytes with indexes, and skew: rows relative to the mean of the table''s shards.';

GRANT SELECT ON elt.shards TO PUBLIC;
-- Definitions of loads, and the rows they could not load.
CREATE TABLE elt.load (
    node integer NOT NULL PRIMARY KEY,
    consumer integer NOT NULL,
    source regclass NOT NULL,
    target regclass NOT NULL,
    mode text NOT NULL,
    query text NOT NULL,                -- canonical: every name qualified
    definition text NOT NULL,           -- what the user asked for, to tell whether it changed
    columns text[] NOT NULL,            -- of the query and the target
    key text[] NOT NULL,                -- of the target; empty for append
    owned_target text[] NOT NULL,       -- target columns that hold the source's primary key unchanged, else empty
    owned_source text[] NOT NULL,       -- that primary key's columns, in the same order
    batch_rows integer NOT NULL,        -- 0: adapts
    on_error text NOT NULL,
    max_rejected bigint NOT NULL,
    settings text[] NOT NULL,           -- name, value, ...: what the query's text and functions depend on
    source_columns text NOT NULL        -- that the query read when the target was last copied or the load made
);
COMMENT ON TABLE elt.load IS 'definitions of incremental loads';

CREATE SEQUENCE elt.rejected_id_seq AS bigint;
CREATE TABLE elt.rejected_row (
    load integer NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL,
    key jsonb,                          -- of the source's row; NULL where the source has no primary key
    row_data jsonb NOT NULL,
    image bytea NOT NULL,               -- the row itself, for another try
    PRIMARY KEY (load, id)
);
COMMENT ON TABLE elt.rejected_row IS 'rows that a load could not load';

SELECT pg_catalog.pg_extension_config_dump('elt.load', '');
SELECT pg_catalog.pg_extension_config_dump('elt.rejected_row', '');
SELECT pg_catalog.pg_extension_config_dump('elt.rejected_id_seq', '');
-- Incremental loads.

CREATE FUNCTION elt.create_load(name text, target regclass, source regclass DEFAULT NULL, query text DEFAULT NULL, mode text DEFAULT 'upsert',
                                key text[] DEFAULT NULL, also_on regclass[] DEFAULT '{}', initial text DEFAULT 'copy',
                                cursor_column text DEFAULT NULL, lag interval DEFAULT '0', batch_rows integer DEFAULT NULL,
                                on_error text DEFAULT 'stop', max_rejected bigint DEFAULT 1000, on_schema_change text DEFAULT 'fail',
                                scd2 jsonb DEFAULT NULL, workers integer DEFAULT NULL, if_exists text DEFAULT 'error') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_create_load';
COMMENT ON FUNCTION elt.create_load(text, regclass, regclass, text, text, text[], regclass[], text, text, interval, integer, text, bigint, text, jsonb, integer, text) IS
'Creates a load: what changes in source is carried into target. query is written as if it loaded everything (without it: the columns that both have). '
'mode: append (every new row version) | upsert (by key) | mirror (and deletes). key: of the target, by default its primary key. initial: copy the present '
'rows first, or none. batch_rows: changes a batch, NULL for what fits into elt.batch_memory. on_error: stop | quarantine (bad rows to elt.rejected, up to max_rejected). '
'if_exists: error | skip | alter. The caller owns the load and needs SELECT on the source and lookups, and the rights to write to the target; the source is '
'tracked if the caller owns it. Errors: 0A000 for a query that cannot run on changed rows alone, 42501, 42710, 42809, 42P10, 42703, 22023, 22004.';

CREATE FUNCTION elt.drop_load(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_drop_load';
COMMENT ON FUNCTION elt.drop_load(text) IS 'Drops a load, its offset and its rejected rows; waits for a running batch. Source, target and tracking stay. Errors: 42704, 42501.';

CREATE FUNCTION elt.run_batch(name text, OUT rows_read bigint, OUT inserted bigint, OUT updated bigint, OUT deleted bigint, OUT rejected bigint,
                              OUT pending bigint) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_run_batch';
COMMENT ON FUNCTION elt.run_batch(text) IS
'Runs one batch of a load in the caller''s transaction, which commits rows and offset together. pending: changes left to load (an estimate; 0 just when the load has caught up '
'with what this transaction sees). Waits for another session that runs the load. Errors: 42704, 42501, 42P01 for a dropped source or target, 40001, 53400 for too many rejected rows.';

CREATE PROCEDURE elt.run(name text, upstream boolean DEFAULT false, downstream boolean DEFAULT false)
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_run_node';
COMMENT ON PROCEDURE elt.run(text, boolean, boolean) IS
'Runs a load until it has caught up with what was committed before the call, with a transaction for each batch. Errors: 2D000 in a transaction block; those of elt.run_batch.';

CREATE FUNCTION elt.retry_rejected(name text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_retry_rejected';
COMMENT ON FUNCTION elt.retry_rejected(text) IS
'Tries the rejected rows of a load once more and returns how many could be loaded; the others stay rejected, with their new error. Errors: 42704, 42501, 55000 where the source was altered since.';

CREATE FUNCTION elt.load_pending(consumer integer) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'elt_sql_load_pending';
COMMENT ON FUNCTION elt.load_pending(integer) IS 'changes that a load has not loaded, for elt.loads; NULL before its first batch, and where the caller may not read its source';

CREATE VIEW elt.loads WITH (security_barrier) AS
SELECT n.name,
       n.owner,
       l.source,
       l.target,
       l.mode,
       l.key,
       l.query,
       l.on_error,
       elt.load_pending(l.consumer) AS pending_rows,
       (SELECT pg_catalog.count(*) FROM elt.rejected_row r WHERE r.load OPERATOR(pg_catalog.=) l.node) AS rejected_rows
FROM elt.load l
JOIN elt.node n ON n.id OPERATOR(pg_catalog.=) l.node
WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
COMMENT ON VIEW elt.loads IS
'The loads of the caller''s roles. pending_rows: changes not loaded yet, NULL before the first batch.';

CREATE VIEW elt.rejected WITH (security_barrier) AS
SELECT n.name AS load,
       r.at AS "time",
       r.sqlstate,
       r.message,
       r.key,
       r.row_data AS "row"
FROM elt.rejected_row r
JOIN elt.node n ON n.id OPERATOR(pg_catalog.=) r.load
WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
COMMENT ON VIEW elt.rejected IS
'Rows that loads of the caller''s roles could not load: error, primary key and content of the source''s row. elt.retry_rejected tries them again.';

CREATE FUNCTION elt.progress_rows(OUT pid integer, OUT node integer, OUT phase text, OUT rows_done bigint, OUT rows_to_go bigint,
                                  OUT rows_per_second double precision, OUT eta interval, OUT started timestamptz, OUT snapshot_age integer,
                                  OUT tasks_done integer, OUT tasks_total integer, OUT workers integer)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'elt_sql_progress_rows';
COMMENT ON FUNCTION elt.progress_rows() IS 'what elt.progress shows, without names';

CREATE VIEW elt.progress WITH (security_barrier) AS
SELECT n.name AS node, p.pid, p.phase, p.rows_done, p.rows_to_go, p.rows_per_second, p.eta, p.started, p.snapshot_age,
       p.tasks_done, p.tasks_total, p.workers
FROM elt.progress_rows() p
LEFT JOIN elt.node n ON n.id OPERATOR(pg_catalog.=) p.node
WHERE p.node IS NULL OR n.id IS NOT NULL;
COMMENT ON VIEW elt.progress IS
'What is running now in any session of the caller''s roles (of all with pg_read_all_stats): phase, rows done, rows to go and the time that they will take (estimates), rows a second; '
'snapshot_age: transactions begun since the oldest that the session''s snapshot keeps; tasks_done, tasks_total, workers: of a run of tasks, and workers that work on it now; '
'node is NULL for one that belongs to none.';

GRANT SELECT ON elt.loads, elt.rejected, elt.progress TO PUBLIC;
-- Storages of precomputed views, and the internal views that hold their queries. Who may read what is said table by table.
CREATE SCHEMA elt_data;
GRANT USAGE ON SCHEMA elt_data TO PUBLIC;
COMMENT ON SCHEMA elt_data IS 'storages of precomputed views of elt; read them through the views';

-- Definitions of precomputed views, and what the last refresh left.
CREATE TABLE elt.view (
    node integer NOT NULL PRIMARY KEY,
    relation regclass NOT NULL,         -- what users read
    storage regclass NOT NULL,          -- of the last part
    definition regclass,                -- the internal view with the query; NULL: the text is the truth
    query text NOT NULL,                -- canonical: every name qualified
    refresh_mode text NOT NULL,         -- auto | incremental | full
    on_schema_change text NOT NULL,     -- refuse | suspend
    frozen_where text,                  -- NULL: no row is frozen
    target_lag text,                    -- an interval; NULL: none
    settings text[] NOT NULL,           -- name, value, ...: what the query's text and functions depend on
    populated boolean NOT NULL,
    as_of timestamptz,                  -- now() of the last refresh; NULL: none yet
    refreshed timestamptz,              -- clock when its snapshot was taken
    strategy text,                      -- of the last refresh: incremental | full | none
    reason text,                        -- why that one, as a code
    bodies text,                        -- a hash of the views and functions that the rows were computed with
    last_ms double precision NOT NULL,  -- of the last refresh
    full_ms double precision NOT NULL,  -- of the last full one, 0: unknown; what the planner had said
    full_cost double precision NOT NULL,
    delta_ms double precision NOT NULL, -- the same of the last incremental one
    delta_cost double precision NOT NULL,
    since_full integer NOT NULL         -- incremental refreshes since the last full one
);
COMMENT ON TABLE elt.view IS 'definitions of precomputed views';

-- What each of them stores.
CREATE TABLE elt.view_part (
    node integer NOT NULL,
    part integer NOT NULL,              -- 1 .. n; the last one is the view itself
    storage regclass NOT NULL,
    shape text NOT NULL,                -- its columns and how it is kept; a storage with another shape is made anew
    complete boolean NOT NULL,          -- ORDER BY ... LIMIT: the storage has all rows, not just the first ones
    PRIMARY KEY (node, part)
);
COMMENT ON TABLE elt.view_part IS 'storages of precomputed views';

-- What each of them reads.
CREATE TABLE elt.view_source (
    node integer NOT NULL,
    source regclass NOT NULL,           -- a tracked table
    consumer integer NOT NULL,
    columns text NOT NULL,              -- attribute numbers that the query reads
    PRIMARY KEY (node, source)
);
COMMENT ON TABLE elt.view_source IS 'tracked tables that precomputed views read';

SELECT pg_catalog.pg_extension_config_dump('elt.view', '');
SELECT pg_catalog.pg_extension_config_dump('elt.view_part', '');
SELECT pg_catalog.pg_extension_config_dump('elt.view_source', '');
-- Precomputed views.

CREATE FUNCTION elt.row_hash(record) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'elt_sql_row_hash';
COMMENT ON FUNCTION elt.row_hash(record) IS
'A hash of what the row''s values hold, in whatever form they are stored; rows that differ in their bytes only (1.0 and 1.00) are different. '
'Generated columns of precomputed views without a key have it.';

CREATE FUNCTION elt.create_view(name text, query text, target_lag interval DEFAULT NULL, refresh_mode text DEFAULT 'auto', with_data boolean DEFAULT true,
                                on_schema_change text DEFAULT 'refuse', frozen_where text DEFAULT NULL, if_exists text DEFAULT 'error') RETURNS regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_create_view';
CREATE FUNCTION elt.drop_view(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_drop_view';
CREATE FUNCTION elt.refresh(name text, OUT strategy text, OUT reason text, OUT rows_inserted bigint, OUT rows_updated bigint, OUT rows_deleted bigint,
                            OUT pending bigint, OUT ms double precision) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_refresh';

COMMENT ON FUNCTION elt.create_view(text, text, interval, text, boolean, text, text, text) IS
'Creates a precomputed view: a relation whose rows are kept, and brought up to date by elt.refresh. refresh_mode: auto | incremental (an error where that is impossible) | full. '
'with_data false: filled by the first refresh. on_schema_change: refuse (PostgreSQL refuses to alter what the query reads) | suspend (refreshes fail until the query fits again). '
'frozen_where: a condition on the output; rows that meet it are final. if_exists: error | skip | alter (as elt.alter_view). The caller owns the view and needs SELECT on what it '
'reads; tables are tracked if the caller owns them. Waits for writers of tables that were not tracked. Errors: 42P07, 42501, 55000, 0A000, 42601, 42701, 42939, 22023, 22004.';
COMMENT ON FUNCTION elt.drop_view(text) IS
'Drops a precomputed view and what is stored for it (AccessExclusive lock). Refused (2BP01), naming them, while other views, loads or streams read it. Errors: 42704, 42501.';
COMMENT ON FUNCTION elt.refresh(text) IS
'Brings a precomputed view, and first those of the same owner that it reads, to what its query gives now; in the caller''s transaction. strategy: incremental | full | none; reason: '
'a code where it was full. pending: changes left. Waits for another session that refreshes the view; readers never wait. Errors: 42704, 42501, 55000 where the view is suspended, '
'0A000 where its refresh_mode forbids what is necessary, 40001, 55006.';

CREATE FUNCTION elt.refuse_change() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_refuse_change';
COMMENT ON FUNCTION elt.refuse_change() IS 'trigger of precomputed views: an error for who would write to them';

CREATE FUNCTION elt.verify_view(name text, OUT missing bigint, OUT extra bigint) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_verify_view';
COMMENT ON FUNCTION elt.verify_view(text) IS
'Refreshes a precomputed view and compares it with its query under the same snapshot, by content and by text: rows that the view lacks, and rows that it has too many. Frozen rows '
'are left out. Locks and errors are those of elt.refresh.';

CREATE FUNCTION elt.view_status(node integer, OUT pending_rows bigint, OUT bytes bigint, OUT problem text) RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_view_status';
COMMENT ON FUNCTION elt.view_status(integer) IS 'what elt.views shows beside a view''s definition; NULLs where the caller may not act for its owner';

CREATE VIEW elt.views WITH (security_barrier) AS
SELECT v.relation::text AS name,
       c.relowner::pg_catalog.regrole AS owner,
       v.strategy,
       v.reason,
       v.refresh_mode,
       v.target_lag::interval AS target_lag,
       v.as_of AS fresh_as_of,
       pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) v.as_of AS lag,
       s.pending_rows,
       v.refreshed AS last_refresh,
       CASE WHEN v.refreshed IS NOT NULL THEN v.last_ms END AS last_ms,
       s.bytes,
       s.problem,
       v.on_schema_change,
       v.frozen_where,
       -- the definition tells what was renamed since
       COALESCE(pg_catalog.rtrim(pg_catalog.pg_get_viewdef(v.definition), ';'), v.query) AS query
FROM elt.view v
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) v.relation
CROSS JOIN LATERAL elt.view_status(v.node) s
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW elt.views IS
'The precomputed views of the caller''s roles. strategy and reason: of the last refresh. lag: since fresh_as_of. pending_rows: changes of what it reads that it does not show yet; NULL '
'before the first refresh, and where the caller may not read a source. bytes: stored, indexes included. problem: why refreshes fail, else NULL.';

GRANT SELECT ON elt.views TO PUBLIC;

CREATE FUNCTION elt.explain_view(name_or_query text, OUT part integer, OUT what text, OUT strategy text, OUT reason text, OUT detail text, OUT hint text,
                                 OUT hidden_columns text[], OUT sql text, OUT estimated_cost double precision, OUT last_ms double precision,
                                 OUT pending_rows bigint, OUT fresh_as_of timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 5 AS 'MODULE_PATHNAME', 'elt_sql_explain_view';
COMMENT ON FUNCTION elt.explain_view(text) IS
'Tells how a precomputed view, or one with this query, follows changes; creates and runs nothing. Part 0 is all of it: incremental or full, its query with the planner''s cost, what is pending. '
'The others are what is stored: strategy linear (changes pass through), counters (added to hidden columns), keys (changed groups are computed anew) or full; a reason code where it could be '
'better; hints with CREATE INDEX statements; the SQL for changes of all that it reads, and its cost for the pending changes, or 100 a table. A view takes its owner''s rights, a query those '
'to read (AccessShareLock). Errors: 42704, 42501, 55000, and the parser''s.';

CREATE FUNCTION elt.on_view_dropped() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_view_dropped';
COMMENT ON FUNCTION elt.on_view_dropped() IS 'event trigger: removes the rest of a precomputed view of which something was dropped';
CREATE FUNCTION elt.on_view_altered() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_view_altered';
COMMENT ON FUNCTION elt.on_view_altered() IS 'event trigger: what is stored of a precomputed view follows its name and owner';

CREATE EVENT TRIGGER elt_view_dropped ON sql_drop EXECUTE FUNCTION elt.on_view_dropped();
CREATE EVENT TRIGGER elt_view_altered ON ddl_command_end WHEN TAG IN ('ALTER VIEW', 'ALTER TABLE', 'ALTER SCHEMA') EXECUTE FUNCTION elt.on_view_altered();
ALTER EVENT TRIGGER elt_view_dropped ENABLE ALWAYS;
ALTER EVENT TRIGGER elt_view_altered ENABLE ALWAYS;

REVOKE ALL ON FUNCTION elt.on_view_dropped(), elt.on_view_altered() FROM PUBLIC;

CREATE FUNCTION elt.alter_view(name text, query text DEFAULT NULL, target_lag interval DEFAULT NULL, refresh_mode text DEFAULT NULL,
                               on_schema_change text DEFAULT NULL, frozen_where text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_alter_view';
COMMENT ON FUNCTION elt.alter_view(text, text, interval, text, text, text) IS
'Alters a precomputed view; what is NULL stays as it is, an empty frozen_where or a negative target_lag take it away. A query has to give the columns that the view has, and may add others at '
'the end; the view keeps its OID, grants, comments, indexes and frozen rows, and is filled anew in the same transaction if it was filled. Resumes a suspended view. Locks: AccessExclusive on what is '
'stored where that must be made anew; those of elt.refresh. Errors: 42P16 for other columns, those of elt.create_view and elt.refresh.';

CREATE FUNCTION elt.create_view_index(name text, definition text) RETURNS regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_create_view_index';
COMMENT ON FUNCTION elt.create_view_index(text, text) IS
'Creates an index for reading a precomputed view. definition: what follows the table''s name in CREATE INDEX, such as ''(day, region)'' or ''USING brin (day)''. It belongs to what is stored of '
'the view (Share lock: readers go on, refreshes wait), serves queries of the view, and is made again when that is. Drop it with DROP INDEX. Errors: 42704, 42501, 42601, 42703 for columns '
'that the view does not show.';
