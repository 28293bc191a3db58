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
