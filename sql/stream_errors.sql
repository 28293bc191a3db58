-- Every error of streams.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA stream_errors;
SET search_path = stream_errors;
CREATE ROLE regress_elt_owner;
CREATE ROLE regress_elt_other;
GRANT USAGE, CREATE ON SCHEMA stream_errors TO regress_elt_owner, regress_elt_other;

-- SQLSTATE, message, detail and hint of what a statement raises
CREATE FUNCTION raises(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(E'\n', SQLSTATE || ': ' || message, '   detail: ' || nullif(detail, ''), '   hint: ' || nullif(hint, '')),
                          'stream \d+ ', 'stream N ');
END $$;

CREATE TABLE item (id int PRIMARY KEY, v text);
CREATE TABLE keyed (id int PRIMARY KEY, v text);

-- NULL in every argument
SELECT raises('SELECT elt.create_stream(NULL, ''item'')');
SELECT raises('SELECT elt.create_stream(''s'', NULL)');
SELECT raises('SELECT elt.create_stream(''s'', ''item'', initial_rows => NULL)');
SELECT raises('SELECT elt.advance_stream(NULL)');
SELECT raises('SELECT elt.drop_stream(NULL)');
SELECT raises('SELECT * FROM elt.stream_rows(NULL) AS s(id int)');

