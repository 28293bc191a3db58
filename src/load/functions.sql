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
