-- Who may do and see what; and that nobody gains another role's rights.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_permissions CASCADE;
DROP SCHEMA IF EXISTS tap_evil CASCADE;
DROP ROLE IF EXISTS regress_tap_owner, regress_tap_writer, regress_tap_reader, regress_tap_nobody;
CREATE ROLE regress_tap_owner;
CREATE ROLE regress_tap_writer;
CREATE ROLE regress_tap_reader;
CREATE ROLE regress_tap_nobody;
CREATE SCHEMA tap_permissions;
GRANT USAGE, CREATE ON SCHEMA tap_permissions TO PUBLIC;
SET search_path = tap_permissions, public;
SELECT no_plan();
SELECT current_user AS super \gset

-- pgTAP keeps its state in temporary tables of the superuser: roles are taken on for single statements
CREATE FUNCTION as_role(role name, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    super name := current_user;
    result text;
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL ROLE %I', role);
        IF statement ~* '^(SELECT|TABLE|INSERT.*RETURNING)' THEN
            EXECUTE statement INTO result;
        ELSE
            EXECUTE statement;
            result := 'done';
        END IF;
    EXCEPTION WHEN OTHERS THEN
        result := SQLSTATE;
    END;
    EXECUTE format('SET LOCAL ROLE %I', super);
    RETURN coalesce(result, 'null');
END $$;

-- the extension's own tables and functions
SELECT is_empty($$
    SELECT c.oid::regclass, r.rolname, p.privilege FROM pg_class c, pg_roles r, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p (privilege)
    WHERE c.relnamespace IN ('elt'::regnamespace, 'elt_log'::regnamespace) AND c.relkind IN ('r', 'p') AND r.rolname LIKE 'regress_tap%'
      AND has_table_privilege(r.oid, c.oid, p.privilege)$$, 'nobody has rights on the tables of the extension');
SELECT is_empty($$
    SELECT c.oid::regclass, r.rolname FROM pg_class c, pg_roles r
    WHERE c.relnamespace IN ('elt'::regnamespace, 'elt_log'::regnamespace) AND c.relkind = 'S' AND r.rolname LIKE 'regress_tap%'
      AND has_sequence_privilege(r.oid, c.oid, 'USAGE, UPDATE')$$, 'nor on its sequences');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'elt'::regnamespace AND p.prosecdef$$, 'no function runs with the rights of who made it');
SELECT is(has_schema_privilege('regress_tap_nobody', 'elt_log', 'USAGE'), false, 'nobody looks into elt_log');
SELECT is(has_schema_privilege('regress_tap_nobody', 'elt', 'CREATE'), false, 'nobody puts anything into elt');

-- an owner without any other right
SELECT is(as_role('regress_tap_owner', 'CREATE TABLE item (id int PRIMARY KEY, v text)'), 'done', 'a table of somebody who is not superuser');
SELECT is(as_role('regress_tap_nobody', $$SELECT elt.track('item')$$), '42501', 'others do not track it');
SELECT is(as_role('regress_tap_owner', $$SELECT elt.track('item')$$), '', 'its owner does');
SELECT is(as_role('regress_tap_owner', $$SELECT elt.create_stream('of_owner', 'item')$$), 'of_owner', 'and makes a stream');
SELECT s.relation AS log, c.id AS capture FROM elt.capture c JOIN elt.capture_segment s ON s.capture = c.id WHERE c.relation = 'item'::regclass \gset
SELECT :log::regclass AS log_name \gset
SELECT is(relowner::regrole::text, :'super', 'the log belongs to the extension''s owner') FROM pg_class WHERE oid = :log;
SELECT is(tgname || r.rolname, tgname || :'super', tgname || ' runs a function of the extension''s owner')
FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid JOIN pg_roles r ON r.oid = p.proowner WHERE tgrelid = 'item'::regclass AND tgname LIKE 'elt%' ORDER BY 1;
SELECT is(as_role('regress_tap_owner', 'SELECT count(*) FROM ' || :'log_name'), '42501', 'the table''s owner does not read the log');
SELECT is(as_role('regress_tap_owner', 'INSERT INTO ' || :'log_name' || ' VALUES (1, 1, ''I'', ''\x'')'), '42501', 'nor writes it');
SELECT is(as_role('regress_tap_owner', 'DROP TABLE ' || :'log_name'), '42501', 'nor drops it');
SELECT is(as_role('regress_tap_owner', 'SELECT count(*) FROM elt.consumer'), '42501', 'nor reads offsets');
SELECT is(as_role('regress_tap_owner', 'UPDATE elt.consumer SET own_serial = 0'), '42501', 'nor moves them');

