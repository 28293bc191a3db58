-- Who may make, refresh, read and drop a view; and that nobody gains another role's rights by one.
SET client_min_messages = warning;
SELECT elt.drop_view(name) FROM elt.views;
DROP SCHEMA IF EXISTS tap_view_permissions CASCADE;
DROP SCHEMA IF EXISTS tap_view_evil CASCADE;
DROP ROLE IF EXISTS regress_tap_source, regress_tap_owner, regress_tap_member, regress_tap_reader, regress_tap_nobody, regress_tap_heir;
CREATE ROLE regress_tap_source;
CREATE ROLE regress_tap_owner;
CREATE ROLE regress_tap_member;
CREATE ROLE regress_tap_reader;
CREATE ROLE regress_tap_nobody;
CREATE ROLE regress_tap_heir;
GRANT regress_tap_owner TO regress_tap_member;
CREATE SCHEMA tap_view_permissions;
GRANT USAGE, CREATE ON SCHEMA tap_view_permissions TO PUBLIC;
SET search_path = tap_view_permissions, public;
SELECT no_plan();

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
CREATE FUNCTION refresh(name text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', strategy, reason, '+' || rows_inserted, '*' || rows_updated, '-' || rows_deleted) FROM elt.refresh(name)
$$;
-- a view's storage, or its query
CREATE FUNCTION behind(name text, what text DEFAULT 'storage') RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, tap_view_permissions AS $$
    SELECT CASE what WHEN 'storage' THEN storage ELSE definition END::text FROM elt.view WHERE relation = $1::regclass
$$;

-- the extension's own tables
SELECT is_empty($$
    SELECT c.oid::regclass, r.rolname FROM pg_class c, pg_roles r
    WHERE c.relname IN ('node', 'view', 'view_part', 'view_source', 'consumer') AND c.relnamespace = 'elt'::regnamespace AND r.rolname LIKE 'regress_tap%'
      AND has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$, 'nobody has rights on the tables behind views');
SELECT is_empty($$SELECT rolname FROM pg_roles WHERE rolname LIKE 'regress_tap%' AND has_schema_privilege(oid, 'elt_data', 'CREATE')$$,
    'nor may he create anything in elt_data');

-- what it takes to make one
SELECT is(as_role('regress_tap_source', 'CREATE TABLE item (id int PRIMARY KEY, v int)'), 'done', 'a source');
SELECT is(as_role('regress_tap_source', 'INSERT INTO item SELECT i, i FROM generate_series(1, 5) i'), 'done', 'with rows');
CREATE FUNCTION makes(name text DEFAULT 'tap_view_permissions.a') RETURNS text LANGUAGE sql AS $$
    SELECT as_role('regress_tap_owner', format('SELECT elt.create_view(%L, ''SELECT id, v FROM item'')', name))
$$;
SELECT is(makes(), '42501 permission denied for table item', 'without SELECT on the source');
SELECT is(as_role('regress_tap_source', 'GRANT SELECT ON item TO regress_tap_owner'), 'done', 'SELECT');
SELECT is(makes(), '55000 table "item" is not tracked', 'the source of somebody else has to be tracked by him');
SELECT is(as_role('regress_tap_source', 'SELECT elt.track(''item'')'), '', 'he tracks it');
SELECT is(makes('pg_catalog.a'), '42501 permission denied for schema pg_catalog', 'not in a schema where he may not create');
SELECT is(makes('elt_data.a'), '42501 permission denied for schema elt_data', 'nor where storages are');
SELECT is(makes(), 'a', 'then SELECT suffices');
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE (nspname = 'elt_data' OR c.oid = 'a'::regclass) AND c.relowner <> 'regress_tap_owner'::regrole$$, 'all of it is the owner''s');

-- who may do what with it
SELECT is(as_role(role, format(call, 'tap_view_permissions.a')), wanted, call || ' as ' || role)
FROM (VALUES ('regress_tap_nobody', '42501 must be owner of view "tap_view_permissions.a"'),
             ('regress_tap_reader', '42501 must be owner of view "tap_view_permissions.a"'),
             ('regress_tap_source', '42501 must be owner of view "tap_view_permissions.a"')) r (role, wanted),
     (VALUES ('SELECT elt.refresh(%L)'), ('SELECT elt.verify_view(%L)'), ('SELECT elt.drop_view(%L)')) c (call);
