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
