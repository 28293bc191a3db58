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