SELECT is(as_role('regress_tap_member', 'SELECT refresh(''a'')'), 'none +0 *0 -0', 'a member of the owner refreshes it');
SELECT is(as_role('regress_tap_member', 'SELECT elt.verify_view(''a'')'), '(0,0)', 'and compares it');
SELECT is(as_role(role, 'SELECT string_agg(name, '' '') FROM elt.views'), wanted, 'elt.views as ' || role)
FROM (VALUES ('regress_tap_nobody', 'null'), ('regress_tap_source', 'null'), ('regress_tap_member', 'a'), ('regress_tap_owner', 'a')) r (role, wanted);

-- who may read it
SELECT is(as_role('regress_tap_reader', 'SELECT count(*) FROM a'), '42501 permission denied for view a', 'without a grant');
SELECT is(as_role('regress_tap_owner', 'GRANT SELECT ON a TO regress_tap_reader'), 'done', 'GRANT SELECT');
SELECT is(as_role('regress_tap_reader', 'SELECT count(*) FROM a'), '5', 'who may read the view reads it');
SELECT is(as_role('regress_tap_reader', 'UPDATE a SET v = 0'), '42501 permission denied for view a', 'he does not write it');
SELECT is(as_role(role, format('SELECT count(*) FROM %s', behind('a', what))), format('42501 permission denied for %s %s', kind, split_part(behind('a', what), '.', 2)),
          what || ' as ' || role)
FROM (VALUES ('regress_tap_reader'), ('regress_tap_nobody'), ('regress_tap_source')) r (role), (VALUES ('storage', 'table'), ('definition', 'view')) w (what, kind);
SELECT is(as_role('regress_tap_nobody', format('INSERT INTO %s VALUES (1, 1)', behind('a'))), format('42501 permission denied for table %s', split_part(behind('a'), '.', 2)),
          'nobody writes the storage');

-- rights are looked at with each refresh
SELECT is(as_role('regress_tap_source', 'REVOKE SELECT ON item FROM regress_tap_owner'), 'done', 'SELECT revoked');
SELECT is(as_role('regress_tap_owner', 'SELECT refresh(''a'')'), '42501 permission denied for table item', 'an error, though there is no change');
SELECT is(as_role('regress_tap_source', 'UPDATE item SET v = v + 1'), 'done', 'a change');
SELECT is(as_role('regress_tap_owner', 'SELECT refresh(''a'')'), '42501 permission denied for table item', 'an error');
SELECT throws_ok('SELECT refresh(''a'')', '42501', 'permission denied for table item', 'it is the owner''s rights that count');
SELECT is(as_role('regress_tap_reader', 'SELECT sum(v) FROM a'), '15', 'readers see what there was');
SELECT is(as_role('regress_tap_source', 'GRANT SELECT (id) ON item TO regress_tap_owner'), 'done', 'one column granted');
SELECT is(as_role('regress_tap_owner', 'SELECT refresh(''a'')'), '42501 permission denied for table item', 'an error');
SELECT is(as_role('regress_tap_source', 'GRANT SELECT (v) ON item TO regress_tap_owner'), 'done', 'all columns granted');
SELECT matches(as_role('regress_tap_owner', 'SELECT refresh(''a'')'), '\*5 -0$', 'columns suffice');
SELECT is(as_role('regress_tap_reader', 'SELECT sum(v) FROM a'), '20', 'it is right');
SELECT is(as_role('regress_tap_source', 'GRANT SELECT ON item TO regress_tap_owner'), 'done', 'SELECT granted again');
SELECT unalike(as_role('regress_tap_owner', 'SELECT refresh(''a'')'), '4%', 'once more');
SELECT is(as_role('regress_tap_source', 'UPDATE item SET v = v + 1 WHERE id = 1'), 'done', 'a change');
SELECT is(as_role('regress_tap_owner', 'SELECT refresh(''a'')'), 'incremental +0 *1 -0', 'it follows changes again');
SELECT is(as_role('regress_tap_reader', 'SELECT sum(v) FROM a'), '21', 'who could read it still can');

