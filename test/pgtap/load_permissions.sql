-- Who may make, run, drop and see a load; and that nobody gains another role's rights by one.
SET client_min_messages = warning;
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA IF EXISTS tap_load_permissions CASCADE;
DROP SCHEMA IF EXISTS tap_load_evil CASCADE;
DROP ROLE IF EXISTS regress_tap_source, regress_tap_loader, regress_tap_member, regress_tap_target, regress_tap_nobody;
CREATE ROLE regress_tap_source;
CREATE ROLE regress_tap_loader;
CREATE ROLE regress_tap_member;
CREATE ROLE regress_tap_target;
CREATE ROLE regress_tap_nobody;
GRANT regress_tap_loader TO regress_tap_member;
CREATE SCHEMA tap_load_permissions;
GRANT USAGE, CREATE ON SCHEMA tap_load_permissions TO PUBLIC;
SET search_path = tap_load_permissions, public;
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
        result := SQLSTATE || ' ' || SQLERRM;
    END;
    EXECUTE format('SET LOCAL ROLE %I', super);
    RETURN coalesce(result, 'null');
END $$;
CREATE FUNCTION batch(load text) RETURNS text LANGUAGE sql AS $$
    SELECT format('read %s, inserted %s, updated %s, deleted %s, rejected %s, pending %s', rows_read, inserted, updated, deleted, rejected, pending)
    FROM elt.run_batch(load)
$$;

-- the extension's own tables
SELECT is_empty($$
    SELECT c.oid::regclass, r.rolname FROM pg_class c, pg_roles r
    WHERE c.relname IN ('node', 'load', 'rejected_row', 'consumer') AND c.relnamespace = 'elt'::regnamespace AND r.rolname LIKE 'regress_tap%'
      AND has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$, 'nobody has rights on the tables behind loads');
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'elt'::regnamespace AND prosecdef$$, 'no function runs as who made it');

-- what it takes to make one
SELECT is(as_role('regress_tap_source', 'CREATE TABLE item (id int PRIMARY KEY, v text)'), 'done', 'a source');
SELECT is(as_role('regress_tap_target', 'CREATE TABLE target (id int PRIMARY KEY, v text)'), 'done', 'a target');
CREATE FUNCTION makes(mode text DEFAULT 'mirror') RETURNS text LANGUAGE sql AS $$
    SELECT as_role('regress_tap_loader', format('SELECT elt.create_load(''l'', ''target'', source => ''item'', mode => %L)', mode))
$$;
SELECT is(makes(), '42501 permission denied for table "target"', 'without rights on the target');
GRANT INSERT ON target TO regress_tap_loader;
SELECT is(makes('append'), '42501 permission denied for table "item"', 'without rights on the source');
SELECT is(makes('upsert'), '42501 permission denied for table "target"', 'an upsert needs UPDATE and SELECT');
GRANT UPDATE, SELECT ON target TO regress_tap_loader;
SELECT is(makes('mirror'), '42501 permission denied for table "target"', 'a mirror needs DELETE');
GRANT DELETE ON target TO regress_tap_loader;
GRANT SELECT ON item TO regress_tap_loader;
SELECT is(makes(), '55000 table "item" is not tracked', 'a source that is not tracked');
SELECT is(as_role('regress_tap_loader', 'SELECT elt.track(''item'')'), '42501 must be owner of table "item" to track it', 'its owner has to track it');
DO $$
DECLARE hint text;
BEGIN
    SET LOCAL ROLE regress_tap_loader;
    BEGIN
        PERFORM elt.create_load('l', 'target', source => 'item');
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    END;
    PERFORM set_config('tap.hint', hint, false);
END $$;
SELECT is(current_setting('tap.hint'), 'Its owner has to call elt.track(''tap_load_permissions.item'') once.', 'the hint names the call');
SELECT is(as_role('regress_tap_source', 'SELECT elt.track(''item'')'), '', 'the owner does');
SELECT is(makes(), '', 'then SELECT suffices');
SELECT is_empty($$SELECT * FROM elt.node WHERE name <> 'l'$$, 'nothing else was made');

