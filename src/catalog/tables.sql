-- The extension's own tables. They are read and written by src/catalog/ only.
CREATE SCHEMA elt_log;
REVOKE ALL ON SCHEMA elt_log FROM PUBLIC;
COMMENT ON SCHEMA elt_log IS 'change log segments of elt; read them through streams and loads';

GRANT USAGE ON SCHEMA elt TO PUBLIC;

-- Which database this is. Not dumped: a restored offset carries the id of the database it came from.
CREATE TABLE elt.install (
    id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
    installed timestamptz NOT NULL DEFAULT now()
);
INSERT INTO elt.install DEFAULT VALUES;
COMMENT ON TABLE elt.install IS 'identity of this database; offsets of another one are not valid here';

-- A tracked relation.
CREATE SEQUENCE elt.capture_id_seq AS integer;
CREATE TABLE elt.capture (
    id integer NOT NULL PRIMARY KEY,
    relation regclass NOT NULL CONSTRAINT capture_relation_key UNIQUE,
    keys_only boolean NOT NULL,
    on_partition_drop text NOT NULL,
    columns text NOT NULL,              -- attribute numbers and types, to notice ALTER TYPE
    install uuid NOT NULL,
    trimmed integer NOT NULL,           -- highest segment number that was truncated
    tracked_since timestamptz NOT NULL
);
COMMENT ON TABLE elt.capture IS 'relations whose changes are tracked';

-- The relations of its partition tree (just itself for a plain table), to notice what comes and goes.
CREATE TABLE elt.capture_member (
    capture integer NOT NULL,
    relation oid NOT NULL,
    PRIMARY KEY (capture, relation)
);
CREATE INDEX capture_member_relation_idx ON elt.capture_member (relation);
COMMENT ON TABLE elt.capture_member IS 'relations of each tracked partition tree';

-- Its log segments. Not dumped, as the segments themselves are not.
CREATE TABLE elt.capture_segment (
    capture integer NOT NULL,
    slot integer NOT NULL,              -- the table is elt_log.c<capture>_<slot>
    segno integer NOT NULL,             -- position in the chain; a reused slot gets a higher one
    state "char" NOT NULL,              -- o open, c closed, s sealed, f free
    relation oid NOT NULL,
    PRIMARY KEY (capture, slot)
);
COMMENT ON TABLE elt.capture_segment IS 'log segments of each tracked relation';

-- Events after which changes alone do not tell the state of a relation.
CREATE SEQUENCE elt.mark_id_seq AS bigint;
CREATE TABLE elt.mark (
    capture integer NOT NULL,
    id bigint NOT NULL,
    xid bigint NOT NULL,
    serial bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (capture, id)
);
COMMENT ON TABLE elt.mark IS 'TRUNCATE and DDL that make consumers resynchronise';

-- Who reads a log, and how far.
CREATE SEQUENCE elt.consumer_id_seq AS integer;
CREATE TABLE elt.consumer (
    id integer NOT NULL PRIMARY KEY,
    capture integer NOT NULL,
    kind text NOT NULL,                 -- load | stream | view
    name text NOT NULL,
    install uuid NOT NULL,
    only_adds boolean NOT NULL,         -- takes every new row version; cannot resynchronise
    snapshot pg_snapshot,               -- NULL: nothing read yet
    own_xid bigint NOT NULL,
    own_serial bigint NOT NULL,
    passed integer NOT NULL,            -- segments up to here are wholly consumed
    end_snapshot pg_snapshot,           -- end of the window being applied in chunks, else NULL
    end_own_xid bigint NOT NULL,
    end_own_serial bigint NOT NULL,
    end_passed integer NOT NULL,
    chunks integer NOT NULL,
    chunks_done integer NOT NULL,
    chunk_key text,                     -- the key by whose hash the chunks were made, else NULL
    advanced timestamptz NOT NULL
);
CREATE INDEX consumer_capture_idx ON elt.consumer (capture);
COMMENT ON TABLE elt.consumer IS 'offsets of loads, streams and precomputed views';

-- The view of each stream.
CREATE TABLE elt.stream (
    consumer integer NOT NULL PRIMARY KEY,
    relation regclass NOT NULL CONSTRAINT stream_relation_key UNIQUE,
    attnums smallint[] NOT NULL         -- the source's columns behind the view's
);
COMMENT ON TABLE elt.stream IS 'views that show the changes of a table';

-- Nodes: one namespace of names for loads, transforms, views, tasks and checks.
CREATE SEQUENCE elt.node_id_seq AS integer;
CREATE TABLE elt.node (
    id integer NOT NULL PRIMARY KEY DEFAULT nextval('elt.node_id_seq'),
    name text NOT NULL CONSTRAINT node_name_key UNIQUE,
    kind text NOT NULL,
    owner regrole NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE elt.node IS 'every load, transform, view, task and check';

SELECT pg_catalog.pg_extension_config_dump('elt.capture', '');
SELECT pg_catalog.pg_extension_config_dump('elt.capture_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('elt.mark_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('elt.consumer', '');
SELECT pg_catalog.pg_extension_config_dump('elt.consumer_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('elt.stream', '');
SELECT pg_catalog.pg_extension_config_dump('elt.node', '');
SELECT pg_catalog.pg_extension_config_dump('elt.node_id_seq', '');