-- a view over the view of somebody else
SELECT is(as_role('regress_tap_reader', 'SELECT elt.create_view(''over'', ''SELECT sum(v) AS v FROM a'')'), 'over', 'who may read a view may make one over it');
SELECT is(as_role('regress_tap_source', 'UPDATE item SET v = v + 1 WHERE id = 2'), 'done', 'a change');
SELECT matches(as_role('regress_tap_reader', 'SELECT refresh(''over'')'), '^full view_privileges', 'he does not refresh that of the other');
SELECT is(as_role('regress_tap_reader', 'SELECT v FROM "over"'), '21', 'so it is as of then');
SELECT is(as_role('regress_tap_owner', 'SELECT refresh(''a'')'), 'incremental +0 *1 -0', 'its owner does');
SELECT matches(as_role('regress_tap_reader', 'SELECT refresh(''over'')'), '^full view_privileges', 'then his own');
SELECT is(as_role('regress_tap_reader', 'SELECT v FROM "over"'), '22', 'follows');
SELECT matches(as_role('regress_tap_owner', 'SELECT elt.drop_view(''a'')'), '^2BP01', 'the other one cannot be dropped now');
SELECT is(as_role('regress_tap_owner', 'REVOKE SELECT ON a FROM regress_tap_reader'), 'done', 'SELECT revoked');
SELECT is(as_role('regress_tap_reader', 'SELECT refresh(''over'')'), '42501 permission denied for view a', 'an error');
SELECT is(as_role('regress_tap_reader', 'SELECT elt.drop_view(''over'')'), '', 'dropped');

-- row-level security
SELECT is(as_role('regress_tap_source', s), 'done', s)
FROM unnest(ARRAY['CREATE TABLE secret (id int PRIMARY KEY, who name, v int)',
                  'INSERT INTO secret VALUES (1, ''regress_tap_owner'', 1), (2, ''regress_tap_nobody'', 2)',
                  'ALTER TABLE secret ENABLE ROW LEVEL SECURITY',
                  'CREATE POLICY p ON secret USING (who = current_user)',
                  'GRANT SELECT ON secret TO regress_tap_owner']) s;
SELECT is(as_role('regress_tap_source', 'SELECT elt.track(''secret'')'), '', 'tracked');
SELECT is(as_role('regress_tap_owner', 'SELECT elt.create_view(''s'', ''SELECT id, v FROM secret'')'), 's', 'a view of a table with row-level security');
SELECT is(as_role('regress_tap_owner', 'SELECT elt.create_view(''t'', ''SELECT sum(v) AS v FROM secret'', on_schema_change => ''suspend'')'), 't', 'another one');
SELECT results_eq('SELECT id FROM s', ARRAY[1], 'has the owner''s rows');
SELECT is(as_role('regress_tap_source', 'INSERT INTO secret VALUES (3, ''regress_tap_owner'', 10), (4, ''regress_tap_nobody'', 20)'), 'done', 'changes');
SELECT is(refresh('s'), 'full row_security +1 *0 -0', 'refreshed by a superuser');
SELECT matches(refresh('t'), '^full row_security', 'the other one');
SELECT results_eq('SELECT id FROM s ORDER BY id', ARRAY[1, 3], 'still the owner''s');
SELECT results_eq('SELECT v FROM t', ARRAY[11::bigint], 'the other one');
SELECT is(elt.verify_view('s')::text, '(0,0)', 'so does elt.verify_view');
SELECT is(as_role('regress_tap_source', 'ALTER TABLE item ENABLE ROW LEVEL SECURITY'), 'done', 'row-level security, later');
SELECT matches(refresh('a'), '^full', 'is noticed');
SELECT is_empty('TABLE a', 'no policy: no row');
SELECT is(as_role('regress_tap_source', 'CREATE POLICY p ON item USING (id = 3)'), 'done', 'a policy');
SELECT matches(refresh('a'), '^full row_security', 'is noticed');
SELECT results_eq('SELECT id FROM a', ARRAY[3], 'a row');
ALTER ROLE regress_tap_owner BYPASSRLS;
SELECT matches(refresh('a'), '^full', 'an owner who bypasses it');
SELECT is((SELECT count(*) FROM a), 5::bigint, 'all rows');
ALTER ROLE regress_tap_owner NOBYPASSRLS;
SELECT matches(refresh('a'), '^full', 'no longer');
SELECT is((SELECT count(*) FROM a), 1::bigint, 'one row');
SELECT is(as_role('regress_tap_source', 'ALTER TABLE item DISABLE ROW LEVEL SECURITY'), 'done', 'disabled');
SELECT matches(refresh('a'), '^full', 'is noticed');
SELECT is(as_role('regress_tap_source', 'UPDATE item SET v = 0 WHERE id = 2'), 'done', 'a change');
SELECT is(refresh('a'), 'incremental +0 *1 -0', 'is followed again');

