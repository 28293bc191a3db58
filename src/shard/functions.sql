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
