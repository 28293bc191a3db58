-- Definitions of transforms, and the ledger of their runs.
CREATE TABLE elt.transform (
    node integer NOT NULL PRIMARY KEY,
    target regclass NOT NULL,
    mode text NOT NULL,
    query text NOT NULL,                -- canonical: every name qualified
    definition text NOT NULL,           -- all that decides what a run writes, to tell whether it changed
    columns text[] NOT NULL,            -- of the query and the target
    key text[] NOT NULL,                -- of the target; empty unless the mode is upsert
    workers integer NOT NULL,           -- 0: as many as make sense
    atomic boolean NOT NULL,
    publish text NOT NULL,
    repeat boolean NOT NULL,
    on_error text NOT NULL,
    max_rejected bigint NOT NULL,
    settings text[] NOT NULL,           -- name, value, ...: what the query's text and functions depend on
    appended pg_snapshot,               -- what the last completed run of mode append has read, else NULL
    install uuid NOT NULL               -- the database that this snapshot is of
);
COMMENT ON TABLE elt.transform IS 'definitions of parallel transforms';

-- A run of a node, and its shards. Not dumped: what they tell of is not in a restored database.
CREATE SEQUENCE elt.run_id_seq AS bigint;
CREATE TABLE elt.node_run (
    id bigint NOT NULL PRIMARY KEY,
    node integer NOT NULL,
    state text NOT NULL,                -- running | done | failed
    split text NOT NULL,
    reason text NOT NULL,
    workers integer NOT NULL,           -- that took part; 0: the session alone
    started timestamptz NOT NULL,
    ended timestamptz,
    rows bigint NOT NULL,
    rejected bigint NOT NULL,
    sqlstate text,
    message text,
    definition text NOT NULL,           -- of the node, when the run began
    publish text NOT NULL,              -- how its rows get to the target
    staging oid[] NOT NULL,             -- tables to be dropped when it is over
    targets oid[] NOT NULL,             -- what each of them stands in for; 0: partial results
    first_rejected bigint NOT NULL      -- rejected rows from this number on are its own
);
CREATE INDEX node_run_node_idx ON elt.node_run (node, id);
COMMENT ON TABLE elt.node_run IS 'runs of nodes, the last ones of each';

CREATE TABLE elt.run_shard (
    run bigint NOT NULL,
    shard integer NOT NULL,
    label text NOT NULL,
    pieces bytea NOT NULL,              -- what of which source it reads
    state text NOT NULL,                -- waiting | running | done | failed
    attempts integer NOT NULL,
    worker integer,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    rejected bigint NOT NULL,
    buffers_hit bigint NOT NULL,
    buffers_read bigint NOT NULL,
    buffers_written bigint NOT NULL,
    temp_bytes bigint NOT NULL,
    wal_bytes bigint NOT NULL,
    user_ms double precision NOT NULL,
    system_ms double precision NOT NULL,
    elapsed_ms double precision NOT NULL,
    message text,
    PRIMARY KEY (run, shard)
);
COMMENT ON TABLE elt.run_shard IS 'shards of runs, with what they cost';

SELECT pg_catalog.pg_extension_config_dump('elt.transform', '');
SELECT pg_catalog.pg_extension_config_dump('elt.run_id_seq', '');
