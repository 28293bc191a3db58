-- Storages of precomputed views, and the internal views that hold their queries. Who may read what is said table by table.
CREATE SCHEMA elt_data;
GRANT USAGE ON SCHEMA elt_data TO PUBLIC;
COMMENT ON SCHEMA elt_data IS 'storages of precomputed views of elt; read them through the views';

-- Definitions of precomputed views, and what the last refresh left.
CREATE TABLE elt.view (
    node integer NOT NULL PRIMARY KEY,
    relation regclass NOT NULL,         -- what users read
    storage regclass NOT NULL,          -- of the last part
    definition regclass,                -- the internal view with the query; NULL: the text is the truth
    query text NOT NULL,                -- canonical: every name qualified
    refresh_mode text NOT NULL,         -- auto | incremental | full
    on_schema_change text NOT NULL,     -- refuse | suspend
    frozen_where text,                  -- NULL: no row is frozen
    target_lag text,                    -- an interval; NULL: none
    settings text[] NOT NULL,           -- name, value, ...: what the query's text and functions depend on
    populated boolean NOT NULL,
    as_of timestamptz,                  -- now() of the last refresh; NULL: none yet
    refreshed timestamptz,              -- clock when its snapshot was taken
    strategy text,                      -- of the last refresh: incremental | full | none
    reason text,                        -- why that one, as a code
    bodies text,                        -- a hash of the views and functions that the rows were computed with
    last_ms double precision NOT NULL,  -- of the last refresh
    full_ms double precision NOT NULL,  -- of the last full one, 0: unknown; what the planner had said
    full_cost double precision NOT NULL,
    delta_ms double precision NOT NULL, -- the same of the last incremental one
    delta_cost double precision NOT NULL,
    since_full integer NOT NULL         -- incremental refreshes since the last full one
);
CREATE INDEX view_relation_idx ON elt.view (relation);
CREATE INDEX view_definition_idx ON elt.view (definition);
COMMENT ON TABLE elt.view IS 'definitions of precomputed views';

-- What each of them stores.
CREATE TABLE elt.view_part (
    node integer NOT NULL,
    part integer NOT NULL,              -- 1 .. n; the last one is the view itself
    storage regclass NOT NULL,
    shape text NOT NULL,                -- its columns and how it is kept; a storage with another shape is made anew
    complete boolean NOT NULL,          -- ORDER BY ... LIMIT: the storage has all rows, not just the first ones
    PRIMARY KEY (node, part)
);
CREATE INDEX view_part_storage_idx ON elt.view_part (storage);
COMMENT ON TABLE elt.view_part IS 'storages of precomputed views';

-- What each of them reads.
CREATE TABLE elt.view_source (
    node integer NOT NULL,
    source regclass NOT NULL,           -- a tracked table
    consumer integer NOT NULL,
    columns text NOT NULL,              -- attribute numbers that the query reads
    PRIMARY KEY (node, source)
);
COMMENT ON TABLE elt.view_source IS 'tracked tables that precomputed views read';

SELECT pg_catalog.pg_extension_config_dump('elt.view', '');
SELECT pg_catalog.pg_extension_config_dump('elt.view_part', '');
SELECT pg_catalog.pg_extension_config_dump('elt.view_source', '');
