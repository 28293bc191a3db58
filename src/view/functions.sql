-- Precomputed views.

CREATE FUNCTION elt.row_hash(record) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'elt_sql_row_hash';
COMMENT ON FUNCTION elt.row_hash(record) IS
'A hash of what the row''s values hold, in whatever form they are stored; rows that differ in their bytes only (1.0 and 1.00) are different. '
'Generated columns of precomputed views without a key have it.';

CREATE AGGREGATE elt.weights(bigint) (SFUNC = pg_catalog.int8pl, STYPE = bigint, INITCOND = '0', COMBINEFUNC = pg_catalog.int8pl, PARALLEL = SAFE);
COMMENT ON AGGREGATE elt.weights(bigint) IS 'The sum, 0 of no rows; 22003 where it is no bigint. Refreshes add up the weights of changes by it: sum(bigint) computes a numeric.';

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
