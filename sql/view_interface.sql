-- What users see and do with precomputed views beside refreshing them.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA view_interface;
CREATE SCHEMA mart;
SET search_path = view_interface;
SET client_min_messages = warning;
CREATE ROLE regress_elt_owner;
CREATE ROLE regress_elt_other;
GRANT USAGE, CREATE ON SCHEMA view_interface, mart TO regress_elt_owner, regress_elt_other;

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
                          'elt_data\.(v|q)\d+', 'elt_data.\1N', 'g');
END $$;
CREATE FUNCTION leftovers() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT format('%s nodes, %s views, %s parts, %s sources, %s consumers, %s relations', (SELECT count(*) FROM elt.node), (SELECT count(*) FROM elt.view),
                  (SELECT count(*) FROM elt.view_part), (SELECT count(*) FROM elt.view_source), (SELECT count(*) FROM elt.consumer),
                  (SELECT count(*) FROM pg_class WHERE relnamespace = 'elt_data'::regnamespace))
$$;
-- the storage of a view's last part, without its number
CREATE FUNCTION nameless(anything text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(anything, '\m(v|q)\d+', '\1N', 'g')
$$;

CREATE TABLE shop (k text PRIMARY KEY, name text, town text);
CREATE TABLE sale (id int PRIMARY KEY, shop text, day date, amount int, note text);
INSERT INTO shop SELECT 's' || i, 'shop ' || i, 'town ' || i % 2 FROM generate_series(1, 4) i;
INSERT INTO sale SELECT i, 's' || 1 + i % 4, date '2026-01-01' + i / 5, i * 10, 'n' || i % 3 FROM generate_series(1, 40) i;
GRANT SELECT ON shop, sale TO regress_elt_owner;

\echo == elt.views
SELECT elt.create_view('mart.daily', 'SELECT day, count(*) AS n, sum(amount) AS total FROM sale GROUP BY day', target_lag => '5 min');
SELECT elt.create_view('mart.later', 'SELECT id, day FROM sale', with_data => false, refresh_mode => 'incremental', on_schema_change => 'suspend');
SELECT name, owner, strategy, reason, refresh_mode, target_lag, fresh_as_of IS NOT NULL, lag > '0' AND lag < '1 min', pending_rows, last_refresh IS NOT NULL,
       last_ms > 0, bytes > 0, problem, on_schema_change, frozen_where FROM elt.views ORDER BY name;
SELECT replace(query, 'sale.', '') FROM elt.views WHERE name = 'mart.daily';		-- PostgreSQL 15 names the table
INSERT INTO sale VALUES (41, 's1', '2026-01-02', 5, 'n'), (42, 's1', '2026-02-02', 5, 'n');
DELETE FROM sale WHERE id = 7;
SELECT name, pending_rows FROM elt.views ORDER BY name;
SELECT strategy, reason, rows_inserted, rows_updated, rows_deleted FROM elt.refresh('mart.daily');
SELECT name, strategy, reason, pending_rows FROM elt.views ORDER BY name;
SET ROLE regress_elt_other;
SELECT count(*) FROM elt.views;
SELECT elt.view_status(1);
RESET ROLE;
-- nobody writes to it
SELECT raises('UPDATE mart.daily SET n = 0');
SELECT raises('DELETE FROM mart.daily');
SELECT raises('INSERT INTO mart.daily VALUES (''2026-01-01'', 1, 1)');
SELECT raises('SELECT elt.refresh(''sale'')');
-- what is computed in full is called so
SELECT elt.create_view('mart.told', 'SELECT id, now() AS told FROM sale');
SELECT strategy, reason, rows_inserted = rows_deleted FROM elt.refresh('mart.told');
SELECT elt.drop_view('mart.told');
-- views and functions that are replaced
CREATE VIEW dear AS SELECT id, amount FROM sale WHERE amount > 300;
CREATE FUNCTION tenth(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 10';
SELECT elt.create_view('mart.dear', 'SELECT id, view_interface.tenth(amount) AS tenth FROM dear', refresh_mode => 'incremental');
SELECT strategy, reason FROM elt.refresh('mart.dear');
CREATE OR REPLACE VIEW dear AS SELECT id, amount FROM sale WHERE amount > 200;
SELECT * FROM elt.verify_view('mart.dear');
SELECT strategy, reason FROM elt.views WHERE name = 'mart.dear';
CREATE OR REPLACE FUNCTION tenth(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 10 + 1';
SELECT strategy, reason, rows_inserted, rows_updated, rows_deleted FROM elt.refresh('mart.dear');
SELECT strategy FROM elt.refresh('mart.dear');
SELECT elt.drop_view('mart.dear');
DROP VIEW dear;
DROP FUNCTION tenth;
-- the text of target_lag does not depend on settings
SET intervalstyle = sql_standard;
SELECT elt.alter_view('mart.later', target_lag => '1 day -2 hours');
SET intervalstyle = iso_8601;
SELECT name, target_lag FROM elt.views ORDER BY name;
RESET intervalstyle;

\echo == elt.verify_view
SELECT * FROM elt.verify_view('mart.daily');
SELECT * FROM elt.verify_view('mart.later');
UPDATE sale SET amount = amount + 1 WHERE id % 5 = 0;
SELECT * FROM elt.verify_view('mart.daily');
SELECT storage AS daily_storage FROM elt.view WHERE relation = 'mart.daily'::regclass \gset
UPDATE :daily_storage SET total = total + 1 WHERE day = '2026-01-01';
DELETE FROM :daily_storage WHERE day = '2026-01-03';
SELECT * FROM elt.verify_view('mart.daily');
UPDATE :daily_storage SET total = total - 1 WHERE day = '2026-01-01';
SELECT raises('SELECT elt.verify_view(''mart.nope'')');
SELECT raises('SELECT elt.verify_view(NULL)');
-- the same value with another text, and duplicates
CREATE TABLE price (id int PRIMARY KEY, p numeric);
INSERT INTO price VALUES (1, 1.0), (2, 1.00), (3, 1.0), (4, NULL);
SELECT elt.create_view('mart.prices', 'SELECT p FROM price');
SELECT * FROM elt.verify_view('mart.prices');
SELECT storage AS storage FROM elt.view WHERE relation = 'mart.prices'::regclass \gset
INSERT INTO :storage VALUES (1.00), (NULL);
SELECT * FROM elt.verify_view('mart.prices');
UPDATE :storage SET p = 1.000 WHERE p::text = '1.0';
SELECT * FROM elt.verify_view('mart.prices');
SELECT elt.drop_view('mart.prices');
-- frozen rows are nobody's business
SELECT elt.create_view('mart.frozen', 'SELECT day, sum(amount) AS total FROM sale GROUP BY day', frozen_where => 'day < ''2026-01-03''');
DELETE FROM sale WHERE day < '2026-01-05' AND id % 2 = 0;
SELECT * FROM elt.verify_view('mart.frozen');
SELECT f.day, f.total, q.total FROM mart.frozen f LEFT JOIN (SELECT day, sum(amount) AS total FROM sale GROUP BY day) q USING (day) WHERE f.total IS DISTINCT FROM q.total ORDER BY 1;

\echo == elt.explain_view: of views
SELECT part, what, strategy, reason, detail, hint, hidden_columns, estimated_cost > 0, last_ms > 0, pending_rows, fresh_as_of IS NOT NULL FROM elt.explain_view('mart.daily');
SELECT part, replace(sql, 'sale.', '') FROM elt.explain_view('mart.daily');		-- PostgreSQL 15 names the table
SELECT part, what, strategy, reason, hint, hidden_columns FROM elt.explain_view('mart.later');
SET search_path = mart, view_interface;
SELECT part, what FROM elt.explain_view('daily');
SET search_path = view_interface;
SELECT raises('SELECT elt.explain_view(''mart.nope'')');
SELECT raises('SELECT elt.explain_view(NULL)');

\echo == of queries
CREATE FUNCTION explains(query text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', part, what, strategy, reason, detail, replace(hint, E'\n', ' ')) FROM elt.explain_view(query)
$$;
SELECT leftovers() AS before \gset
SELECT explains('SELECT shop, max(amount) AS x FROM sale GROUP BY shop');
SELECT explains('SELECT shop, sum(amount) AS x FROM sale GROUP BY shop');
SELECT explains('SELECT name, shop, day, string_agg(note, '','') AS x FROM sale JOIN shop ON k = shop GROUP BY name, shop, day');
SELECT explains('SELECT s.id, h.town FROM sale s LEFT JOIN shop h ON h.k = s.shop AND h.town = s.note');
SELECT explains('SELECT id FROM sale s WHERE EXISTS (SELECT FROM shop h WHERE h.town = s.note)');
SELECT explains('SELECT id FROM sale WHERE note IN (SELECT town FROM shop)');
SELECT explains('SELECT id FROM (SELECT id, note AS x FROM sale) s JOIN (SELECT k, town AS y FROM shop) h ON x = y');
SELECT explains('SELECT id, row_number() OVER (PARTITION BY shop ORDER BY id) AS r FROM sale');
SELECT explains('SELECT id, row_number() OVER (ORDER BY id) AS r FROM sale');
SELECT explains('SELECT shop, rank() OVER (PARTITION BY shop ORDER BY c) AS r FROM (SELECT shop, day, count(*) AS c FROM sale GROUP BY shop, day) x');
SELECT explains('SELECT id, random() AS r FROM sale');
SELECT explains('SELECT id FROM sale LIMIT 3');
SELECT explains('SELECT relname FROM pg_class');
SELECT explains('TABLE shop');
SELECT leftovers() = :'before';
CREATE INDEX sale_shop ON sale (shop);
CREATE INDEX sale_note ON sale (note) WHERE id > 3;
SELECT explains('SELECT shop, max(amount) AS x FROM sale GROUP BY shop');
SELECT explains('SELECT note, max(amount) AS x FROM sale GROUP BY note');
DROP INDEX sale_shop, sale_note;
SELECT bool_and(estimated_cost > 0), bool_and(sql ~ '(SELECT|WITH)') FROM elt.explain_view('SELECT shop, rank() OVER (PARTITION BY shop ORDER BY c) AS r '
    'FROM (SELECT shop, count(*) AS c FROM sale GROUP BY shop) x');
SELECT raises('SELECT elt.explain_view(''SELECT 1'')');
SELECT raises('SELECT elt.explain_view(''SELECT nope FROM sale'')');
SELECT raises('SELECT elt.explain_view(''SELECT 1; SELECT 2'')');
SELECT raises('SELECT elt.explain_view(''DELETE FROM sale'')');
SELECT raises('SELECT elt.explain_view(''SELECT id AS _elt_x FROM sale'')');

\echo == for other roles
SET ROLE regress_elt_owner;
SELECT explains('SELECT shop, sum(amount) AS x FROM sale GROUP BY shop');
SELECT raises('SELECT elt.explain_view(''SELECT p FROM price'')');
SELECT raises('SELECT elt.explain_view(''mart.daily'')');
SELECT raises('SELECT elt.verify_view(''mart.daily'')');
SELECT raises('SELECT elt.alter_view(''mart.daily'', refresh_mode => ''full'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''(n)'')');
SELECT raises('SELECT elt.drop_view(''mart.daily'')');
RESET ROLE;
GRANT SELECT ON price TO regress_elt_owner;
SET ROLE regress_elt_owner;
SELECT explains('SELECT p FROM price');
RESET ROLE;
REVOKE SELECT ON price FROM regress_elt_owner;

\echo == elt.create_view_index
SELECT nameless(elt.create_view_index('mart.daily', '(n, total DESC)')::text);
SELECT nameless(elt.create_view_index('mart.daily', 'USING brin (day) WHERE n > 1')::text);
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
SELECT nameless(elt.create_view_index('mart.daily', '(twice(n::int)) INCLUDE (total)')::text);
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''(_elt_n)'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''(n) WHERE _elt_n > 1'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''(n) INCLUDE (_elt_n)'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''((_elt_n + 1))'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''(n); DROP TABLE sale'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''(n) TABLESPACE pg_global'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''(nope)'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', '''')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', ''n'')');
SELECT raises('SELECT elt.create_view_index(''mart.daily'', NULL)');
SELECT raises('SELECT elt.create_view_index(''mart.nope'', ''(n)'')');
-- a backslash does not end a literal somewhere else
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SELECT raises(E'SELECT elt.create_view_index(''mart.daily'', $x$((n::text || ''\\''); DROP TABLE sale; --''))$x$)');
RESET standard_conforming_strings;
RESET escape_string_warning;
SELECT nameless(pg_get_indexdef(indexrelid)) FROM pg_index WHERE indrelid = (SELECT storage FROM elt.view WHERE relation = 'mart.daily'::regclass) ORDER BY 1;
SELECT * FROM elt.verify_view('mart.daily');

\echo == elt.alter_view
GRANT SELECT ON mart.daily TO regress_elt_other;
COMMENT ON VIEW mart.daily IS 'sales by day';
SELECT 'mart.daily'::regclass::oid AS oid, storage AS old_storage FROM elt.view WHERE relation = 'mart.daily'::regclass \gset
-- other rows, the same columns: the storage stays
SELECT elt.alter_view('mart.daily', 'SELECT day, count(*) AS n, sum(amount) AS total FROM sale WHERE amount > 20 GROUP BY day');
SELECT storage = :'old_storage'::regclass FROM elt.view WHERE relation = 'mart.daily'::regclass;
SELECT strategy, reason, pending_rows, target_lag FROM elt.views WHERE name = 'mart.daily';
SELECT * FROM elt.verify_view('mart.daily');
-- one more column
SELECT elt.alter_view('mart.daily', 'SELECT day, count(*) AS n, sum(amount) AS total, max(shop) AS last_shop FROM sale WHERE amount > 20 GROUP BY day');
SELECT storage::text = :'old_storage' FROM elt.view WHERE relation = 'mart.daily'::regclass;
SELECT * FROM elt.verify_view('mart.daily');
SELECT count(last_shop) = count(*) FROM mart.daily;
SELECT 'mart.daily'::regclass::oid = :oid, obj_description('mart.daily'::regclass), has_table_privilege('regress_elt_other', 'mart.daily', 'SELECT');
SELECT nameless(pg_get_indexdef(indexrelid)) FROM pg_index WHERE indrelid = (SELECT storage FROM elt.view WHERE relation = 'mart.daily'::regclass) ORDER BY 1;
INSERT INTO sale VALUES (50, 's2', '2026-03-01', 100, 'n');
SELECT strategy, rows_inserted FROM elt.refresh('mart.daily');
-- columns that users read cannot go
SELECT raises('SELECT elt.alter_view(''mart.daily'', ''SELECT day, count(*) AS n FROM sale GROUP BY day'')');
SELECT raises('SELECT elt.alter_view(''mart.daily'', ''SELECT day, count(*) AS m, sum(amount) AS total, max(shop) AS last_shop FROM sale GROUP BY day'')');
SELECT raises('SELECT elt.alter_view(''mart.daily'', ''SELECT day, count(*) AS n, sum(amount::bigint) AS total, max(shop) AS last_shop FROM sale GROUP BY day'')');
SELECT raises('SELECT elt.alter_view(''mart.daily'', ''SELECT nope FROM sale'')');
SELECT raises('SELECT elt.alter_view(''mart.daily'', refresh_mode => ''sometimes'')');
SELECT raises('SELECT elt.alter_view(''mart.daily'', on_schema_change => ''ignore'')');
SELECT raises('SELECT elt.alter_view(''mart.daily'', frozen_where => ''nope > 1'')');
SELECT raises('SELECT elt.alter_view(''mart.nope'', refresh_mode => ''full'')');
SELECT raises('SELECT elt.alter_view(NULL)');
SELECT * FROM elt.verify_view('mart.daily');
-- the other settings
SELECT elt.alter_view('mart.daily', target_lag => '-1 second', refresh_mode => 'full');
SELECT refresh_mode, target_lag, pending_rows FROM elt.views WHERE name = 'mart.daily';
SELECT part, strategy, reason, hint FROM elt.explain_view('mart.daily');
SELECT strategy, reason FROM elt.refresh('mart.daily');
SELECT raises('SELECT elt.alter_view(''mart.daily'', ''SELECT day, count(*) AS n, sum(amount) AS total, min(shop) || random() AS last_shop FROM sale GROUP BY day'', '
              'refresh_mode => ''incremental'')');
SELECT elt.alter_view('mart.daily', refresh_mode => 'incremental');
SELECT * FROM elt.verify_view('mart.daily');
-- frozen rows stay when the storage is made anew
SELECT elt.alter_view('mart.frozen', 'SELECT day, sum(amount) AS total, count(*) AS n FROM sale GROUP BY day');
SELECT f.* FROM mart.frozen f WHERE day < '2026-01-04' ORDER BY 1;
SELECT * FROM elt.verify_view('mart.frozen');
SELECT elt.alter_view('mart.frozen', frozen_where => '');
SELECT frozen_where IS NULL, strategy, reason FROM elt.views WHERE name = 'mart.frozen';
SELECT * FROM elt.verify_view('mart.frozen');
SELECT elt.alter_view('mart.frozen', 'SELECT day, sum(amount) AS total, count(*) AS n FROM sale WHERE true GROUP BY day');
SELECT * FROM elt.verify_view('mart.frozen');
-- a view that was not filled is not filled now
SELECT elt.drop_view('mart.later');
SELECT elt.create_view('mart.later', 'SELECT id, day FROM sale', with_data => false, on_schema_change => 'suspend');
SELECT elt.alter_view('mart.later', 'SELECT id, day, note FROM sale');
SELECT count(*) FROM mart.later;
SELECT * FROM elt.verify_view('mart.later');

\echo == elt.create_view with if_exists
SELECT elt.create_view('mart.later', 'SELECT id, day, note FROM sale', on_schema_change => 'suspend', if_exists => 'alter');
SELECT strategy, reason FROM elt.views WHERE name = 'mart.later';
SELECT elt.create_view('mart.later', 'SELECT id, day, note FROM sale WHERE amount > 100', target_lag => '1 hour', on_schema_change => 'suspend', if_exists => 'alter');
SELECT strategy, reason, target_lag FROM elt.views WHERE name = 'mart.later';
SELECT * FROM elt.verify_view('mart.later');
SELECT raises('SELECT elt.create_view(''mart.later'', ''SELECT id FROM sale'', if_exists => ''alter'')');
SELECT raises('SELECT elt.create_view(''mart.later'', ''SELECT id FROM sale'')');
SELECT elt.create_view('mart.daily', 'SELECT day, count(*) AS n, sum(amount) AS total, max(shop) AS last_shop FROM sale WHERE amount > 20 GROUP BY day',
                       refresh_mode => 'incremental', if_exists => 'alter');
SELECT refresh_mode, pending_rows FROM elt.views WHERE name = 'mart.daily';

\echo == schema changes: refuse
SELECT raises('ALTER TABLE sale DROP COLUMN amount');
SELECT raises('ALTER TABLE sale ALTER amount TYPE bigint');
SELECT raises('DROP TABLE sale');

\echo == suspend
SELECT elt.drop_view('mart.daily');
SELECT elt.drop_view('mart.frozen');
ALTER TABLE sale RENAME note TO remark;
SELECT name, problem FROM elt.views;
SELECT raises('SELECT elt.refresh(''mart.later'')');
SELECT raises('SELECT elt.verify_view(''mart.later'')');
SELECT raises('SELECT elt.explain_view(''mart.later'')');
SELECT raises('SELECT elt.alter_view(''mart.later'', on_schema_change => ''refuse'')');
SELECT elt.alter_view('mart.later', target_lag => '2 hours');
SELECT count(*) > 0 FROM mart.later;
SELECT elt.alter_view('mart.later', 'SELECT id, day, remark AS note FROM sale WHERE amount > 100');
SELECT name, problem, target_lag FROM elt.views;
SELECT * FROM elt.verify_view('mart.later');
ALTER TABLE sale RENAME remark TO note;
SELECT name, problem FROM elt.views;
ALTER TABLE sale RENAME note TO remark;
SELECT name, problem FROM elt.views;
ALTER TABLE sale ALTER remark TYPE varchar(20);
SELECT name, problem FROM elt.views;
SELECT raises('SELECT elt.refresh(''mart.later'')');
ALTER TABLE sale ALTER remark TYPE text;
SELECT * FROM elt.verify_view('mart.later');
-- another table with the name
ALTER TABLE sale RENAME TO old_sale;
SELECT name, problem FROM elt.views;
CREATE TABLE sale (id int, day date, remark text, amount int);
INSERT INTO sale VALUES (1, '2027-01-01', 'r', 1000);
SELECT name, problem FROM elt.views;
SELECT * FROM elt.verify_view('mart.later');
SELECT * FROM mart.later;
SELECT s.source FROM elt.view_source s;
SELECT elt.untrack('sale', force => true);
INSERT INTO sale VALUES (2, '2027-01-01', 'r', 1000);
SELECT name, problem FROM elt.views;
SELECT * FROM elt.verify_view('mart.later');
-- to a definition and back, which tells what was renamed meanwhile
SELECT elt.alter_view('mart.later', on_schema_change => 'refuse');
ALTER TABLE sale RENAME remark TO note;
SELECT query ~ 'note' FROM elt.views;
SELECT raises('ALTER TABLE sale DROP COLUMN note');
SELECT elt.alter_view('mart.later', on_schema_change => 'suspend');
SELECT query FROM elt.views;
SELECT * FROM elt.verify_view('mart.later');
SELECT elt.drop_view('mart.later');
DROP TABLE sale;
ALTER TABLE old_sale RENAME TO sale;
SELECT leftovers();

\echo == elt.drop_view names readers
SELECT elt.create_view('mart.base', 'SELECT id, day, amount FROM sale');
SELECT elt.create_view('mart.sums', 'SELECT day, sum(amount) AS total FROM mart.base GROUP BY day');
SELECT elt.create_view('mart.sums_as_text', 'SELECT day, sum(amount) AS total FROM mart.base GROUP BY day', on_schema_change => 'suspend');
CREATE VIEW mart.plain AS SELECT * FROM mart.sums;
SELECT raises('SELECT elt.drop_view(''mart.base'')');
SELECT raises('SELECT elt.drop_view(''mart.sums'')');
SELECT raises('DROP VIEW mart.base');
SELECT raises('SELECT elt.drop_view(''mart.nope'')');
SELECT raises('SELECT elt.drop_view(''mart.plain'')');
SELECT elt.drop_view('mart.sums_as_text');

\echo == names and owners
ALTER VIEW mart.base RENAME TO ground;
ALTER SCHEMA mart RENAME TO store;
ALTER TABLE sale RENAME TO sold;
ALTER VIEW store.sums SET SCHEMA view_interface;
INSERT INTO sold VALUES (60, 's1', '2026-04-01', 7, 'n');
SELECT name, owner FROM elt.node ORDER BY 1;
SELECT kind, name FROM elt.consumer ORDER BY 2;
SELECT nameless(relname) FROM pg_class WHERE relnamespace = 'elt_data'::regnamespace AND relkind = 'v' ORDER BY 1;
SELECT * FROM elt.verify_view('sums');
SELECT total FROM store.plain WHERE day = '2026-04-01';
CREATE TABLE tracked (a int);
SELECT elt.create_load('store.other', 'tracked', source => 'sold', query => 'SELECT id AS a FROM sold', mode => 'append');
SELECT raises('ALTER VIEW store.ground RENAME TO other');
SELECT raises('SELECT elt.create_view(''store.other'', ''SELECT id FROM sold'')');
SELECT elt.drop_load('store.other');
GRANT USAGE, CREATE ON SCHEMA store TO regress_elt_owner;
GRANT SELECT ON sold TO regress_elt_owner;
DROP VIEW store.plain;
SELECT elt.drop_view('sums');
ALTER VIEW store.ground OWNER TO regress_elt_owner;
SELECT name, owner FROM elt.node;
SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'elt_data'::regnamespace;
SET ROLE regress_elt_owner;
SELECT name, owner, problem FROM elt.views;
SELECT * FROM elt.verify_view('store.ground');
SELECT nameless(elt.create_view_index('store.ground', '(day)')::text);
SELECT elt.alter_view('store.ground', 'SELECT id, day, amount, remark FROM sold');
SELECT * FROM elt.verify_view('store.ground');
RESET ROLE;
REVOKE SELECT ON sold FROM regress_elt_owner;
SELECT name, problem FROM elt.views;
GRANT SELECT ON sold TO regress_elt_owner;
REASSIGN OWNED BY regress_elt_owner TO CURRENT_USER;
SELECT strategy FROM elt.refresh('store.ground');
SELECT owner = current_user::regrole FROM elt.node;

\echo == drops by others
SELECT leftovers();
SELECT elt.create_view('store.above', 'SELECT day, amount FROM store.ground');
SELECT raises('DROP VIEW store.ground');
SELECT leftovers();
DROP TABLE sold CASCADE;
SELECT leftovers();
CREATE TABLE sale (id int PRIMARY KEY, day date, amount int);
INSERT INTO sale VALUES (1, '2026-01-01', 1);
SELECT elt.create_view('store.base', 'SELECT id, day, amount FROM sale');
DROP VIEW store.base;
SELECT leftovers();
SELECT elt.create_view('store.base', 'SELECT day, sum(amount) AS s, rank() OVER (PARTITION BY sum(amount) ORDER BY day) AS r FROM sale GROUP BY day');
SELECT leftovers();
SELECT storage AS storage FROM elt.view_part WHERE part = 1 \gset
SELECT raises('DROP TABLE ' || :'storage');
SELECT leftovers();
SELECT elt.create_view('store.base', 'SELECT id, day, amount FROM sale');
SELECT storage AS storage FROM elt.view \gset
SELECT raises('DROP TABLE ' || :'storage');
DROP TABLE :storage CASCADE;
SELECT leftovers();
SELECT elt.create_view('store.base', 'SELECT id, day, amount FROM sale');
ALTER TABLE sale DROP COLUMN amount CASCADE;
SELECT leftovers();
SELECT elt.create_view('store.base', 'SELECT id, day FROM sale');
SELECT elt.create_view('above', 'SELECT id FROM store.base');
SELECT raises('DROP SCHEMA store');
DROP SCHEMA store CASCADE;
SELECT leftovers();
GRANT SELECT ON sale TO regress_elt_owner;
SET ROLE regress_elt_owner;
SELECT elt.create_view('owned', 'SELECT id, day FROM sale');
SELECT elt.create_view('owned_too', 'SELECT id FROM owned', on_schema_change => 'suspend');
RESET ROLE;
DROP OWNED BY regress_elt_owner;
SELECT leftovers();
-- a name is free again
SELECT elt.create_view('owned', 'SELECT id, day FROM sale');
SELECT * FROM elt.verify_view('owned');
-- without the event trigger
ALTER EVENT TRIGGER elt_view_dropped DISABLE;
DROP VIEW owned;
ALTER EVENT TRIGGER elt_view_dropped ENABLE ALWAYS;
SELECT raises('SELECT elt.refresh(''owned'')');
SELECT count(*) FROM elt.views;
SELECT elt.create_view('owned', 'SELECT id, day FROM sale');
SELECT leftovers();
ALTER EVENT TRIGGER elt_view_altered DISABLE;
ALTER VIEW owned RENAME TO renamed;
ALTER EVENT TRIGGER elt_view_altered ENABLE ALWAYS;
SELECT elt.create_view('owned', 'SELECT id FROM sale');
SELECT name FROM elt.node ORDER BY 1;
SELECT raises('SELECT elt.on_view_dropped()');

RESET client_min_messages;
SET client_min_messages = warning;
DROP SCHEMA view_interface CASCADE;
DROP ROLE regress_elt_owner, regress_elt_other;

\echo == DROP EXTENSION names what would go
CREATE DATABASE regress_elt_extension;
\c regress_elt_extension
SET client_min_messages = warning;
CREATE EXTENSION elt;
CREATE TABLE sale (id int PRIMARY KEY, day date);
SELECT elt.create_view('days', 'SELECT day, count(*) AS n FROM sale GROUP BY day');
SELECT elt.create_view('by_two', 'SELECT n, count(*) AS days FROM days GROUP BY n');
SET client_min_messages = notice;
DROP TABLE sale CASCADE;
SET client_min_messages = warning;
SELECT * FROM elt.node;
CREATE TABLE sale (id int PRIMARY KEY, day date);
SELECT elt.create_view('days', 'SELECT day, count(*) AS n FROM sale GROUP BY day');
DROP EXTENSION elt;
SET client_min_messages = notice;
DROP EXTENSION elt CASCADE;
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1;
SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'elt%';
INSERT INTO sale VALUES (1, '2026-01-01');
CREATE EXTENSION elt;
SELECT elt.create_view('days', 'SELECT day, count(*) AS n FROM sale GROUP BY day');
SELECT * FROM elt.verify_view('days');
\c contrib_regression
DROP DATABASE regress_elt_extension;
