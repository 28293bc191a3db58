-- elt.row_hash: a hash of what a row holds, in whatever form it is stored

CREATE SCHEMA row_hash;
SET search_path = row_hash;

-- differs with each of: value, scale, position, NULL
SELECT count(*) AS forms, count(DISTINCT hash) AS hashes
FROM (VALUES (elt.row_hash(ROW(1.0, 2.0))), (elt.row_hash(ROW(1.00, 2.0))), (elt.row_hash(ROW(2.0, 1.0))), (elt.row_hash(ROW(NULL, 1.0))),
             (elt.row_hash(ROW(1.0, NULL))), (elt.row_hash(ROW(NULL, NULL)))) AS f (hash);
SELECT elt.row_hash(NULL) IS NULL AS strict;

-- types without equality; domains; values that are not aligned
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
SELECT elt.row_hash(ROW('{"a": 1}'::json, point '(1,2)', 1::positive, '4294967295'::oid, true, 'c'::"char", 'n'::name))
       = elt.row_hash(ROW('{"a": 1}'::json, point '(1,2)', 1::positive, '4294967295'::oid, true, 'c'::"char", 'n'::name)) AS same;

-- the same values stored in every form: plain, compressed, fetched from a toast table compressed or not, short and long headers; and nested
CREATE TYPE pair AS (a text, b numeric);
CREATE DOMAIN checked_pair AS pair;
CREATE TABLE form (id integer, extended text, external text, main text, plain text, pairs pair[]);
ALTER TABLE form ALTER external SET STORAGE EXTERNAL, ALTER main SET STORAGE MAIN, ALTER plain SET STORAGE PLAIN;
INSERT INTO form SELECT id, value, value, value, CASE WHEN length(value) < 5000 THEN value END
FROM (VALUES (1, 'short'), (2, repeat('compressible ', 300)), (3, repeat('compressible ', 3000)),
             (4, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)), (5, NULL)) AS v (id, value);
SELECT id, count(DISTINCT hash) AS rows, count(DISTINCT composite) AS composites, count(DISTINCT domains) AS domains,
       count(DISTINCT arrays) AS arrays, count(DISTINCT deep) AS deep
FROM form, LATERAL (VALUES (extended), (external), (main), (CASE WHEN id < 3 THEN plain ELSE main END), (extended || '')) AS f (value),
     LATERAL (SELECT elt.row_hash(ROW(value, 1.0)), elt.row_hash(ROW(ROW(value, 1.0)::pair)), elt.row_hash(ROW(ROW(value, 1.0)::checked_pair)),
                     elt.row_hash(ROW(ARRAY[ROW(value, 1.0)::pair, NULL])), elt.row_hash(ROW(ROW(1, ARRAY[ROW(value, 1.0)::pair]))))
         AS h (hash, composite, domains, arrays, deep)
GROUP BY id ORDER BY id;
SELECT count(DISTINCT elt.row_hash(ROW(pairs))) AS arrays
FROM (VALUES (NULL::pair[]), ('{}'), ('{NULL}'), ('{NULL,NULL}'), ('{{NULL,NULL}}'), ('[0:1]={NULL,NULL}'), ('{"(,)"}'), ('{"(a,1)"}'), ('{"(a,1.0)"}'))
    AS f (pairs);

-- as a generated column; an attribute that a type gets later changes nothing
CREATE TABLE stored (v pair, t text, _elt_h bigint GENERATED ALWAYS AS (elt.row_hash(ROW(v, t))) STORED);
INSERT INTO stored SELECT ROW(extended, id)::pair, external FROM form;
ALTER TYPE pair ADD ATTRIBUTE c integer;
SELECT count(*) AS rows, count(*) FILTER (WHERE _elt_h = elt.row_hash(ROW(v, t))) AS same FROM stored;

SET client_min_messages = warning;
DROP SCHEMA row_hash CASCADE;
