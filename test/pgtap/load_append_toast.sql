-- Append loads go on after a TRUNCATE: what is unread then must not point into the emptied table.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS tap_append_toast CASCADE;
CREATE SCHEMA tap_append_toast;
SET search_path = tap_append_toast, public;
SELECT no_plan();

CREATE TABLE staging (id int PRIMARY KEY, n int, big text);
ALTER TABLE staging ALTER big SET STORAGE EXTERNAL;
CREATE TABLE history (id int, n int, big text);
CREATE TABLE mirror (LIKE staging INCLUDING ALL);
SELECT elt.create_load('append toast mirror', 'mirror', source => 'staging', mode => 'mirror');
INSERT INTO staging VALUES (1, 1, repeat('x', 3000)), (2, 1, repeat('y', 300000));
UPDATE staging SET n = 2;
SELECT elt.create_load('append toast', 'history', source => 'staging', mode => 'append');
CALL elt.run('append toast');
UPDATE staging SET n = 3;
UPDATE staging SET n = 4, big = 'z' || big WHERE id = 2;
UPDATE staging SET n = n;
DELETE FROM staging WHERE id = 1;
TRUNCATE staging;
INSERT INTO staging VALUES (1, 5, repeat('z', 3000));
CALL elt.run('append toast');
CALL elt.run('append toast mirror');
SELECT bag_eq('SELECT id, n, left(big, 1), length(big) FROM history',
    $$VALUES (1, 2, 'x', 3000), (2, 2, 'y', 300000), (1, 3, 'x', 3000), (2, 3, 'y', 300000), (2, 4, 'z', 300001), (1, 5, 'z', 3000)$$,
    'every version once, whole');
SELECT set_eq('TABLE mirror', 'TABLE staging', 'the mirror copies anew');

SELECT elt.drop_load('append toast'), elt.drop_load('append toast mirror');
SELECT * FROM finish();
DROP SCHEMA tap_append_toast CASCADE;
