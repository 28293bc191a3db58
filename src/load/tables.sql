-- Definitions of loads, and the rows they could not load.
CREATE TABLE elt.load (
    node integer NOT NULL PRIMARY KEY,
    consumer integer NOT NULL,
    source regclass NOT NULL,
    target regclass NOT NULL,
    mode text NOT NULL,
    query text NOT NULL,                -- canonical: every name qualified
    definition text NOT NULL,           -- what the user asked for, to tell whether it changed
    columns text[] NOT NULL,            -- of the query and the target
    key text[] NOT NULL,                -- of the target; empty for append
    owned_target text[] NOT NULL,       -- target columns that hold the source's primary key unchanged, else empty
    owned_source text[] NOT NULL,       -- that primary key's columns, in the same order
    batch_rows integer NOT NULL,        -- 0: adapts
    on_error text NOT NULL,
    max_rejected bigint NOT NULL,
    settings text[] NOT NULL,           -- name, value, ...: what the query's text and functions depend on
    source_columns text NOT NULL        -- that the query read when the target was last copied or the load made
);
COMMENT ON TABLE elt.load IS 'definitions of incremental loads';

CREATE SEQUENCE elt.rejected_id_seq AS bigint;
CREATE TABLE elt.rejected_row (
    load integer NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL,
    key jsonb,                          -- of the source's row; NULL where the source has no primary key
    row_data jsonb NOT NULL,
    image bytea NOT NULL,               -- the row itself, for another try
    PRIMARY KEY (load, id)
);
COMMENT ON TABLE elt.rejected_row IS 'rows that a load could not load';

SELECT pg_catalog.pg_extension_config_dump('elt.load', '');
SELECT pg_catalog.pg_extension_config_dump('elt.rejected_row', '');
SELECT pg_catalog.pg_extension_config_dump('elt.rejected_id_seq', '');
