-- Precomputed views.

CREATE FUNCTION elt.row_hash(record) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'elt_sql_row_hash';
COMMENT ON FUNCTION elt.row_hash(record) IS
'A hash of what the row''s values hold, in whatever form they are stored; rows that differ in their bytes only (1.0 and 1.00) are different. '
'Generated columns of precomputed views without a key have it.';
