-- What an owner has defined runs with the owner's rights only; and what views refuse.
SET client_min_messages = warning;
CREATE ROLE elt_test_owner;
CREATE SCHEMA vo AUTHORIZATION elt_test_owner;
SET ROLE elt_test_owner;
SET search_path = vo;
CREATE TABLE who (name text);
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 1), (2, 2);
CREATE FUNCTION note(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO vo.who VALUES (current_user); RETURN i; END $$;
CREATE FUNCTION spy(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN EXECUTE 'SELECT vo.note(1)'; RETURN i; END $$;
-- a constant of this type calls the function as soon as it is read
CREATE DOMAIN spied AS int CHECK (vo.spy(value) = value);
SELECT elt.create_view('a', $$SELECT id, '{1}'::vo.spied[] AS d FROM vo.t$$);
SELECT elt.create_view('b', 'SELECT id, v FROM t');
SELECT elt.create_view_index('b', $$(v) WHERE '{1}'::vo.spied[] IS NOT NULL AND vo.spy(2) = 2$$) IS NOT NULL AS made;
-- the indexes are made again
SELECT elt.alter_view('b', query => 'SELECT id, v, v AS w FROM t');
RESET ROLE;
UPDATE t SET v = 3 WHERE id = 1;
SELECT missing, extra FROM elt.verify_view('a');
SELECT missing, extra FROM elt.verify_view('b');
SELECT DISTINCT name FROM who;
SET ROLE elt_test_owner;

-- nothing is written in a transaction that may not write
BEGIN READ ONLY;
SELECT elt.refresh('b');
ROLLBACK;
SELECT elt.create_view('pg_temp.c', 'SELECT id FROM t');
SELECT elt.create_view('c', 'SELECT id AS ctid FROM t');
SELECT elt.create_view('c', 'SELECT id, v FROM t', frozen_where => 'v.* IS NOT NULL');
SELECT elt.create_view('c', 'SELECT v::numeric AS n, count(*) AS c FROM t GROUP BY 1', frozen_where => 'c > 5');

-- a text that looks like a state
CREATE TABLE u (id int PRIMARY KEY, t int);
SELECT elt.create_view('c', $$SELECT t.id, u.id AS u, 'elt_was_1 elt_old_2 elt_both_2' AS text FROM t LEFT JOIN u ON u.t = t.id$$, refresh_mode => 'incremental');
INSERT INTO u VALUES (1, 1);
SELECT missing, extra FROM elt.verify_view('c');

-- more keys than a word has bits
SELECT format('CREATE TABLE wide (id int PRIMARY KEY, %s)', string_agg(format('c%s int', i), ', ' ORDER BY i)) FROM generate_series(1, 70) i \gexec
INSERT INTO wide (id, c2, c66) VALUES (1, 1, NULL), (2, NULL, 1);
SELECT format($$SELECT elt.create_view('d', 'SELECT DISTINCT %s FROM wide', refresh_mode => 'incremental')$$, string_agg('c' || i, ', ' ORDER BY i))
FROM generate_series(1, 70) i \gexec
UPDATE wide SET c1 = 5 WHERE id = 1;
SELECT missing, extra FROM elt.verify_view('d');
INSERT INTO wide (id, c66) VALUES (3, NULL), (4, 2);
DELETE FROM wide WHERE id = 2;
SELECT missing, extra FROM elt.verify_view('d');

RESET ROLE;
DROP SCHEMA vo CASCADE;
DROP ROLE elt_test_owner;