-- as whom what runs
CREATE TABLE calls (who name DEFAULT current_user, what text);
GRANT INSERT ON calls TO PUBLIC;
SELECT is(as_role('regress_tap_owner', s), 'done', split_part(s, '(', 1))
FROM unnest(ARRAY[
    'CREATE TABLE own (id int PRIMARY KEY, v int)',
    'INSERT INTO own VALUES (1, 1), (2, 2)',
    'CREATE FUNCTION spy(v int) RETURNS int VOLATILE LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO tap_view_permissions.calls (what) VALUES (''query''); RETURN v; END $f$',
    'CREATE FUNCTION spy_trigger() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO tap_view_permissions.calls (what) VALUES (''trigger''); RETURN coalesce(NEW, OLD); END $f$',
    'CREATE FUNCTION spy_write() RETURNS void VOLATILE LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO tap_view_permissions.calls (what) VALUES (''index''); END $f$',
    'CREATE FUNCTION spy_index(v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $f$ BEGIN PERFORM tap_view_permissions.spy_write(); RETURN v; END $f$',
    'CREATE FUNCTION become() RETURNS int VOLATILE LANGUAGE plpgsql AS $f$ BEGIN RESET ROLE; SET ROLE postgres; RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN -1; END $f$',
    'CREATE FUNCTION become2() RETURNS int VOLATILE LANGUAGE plpgsql AS $f$ BEGIN SET SESSION AUTHORIZATION DEFAULT; RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN -1; END $f$',
    'CREATE FUNCTION temp() RETURNS int VOLATILE LANGUAGE plpgsql AS $f$ BEGIN CREATE TEMP TABLE tap_left_over (); RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN -1; END $f$',
    'CREATE FUNCTION setting() RETURNS int VOLATILE LANGUAGE plpgsql AS $f$ BEGIN SET search_path = tap_view_evil; RETURN 1; END $f$']) s;
SELECT is(as_role('regress_tap_owner', 'SELECT elt.create_view(''spied'', ''SELECT id, spy(v) AS v, become() AS b, become2() AS c, temp() AS t, setting() AS s FROM own'')'),
          'spied', 'a view with functions that look around');
SELECT is(as_role('regress_tap_owner', format('CREATE TRIGGER spy BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION spy_trigger()', behind('spied'))), 'done',
          'a trigger on the storage');
SELECT format('CREATE INDEX ON %s (spy_index(v))', behind('spied')) \gexec
TRUNCATE calls;
INSERT INTO own VALUES (3, 3);
SELECT matches(refresh('spied'), '^full volatile', 'refreshed by a superuser');
SELECT is(current_user, session_user::name, 'who is himself again');
SELECT is(current_setting('search_path'), 'tap_view_permissions, public', 'with his settings');
SELECT results_eq('SELECT DISTINCT who, what FROM calls ORDER BY 2', $$VALUES ('regress_tap_owner'::name, 'index'), ('regress_tap_owner', 'query'), ('regress_tap_owner', 'trigger')$$,
                  'all of it ran as the owner');
