-- Hash shards.

CREATE FUNCTION elt.shard_table(relation regclass, shard_key text[], shards integer DEFAULT 8) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'elt_sql_shard_table';
COMMENT ON FUNCTION elt.shard_table(regclass, text[], integer) IS
'Turns a table into a hash-partitioned one.';
