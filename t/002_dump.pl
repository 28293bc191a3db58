# Dump and restore of tracked tables and streams; DROP EXTENSION.
#
# A restored change log would be a lie: it is not dumped. What is restored must not hinder writers, and the streams must say what they are instead of
# showing anything.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE first');
$node->safe_psql('first', q{
	CREATE EXTENSION elt;
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE "Quoted ""name""" (id int PRIMARY KEY);
	CREATE TABLE root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (100);
	CREATE TABLE middle PARTITION OF root FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
	CREATE TABLE leaf2 (v text, id int NOT NULL);
	ALTER TABLE middle ATTACH PARTITION leaf2 FOR VALUES FROM (100) TO (200);
	CREATE TABLE keyed (id int PRIMARY KEY);
	INSERT INTO item SELECT i, 'old' FROM generate_series(1, 5) i;
	INSERT INTO root VALUES (1, 'old'), (101, 'old');
	SELECT elt.create_stream('changes', 'item');
	SELECT elt.create_stream('unread', 'item', initial_rows => true);
	SELECT elt.create_stream('of_root', 'root');
	SELECT elt.create_stream('"Stream of ""name"""', '"Quoted ""name"""');
	SELECT elt.track('keyed', images => 'key');
	UPDATE item SET v = 'changed' WHERE id = 1;
	INSERT INTO root VALUES (2, 'new'), (102, 'new');
	CREATE VIEW over_it AS SELECT id FROM changes;
});

# The state and message with which a statement fails, or what it returns.
sub outcome
{
	my ($database, $statement) = @_;
	my ($status, $out, $err) = $node->psql($database, $statement, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $out if $status == 0;
	return $err =~ /ERROR:\s+(.*)/ ? $1 : $err;
}

my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.custom", $node->connstr('first') ], 'pg_dump, custom format');
$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dump.sql", $node->connstr('first') ], 'pg_dump, plain format');
unlike(slurp_file("$dump.sql"), qr/elt_log\./, 'change log segments are not dumped');

$node->safe_psql('postgres', 'CREATE DATABASE custom; CREATE DATABASE plain');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('custom'), "$dump.custom" ], 'pg_restore into another database');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('plain'), '-f', "$dump.sql" ], 'restored by psql');

for my $database (qw(custom plain))
{
	# writers
	is($node->safe_psql($database, 'TABLE item ORDER BY id'), "1|changed\n2|old\n3|old\n4|old\n5|old", "$database: the rows are there");
	my ($status, $out, $err) = $node->psql($database, q{
		INSERT INTO item VALUES (6, 'restored');
		UPDATE item SET v = 'restored' WHERE id = 2;
		DELETE FROM item WHERE id = 3;
		INSERT INTO root VALUES (3, 'restored'), (103, 'restored');
		UPDATE root SET id = id + 120 WHERE id = 3;
		INSERT INTO leaf1 VALUES (4, 'restored');
		INSERT INTO leaf2 VALUES ('restored', 104);
		MERGE INTO root USING (VALUES (4)) s (id) ON root.id = s.id WHEN MATCHED THEN UPDATE SET id = 105;
		INSERT INTO keyed VALUES (1);
		INSERT INTO "Quoted ""name""" VALUES (1);
		CREATE TABLE leaf3 PARTITION OF middle DEFAULT;
		DROP TABLE leaf3;
		TRUNCATE keyed;
	}, on_error_stop => 1);
	is($status, 0, "$database: writes go on") or diag($err);
	is($node->safe_psql($database, q{SELECT count(*) FROM pg_class WHERE relnamespace = 'elt_log'::regnamespace}), 0,
		"$database: the restored triggers have nowhere to write to");

	# streams: not one row, but an error that says why
	for my $stream ('changes', 'unread', 'of_root', '"Stream of ""name"""', 'over_it')
	{
		like(outcome($database, "SELECT count(*) FROM $stream"), qr/^55000: the offset of stream .* comes from another database$/,
			"$database: stream $stream says that it was restored");
		next if $stream eq 'over_it';
		like(outcome($database, "SELECT elt.advance_stream('$stream')"), qr/^55000: /, "$database: stream $stream cannot be advanced");
	}
	is($node->safe_psql($database, q{SELECT count(*) FROM elt.tracked WHERE NOT stale}), 0, "$database: elt.tracked shows no restored table as intact");

	# the way out
	$node->safe_psql($database, q{DROP VIEW over_it; SELECT elt.drop_stream('changes'); SELECT elt.drop_stream('unread')});
	$node->safe_psql($database, q{SELECT elt.create_stream('changes', 'item')});
	$node->safe_psql($database, q{INSERT INTO item VALUES (7, 'tracked anew'); UPDATE item SET v = 'tracked anew' WHERE id = 1; DELETE FROM item WHERE id = 6});
	is($node->safe_psql($database, 'SELECT * FROM changes ORDER BY id'), "1|tracked anew|update\n6|restored|delete\n7|tracked anew|insert",
		"$database: a new stream of a restored table is exact");
	$node->safe_psql($database, q{SELECT elt.track('root'); SELECT elt.drop_stream('of_root'); SELECT elt.create_stream('of_root', 'root')});
	$node->safe_psql($database, q{INSERT INTO leaf2 VALUES ('tracked anew', 110); UPDATE root SET id = 10 WHERE id = 103; DELETE FROM leaf1 WHERE id = 1});
	is($node->safe_psql($database, 'SELECT * FROM of_root ORDER BY id'), "1|old|delete\n10|restored|insert\n103|restored|delete\n110|tracked anew|insert",
		"$database: tracking a restored partitioned table again");
	is($node->safe_psql($database, q{SELECT relation, stale FROM elt.tracked WHERE relation IN ('item'::regclass, 'root'::regclass) ORDER BY 1}),
		"item|f\nroot|f", "$database: both are tracked again");
	like(outcome($database, 'SELECT count(*) FROM "Stream of ""name"""'), qr/^55000: the offset of stream/, "$database: the others are as they were");
}

