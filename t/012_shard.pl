# elt.shard_table with writers going on, and killed in the middle.
#
# Writers change a table and a plain copy of it, row by row the same, in the same transactions (with rollbacks, savepoints, changes of keys, rows without a key value, toasted
# values). Whatever happens to the table, it has to be its copy afterwards:
#
#   sharded while they write, tables of several shapes, chosen by a seed
#   halted at each point of its way, and there a worker, the leader or the postmaster killed, or the leader cancelled or terminated
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SHARD_SEED} || 1 + int(rand(1_000_000));
note "seed $seed (SHARD_SEED=$seed repeats the choices)";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off\nelt.segment_size = '256kB'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION elt');

sub start_session
{
	my ($name, $script) = @_;
	my %session = (name => $name, out => '', err => '');
	my $file = $node->basedir . "/$name.sql";
	unlink $file;
	append_to_file($file, $script);
	$session{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') . " application_name=$name", '-f', $file ],
		'<', \undef, '>', \$session{out}, '2>', \$session{err}, IPC::Run::timeout(180));
	return \%session;
}

sub wait_for
{
	my ($what) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE $what") or die "not: $what";
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $what ORDER BY 1 LIMIT 1");
}

sub wait_until_up
{
	for (1 .. 1800)
	{
		my ($status, $out) = $node->psql('postgres', 'SELECT 1');
		return if $status == 0 && $out eq '1';
		select undef, undef, undef, 0.1;
	}
	die 'the server did not come back';
}

sub restart_killed
{
	$node->kill9;
	for (1 .. 600)
	{
		return if $node->start(fail_ok => 1);
		$node->{_pid} = undef;
		select undef, undef, undef, 0.1;
	}
	die 'the server did not start';
}

sub pick
{
	return $_[ int(rand(@_)) ];
}

# A table, its copy, and a procedure that changes both in the same way.
sub make_table
{
	my (%t) = @_;
	my $rows = $t{rows} || 2000;
	my $value = $t{toast} ? "CASE WHEN r % 4 = 0 THEN repeat(md5(r::text), 300) ELSE 'v' || r END" : "'v' || r";
	my $key = $t{type} eq 'integer' ? 'k' : $t{type} eq 'text' ? "'key ' || k" : $t{type} eq 'numeric' ? "(k / 10.0)::numeric" :
	  $t{type} eq 'timestamptz' ? "'2026-01-01'::timestamptz + k * '1 hour'::interval" : $t{type} eq 'uuid' ? "md5(k::text)::uuid" : "ARRAY[k, k % 7]";
	my $pk = $t{pk} ? ', PRIMARY KEY (id, k)' : '';
	my $null = $t{pk} ? 'k' : 'CASE WHEN k % 9 = 0 THEN NULL ELSE k END';
	my $part = $t{range} ? 'PARTITION BY RANGE (n)' : '';
	$pk = ', PRIMARY KEY (id, k, n)' if $t{pk} && $t{range};
	$key =~ s/\bk\b/($null)/g;
	my $spread = $t{skew} ? '(i % 100) * (i % 100) / 1000' : 'i % 500';
	$node->safe_psql('postgres', qq{
		DROP TABLE IF EXISTS t, shadow CASCADE;
		SELECT elt._clean_shards();
		CREATE FUNCTION pg_temp.key(k integer) RETURNS $t{type} LANGUAGE sql IMMUTABLE AS 'SELECT $key';
	} =~ s/'SELECT (.*)';/\$\$SELECT $1\$\$;/r . qq{
		CREATE OR REPLACE PROCEDURE drop_key() LANGUAGE plpgsql AS \$\$ BEGIN DROP FUNCTION IF EXISTS key; END \$\$;
		CALL drop_key();
		CREATE FUNCTION key(k integer) RETURNS $t{type} LANGUAGE sql IMMUTABLE AS \$\$SELECT $key\$\$;
		CREATE TABLE t (gone text, id integer NOT NULL, k $t{type}, n integer NOT NULL, v text, @{[ $t{generated} ? 'g integer GENERATED ALWAYS AS (n * 3) STORED, ' : '' ]} m integer $pk) $part;
		@{[ $t{range} ? 'CREATE TABLE t_a PARTITION OF t FOR VALUES FROM (MINVALUE) TO (50); CREATE TABLE t_b (m integer, v text, n integer NOT NULL, '
			. ($t{generated} ? 'g integer GENERATED ALWAYS AS (n * 3) STORED, ' : '') . "k $t{type} " . ($t{pk} ? 'NOT NULL' : '') . ', gone text, id integer NOT NULL); ALTER TABLE t ATTACH PARTITION t_b FOR VALUES FROM (50) TO (MAXVALUE);' : '' ]}
		INSERT INTO t (id, k, n, v, m) SELECT i, key($spread), i % 100, $value, i FROM (SELECT i, i AS r FROM generate_series(1, $rows) i) x;
		@{[ $t{dropped} ? 'ALTER TABLE t DROP COLUMN gone;' : '' ]}
		ALTER TABLE t ADD COLUMN late text DEFAULT 'late';
		CREATE INDEX t_index ON t (n, v text_pattern_ops);
		CREATE TABLE shadow (LIKE t INCLUDING ALL);
		INSERT INTO shadow (id, k, n, v, m, late) SELECT id, k, n, v, m, late FROM t;
		CREATE OR REPLACE PROCEDURE twice(statement text) LANGUAGE plpgsql AS \$\$
		BEGIN
			EXECUTE replace(statement, '#', 't');
			EXECUTE replace(statement, '#', 'shadow');
		END \$\$;
		-- a writer has its own ids: those that are its number modulo 4
		CREATE OR REPLACE PROCEDURE busy(number int) LANGUAGE plpgsql AS \$\$
		DECLARE
			k int; r int; other int;
		BEGIN
			FOR i IN 1 .. 1000000 LOOP
				k := (random() * 499)::int; r := (random() * 100000)::int; other := 4 * (random() * $rows / 4)::int + number;
				CALL twice(format('INSERT INTO # (id, k, n, v, m) SELECT %s, key(%s), %s, $t{value_sql}, NULL FROM (SELECT %s AS r) x', $rows + i * 4 + number, k, r % 100, r));
				CALL twice(format('UPDATE # SET n = %s, v = v || ''!'' WHERE id = %s', r % 100, other));
				IF i % 3 = 0 THEN CALL twice(format('UPDATE # SET k = key(%s) WHERE id = %s', k, other + 4)); END IF;
				IF i % 4 = 0 THEN CALL twice(format('DELETE FROM # WHERE id = %s', $rows + (i - 2) * 4 + number)); END IF;
				BEGIN
					CALL twice(format('DELETE FROM # WHERE id %% 4 = %s AND n < 20', number));
					RAISE 'never mind';
				EXCEPTION WHEN raise_exception THEN
				END;
				IF i % 11 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
				PERFORM pg_sleep(0.001);
			END LOOP;
		END \$\$;
	});
	return;
}