-- names that are none, or taken
SELECT raises('SELECT elt.create_stream('''', ''item'')');
SELECT raises('SELECT elt.create_stream(''a b'', ''item'')');
SELECT raises('SELECT elt.create_stream(''a.b.c'', ''item'')');
SELECT raises('SELECT elt.create_stream(''no_such_schema.s'', ''item'')');
SELECT raises('SELECT elt.create_stream(''item'', ''item'')');
SELECT raises('SELECT elt.create_stream(''item_pkey'', ''item'')');
SELECT raises('SELECT elt.create_stream(''stream_errors.keyed'', ''item'')');
SELECT raises('SELECT elt.create_stream(''pg_catalog.s'', ''item'')');
SELECT raises('SELECT elt.advance_stream(''no_such_stream'')');
SELECT raises('SELECT elt.advance_stream(''item'')');
SELECT raises('SELECT elt.advance_stream(''"'')');
SELECT raises('SELECT elt.drop_stream(''no_such_schema.s'')');
SELECT raises('SELECT elt.drop_stream(''item'')');
SET search_path = no_such_schema, pg_catalog;
SELECT stream_errors.raises('SELECT elt.create_stream(''s'', ''stream_errors.item'')');
SET search_path = stream_errors;

-- tables that cannot have one
CREATE VIEW a_view AS SELECT * FROM item;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM item;
CREATE FOREIGN DATA WRAPPER regress_elt_fdw;
CREATE SERVER regress_elt_server FOREIGN DATA WRAPPER regress_elt_fdw;
CREATE FOREIGN TABLE a_foreign_table (id int) SERVER regress_elt_server;
CREATE TEMP TABLE a_temp_table (id int PRIMARY KEY);
CREATE UNLOGGED TABLE an_unlogged_table (id int PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE with_op (id int PRIMARY KEY, _elt_op text);
SELECT raises('SELECT elt.create_stream(''s'', 4294967295::oid)');
SELECT raises('SELECT elt.create_stream(''s'', ''no_such_table'')');
SELECT raises('SELECT elt.create_stream(''s'', ''a_view'')');
SELECT raises('SELECT elt.create_stream(''s'', ''a_matview'')');
SELECT raises('SELECT elt.create_stream(''s'', ''a_foreign_table'')');
SELECT raises('SELECT elt.create_stream(''s'', ''a_temp_table'')');
SELECT raises('SELECT elt.create_stream(''s'', ''an_unlogged_table'')');
SELECT raises('SELECT elt.create_stream(''s'', ''pg_catalog.pg_class'')');
SELECT raises('SELECT elt.create_stream(''s'', ''elt.capture'')');
SELECT raises('SELECT elt.create_stream(''s'', ''child'')');
SELECT raises('SELECT elt.create_stream(''s'', ''leaf'')');
SELECT raises('SELECT elt.create_stream(''s'', ''item_pkey'')');
SELECT raises('SELECT elt.create_stream(''s'', ''with_op'')');
SELECT elt.track('keyed', images => 'key');
SELECT raises('SELECT elt.create_stream(''s'', ''keyed'')');
SELECT elt.untrack('keyed');

-- a stream of one's temporary schema would end with the session, its offset would not
BEGIN;
SELECT raises('SELECT elt.create_stream(''pg_temp.s'', ''item'')') <> 'no error' AS refused;
ROLLBACK;

SELECT relation FROM elt.tracked;
SELECT count(*) FROM elt.consumer;

-- advanced without having been read: at all, in this transaction, after the last advance
SELECT elt.create_stream('s', 'item');
INSERT INTO item VALUES (1, 'one');
SELECT raises('SELECT elt.advance_stream(''s'')');
SELECT * FROM s;
SELECT raises('SELECT elt.advance_stream(''s'')');
BEGIN;
SELECT * FROM s;
SELECT elt.advance_stream('s');
SELECT raises('SELECT elt.advance_stream(''s'')');
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT * FROM s;
ROLLBACK TO a;
SELECT raises('SELECT elt.advance_stream(''s'')');
ROLLBACK;

-- while a statement of the transaction changes the table: its changes are not in the log yet
BEGIN;
INSERT INTO item VALUES (2, 'two');
SELECT raises('INSERT INTO item SELECT id + 10, v FROM s');
SELECT raises('WITH w AS (INSERT INTO item VALUES (3) RETURNING id) SELECT * FROM w, s');
DECLARE c CURSOR FOR SELECT * FROM item;
FETCH c;
SELECT raises('SELECT * FROM s');
CLOSE c;
SELECT * FROM s ORDER BY id;
ROLLBACK;
CREATE FUNCTION reads_s() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM s; RETURN NULL; END $$;
CREATE TRIGGER reads_s AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION reads_s();
SELECT raises('INSERT INTO item VALUES (2)');
DROP TRIGGER reads_s ON item;
SELECT id FROM item;

-- after what row changes do not tell
TRUNCATE item;
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');
SELECT elt.create_stream('s', 'item');
SELECT * FROM s;
DROP VIEW a_view;
DROP MATERIALIZED VIEW a_matview;
ALTER TABLE item ALTER id TYPE bigint;
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');
SELECT elt.create_stream('s', 'item');
ALTER TABLE item DISABLE TRIGGER ALL;
SELECT raises('SELECT * FROM s');
SELECT raises('SELECT elt.advance_stream(''s'')');
SELECT elt.track('item');
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');
SELECT elt.create_stream('s', 'item');
BEGIN;
DROP TRIGGER elt_capture_delete ON item;
SELECT raises('SELECT * FROM s');
ROLLBACK;
SELECT raises('SELECT * FROM s');
SELECT raises('CREATE TABLE heir () INHERITS (item)');
ALTER EVENT TRIGGER elt_ddl_command_end DISABLE;
CREATE TABLE heir () INHERITS (item);
ALTER EVENT TRIGGER elt_ddl_command_end ENABLE ALWAYS;
SELECT raises('SELECT * FROM s');
DROP TABLE heir;
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');
SELECT elt.create_stream('s', 'item');
ALTER TABLE item ADD COLUMN without_default int;
SELECT raises('SELECT * FROM s');
INSERT INTO item VALUES (5, 'unread');
ALTER TABLE item ADD COLUMN with_default int DEFAULT 1;
SELECT raises('SELECT * FROM s');
ALTER TABLE item DROP COLUMN without_default, DROP COLUMN with_default;
SELECT elt.drop_stream('s');

-- partitions that came with rows, or went
SELECT elt.create_stream('s', 'root');
CREATE TABLE empty_one PARTITION OF root FOR VALUES FROM (10) TO (20);
SELECT raises('SELECT * FROM s');
CREATE TABLE full_one (id int NOT NULL);
INSERT INTO full_one VALUES (20);
ALTER TABLE root ATTACH PARTITION full_one FOR VALUES FROM (20) TO (30);
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');
SELECT elt.create_stream('s', 'root');
ALTER TABLE root DETACH PARTITION full_one;
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');
SELECT elt.create_stream('s', 'root');
DROP TABLE empty_one;
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');
CREATE TABLE keyless_root (id int) PARTITION BY RANGE (id);
SELECT elt.create_stream('s', 'keyless_root');
CREATE FOREIGN TABLE foreign_leaf PARTITION OF keyless_root FOR VALUES FROM (10) TO (20) SERVER regress_elt_server;
SELECT raises('SELECT * FROM s');
DROP FOREIGN TABLE foreign_leaf;
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');

-- the same without the event triggers: still noticed
SELECT elt.create_stream('s', 'root');
CREATE TABLE another_one PARTITION OF root FOR VALUES FROM (30) TO (40);
ALTER EVENT TRIGGER elt_ddl_command_end DISABLE;
ALTER EVENT TRIGGER elt_sql_drop DISABLE;
ALTER EVENT TRIGGER elt_table_rewrite DISABLE;
DROP TABLE another_one;
SELECT raises('SELECT * FROM s');
CREATE TABLE empty_one PARTITION OF root FOR VALUES FROM (10) TO (20);
SELECT raises('SELECT * FROM s');
SELECT elt.create_stream('of_item', 'item');
ALTER TABLE item ALTER id TYPE int;
SELECT raises('SELECT * FROM of_item');
CREATE TABLE gone (id int PRIMARY KEY);
SELECT elt.create_stream('of_gone', 'gone');
DROP TABLE gone;
SELECT raises('SELECT * FROM of_gone');
ALTER EVENT TRIGGER elt_ddl_command_end ENABLE ALWAYS;
ALTER EVENT TRIGGER elt_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER elt_table_rewrite ENABLE ALWAYS;
SELECT elt.drop_stream('of_gone');
SELECT elt.drop_stream('of_item');
SELECT elt.drop_stream('s');

-- its table is gone, or not tracked any more
CREATE TABLE gone (id int PRIMARY KEY);
SELECT elt.create_stream('s', 'gone');
DROP TABLE gone;
SELECT raises('SELECT * FROM s');
SELECT raises('SELECT elt.advance_stream(''s'')');
SELECT elt.drop_stream('s');
SELECT elt.create_stream('s', 'item');
SELECT elt.untrack('item', force => true);
SELECT raises('SELECT * FROM s');
SELECT elt.track('item');
SELECT raises('SELECT * FROM s');
SELECT elt.drop_stream('s');

-- its view is not what elt.create_stream made
SELECT raises('SELECT * FROM elt.stream_rows(0) AS s(id int, v text, _elt_op text)');
SELECT elt.create_stream('s', 'item');
SELECT raises(format('SELECT * FROM elt.stream_rows(%s) AS s(id int, _elt_op text)', consumer)) FROM elt.stream WHERE relation = 's'::regclass;
INSERT INTO item VALUES (1, 'one');
-- other types would read one type's bytes as another's
SELECT left(raises(format('SELECT * FROM elt.stream_rows(%s) AS s(id int, v bigint, _elt_op text)', consumer)), 6) FROM elt.stream WHERE relation = 's'::regclass;
SELECT left(raises(format('SELECT * FROM elt.stream_rows(%s) AS s(id int, v text, _elt_op bigint)', consumer)), 6) FROM elt.stream WHERE relation = 's'::regclass;
SELECT raises(format('SELECT elt.stream_rows(%s)', consumer)) FROM elt.stream WHERE relation = 's'::regclass;
SELECT raises('INSERT INTO s VALUES (1)') <> 'no error', raises('DELETE FROM s') <> 'no error';
SELECT elt.drop_stream('s');

-- a view depends on it
SELECT elt.create_stream('s', 'item');
CREATE VIEW over_it AS SELECT * FROM s;
SELECT raises('SELECT elt.drop_stream(''s'')');
SELECT * FROM s;
DROP VIEW over_it;
SELECT elt.drop_stream('s');

-- who may
ALTER TABLE item OWNER TO regress_elt_owner;
SET ROLE regress_elt_other;
SELECT raises('SELECT elt.create_stream(''s'', ''item'')');		-- may not even read it
RESET ROLE;
GRANT SELECT ON item TO regress_elt_other;
SET ROLE regress_elt_other;
SELECT elt.create_stream('s', 'item');					-- tracked, and SELECT suffices
RESET ROLE;
SELECT elt.drop_stream('s');
SELECT elt.untrack('item');
SET ROLE regress_elt_other;
SELECT raises('SELECT elt.create_stream(''s'', ''item'')');		-- untracked: its owner's affair
SELECT raises('SELECT elt.create_stream(''s'', ''root'')');
RESET ROLE;
GRANT SELECT (id) ON keyed TO regress_elt_other;
SET ROLE regress_elt_other;
SELECT raises('SELECT elt.create_stream(''s'', ''keyed'')');		-- a column is not the table
RESET ROLE;
REVOKE CREATE ON SCHEMA stream_errors FROM regress_elt_owner;
SET ROLE regress_elt_owner;
SELECT raises('SELECT elt.create_stream(''s'', ''item'')');
RESET ROLE;
GRANT CREATE ON SCHEMA stream_errors TO regress_elt_owner;
SET ROLE regress_elt_owner;
SELECT elt.create_stream('s', 'item');
RESET ROLE;
SET ROLE regress_elt_other;
SELECT raises('SELECT * FROM s');
SELECT raises(format('SELECT * FROM elt.stream_rows(%s) AS s(id int, v text, _elt_op text)', 's'::regclass::oid));
SELECT raises('SELECT elt.advance_stream(''s'')');
SELECT raises('SELECT elt.drop_stream(''s'')');
RESET ROLE;
SELECT consumer FROM elt.stream WHERE relation = 's'::regclass \gset
SET ROLE regress_elt_other;
SELECT raises('SELECT * FROM elt.stream_rows(' || :consumer || ') AS s(id int, v text, _elt_op text)');
RESET ROLE;
GRANT SELECT ON s TO regress_elt_other;
SET ROLE regress_elt_other;
BEGIN;
SELECT * FROM s;
SELECT raises('SELECT elt.advance_stream(''s'')');			-- read yes, advance no
ROLLBACK;
RESET ROLE;

-- what the stream's owner may no longer read, nobody reads through the stream
GRANT SELECT ON item TO regress_elt_other;
SET ROLE regress_elt_other;
SELECT elt.create_stream('of_other', 'item');
RESET ROLE;
REVOKE SELECT ON item FROM regress_elt_other;
SELECT raises('SELECT * FROM of_other');
GRANT SELECT ON item TO regress_elt_other;
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
SELECT raises('SELECT * FROM of_other');
SET ROLE regress_elt_other;
SELECT raises('SELECT elt.create_stream(''of_other2'', ''item'')');
RESET ROLE;
SELECT raises('SELECT * FROM s');					-- the table's owner's: no policy applies
ALTER TABLE item FORCE ROW LEVEL SECURITY;
SELECT raises('SELECT * FROM s');
ALTER TABLE item DISABLE ROW LEVEL SECURITY;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA stream_errors CASCADE;
DROP SERVER regress_elt_server;
DROP FOREIGN DATA WRAPPER regress_elt_fdw;
DROP OWNED BY regress_elt_owner, regress_elt_other;
DROP ROLE regress_elt_owner, regress_elt_other;
SELECT (SELECT count(*) FROM elt.consumer) AS consumers, (SELECT count(*) FROM elt.stream) AS streams,
       (SELECT count(*) FROM elt.capture) AS captures;