SELECT results_eq('SELECT DISTINCT b, c, t FROM spied', 'VALUES (-1, -1, -1)', 'who did not get out of it');
TRUNCATE calls;
SELECT count(*) FROM elt.verify_view('spied');
SELECT count(*) FROM elt.views;
SELECT is_empty('SELECT who FROM calls WHERE who <> ''regress_tap_owner''', 'neither by elt.verify_view nor by elt.views');
TRUNCATE calls;
SELECT is(elt.drop_view('spied')::text, '', 'dropped by a superuser');
SELECT is_empty('TABLE calls', 'which calls nothing');

-- a hostile search_path
CREATE SCHEMA tap_view_evil;
GRANT USAGE, CREATE ON SCHEMA tap_view_evil TO PUBLIC;
CREATE TABLE tap_view_evil.calls (who name DEFAULT current_user, what pg_catalog.text);
GRANT INSERT ON tap_view_evil.calls TO PUBLIC;
SELECT is(as_role('regress_tap_nobody', statement), 'done', left(statement, 80))
FROM unnest(ARRAY[
    'CREATE FUNCTION tap_view_evil.note(what pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $x$ BEGIN INSERT INTO tap_view_evil.calls (what) VALUES (what); RETURN true; END $x$',
    'CREATE FUNCTION tap_view_evil.eq(int, int) RETURNS boolean LANGUAGE sql AS $x$ SELECT tap_view_evil.note(''='') $x$',
    'CREATE OPERATOR tap_view_evil.= (FUNCTION = tap_view_evil.eq, LEFTARG = int, RIGHTARG = int)',
    'CREATE FUNCTION tap_view_evil.eqb(bigint, bigint) RETURNS boolean LANGUAGE sql AS $x$ SELECT tap_view_evil.note(''= bigint'') $x$',
    'CREATE OPERATOR tap_view_evil.= (FUNCTION = tap_view_evil.eqb, LEFTARG = bigint, RIGHTARG = bigint)',
    'CREATE OPERATOR tap_view_evil.<> (FUNCTION = tap_view_evil.eqb, LEFTARG = bigint, RIGHTARG = bigint)',
    'CREATE OPERATOR tap_view_evil.> (FUNCTION = tap_view_evil.eqb, LEFTARG = bigint, RIGHTARG = bigint)',
    'CREATE FUNCTION tap_view_evil.plus(bigint, bigint) RETURNS bigint LANGUAGE sql AS $x$ SELECT 1::bigint WHERE tap_view_evil.note(''+'') $x$',
    'CREATE OPERATOR tap_view_evil.+ (FUNCTION = tap_view_evil.plus, LEFTARG = bigint, RIGHTARG = bigint)',
    'CREATE OPERATOR tap_view_evil.* (FUNCTION = tap_view_evil.plus, LEFTARG = bigint, RIGHTARG = bigint)',
    'CREATE OPERATOR tap_view_evil.- (FUNCTION = tap_view_evil.plus, LEFTARG = bigint, RIGHTARG = bigint)',
    'CREATE FUNCTION tap_view_evil.eqt(tid, tid) RETURNS boolean LANGUAGE sql AS $x$ SELECT tap_view_evil.note(''= tid'') $x$',
    'CREATE OPERATOR tap_view_evil.= (FUNCTION = tap_view_evil.eqt, LEFTARG = tid, RIGHTARG = tid)',
    'CREATE FUNCTION tap_view_evil.record_image_eq(record, record) RETURNS boolean LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_view_evil.note(''record_image_eq''); RETURN true; END $x$',
    'CREATE FUNCTION tap_view_evil.hash_record_extended(record, bigint) RETURNS bigint LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_view_evil.note(''hash''); RETURN 1; END $x$',
    'CREATE FUNCTION tap_view_evil.row_hash(record) RETURNS bigint LANGUAGE plpgsql AS $x$ BEGIN PERFORM tap_view_evil.note(''row_hash''); RETURN 1; END $x$',
    'CREATE FUNCTION tap_view_evil.generate_series(bigint, bigint) RETURNS bigint LANGUAGE sql AS $x$ SELECT 1::bigint WHERE tap_view_evil.note(''series'') $x$',
    'CREATE FUNCTION tap_view_evil.now() RETURNS timestamptz LANGUAGE sql AS $x$ SELECT pg_catalog.now() WHERE tap_view_evil.note(''now'') $x$',
    'CREATE FUNCTION tap_view_evil.addb(bigint, bigint) RETURNS bigint LANGUAGE sql AS $x$ SELECT $1 $x$',
    'CREATE AGGREGATE tap_view_evil.sum(bigint) (SFUNC = tap_view_evil.addb, STYPE = bigint, INITCOND = 7)',
    'CREATE AGGREGATE tap_view_evil.sum(int) (SFUNC = pg_catalog.int4_sum, STYPE = bigint, INITCOND = 1000)',
    'CREATE AGGREGATE tap_view_evil.max(int) (SFUNC = pg_catalog.int4larger, STYPE = int, INITCOND = 1000)',
    'CREATE DOMAIN tap_view_evil.text AS pg_catalog.text CHECK (tap_view_evil.note(''text''))',
    'CREATE DOMAIN tap_view_evil.int8 AS pg_catalog.int8 CHECK (tap_view_evil.note(''int8''))',
    'CREATE TABLE tap_view_evil.elt_rows (id int)',
    'CREATE TABLE tap_view_evil.elt_keys (id int)',
    'CREATE TABLE tap_view_evil.elt_change_inserts (id int)',
    'CREATE TABLE tap_view_evil.elt_change_updates (id int)',
    'CREATE TABLE tap_view_evil.supers (id int, g int, v int)']) statement;