sub differences
{
	return $node->safe_psql('postgres', q{
		SELECT 'lacks ' || left(x, 100) FROM (SELECT shadow::text FROM shadow EXCEPT ALL SELECT t::text FROM t) d (x)
		UNION ALL SELECT 'has ' || left(x, 100) FROM (SELECT t::text FROM t EXCEPT ALL SELECT shadow::text FROM shadow) d (x)});
}

my $leftovers = q{
	SELECT string_agg(what, ', ') FROM (
		SELECT 'table ' || relname FROM pg_class WHERE relname ~ '_s[0-9]+$' AND NOT relispartition
		UNION ALL SELECT 'run ' || relation FROM elt.shard_run UNION ALL SELECT 'capture ' || relation FROM elt.capture UNION ALL SELECT 'consumer ' || name FROM elt.consumer
		UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname LIKE 'elt%' UNION ALL SELECT 'log ' || relname FROM pg_class WHERE relnamespace = 'elt_log'::regnamespace AND relkind = 'r') x (what)};

sub stop_writers
{
	my (@writers) = @_;
	for my $writer (@writers)
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '$writer->{name}'");
		$writer->{handle}->finish;
		unlike($writer->{err}, qr/ERROR/, "$writer->{name} had no error") or diag $writer->{err};
	}
	return;
}

