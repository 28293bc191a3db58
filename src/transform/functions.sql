-- Parallel transforms.

CREATE FUNCTION elt.create_transform(name text, target regclass, query text, mode text DEFAULT 'overwrite', key text[] DEFAULT NULL,
                                     workers integer DEFAULT NULL, atomic boolean DEFAULT true, publish text DEFAULT 'swap',
                                     repeat boolean DEFAULT false, on_error text DEFAULT 'stop', max_rejected bigint DEFAULT 1000,
                                     if_exists text DEFAULT 'error') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_create_transform';
COMMENT ON FUNCTION elt.create_transform(text, regclass, text, text, text[], integer, boolean, text, boolean, text, bigint, text) IS
'Creates a transform: CALL elt.run(name) writes what query gives into target, by as many workers as make sense, with the result of one statement. query: one SELECT, whose '
'output columns are named after columns of the target. mode: overwrite (replaces all rows) | append (refuses rows that an earlier run has read, unless repeat) | upsert (by key, by '
'default the primary key). atomic: all rows or none; false: each shard commits, and a run after a failure does what is left. publish (overwrite): swap (the target gets new files) | '
'mvcc (DELETE and INSERT). on_error: stop | quarantine (bad rows to elt.rejected, up to max_rejected). if_exists: error | skip | alter. The caller owns the '
'transform and needs SELECT on what it reads and the rights to write to the target: for a swap INSERT and TRUNCATE. '
'Errors: 0A000, 42501, 42601, 42701, 42703, 42710, 42804, 42809, 42P10, 428C9, 22004, 22023.';

CREATE FUNCTION elt.alter_transform(name text, target regclass DEFAULT NULL, query text DEFAULT NULL, mode text DEFAULT NULL, key text[] DEFAULT NULL,
                                    workers integer DEFAULT NULL, atomic boolean DEFAULT NULL, publish text DEFAULT NULL,
                                    repeat boolean DEFAULT NULL, on_error text DEFAULT NULL, max_rejected bigint DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_alter_transform';
COMMENT ON FUNCTION elt.alter_transform(text, regclass, text, text, text[], integer, boolean, text, boolean, text, bigint) IS
'Changes a transform: parameters as in elt.create_transform, NULL leaves one as it is. Waits for its end where it runs. Errors: 42704, 42501; those of elt.create_transform.';

CREATE FUNCTION elt.drop_transform(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_drop_transform';
COMMENT ON FUNCTION elt.drop_transform(text) IS
'Drops a transform, its runs, its rejected rows and what a failed run has left; waits for its end where it runs. The target stays. Errors: 42704, 42501.';

CREATE FUNCTION elt.explain_transform(name_or_query text, OUT step text, OUT split text, OUT tasks integer, OUT workers integer, OUT reason text,
                                      OUT detail text, OUT hint text, OUT generated_sql text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 3 AS 'MODULE_PATHNAME', 'elt_sql_explain_transform';
COMMENT ON FUNCTION elt.explain_transform(text) IS
'How the work of a transform, or of a query that might become one, is divided: per shard | block ranges | partial | serial; into how many tasks, how many workers could do them '
'now, and why (reason: a code, see the documentation). generated_sql: of the first task. Errors: 42501; those of the query.';

CREATE VIEW elt.transforms WITH (security_barrier) AS
SELECT n.name,
       n.owner,
       t.target,
       t.mode,
       t.key,
       t.query,
       NULLIF(t.workers, 0) AS workers,
       t.atomic,
       t.publish,
       t.on_error,
       r.state AS last_state,
       r.started AS last_started,
       r.ended AS last_ended,
       r.rows AS last_rows,
       r.message AS last_error,
       (SELECT pg_catalog.count(*) FROM elt.rejected_row j WHERE j.load OPERATOR(pg_catalog.=) t.node) AS rejected_rows
FROM elt.transform t
JOIN elt.node n ON n.id OPERATOR(pg_catalog.=) t.node
LEFT JOIN LATERAL (SELECT * FROM elt.node_run r WHERE r.node OPERATOR(pg_catalog.=) t.node ORDER BY r.id DESC LIMIT 1) r ON true
WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
COMMENT ON VIEW elt.transforms IS 'The transforms of the caller''s roles, and how the last run of each went.';

CREATE VIEW elt.run_shards WITH (security_barrier) AS
SELECT r.id AS run,
       n.name AS node,
       r.state AS run_state,
       r.started,
       r.split,
       r.reason,
       r.workers,
       s.shard,
       s.label,
       s.state,
       s.attempts,
       s.worker,
       s.rows,
       s.bytes,
       s.rejected,
       s.buffers_hit,
       s.buffers_read,
       s.buffers_written,
       s.temp_bytes,
       s.wal_bytes,
       s.user_ms,
       s.system_ms,
       s.elapsed_ms,
       CASE WHEN s.shard IS NULL THEN r.message ELSE s.message END AS error
FROM elt.node_run r
JOIN elt.node n ON n.id OPERATOR(pg_catalog.=) r.node
LEFT JOIN elt.run_shard s ON s.run OPERATOR(pg_catalog.=) r.id
WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
COMMENT ON VIEW elt.run_shards IS
'The shards of the last runs (elt.run_history of each node) of the caller''s nodes: state (waiting, running, done, failed), what each has written and cost, and by which worker (0: the '
'session itself). A run without shards has failed before it began them.';

GRANT SELECT ON elt.transforms, elt.run_shards TO PUBLIC;