-- rights on the table are enough for writing it
GRANT INSERT, UPDATE (v), SELECT (id) ON item TO regress_tap_writer;
SELECT is(as_role('regress_tap_writer', $$INSERT INTO item VALUES (1, 'writer'), (2, 'writer')$$), 'done', 'a writer inserts');
SELECT is(as_role('regress_tap_writer', $$UPDATE item SET v = 'written' WHERE id = 1$$), 'done', 'and updates');
SELECT is(as_role('regress_tap_writer', 'DELETE FROM item WHERE id = 1'), '42501', 'but deletes no more than before');
SELECT is(as_role('regress_tap_owner', $$SELECT string_agg(s::text, ' ' ORDER BY id) FROM of_owner s$$), '(1,written,insert) (2,writer,insert)', 'all of it is in the stream');
SELECT is(as_role('regress_tap_writer', 'SELECT count(*) FROM of_owner'), '42501', 'which the writer does not see');
GRANT TRUNCATE ON item TO regress_tap_writer;
SELECT is(as_role('regress_tap_writer', $$SELECT elt.create_stream('w', 'item')$$), '42501', 'a column''s SELECT makes no stream');

-- readers
GRANT SELECT ON item TO regress_tap_reader;
SELECT is(as_role('regress_tap_reader', $$SELECT elt.create_stream('of_reader', 'item', true)$$), 'of_reader', 'SELECT is enough for a stream of a tracked table');
SELECT is(as_role('regress_tap_reader', $$SELECT string_agg(s::text, ' ' ORDER BY id) FROM of_reader s$$), '(1,written,insert) (2,writer,insert)', 'with the present rows');
SELECT is(as_role('regress_tap_owner', 'SELECT count(*) FROM of_reader'), '42501', 'a stream is its owner''s');
SELECT is(as_role('regress_tap_owner', $$SELECT elt.drop_stream('of_reader')$$), '42501', 'the table''s owner does not drop it');
SELECT is(as_role('regress_tap_owner', $$SELECT elt.advance_stream('of_reader')$$), '42501', 'nor advances it');
SELECT is(as_role('regress_tap_owner', $$SELECT elt.untrack('item')$$), '2BP01', 'untrack names who reads it');
GRANT SELECT ON of_owner TO regress_tap_nobody;
SELECT is(as_role('regress_tap_nobody', 'SELECT count(*) FROM of_owner'), '2', 'SELECT on a stream is enough to read it, as with a view');
SELECT is(as_role('regress_tap_nobody', 'SELECT count(*) FROM item'), '42501', 'though not the table');
SELECT is(as_role('regress_tap_nobody', $$SELECT elt.advance_stream('of_owner')$$), '42501', 'nor is it enough to advance it');
REVOKE SELECT ON of_owner FROM regress_tap_nobody;

-- elt.tracked and what is behind it
SELECT is(as_role('regress_tap_reader', $$SELECT count(*) FROM elt.tracked WHERE relation = 'item'::regclass$$), '1', 'elt.tracked shows what one may read');
SELECT is(as_role('regress_tap_nobody', $$SELECT count(*) FROM elt.tracked WHERE relation = 'item'::regclass$$), '0', 'and nothing else');
SELECT ok(as_role('regress_tap_nobody', format('SELECT elt.log_status(%s)', :capture)) IN ('null', '42501'), 'elt.log_status tells no more than elt.tracked');