# sharded while they write
for my $round (1 .. ($ENV{SHARD_ROUNDS} || 5))
{
	my %t = (type => pick(qw(integer text numeric timestamptz uuid integer[])), pk => pick(0, 1), toast => pick(0, 1), dropped => pick(0, 1), generated => pick(0, 1),
		range => pick(0, 0, 1), skew => pick(0, 0, 1));
	$t{value_sql} = $t{toast} ? "CASE WHEN r %% 4 = 0 THEN repeat(md5(r::text), 300) ELSE ''v'' || r END" : "''v'' || r";
	my $columns = pick('{k}', '{id,k}', '{k,id}');
	my $shards = pick(1, 2, 3, 7);
	my $what = "round $round, shards $shards, key $columns, " . join ', ', map { "$_ $t{$_}" } grep { $_ ne 'value_sql' } sort keys %t;
	note $what;
	make_table(%t);
	my @writers = map { start_session("writer$_", "CALL busy($_);\n") } 0 .. 2;
	wait_for("application_name = 'writer2' AND state <> 'idle'");
	select undef, undef, undef, 0.3;
	my ($status, $out, $err) = $node->psql('postgres', "SELECT elt.shard_table('t', '$columns', $shards)");
	is($err, '', "$what: sharded while others write");
	select undef, undef, undef, 0.3;
	stop_writers(@writers);
	is(differences(), '', "$what: the same rows");
	is($node->safe_psql('postgres', 'SELECT count(DISTINCT partition) FROM elt.shards'), $shards * ($t{range} ? 2 : 1), "$what: shards");
	is($node->safe_psql('postgres', $leftovers), '', "$what: nothing is left");
	is($node->safe_psql('postgres', "SELECT count(*) FROM t, LATERAL (SELECT tableoid) x WHERE k IS NOT NULL AND NOT EXISTS (SELECT FROM t s WHERE s.k = t.k AND s.id = t.id AND s.n = t.n)"),
		'0', "$what: each row is found by its key");
}

# killed, cancelled, terminated
my %ordinary = (type => 'integer', pk => 1, toast => 1, dropped => 1, generated => 1, range => 0, skew => 0, rows => 1000,
	value_sql => "CASE WHEN r %% 4 = 0 THEN repeat(md5(r::text), 300) ELSE ''v'' || r END");
my @cases = (
	[ 'shard-created', 'worker' ], [ 'shard-begun', 'leader' ], [ 'shard-begun', 'cancel' ], [ 'shard-copy', 'worker' ], [ 'shard-copy', 'cancel' ],
	[ 'shard-copied', 'leader' ], [ 'shard-copied', 'terminate' ], [ 'shard-indexed', 'worker' ], [ 'shard-followed', 'postmaster' ], [ 'shard-followed', 'terminate worker' ],
	[ 'shard-locked', 'leader' ], [ 'shard-locked', 'cancel' ], [ 'shard-converted', 'postmaster' ], [ 'shard-converted', 'cancel' ], [ 'shard-converted', 'leader' ]);

for my $case (@cases)
{
	my ($point, $victim) = @$case;
	my $what = "$victim at $point";
	make_table(%ordinary);
	my $hold = start_session('control', "SELECT pg_advisory_lock(0, hashtext('$point'));\nSELECT 'stop here', pg_sleep(600);\n");
	wait_for("application_name = 'control' AND query LIKE '%stop here%'");
	my $writer = start_session('writer0', "CALL busy(0);\n");
	my $leader = start_session('leader', "SET elt.debug_points = '$point';\nSELECT elt.shard_table('t', '{k}', 3);\n");
	my $waiting = wait_for("wait_event_type = 'Lock' AND wait_event = 'advisory'");
	my $leader_pid = wait_for("application_name = 'leader'");

	if ($victim eq 'worker') { kill 'KILL', $waiting; }
	elsif ($victim eq 'leader') { kill 'KILL', $leader_pid; }
	elsif ($victim eq 'postmaster') { restart_killed(); }
	elsif ($victim eq 'cancel') { $node->safe_psql('postgres', "SELECT pg_cancel_backend($leader_pid)"); }
	elsif ($victim eq 'terminate') { $node->safe_psql('postgres', "SELECT pg_terminate_backend($leader_pid)"); }
	else { $node->safe_psql('postgres', "SELECT pg_terminate_backend($waiting)"); }
	$leader->{handle}->finish;
	isnt($leader->{err}, '', "$what: it has failed");
	if ($victim =~ /^(worker|leader|postmaster)$/)
	{
		$_->{handle}->finish for ($hold, $writer);
		wait_until_up();
	}
	else
	{
		# still there, and not held up
		my $count = $node->safe_psql('postgres', 'SELECT count(*) FROM shadow');
		$node->poll_query_until('postgres', "SELECT count(*) > $count + 5 FROM shadow") or fail("$what: the writer does not get on");
		$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'control'");
		$hold->{handle}->finish;
		is($node->safe_psql('postgres', $leftovers), '', "$what: nothing is left") if $victim =~ /^(cancel|terminate worker)$/;
		ok($node->poll_query_until('postgres', "SELECT coalesce(($leftovers), '') = ''"), "$what: a worker cleans up") if $victim eq 'terminate';
		stop_writers($writer);
	}
	is(differences(), '', "$what: the same rows");
	is($node->safe_psql('postgres', "SELECT relkind FROM pg_class WHERE oid = 't'::regclass"), 'r', "$what: a table as before");
	$node->safe_psql('postgres', 'SELECT elt._clean_shards()');
	is($node->safe_psql('postgres', $leftovers), '', "$what: cleaned up");
	my ($status, $out, $err) = $node->psql('postgres', "SELECT elt.shard_table('t', '{k}', 3)");
	is($err, '', "$what: done the next time");
	is(differences(), '', "$what: the same rows in shards");
}