CREATE TABLE supers (id int PRIMARY KEY, g int, v int, n bigint);
INSERT INTO supers SELECT i, i % 3, i, i FROM generate_series(1, 9) i;
CREATE TABLE names (g int PRIMARY KEY, name pg_catalog.text);
INSERT INTO names SELECT i, 'n' FROM generate_series(0, 2) i;
TRUNCATE tap_view_evil.calls;
SELECT count(*) FROM (
    SELECT elt.create_view('tap_view_permissions.v_sums', 'SELECT g, sum(n) AS n, sum(v) AS v, max(v) AS top, count(*) AS c FROM supers GROUP BY g'),
           elt.create_view('tap_view_permissions.v_bag', 'SELECT n.name, s.n, s.n + 1 AS n1 FROM supers s JOIN names n ON n.g = s.g'),
           elt.create_view('tap_view_permissions.v_ranks', 'SELECT id, rank() OVER (PARTITION BY g ORDER BY n) AS r FROM supers'),
           elt.create_view('tap_view_permissions.v_lists', 'SELECT g, count(DISTINCT n) AS n, string_agg(v::pg_catalog.text, '','' ORDER BY id) AS l FROM supers GROUP BY g'),
           elt.create_view('tap_view_permissions.v_top', 'SELECT id, n FROM supers ORDER BY n DESC LIMIT 3'),
           elt.create_view('tap_view_permissions.v_left', 'SELECT n.g, s.id FROM names n LEFT JOIN supers s ON s.g = n.g AND s.v > 4'),
           elt.create_view('tap_view_permissions.v_recent', 'SELECT id FROM supers WHERE n > extract(epoch FROM now()) - 2e9')) c;
SET search_path = tap_view_evil, tap_view_permissions, pg_catalog, public;
INSERT INTO tap_view_permissions.supers VALUES (10, 1, 10, 10), (11, NULL, NULL, NULL);
UPDATE tap_view_permissions.supers SET v = v OPERATOR(pg_catalog.+) 1, n = n OPERATOR(pg_catalog.*) 2 WHERE id OPERATOR(pg_catalog.<) 4;
DELETE FROM tap_view_permissions.supers WHERE id OPERATOR(pg_catalog.=) 9;
UPDATE tap_view_permissions.names SET name = 'other' WHERE g OPERATOR(pg_catalog.=) 1;
SELECT pg_catalog.count(*) FROM (SELECT elt.refresh('tap_view_permissions.v_sums'), elt.refresh('tap_view_permissions.v_bag'), elt.refresh('tap_view_permissions.v_ranks'),
    elt.refresh('tap_view_permissions.v_lists'), elt.refresh('tap_view_permissions.v_top'), elt.refresh('tap_view_permissions.v_left'),
    elt.refresh('tap_view_permissions.v_recent')) c;