# the database that was dumped has not noticed
is($node->safe_psql('first', 'SELECT * FROM changes'), '1|changed|update', 'the dumped database goes on');

# restored in place of the original, whose transaction ids go on
$node->safe_psql('postgres', 'DROP DATABASE first');
$node->safe_psql('postgres', 'CREATE DATABASE first');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('first'), "$dump.custom" ], 'pg_restore in place of the original');
like(outcome('first', 'SELECT * FROM changes'), qr/^55000: the offset of stream .* comes from another database$/, 'a database restored in its own place is another one');
$node->safe_psql('postgres', 'DROP DATABASE first');

# a clone has the log, and offsets that hold there too
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE custom');
$node->safe_psql('custom', q{INSERT INTO item VALUES (50, 'not in the clone')});
$node->safe_psql('clone', q{INSERT INTO item VALUES (51, 'in the clone')});
is($node->safe_psql('clone', 'SELECT id, _elt_op FROM changes ORDER BY id'), "1|update\n6|delete\n7|insert\n51|insert", 'CREATE DATABASE ... TEMPLATE: a clone goes on by itself');
is($node->safe_psql('custom', 'SELECT id, _elt_op FROM changes ORDER BY id'), "1|update\n6|delete\n7|insert\n50|insert", 'and so does what was cloned');

# dumped again after having been restored and tracked
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.again", $node->connstr('custom') ], 'pg_dump of a restored database');
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('again'), "$dump.again" ], 'pg_restore of that');
like(outcome('again', 'SELECT * FROM changes'), qr/^55000: the offset of stream/, 'restored twice');

# DROP EXTENSION names what holds it
my ($status, $out, $err) = $node->psql('custom', 'DROP EXTENSION elt');
isnt($status, 0, 'DROP EXTENSION does not take triggers and streams away unasked');
like($err, qr/trigger elt_capture_\w+ on table item depends on/, 'it names the triggers');
like($err, qr/view changes depends on/, 'and the streams');

# not held any more
$node->safe_psql('custom', q{
	SELECT elt.drop_stream(relation::text) FROM elt.stream;
	SELECT elt.untrack(relation) FROM elt.capture;
	DROP EXTENSION elt});
is($node->safe_psql('custom', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'elt%'}), 0, 'DROP EXTENSION after drop_stream and untrack leaves nothing');
is($node->safe_psql('custom', q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'elt%'}), 0, 'no trigger either');
is($node->safe_psql('custom', q{SELECT count(*) FROM pg_event_trigger}), 0, 'nor an event trigger');

# CASCADE, then writers, then all of it again
$node->safe_psql('clone', 'DROP EXTENSION elt CASCADE');
is($node->safe_psql('clone', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'elt%'}), 0, 'DROP EXTENSION CASCADE leaves nothing');
is($node->safe_psql('clone', q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'elt%'}), 0, 'no trigger after CASCADE');
is($node->safe_psql('clone', q{SELECT count(*) FROM pg_class WHERE relname = 'changes'}), 0, 'no stream after CASCADE');
$node->safe_psql('clone', q{INSERT INTO item VALUES (60, 'free'); UPDATE root SET id = 199 WHERE id = 10; TRUNCATE item; CREATE TABLE leaf3 PARTITION OF middle DEFAULT});
$node->safe_psql('clone', q{CREATE EXTENSION elt; SELECT elt.create_stream('changes', 'item'); INSERT INTO item VALUES (1, 'again')});
is($node->safe_psql('clone', 'SELECT * FROM changes'), '1|again|insert', 'the extension created again');

# in one session: what the library has cached of the former extension is not used
is($node->safe_psql('clone', q{
	INSERT INTO item VALUES (2, 'cached');
	SET client_min_messages = warning;
	DROP EXTENSION elt CASCADE;
	INSERT INTO item VALUES (3, 'without');
	CREATE EXTENSION elt;
	INSERT INTO item VALUES (4, 'not tracked');
	SELECT elt.create_stream('changes', 'item');
	INSERT INTO item VALUES (5, 'tracked');
	SELECT id, _elt_op FROM changes}), "changes\n5|insert", 'dropped and created again in one session');

$node->stop;
done_testing();