# the next call cleans up by itself, and a table that was dropped meanwhile
make_table(%ordinary);
$node->safe_psql('postgres', "BEGIN; SELECT elt.shard_table('t', '{k}', 3); ROLLBACK;");
ok($node->poll_query_until('postgres', "SELECT coalesce(($leftovers), '') = ''"), 'a worker cleans up after a caller that rolls back');
{
	my $pin = start_session('pin', "BEGIN; SELECT elt.shard_table('t', '{k}', 3); SELECT 'stop here', pg_sleep(600);\n");
	my $pid = wait_for("application_name = 'pin' AND query LIKE '%stop here%'");
	kill 'KILL', $pid;
	$pin->{handle}->finish;
	wait_until_up();
	isnt($node->safe_psql('postgres', $leftovers), '', 'a crash leaves something');
}
$node->safe_psql('postgres', "SELECT elt.shard_table('t', '{k}', 2)");
is($node->safe_psql('postgres', $leftovers), '', 'the next call cleans up');
is(differences(), '', 'the same rows');
make_table(%ordinary);
$node->safe_psql('postgres', "BEGIN; SELECT elt.shard_table('t', '{k}', 3); ROLLBACK; DROP TABLE t;");
$node->safe_psql('postgres', 'SELECT elt._clean_shards()');
is($node->safe_psql('postgres', $leftovers), '', 'so it does for a table that is gone');

# an autovacuum in the way is asked to leave; others for as long as lock_timeout says, all attempts together
$node->append_conf('postgresql.conf', "autovacuum = on\nautovacuum_naptime = 1s\nautovacuum_vacuum_cost_delay = 100ms\nautovacuum_vacuum_cost_limit = 1\n");
$node->safe_psql('postgres', q(CREATE TABLE vacuumed (id integer PRIMARY KEY, v text) WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0);
	INSERT INTO vacuumed SELECT i, repeat('v', 500) FROM generate_series(1, 10000) i; UPDATE vacuumed SET v = v || 'w'));
$node->reload;
wait_for("backend_type = 'autovacuum worker' AND query LIKE '%vacuumed%'");
my ($failed) = $node->psql('postgres', "SET lock_timeout = '5s'; SELECT elt.shard_table('vacuumed', '{id}', 2)");
is($failed, 0, 'an autovacuum leaves');
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->reload;
$node->safe_psql('postgres', 'CREATE TABLE kept (id integer PRIMARY KEY)');
my $keeper = start_session('keeper', 'BEGIN; LOCK TABLE kept IN ROW EXCLUSIVE MODE; SELECT pg_sleep(60);');
wait_for("application_name = 'keeper' AND wait_event = 'PgSleep'");
my $begun = time;
($failed) = $node->psql('postgres', "SET lock_timeout = '3s'; SELECT elt.shard_table('kept', '{id}', 2)");
isnt($failed, 0, 'who keeps the table, does not');
cmp_ok(time - $begun, '<', 12, 'lock_timeout is that of the whole call');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keeper'");
$keeper->{handle}->finish;
$node->safe_psql('postgres', 'DROP TABLE vacuumed, kept');

# dumped and restored
make_table(%ordinary);
$node->safe_psql('postgres', "CREATE VIEW v AS SELECT id, k FROM t; SELECT elt.shard_table('t', '{k}', 3)");
$node->safe_psql('postgres', 'CREATE DATABASE copy');
my $dump = $node->basedir . '/dump.sql';
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'dumped');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump ], 'restored');
is($node->safe_psql('copy', 'SELECT md5(string_agg(t::text, chr(10) ORDER BY id, t::text)), (SELECT count(*) FROM v) FROM t'),
	$node->safe_psql('postgres', 'SELECT md5(string_agg(t::text, chr(10) ORDER BY id, t::text)), (SELECT count(*) FROM v) FROM t'), 'the same rows there');
is($node->safe_psql('copy', 'SELECT count(*) FROM elt.shards'), '3', 'the same shards');

# a pg_dump whose snapshot is older fails, instead of dumping an empty table
$node->stop;
done_testing();