SELECT pg_catalog.count(*) FROM elt.views;
SELECT elt.create_view('tap_view_permissions.v_made', 'SELECT id FROM tap_view_permissions.supers');
TRUNCATE tap_view_permissions.supers;
SELECT pg_catalog.count(*) FROM elt.refresh('tap_view_permissions.v_sums');
INSERT INTO tap_view_permissions.supers VALUES (20, 1, 10, 10);
SELECT pg_catalog.count(*) FROM elt.refresh('tap_view_permissions.v_made');
SELECT pg_catalog.count(*) FROM elt.verify_view('tap_view_permissions.v_bag');
SELECT elt.drop_view('tap_view_permissions.v_made');
SET search_path = tap_view_permissions, public;
SELECT is_empty('SELECT DISTINCT who, what FROM tap_view_evil.calls', 'a superuser with a hostile search_path calls none of them');
SELECT is_empty('SELECT name, missing, extra FROM elt.views, elt.verify_view(name) WHERE missing <> 0 OR extra <> 0', 'and the views are right');
-- a query that names what it means under such a search_path is its owner's own choice, and is kept
SET search_path = tap_view_evil, tap_view_permissions, pg_catalog, public;
SELECT elt.create_view('tap_view_permissions.v_chosen', 'SELECT sum(v) AS v FROM tap_view_permissions.supers');
SET search_path = tap_view_permissions, public;
SELECT is((SELECT v FROM v_chosen), 1010::bigint, 'a query is read with the creator''s search_path');
SELECT lives_ok('SELECT elt.refresh(''v_chosen'')', 'and keeps what it named');
SELECT is((SELECT v FROM v_chosen), 1010::bigint, 'whatever that of who refreshes is');
SELECT elt.drop_view(name) FROM elt.views WHERE name LIKE 'v\_%';

-- names
CREATE SCHEMA "tap_View ""Q""";
SELECT is(elt.create_view(n, 'SELECT id, v FROM own')::text, n, 'name ' || n)
FROM unnest(ARRAY['"Upper"', '"with ""quotes"" and '' too"', '"tap_View ""Q"""."a.b"', repeat('x', 63), '"ünïcode — ' || repeat('ö', 20) || '"', '"select"']) n;
INSERT INTO own VALUES (4, 4);
SELECT is(refresh(name), 'incremental +1 *0 -0', 'refresh of ' || name) FROM elt.views WHERE owner = current_user::regrole;
SELECT is(elt.verify_view(name)::text, '(0,0)', 'verify of ' || name) FROM elt.views WHERE owner = current_user::regrole;
SELECT is(elt.drop_view(name)::text, '', 'drop of ' || name) FROM elt.views WHERE owner = current_user::regrole;
SELECT is(elt.create_view(repeat('y', 70), 'SELECT id FROM own')::text, repeat('y', 63), 'too long a name is cut, as everywhere');
SELECT is(elt.drop_view(repeat('y', 70))::text, '', 'also where it is dropped');
DROP SCHEMA "tap_View ""Q""" CASCADE;

