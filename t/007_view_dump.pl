# Dump and restore of precomputed views: restored views are readable at once, register anew with the change log of their new database at the first refresh,
# which is full, and follow the changes from then on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE regress_analyst; CREATE ROLE regress_keeper; CREATE DATABASE first');
$node->safe_psql('first', q{
	CREATE EXTENSION elt;
	CREATE SCHEMA mart;
	GRANT USAGE, CREATE ON SCHEMA mart, public TO regress_analyst;
	GRANT USAGE ON SCHEMA mart TO regress_keeper;
	CREATE TABLE item (id int PRIMARY KEY, "Group" int, price numeric(10, 2), t text);
	CREATE TABLE dimension (g int PRIMARY KEY, name text);
	ALTER TABLE item ADD COLUMN gone int, ADD COLUMN late int;
	ALTER TABLE item DROP COLUMN gone;
	CREATE TABLE part (id int, day date, v int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
	CREATE TABLE part1 PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
	CREATE TABLE part2 PARTITION OF part FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
	INSERT INTO item SELECT i, i % 5, i, 't' || i, i FROM generate_series(1, 200) i;
	INSERT INTO dimension SELECT i, 'g' || i FROM generate_series(0, 4) i;
	INSERT INTO part SELECT i, '2024-01-01'::date + i % 59, i FROM generate_series(1, 300) i;

	CREATE TABLE kept (id int PRIMARY KEY, v int);
	INSERT INTO kept VALUES (1, 1);
	ALTER TABLE kept OWNER TO regress_keeper;
	GRANT SELECT ON kept TO regress_analyst;
	SET ROLE regress_keeper;
	SELECT elt.track('kept');
	RESET ROLE;

	SELECT elt.create_view('mart.sums', 'SELECT "Group" AS g, count(*) AS n, sum(price) AS price, min(late) AS late FROM item GROUP BY 1');
	SELECT elt.create_view('mart.named', 'SELECT d.name, s.n, s.price FROM mart.sums s JOIN dimension d USING (g)');
	SELECT elt.create_view('mart."Of ""days"" — ünïcode"', 'SELECT day, sum(v) AS v FROM part GROUP BY day HAVING sum(v) > 600');
	SELECT elt.create_view('mart.ranks', 'SELECT id, rank() OVER (PARTITION BY "Group" ORDER BY price DESC) AS r FROM item');
	SELECT elt.create_view('mart.top', 'SELECT * FROM (SELECT "Group" AS g, sum(price) AS price FROM item GROUP BY 1) x ORDER BY price DESC LIMIT 2');
	SELECT elt.create_view('mart.text', 'SELECT id, t FROM item WHERE id < 50', on_schema_change => 'suspend');
	SELECT elt.create_view('mart.lists', 'SELECT "Group" AS g, count(DISTINCT price) AS c, string_agg(t, '','' ORDER BY id) AS l FROM item GROUP BY 1');
	SELECT elt.create_view('mart.bag', 'SELECT "Group", t FROM item WHERE id % 2 = 0');
	SELECT elt.create_view('mart.by_key', 'SELECT i.id, i.t, count(d.name) AS c FROM item i LEFT JOIN dimension d ON d.g = i."Group" GROUP BY i.id');
	SELECT elt.create_view('mart.mixed', 'SELECT "Group" AS g FROM item UNION ALL SELECT g FROM dimension UNION SELECT id FROM part');
	SELECT elt.create_view('mart.empty', 'SELECT id FROM item WHERE id > 10', with_data => false);
	SELECT elt.create_view('mart.frozen', 'SELECT day, count(*) AS n FROM part GROUP BY day', frozen_where => 'day < ''2024-01-10''');
	SELECT elt.create_view('mart.strict', 'SELECT "Group" AS g, sum(late) AS l FROM item GROUP BY 1', refresh_mode => 'incremental');
	SET ROLE regress_analyst;
	SELECT elt.create_view('mart.others', 'SELECT id, v FROM public.kept');
	RESET ROLE;
	GRANT SELECT ON mart.sums TO regress_keeper;
	CREATE VIEW over_it AS SELECT * FROM mart.sums WHERE n > 1;
	UPDATE item SET price = price + 1 WHERE id < 10;	-- not followed yet
	DELETE FROM part WHERE day < '2024-01-05';
});

my $views = $node->safe_psql('first', 'SELECT count(*) FROM elt.views');

sub outcome
{
	my ($database, $statement) = @_;
	my ($status, $out, $err) = $node->psql($database, $statement, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $out if $status == 0;
	return $err =~ /ERROR:\s+(.*)/ ? $1 : $err;
}

# what all views show, as text
sub contents
{
	my ($database) = @_;
	my $query = $node->safe_psql($database, q{SELECT string_agg(format('SELECT %L || ROW(x.*)::text FROM %s x', name, name), ' UNION ALL ' ORDER BY name) FROM elt.views});
	return $node->safe_psql($database, "SELECT string_agg(r, chr(10) ORDER BY r COLLATE \"C\") FROM ($query) c (r)");
}

# frozen rows are left as they are: that view is compared by elt.verify_view only
sub check
{
	my ($database, $what) = @_;
	is($node->safe_psql($database, 'SELECT name, missing, extra FROM elt.views, elt.verify_view(name) WHERE missing <> 0 OR extra <> 0'), '', "$what: all views are exact");
	is($node->safe_psql($database, 'SELECT name, problem FROM elt.views WHERE problem IS NOT NULL'), '', "$what: no problem");
	return;
}

sub change
{
	my ($database) = @_;
	$node->safe_psql($database, q{
		INSERT INTO item SELECT i, i % 6, i, 'new', i FROM generate_series(1000, 1010) i ON CONFLICT (id) DO UPDATE SET price = item.price * 2;
		UPDATE item SET "Group" = 4, late = -late WHERE id IN (3, 6, 1004);
		DELETE FROM item WHERE id IN (7, 1005);
		UPDATE part SET day = day + 20 WHERE id % 17 = 0 AND day > '2024-01-12' AND day < '2024-02-05';
		INSERT INTO part VALUES (9000 + (SELECT count(*) FROM part), '2024-02-02', 1000);
		UPDATE dimension SET name = name || '''' WHERE g = 2;
		UPDATE kept SET v = v + 1;
	});
	return;
}

my $before = contents('first');
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.custom", $node->connstr('first') ], 'pg_dump, custom format');
$node->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', "$dump.directory", $node->connstr('first') ], 'pg_dump, directory format');
$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dump.sql", $node->connstr('first') ], 'pg_dump, plain format');
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(custom directory plain);
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('custom'), "$dump.custom" ], 'pg_restore');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-j2', '-d', $node->connstr('directory'), "$dump.directory" ], 'pg_restore, parallel');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('plain'), '-f', "$dump.sql" ], 'restored by psql');

for my $database (qw(custom directory plain))
{
	is(contents($database), $before, "$database: the views show what they did");
	is($node->safe_psql($database, 'SELECT count(*) FROM over_it'), '5', "$database: and ordinary views over them");
	is($node->safe_psql($database, 'SET ROLE regress_keeper; SELECT count(*) FROM mart.sums'), '5', "$database: privileges are restored");
	is($node->safe_psql($database, q{SELECT name, problem FROM elt.views WHERE problem IS NOT NULL}), 'mart.others|public.kept is not tracked',
		"$database: only what its owner cannot track is a problem");
	change($database);

	# the source of another owner: he has to track it
	like(outcome($database, q{SELECT elt.refresh('mart.others')}), qr/^55000: table "kept" is not tracked/, "$database: the tables of others are for them to track");
	$node->safe_psql($database, q{SET ROLE regress_keeper; SELECT elt.track('kept')});

	# a view over a view first: it takes along what it reads
	is($node->safe_psql($database, q{SELECT strategy, reason FROM elt.refresh('mart.named')}), 'full|initial', "$database: the first refresh of a view over a view");
	is($node->safe_psql($database, q{SELECT strategy, reason FROM elt.refresh('mart.sums')}), 'none|', "$database: has refreshed that");
	is($node->safe_psql($database, q{SELECT DISTINCT r.strategy, r.reason FROM elt.views v, elt.refresh(name) r WHERE name NOT IN ('mart.named', 'mart.sums')}),
		'full|initial', "$database: the first refresh of all others");
	check($database, "$database, refreshed");
	is($node->safe_psql($database, q{SELECT count(*) FROM mart.frozen WHERE day < '2024-01-05'}), '4', "$database: frozen rows are as they were");
	is($node->safe_psql($database, q{SELECT count(*) FROM elt.consumer c LEFT JOIN elt.view_source s ON s.consumer = c.id WHERE s.consumer IS NULL OR
		NOT EXISTS (SELECT FROM elt.capture p WHERE p.id = c.capture)}), '0', "$database: no consumer is left over");

	change($database);
	is($node->safe_psql($database, q{SELECT v.name, r.strategy, r.reason FROM elt.views v, elt.refresh(name) r WHERE r.strategy = 'full' AND r.reason <> 'cost'}),
		'', "$database: then all of them follow the changes");
	check($database, "$database, refreshed again");
}

# what was dumped has not noticed
change('first');
is($node->safe_psql('first', q{SELECT strategy, reason FROM elt.refresh('mart.sums')}), 'incremental|', 'the dumped database goes on');
check('first', 'the dumped database');

# a clone has the log, and offsets that hold there too
change('first');
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE first');
change('first');
is($node->safe_psql('clone', q{SELECT strategy, reason FROM elt.refresh('mart.sums')}), 'incremental|', 'a clone goes on by itself');
change('clone');
check('clone', 'a clone');
check('first', 'what was cloned');

# dumped and restored once more, in place of the original
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.again", $node->connstr('custom') ], 'pg_dump of a restored database');
$node->safe_psql('postgres', 'DROP DATABASE first');
$node->safe_psql('postgres', 'CREATE DATABASE first');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('first'), "$dump.again" ], 'pg_restore in place of the original');
$node->safe_psql('first', q{SET ROLE regress_keeper; SELECT elt.track('kept')});
is($node->safe_psql('first', q{SELECT strategy, reason FROM elt.refresh('mart.top')}), 'full|initial', 'a database restored in its own place is another one');
check('first', 'restored twice');

# the schema alone: relations of the views without their definitions, which do not hinder new ones
$node->command_ok([ 'pg_dump', '-s', '-f', "$dump.schema", $node->connstr('custom') ], 'pg_dump --schema-only');
$node->safe_psql('postgres', 'CREATE DATABASE schema');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('schema'), '-f', "$dump.schema" ], 'restored');
is($node->safe_psql('schema', 'SELECT count(*) FROM elt.views'), '0', 'the definitions are data');
like(outcome('schema', q{SELECT elt.create_view('mart.named', 'SELECT 1 AS a')}), qr/^42P07: relation "mart.named" already exists/, 'the names are taken');
$node->safe_psql('schema', q{
	DROP VIEW mart.ranks;
	SELECT elt.create_view('mart.ranks', 'SELECT "Group" AS g, count(*) AS c FROM item GROUP BY 1');
	SELECT elt.create_view('mart.another', 'SELECT id FROM item');
	INSERT INTO item VALUES (1, 1, 1, 'one', 1);
	SELECT elt.refresh('mart.ranks');
});
is($node->safe_psql('schema', 'TABLE mart.ranks'), '1|1', 'new ones can be made');
check('schema', 'the schema alone');
$node->safe_psql('schema', q{SELECT elt.drop_view('mart.ranks'), elt.drop_view('mart.another')});

# DROP EXTENSION names what holds it; CASCADE takes the storages away
my ($status, $out, $err) = $node->psql('custom', 'DROP EXTENSION elt');
isnt($status, 0, 'DROP EXTENSION does not take views away unasked');
$node->safe_psql('custom', q{
	DROP VIEW over_it;
	SELECT elt.drop_view('mart.named');
	SELECT elt.drop_view(name) FROM elt.views;
	SELECT elt.untrack(relation) FROM elt.capture;
	DROP EXTENSION elt});
is($node->safe_psql('custom', q{SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text IN ('elt_data', 'mart')}), 0, 'dropping all views leaves nothing');
$node->safe_psql('plain', 'DROP EXTENSION elt CASCADE');
is($node->safe_psql('plain', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'elt%'}), 0, 'DROP EXTENSION CASCADE leaves nothing');
is($node->safe_psql('plain', q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'elt%'}), 0, 'no trigger either');
change('plain');

$node->stop;
done_testing();