-- who runs it: its owner and members of that role; it reads and writes with its owner's rights alone
SELECT is(as_role('regress_tap_source', 'INSERT INTO item VALUES (1, ''a''), (2, ''b'')'), 'done', 'rows');
SELECT is(as_role('regress_tap_nobody', 'SELECT batch(''l'')'), '42501 must be owner of load "l"', 'not somebody else');
SELECT is(as_role('regress_tap_source', 'SELECT batch(''l'')'), '42501 must be owner of load "l"', 'not the source''s owner');
SELECT is(as_role('regress_tap_target', 'SELECT batch(''l'')'), '42501 must be owner of load "l"', 'not the target''s owner');
SELECT is(as_role('regress_tap_nobody', 'SELECT elt.retry_rejected(''l'')'), '42501 must be owner of load "l"', 'nor retries');
SELECT is(as_role('regress_tap_nobody', 'SELECT elt.drop_load(''l'')'), '42501 must be owner of load "l"', 'nor drops');
SELECT is(as_role('regress_tap_loader', 'SELECT batch(''l'')'), 'read 2, inserted 2, updated 0, deleted 0, rejected 0, pending 0', 'its owner');
SELECT is(as_role('regress_tap_source', 'UPDATE item SET v = ''c'' WHERE id = 1'), 'done', 'changes');
SELECT is(as_role('regress_tap_member', 'SELECT batch(''l'')'), 'read 1, inserted 0, updated 1, deleted 0, rejected 0, pending 0', 'a member of that role');
ALTER ROLE regress_tap_member NOINHERIT;
SELECT is(as_role('regress_tap_member', 'SELECT batch(''l'')'), '42501 must be owner of load "l"', 'one that inherits its rights');
ALTER ROLE regress_tap_member INHERIT;
DELETE FROM item WHERE id = 2;
SELECT is(batch('l'), 'read 1, inserted 0, updated 0, deleted 1, rejected 0, pending 0', 'a superuser');
INSERT INTO item VALUES (3, 'd');
REVOKE SELECT ON item FROM regress_tap_loader;
SELECT throws_ok('SELECT batch(''l'')', '42501', NULL, 'rights on the source are checked at each batch, of the owner and not of who calls');
GRANT SELECT ON item TO regress_tap_loader;
REVOKE DELETE ON target FROM regress_tap_loader;
DELETE FROM item WHERE id = 1;
SELECT throws_ok('SELECT batch(''l'')', '42501', NULL, 'those on the target, too');
GRANT DELETE ON target TO regress_tap_loader;
SELECT is(batch('l'), 'read 2, inserted 1, updated 0, deleted 1, rejected 0, pending 0', 'nothing was lost');