-- other ways in which views come to an end
SELECT is(as_role('regress_tap_owner', 'SELECT elt.create_view(''gone'', ''SELECT id FROM own'')'), 'gone', 'a view');
DROP VIEW gone;
SELECT is(as_role('regress_tap_owner', 'SELECT elt.refresh(''gone'')'), '42704 precomputed view "gone" does not exist', 'whose relation was dropped');
SELECT is(as_role('regress_tap_nobody', 'SELECT elt.create_view(''gone'', ''SELECT 1 AS a'')'), 'gone', 'is nobody''s');
SELECT is(as_role('regress_tap_nobody', 'DROP VIEW gone'), 'done', 'dropped by its owner');
SELECT is(as_role('regress_tap_owner', 'SELECT elt.create_view(''gone'', ''SELECT id, v FROM own'')'), 'gone', 'made again');
SELECT is(as_role('regress_tap_nobody', 'DROP VIEW gone'), '42501 must be owner of view gone', 'nobody else drops it');
SELECT matches(as_role('regress_tap_owner', 'DROP TABLE own'), '^2BP01', 'nor what it reads');
SELECT is(as_role('regress_tap_owner', 'ALTER VIEW gone RENAME TO renamed'), 'done', 'renamed');
SELECT is(as_role('regress_tap_owner', 'SELECT refresh(''renamed'')'), 'none +0 *0 -0', 'under its new name');
SELECT is(as_role('regress_tap_owner', 'SELECT elt.create_view(''gone'', ''SELECT id FROM own'')'), 'gone', 'the old one is free');
SELECT is(as_role('regress_tap_owner', 'SELECT elt.drop_view(''renamed'')'), '', 'dropped');
SELECT is(as_role('regress_tap_owner', 'DROP TABLE own CASCADE'), 'done', 'its table dropped');
SELECT is(as_role('regress_tap_owner', 'SELECT count(*) FROM gone'), '42P01 relation "gone" does not exist', 'goes with it');
SELECT is_empty('SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = ''elt_data''::regnamespace AND relkind IN (''r'', ''v'')
                 AND NOT EXISTS (SELECT FROM elt.view_part p WHERE p.storage = c.oid) AND NOT EXISTS (SELECT FROM elt.view v WHERE v.definition = c.oid)', 'nothing is left');

-- the owner changes, and goes
SELECT is(as_role('regress_tap_owner', 'SELECT elt.create_view(''lower'', ''SELECT id, v FROM item'')'), 'lower', 'a view');
SELECT is(as_role('regress_tap_owner', 'SELECT elt.create_view(''upper'', ''SELECT sum(v) AS v FROM lower'')'), 'upper', 'and another one over it');
REASSIGN OWNED BY regress_tap_owner TO regress_tap_heir;
GRANT SELECT ON item TO regress_tap_heir;
SELECT is((SELECT count(*) FROM pg_class WHERE relowner = 'regress_tap_owner'::regrole), 0::bigint, 'REASSIGN OWNED');
SELECT is(as_role('regress_tap_source', 'UPDATE item SET v = v + 1'), 'done', 'a change');
SELECT matches(as_role('regress_tap_heir', 'SELECT refresh(''a'')'), '^(full|incremental)', 'he refreshes it');
SELECT is(as_role('regress_tap_owner', 'SELECT refresh(''a'')'), '42501 must be owner of view "tap_view_permissions.a"', 'the former owner does not');
SELECT is((SELECT owner::text FROM elt.views WHERE name = 'a'), 'regress_tap_heir', 'elt.views shows the heir');
SELECT is(as_role('regress_tap_source', 'UPDATE item SET v = v + 1'), 'done', 'a change');
SELECT matches(as_role('regress_tap_heir', 'SELECT elt.refresh(''upper'')'), '^.incremental', 'a view over a view, of which only the upper one is refreshed');
SELECT is((SELECT v FROM upper), (SELECT sum(v) FROM item), 'has what there is now');
SELECT throws_ok('DROP ROLE regress_tap_heir', '2BP01', NULL, 'the owner of a view cannot be dropped');
DROP OWNED BY regress_tap_heir;
DROP ROLE regress_tap_heir;
SELECT lives_ok('SELECT name, owner, problem FROM elt.views', 'elt.views can be read');
SELECT is((SELECT count(*) FROM elt.view), 0::bigint, 'no view is left');

SELECT * FROM finish();
SELECT elt.drop_view(name) FROM elt.views;
DROP SCHEMA tap_view_permissions CASCADE;
DROP SCHEMA tap_view_evil CASCADE;
DROP OWNED BY regress_tap_source, regress_tap_owner, regress_tap_member, regress_tap_reader, regress_tap_nobody;
DROP ROLE regress_tap_source, regress_tap_owner, regress_tap_member, regress_tap_reader, regress_tap_nobody;