-- trusted with a table, not with the server: what a stream's owner, or another table's, has put in our way
CREATE SCHEMA tap_evil AUTHORIZATION regress_tap_owner;
GRANT USAGE ON SCHEMA tap_evil TO PUBLIC;
CREATE TABLE tap_evil.calls (who name DEFAULT current_user, what text);
GRANT INSERT ON tap_evil.calls TO PUBLIC;
SELECT is(as_role('regress_tap_owner', $$
    CREATE FUNCTION tap_evil.note(what text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO tap_evil.calls (what) VALUES (what); RETURN true; END'
$$), 'done', 'a function that notes who calls it');
SELECT is(string_agg(as_role('regress_tap_owner', statement), ','), 'done,done,done,done,done,done,done,done,done,done,done,done,done,done,done,done', 'shadows of operators, functions and tables')
FROM (SELECT format('CREATE FUNCTION tap_evil.eq(%1$s, %1$s) RETURNS boolean LANGUAGE sql AS $x$ SELECT tap_evil.note(''%1$s'') $x$', t) FROM unnest('{oid,regclass,text,name,int4,int8,"char",bool}'::text[]) t
      UNION ALL
      SELECT format('CREATE OPERATOR tap_evil.= (FUNCTION = tap_evil.eq, LEFTARG = %1$s, RIGHTARG = %1$s)', t) FROM unnest('{oid,regclass,text,name,int4,int8,"char",bool}'::text[]) t) s (statement);
SELECT is(as_role('regress_tap_owner', statement), 'done', 'shadow: ' || left(statement, 50)) FROM unnest(ARRAY[
    'CREATE FUNCTION tap_evil.pg_event_trigger_ddl_commands() RETURNS TABLE (classid oid, objid oid) LANGUAGE sql AS $x$ SELECT 1::oid, 1::oid WHERE tap_evil.note(''ddl'') $x$',
    'CREATE FUNCTION tap_evil.has_table_privilege(oid, text) RETURNS boolean LANGUAGE sql AS $x$ SELECT tap_evil.note(''privilege'') $x$',
    'CREATE FUNCTION tap_evil.stream_rows(int) RETURNS SETOF record LANGUAGE sql AS $x$ SELECT 1, 2 WHERE tap_evil.note(''stream_rows'') $x$',
    'CREATE FUNCTION tap_evil.capture() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_evil.note(''capture''); RETURN NULL; END $x$',
    'CREATE DOMAIN tap_evil.text AS pg_catalog.text CHECK (tap_evil.note(''text''))',
    'CREATE DOMAIN tap_evil.int4 AS pg_catalog.int4 CHECK (tap_evil.note(''int4''))',
    'CREATE TABLE tap_evil.capture (id int)',
    'CREATE TABLE tap_evil.pg_class (relname name)']) statement;

SET search_path = tap_evil, tap_permissions, pg_catalog, public;
CREATE TABLE tap_permissions.supers (id pg_catalog.int4 PRIMARY KEY, v pg_catalog.text) PARTITION BY RANGE (id);
SELECT elt.track('tap_permissions.supers');
CREATE TABLE tap_permissions.supers1 PARTITION OF tap_permissions.supers FOR VALUES FROM (0) TO (100);
SELECT elt.create_stream('tap_permissions.of_super', 'tap_permissions.supers');
INSERT INTO tap_permissions.supers VALUES (1, 'a'), (2, 'b');
UPDATE tap_permissions.supers SET v = 'c';
BEGIN;
SELECT * FROM tap_permissions.of_super;
SELECT elt.advance_stream('tap_permissions.of_super');
COMMIT;
SELECT elt.create_stream('tap_permissions.of_super2', 'tap_permissions.supers', true);
SELECT pg_catalog.count(*) FROM tap_permissions.of_super2;
SELECT pg_catalog.count(*) FROM elt.tracked;
ALTER TABLE tap_permissions.supers ADD COLUMN w pg_catalog.text;
ALTER TABLE tap_permissions.supers DETACH PARTITION tap_permissions.supers1;
TRUNCATE tap_permissions.supers1;
DROP TABLE tap_permissions.supers1;
SELECT elt.drop_stream('tap_permissions.of_super');
SELECT elt.drop_stream('tap_permissions.of_super2');
SELECT elt.untrack('tap_permissions.supers');
DROP TABLE tap_permissions.supers;
SET search_path = tap_permissions, public;
SELECT is_empty('SELECT DISTINCT who, what FROM tap_evil.calls', 'a superuser with a hostile search_path calls none of them');

-- the owner of a table has put functions wherever there is room, and a superuser tracks, reads, advances, alters
SELECT is(as_role('regress_tap_owner', statement), 'done', 'trap: ' || left(statement, 50)) FROM unnest(ARRAY[
    'CREATE FUNCTION tap_evil.noted(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_evil.note(''expression''); RETURN $1; END $x$',
    'CREATE TABLE trap (id int PRIMARY KEY, v int DEFAULT tap_evil.noted(1), w int)',
    'INSERT INTO trap SELECT i, i, i FROM generate_series(1, 3) i',
    'CREATE FUNCTION tap_evil.on_row() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_evil.note(TG_NAME); RETURN NULL; END $x$',
    'CREATE TRIGGER a_trap AFTER INSERT OR UPDATE OR DELETE ON trap FOR EACH ROW EXECUTE FUNCTION tap_evil.on_row()',
    'CREATE TRIGGER z_trap AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON trap FOR EACH STATEMENT EXECUTE FUNCTION tap_evil.on_row()',
    'ALTER TABLE trap ENABLE ROW LEVEL SECURITY',
    'CREATE POLICY trap ON trap USING (tap_evil.note(''policy''))']) statement;
TRUNCATE tap_evil.calls;
SELECT elt.track('trap');
SELECT elt.create_stream('of_trap', 'trap', initial_rows => true);
BEGIN;
SELECT count(*) FROM of_trap;
SELECT elt.advance_stream('of_trap');
COMMIT;
SELECT count(*) FROM of_trap;
SELECT elt.track('trap');
SELECT elt.drop_stream('of_trap');
SELECT is_empty('SELECT DISTINCT who, what FROM tap_evil.calls', 'nothing of the table''s owner runs when a superuser tracks and reads');

-- triggers of a tracked table run as whoever writes, before and after ours
GRANT INSERT ON trap TO regress_tap_writer;
ALTER TABLE trap DISABLE ROW LEVEL SECURITY;
TRUNCATE tap_evil.calls;
SELECT is(as_role('regress_tap_writer', 'INSERT INTO trap VALUES (10, 1, 1)'), 'done', 'a writer without any other right');
SELECT results_eq('SELECT DISTINCT who FROM tap_evil.calls', ARRAY['regress_tap_writer'::name], 'users'' triggers run as the writer');
SELECT is((SELECT string_agg(what, ',' ORDER BY ctid) FROM tap_evil.calls), 'a_trap,z_trap', 'and in their order');

-- the owner's stream read by a superuser: what the stream's owner may not see is not shown to anybody through it
SELECT is(as_role('regress_tap_owner', $$SELECT elt.create_stream('owners', 'trap')$$), 'owners', 'a stream of the owner');
ALTER TABLE trap OWNER TO regress_tap_writer;
REVOKE ALL ON trap FROM regress_tap_owner;
SELECT throws_ok('SELECT * FROM owners', '42501', NULL, 'the stream''s owner has lost the table');
ALTER VIEW owners OWNER TO regress_tap_writer;
SELECT lives_ok('SELECT * FROM owners', 'a stream can be given to who owns the table');
SELECT is(as_role('regress_tap_owner', $$SELECT elt.drop_stream('owners')$$), '42501', 'and is no longer the former owner''s');
SELECT is(as_role('regress_tap_writer', $$SELECT elt.drop_stream('owners')$$), '', 'but the new one''s');

SELECT * FROM finish();
DROP SCHEMA tap_permissions CASCADE;
DROP SCHEMA tap_evil CASCADE;
DROP OWNED BY regress_tap_owner, regress_tap_writer, regress_tap_reader, regress_tap_nobody;
DROP ROLE regress_tap_owner, regress_tap_writer, regress_tap_reader, regress_tap_nobody;