-- who sees it
SELECT is(as_role('regress_tap_loader', 'SELECT string_agg(name, '','') FROM elt.loads'), 'l', 'elt.loads: its owner');
SELECT is(as_role('regress_tap_member', 'SELECT string_agg(name, '','') FROM elt.loads'), 'l', 'a member');
SELECT is(as_role('regress_tap_nobody', 'SELECT string_agg(name, '','') FROM elt.loads'), 'null', 'nobody else');
SELECT is(as_role('regress_tap_source', 'SELECT string_agg(name, '','') FROM elt.loads'), 'null', 'not the source''s owner');
SELECT is(as_role('regress_tap_source', 'SELECT elt.untrack(''item'')'), '2BP01 cannot untrack "item": its changes are read', 'who is told all the same when he untracks');
SELECT is(as_role('regress_tap_nobody', 'SELECT elt.load_pending(' || consumer || ')'), 'null', 'pending changes of what one may not read') FROM elt.load;
CREATE FUNCTION leak(text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS $$ BEGIN RAISE 'leaked %', $1; END $$;
SELECT is(as_role('regress_tap_nobody', 'SELECT count(*) FROM elt.loads WHERE leak(name)'), '0', 'nor by a function that tells');
CREATE TABLE strict (id int PRIMARY KEY, v text CHECK (v <> 'secret'));
ALTER TABLE strict OWNER TO regress_tap_loader;
SELECT is(as_role('regress_tap_loader', 'SELECT elt.create_load(''q'', ''strict'', source => ''item'', on_error => ''quarantine'')'), '', 'a load with quarantine');
INSERT INTO item VALUES (4, 'secret');
SELECT is(as_role('regress_tap_loader', 'SELECT batch(''q'')'), 'read 2, inserted 1, updated 0, deleted 0, rejected 1, pending 0', 'a row set aside');
SELECT is(as_role('regress_tap_loader', 'SELECT "row" ->> ''v'' FROM elt.rejected'), 'secret', 'elt.rejected: its owner');
SELECT is(as_role('regress_tap_member', 'SELECT "row" ->> ''v'' FROM elt.rejected'), 'secret', 'a member');
SELECT is(as_role('regress_tap_nobody', 'SELECT "row" ->> ''v'' FROM elt.rejected'), 'null', 'nobody else');
SELECT is(as_role('regress_tap_source', 'SELECT "row" ->> ''v'' FROM elt.rejected'), 'null', 'not the source''s owner');
SELECT is(as_role('regress_tap_nobody', 'SELECT count(*) FROM elt.rejected WHERE leak("row"::text)'), '0', 'nor by a function that tells');
SELECT is(as_role('regress_tap_nobody', 'SELECT count(*) FROM elt.progress'), '0', 'elt.progress can be read by all');
SELECT is(as_role('regress_tap_member', 'SELECT elt.drop_load(''q'')'), '', 'a member drops');

-- row-level security is refused where it applies to the owner of the load
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
SELECT matches(as_role('regress_tap_loader', 'SELECT batch(''l'')'), '^0A000 .*row-level security', 'of the source');
SELECT throws_ok('SELECT batch(''l'')', '0A000', NULL, 'whoever calls');
ALTER ROLE regress_tap_loader BYPASSRLS;
SELECT matches(as_role('regress_tap_loader', 'SELECT batch(''l'')'), '^read ', 'not to who bypasses it');
ALTER ROLE regress_tap_loader NOBYPASSRLS;
ALTER TABLE item DISABLE ROW LEVEL SECURITY;
ALTER TABLE target ENABLE ROW LEVEL SECURITY;
SELECT matches(as_role('regress_tap_loader', 'SELECT batch(''l'')'), '^0A000 .*row-level security', 'of the target');
ALTER TABLE target DISABLE ROW LEVEL SECURITY;
-- a lookup's policies apply to the load's owner as they would to his query
CREATE TABLE look (id int PRIMARY KEY, w text);
INSERT INTO look VALUES (1, 'seen'), (2, 'hidden');
ALTER TABLE look ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON look USING (w = 'seen');
GRANT SELECT ON look TO regress_tap_loader;
CREATE TABLE looked (id int PRIMARY KEY, v text);
ALTER TABLE looked OWNER TO regress_tap_loader;
CREATE TABLE refers (id int PRIMARY KEY, look int);
ALTER TABLE refers OWNER TO regress_tap_loader;
INSERT INTO refers VALUES (10, 1), (20, 2);
SELECT is(as_role('regress_tap_loader', 'SELECT elt.create_load(''policy'', ''looked'', source => ''refers'', query => ''SELECT r.id, w AS v FROM refers r JOIN look ON look.id = r.look'')'), '', 'a lookup with policies');
SELECT is(batch('policy'), 'read 1, inserted 1, updated 0, deleted 0, rejected 0, pending 0', 'a superuser runs it, with its owner''s policies');
UPDATE refers SET look = 3 - look;
SELECT matches(batch('policy'), 'read 2, inserted 1, updated 0', 'in a batch, too');
SELECT results_eq('TABLE looked ORDER BY id', $$VALUES (10, 'seen'), (20, 'seen')$$, 'nothing hidden is loaded');

-- trusted with a table, not with the server: a superuser runs a load of somebody who has put functions wherever there is room
CREATE SCHEMA tap_load_evil AUTHORIZATION regress_tap_target;
GRANT USAGE, CREATE ON SCHEMA tap_load_evil TO PUBLIC;
CREATE TABLE tap_load_evil.calls (who name DEFAULT current_user, session name DEFAULT session_user, what text, path text DEFAULT current_setting('search_path'));
GRANT INSERT ON tap_load_evil.calls TO PUBLIC;
SELECT is(as_role('regress_tap_target', statement), 'done', 'trap: ' || left(statement, 60)) FROM unnest(ARRAY[
    'CREATE FUNCTION tap_load_evil.note(what text) RETURNS boolean LANGUAGE plpgsql AS ''BEGIN INSERT INTO tap_load_evil.calls (what) VALUES (what); RETURN true; END''',
    'CREATE FUNCTION tap_load_evil.on_row() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_load_evil.note(TG_NAME); RETURN NEW; END $x$',
    'CREATE TRIGGER before_row BEFORE INSERT OR UPDATE ON target FOR EACH ROW EXECUTE FUNCTION tap_load_evil.on_row()',
    'CREATE TRIGGER after_statement AFTER INSERT OR UPDATE OR DELETE ON target FOR EACH STATEMENT EXECUTE FUNCTION tap_load_evil.on_row()',
    'CREATE FUNCTION tap_load_evil.noted(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_load_evil.note(''index''); RETURN $1; END $x$',
    'CREATE INDEX ON target (tap_load_evil.noted(v))',
    'ALTER TABLE target ADD CHECK (tap_load_evil.note(''check''))',
    'ALTER TABLE target ADD COLUMN d boolean DEFAULT tap_load_evil.note(''default'')',
    'CREATE FUNCTION tap_load_evil.become() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN
         BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN PERFORM tap_load_evil.note(''RESET ROLE '' || SQLSTATE); END;
         BEGIN SET SESSION AUTHORIZATION DEFAULT; EXCEPTION WHEN OTHERS THEN PERFORM tap_load_evil.note(''SESSION '' || SQLSTATE); END;
         BEGIN CREATE TEMP TABLE elt_staged (x int); EXCEPTION WHEN OTHERS THEN PERFORM tap_load_evil.note(''TEMP '' || SQLSTATE); END;
         BEGIN ALTER ROLE regress_tap_target SUPERUSER; EXCEPTION WHEN OTHERS THEN PERFORM tap_load_evil.note(''ALTER ROLE '' || SQLSTATE); END;
         SET search_path = tap_load_evil, pg_catalog;
         RETURN NULL; END $x$',
    'CREATE TRIGGER become AFTER INSERT ON target FOR EACH ROW EXECUTE FUNCTION tap_load_evil.become()']) statement;
TRUNCATE tap_load_evil.calls;
SELECT is(as_role('regress_tap_source', 'INSERT INTO item VALUES (10, ''x''), (11, ''y'')'), 'done', 'rows');
SET search_path = tap_load_permissions, public;
SELECT matches(batch('l'), 'inserted [12]', 'a superuser runs the load');
SELECT results_eq('SELECT DISTINCT who FROM tap_load_evil.calls', ARRAY['regress_tap_loader'::name], 'the target''s triggers, defaults, checks and indexes run as the load''s owner');
SELECT is((SELECT string_agg(DISTINCT what, ',' ORDER BY what) FROM tap_load_evil.calls WHERE what ~ ' '), 'ALTER ROLE 42501,RESET ROLE 42501,SESSION 42501,TEMP 42501', 'and cannot leave it');
SELECT is_empty($$SELECT path FROM tap_load_evil.calls WHERE path LIKE '%public%'$$, 'under a search_path that nobody else sets');
SELECT is(current_setting('search_path'), 'tap_load_permissions, public', 'settings that they change end with the batch');
SELECT is(current_user::text, :'super'::text, 'as does the role');
-- deferred triggers would fire at commit, with the rights of who calls
SELECT is(as_role('regress_tap_target', 'CREATE CONSTRAINT TRIGGER late AFTER INSERT ON target DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tap_load_evil.on_row()'), 'done', 'a deferred trigger');
TRUNCATE tap_load_evil.calls;
INSERT INTO item VALUES (12, 'z');
SELECT throws_ok('SELECT batch(''l'')', '42501', NULL, 'is refused where the caller is not the load''s owner');
SELECT is_empty('SELECT * FROM tap_load_evil.calls WHERE who <> ''regress_tap_loader''', 'and never fires as the caller');
DROP TRIGGER late ON target;
SELECT matches(batch('l'), 'inserted 1', 'without it the row is loaded');

-- functions in the query: with the owner's rights, never the caller's
SELECT is(as_role('regress_tap_loader', statement), 'done', 'query: ' || left(statement, 60)) FROM unnest(ARRAY[
    'CREATE FUNCTION tap_load_evil.in_query(text) RETURNS text LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_load_evil.note(''query''); RETURN $1; END $x$',
    'CREATE TABLE own (id int PRIMARY KEY, v text)']) statement;
SELECT is(as_role('regress_tap_loader', 'SELECT elt.create_load(''own'', ''own'', source => ''item'', query => ''SELECT id, tap_load_evil.in_query(v) AS v FROM item'', on_error => ''quarantine'')'), '', 'a function in the query');
TRUNCATE tap_load_evil.calls;
SELECT matches(batch('own'), 'inserted [1-9]', 'in the copy');
UPDATE item SET v = 'changed';
SELECT matches(batch('own'), 'updated [1-9]', 'in a batch');
SELECT results_eq('SELECT DISTINCT who FROM tap_load_evil.calls', ARRAY['regress_tap_loader'::name], 'run as the owner of the load');

-- shadows of operators, functions and types in the search_path of who makes and runs
SELECT is(string_agg(DISTINCT as_role('regress_tap_target', statement), ','), 'done', 'shadows of operators')
FROM (SELECT format('CREATE FUNCTION tap_load_evil.eq(%1$s, %1$s) RETURNS boolean LANGUAGE sql AS $x$ SELECT tap_load_evil.note(''%1$s'') $x$', t) FROM unnest('{oid,regclass,text,name,int4,int8,"char",bool,jsonb}'::text[]) t
      UNION ALL
      SELECT format('CREATE OPERATOR tap_load_evil.%2$s (FUNCTION = tap_load_evil.eq, LEFTARG = %1$s, RIGHTARG = %1$s)', t, o)
      FROM unnest('{oid,regclass,text,name,int4,int8,"char",bool,jsonb}'::text[]) t, unnest('{=,*<>,<>}'::text[]) o) s (statement);
SELECT is(as_role('regress_tap_target', statement), 'done', 'shadow: ' || left(statement, 60)) FROM unnest(ARRAY[
    'CREATE FUNCTION tap_load_evil.has_table_privilege(oid, text) RETURNS boolean LANGUAGE sql AS $x$ SELECT tap_load_evil.note(''privilege'') $x$',
    'CREATE FUNCTION tap_load_evil.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS $x$ SELECT tap_load_evil.note(''role'') $x$',
    'CREATE FUNCTION tap_load_evil.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS $x$ SELECT NULL::jsonb WHERE tap_load_evil.note(''to_jsonb'') $x$',
    'CREATE FUNCTION tap_load_evil.load_pending(int) RETURNS bigint LANGUAGE sql AS $x$ SELECT 1::bigint WHERE tap_load_evil.note(''pending'') $x$',
    'CREATE FUNCTION tap_load_evil.count(int) RETURNS bigint LANGUAGE sql AS $x$ SELECT 1::bigint WHERE tap_load_evil.note(''count'') $x$',
    'CREATE DOMAIN tap_load_evil.text AS pg_catalog.text CHECK (tap_load_evil.note(''text''))',
    'CREATE DOMAIN tap_load_evil.int8 AS pg_catalog.int8 CHECK (tap_load_evil.note(''int8''))',
    'CREATE TABLE tap_load_evil.elt_added (id int)',
    'CREATE TABLE tap_load_evil.elt_removed (id int)',
    'CREATE TABLE tap_load_evil.elt_staged (id int)',
    'CREATE TABLE tap_load_evil.load (node int)']) statement;
TRUNCATE tap_load_evil.calls;
CREATE TABLE supers (id int PRIMARY KEY, v pg_catalog.text, n numeric);
CREATE TABLE supers_m (id int PRIMARY KEY, v pg_catalog.text CHECK (v OPERATOR(pg_catalog.<>) 'bad'), n numeric);
SET search_path = tap_load_evil, tap_load_permissions, pg_catalog, public;
SELECT elt.create_load('supers', 'tap_load_permissions.supers_m', source => 'tap_load_permissions.supers', mode => 'mirror', on_error => 'quarantine');
INSERT INTO tap_load_permissions.supers VALUES (1, 'a', 1), (2, 'bad', 2), (3, 'c', 3);
CALL elt.run('supers');
UPDATE tap_load_permissions.supers SET n = 4;
UPDATE tap_load_permissions.supers SET id = 30 WHERE id OPERATOR(pg_catalog.=) 3;
DELETE FROM tap_load_permissions.supers WHERE id OPERATOR(pg_catalog.=) 1;
SELECT pg_catalog.count(*) FROM elt.run_batch('supers');
SELECT elt.retry_rejected('supers');
SELECT pg_catalog.count(*) FROM elt.loads;
SELECT pg_catalog.count(*) FROM elt.rejected;
SELECT pg_catalog.count(*) FROM elt.progress;
TRUNCATE tap_load_permissions.supers;
CALL elt.run('supers');
SELECT elt.drop_load('supers');
SET search_path = tap_load_permissions, public;
SELECT is_empty('SELECT DISTINCT who, what FROM tap_load_evil.calls', 'a superuser with a hostile search_path calls none of them');
SELECT is_empty('TABLE supers_m', 'and the load does what it should');

-- the owner of a load is gone
SELECT is(as_role('regress_tap_loader', 'SELECT elt.drop_load(''l'')'), '', 'its owner drops a load');
DROP TABLE own, looked, refers, strict;
DROP OWNED BY regress_tap_loader;
DROP ROLE regress_tap_loader;
SELECT throws_ok('SELECT batch(''own'')', '42704', 'the owner of load "own" was dropped', 'a load of a role that is gone');
SELECT is(as_role('regress_tap_member', 'SELECT elt.drop_load(''own'')'), '42501 must be owner of load "own"', 'is nobody''s');
SELECT lives_ok('SELECT name, owner FROM elt.loads', 'elt.loads can be read');
SELECT lives_ok('SELECT elt.drop_load(''own'')', 'a superuser drops it');

SELECT * FROM finish();
SELECT elt.drop_load(name) FROM elt.loads;
DROP SCHEMA tap_load_permissions CASCADE;
DROP SCHEMA tap_load_evil CASCADE;
DROP OWNED BY regress_tap_source, regress_tap_member, regress_tap_target, regress_tap_nobody;
DROP ROLE regress_tap_source, regress_tap_member, regress_tap_target, regress_tap_nobody;
