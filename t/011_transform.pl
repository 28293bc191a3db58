# Crashes in the middle of transforms: afterwards the target is as before or complete, nothing is left behind, and what is not atomic goes on where it stopped.
#
# Halted at each debug point, a worker, the leader or the postmaster is killed. After the restart the target is compared with what it was; then the
# transform is run again and compared with its query. Then: cancelled leaders, DDL while workers work, many runs one after the other.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off\n");
$node->start;

$node->safe_psql('postgres', q{
	CREATE EXTENSION elt;
	CREATE TABLE source (id int, v text, n int);
	INSERT INTO source SELECT i, 'v' || i, i % 100 FROM generate_series(1, 20000) i;
	CREATE TABLE sharded (k int, n numeric) PARTITION BY HASH (k);
	CREATE TABLE sharded_0 PARTITION OF sharded FOR VALUES WITH (MODULUS 4, REMAINDER 0);
	CREATE TABLE sharded_1 PARTITION OF sharded FOR VALUES WITH (MODULUS 4, REMAINDER 1);
	CREATE TABLE sharded_2 PARTITION OF sharded FOR VALUES WITH (MODULUS 4, REMAINDER 2);
	CREATE TABLE sharded_3 PARTITION OF sharded FOR VALUES WITH (MODULUS 4, REMAINDER 3);
	INSERT INTO sharded SELECT i % 500, i FROM generate_series(1, 10000) i;

	CREATE TABLE replaced (id int PRIMARY KEY, v text, n int);
	CREATE TABLE grouped (k int, n numeric);
	CREATE TABLE summed (n int, c bigint);
	CREATE TABLE appended (id int, v text);
	CREATE TABLE moved (id int, v text);
	SELECT elt.create_transform('replace', 'replaced', 'SELECT id, v, n FROM source', workers => 2);
	SELECT elt.create_transform('group', 'grouped', 'SELECT k, sum(n) AS n FROM sharded GROUP BY k', workers => 2, publish => 'mvcc');
	SELECT elt.create_transform('sum', 'summed', 'SELECT n, count(*) AS c FROM source GROUP BY n', workers => 2);
	SELECT elt.create_transform('append', 'appended', 'SELECT id, v FROM source', workers => 2, mode => 'append', atomic => false);
	SELECT elt.create_transform('move', 'moved', 'SELECT id, v FROM source', workers => 2, atomic => false);

	CREATE VIEW differences AS
		SELECT 'replaced lacks' AS what FROM (SELECT id, v, n FROM source EXCEPT ALL TABLE replaced) x
		UNION ALL SELECT 'replaced has' FROM (TABLE replaced EXCEPT ALL SELECT id, v, n FROM source) x
		UNION ALL SELECT 'grouped lacks' FROM (SELECT k, sum(n) FROM sharded GROUP BY k EXCEPT ALL TABLE grouped) x
		UNION ALL SELECT 'grouped has' FROM (TABLE grouped EXCEPT ALL SELECT k, sum(n) FROM sharded GROUP BY k) x
		UNION ALL SELECT 'summed lacks' FROM (SELECT n, count(*) FROM source GROUP BY n EXCEPT ALL TABLE summed) x
		UNION ALL SELECT 'summed has' FROM (TABLE summed EXCEPT ALL SELECT n, count(*) FROM source GROUP BY n) x
		UNION ALL SELECT 'appended lacks' FROM (SELECT id, v FROM source EXCEPT ALL TABLE appended) x
		UNION ALL SELECT 'appended has' FROM (TABLE appended EXCEPT ALL SELECT id, v FROM source) x
		UNION ALL SELECT 'moved lacks' FROM (SELECT id, v FROM source EXCEPT ALL TABLE moved) x
		UNION ALL SELECT 'moved has' FROM (TABLE moved EXCEPT ALL SELECT id, v FROM source) x;
	CREATE VIEW leftovers AS
		SELECT relname::text AS what FROM pg_class WHERE relnamespace = 'elt_data'::regnamespace AND relname ~ '^t[0-9]'
		UNION ALL SELECT 'worker ' || pid FROM pg_stat_activity WHERE backend_type = 'elt worker';
});

# Starts psql on statements, each a transaction; the session is known by its application_name.
sub start_session
{
	my ($name, $script) = @_;
	my %session = (name => $name, out => '', err => '');
	$session{handle} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . " application_name=$name", map { ('-c', $_) } split /; /, $script ],
		'<', \undef, '>', \$session{out}, '2>', \$session{err}, IPC::Run::timeout(180));
	return \%session;
}

sub finish
{
	my ($session) = @_;
	$session->{handle}->finish;
	return;
}

# A session that holds the lock of a point, so that others wait there.
sub hold
{
	my ($point) = @_;
	my $holder = start_session('holder', "SELECT pg_advisory_lock(0, hashtext('$point')); SELECT 'held', pg_sleep(600)");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'holder' AND query LIKE '%held%'")
	  or die "$point is not held";
	return $holder;
}

# It lets go; where the server was restarted, it has ended already.
sub quit
{
	my ($holder) = @_;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'");
	finish($holder);
	return;
}

# Waits until somebody of this kind waits at a point; its process id.
sub wait_at
{
	my ($point, $what) = @_;
	my $kind = $what eq 'worker' ? 'elt worker' : 'client backend';
	my $query = "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND l.locktype = 'advisory' AND l.objid = "
	  . "(hashtext('$point')::bigint & 4294967295)::oid AND a.backend_type = '$kind'";
	$node->poll_query_until('postgres', "SELECT count(*) > 0 $query") or die "nobody is at $point";
	return $node->safe_psql('postgres', "SELECT min(pid) $query");
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

sub crash
{
	my ($what, $pid) = @_;
	if ($what ne 'postmaster')
	{
		kill 'KILL', $pid or die "no process $pid";
		wait_until_up();
		return;
	}
	$node->kill9;
	for (1 .. 600)
	{
		return if $node->start(fail_ok => 1);
		$node->{_pid} = undef;
		select undef, undef, undef, 0.1;
	}
	die 'the server did not start';
}

sub checksum
{
	my ($table) = @_;
	return $node->safe_psql('postgres', "SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM $table t");
}

my %target = (replace => 'replaced', group => 'grouped', sum => 'summed', append => 'appended', move => 'moved');

# all of them once
for my $name (sort keys %target)
{
	$node->safe_psql('postgres', "CALL elt.run('$name')");
}
is($node->safe_psql('postgres', 'TABLE differences LIMIT 5'), '', 'all are what their queries give');
is($node->safe_psql('postgres', 'TABLE leftovers'), '', 'nothing is left behind');

# atomic ones: as before, whatever is killed; then complete
for my $case (
	[ 'replace', 'transform-started', 'leader' ],
	[ 'replace', 'transform-task', 'worker' ],
	[ 'replace', 'transform-task', 'postmaster' ],
	[ 'replace', 'transform-task-done', 'worker' ],
	[ 'replace', 'transform-index', 'worker' ],
	[ 'replace', 'transform-publish', 'leader' ],
	[ 'replace', 'transform-locked', 'leader' ],
	[ 'replace', 'transform-swapped', 'leader' ],
	[ 'replace', 'transform-published', 'postmaster' ],
	[ 'group', 'transform-task-done', 'worker' ],
	[ 'group', 'transform-published', 'leader' ],
	[ 'sum', 'transform-task', 'worker' ],
	[ 'sum', 'transform-swapped', 'postmaster' ])
{
	my ($name, $point, $what) = @$case;
	$node->safe_psql('postgres', "UPDATE source SET n = n + 1 WHERE id % 50 = 3; UPDATE sharded SET n = n + 1 WHERE k = 7");
	my $before = checksum($target{$name});
	my $holder = hold($point);
	my $session = start_session('runner', "SET elt.debug_points = '$point'; CALL elt.run('$name')");
	my $pid = wait_at($point, $point =~ /task|index/ ? 'worker' : 'leader');
	crash($what, $pid);
	finish($session);
	quit($holder);
	is(checksum($target{$name}), $before, "$name, $what killed at $point: the target is as before");
	$node->safe_psql('postgres', "CALL elt.run('$name')");
	is($node->safe_psql('postgres', "SELECT * FROM differences WHERE what LIKE '$target{$name}%' LIMIT 3"), '', "$name, $what killed at $point: the next run is complete");
	is($node->safe_psql('postgres', 'TABLE leftovers'), '', "$name, $what killed at $point: nothing is left behind");
}

# those that are not: they go on where they stopped, and do each shard once
for my $case (
	[ 'append', 'transform-task', 'worker' ],
	[ 'append', 'transform-task-done', 'worker' ],
	[ 'append', 'transform-task-done', 'postmaster' ],
	[ 'move', 'transform-task', 'worker' ],
	[ 'move', 'transform-task-done', 'leader' ],
	[ 'move', 'transform-published', 'postmaster' ])
{
	my ($name, $point, $what) = @$case;
	$node->safe_psql('postgres', "BEGIN; CREATE TABLE fresh (LIKE source); INSERT INTO fresh SELECT id, v || 'x', n FROM source; TRUNCATE source;"
		  . " INSERT INTO source TABLE fresh; DROP TABLE fresh; TRUNCATE appended; COMMIT");

	# some shards are done: the point is passed until somebody holds it
	$node->safe_psql('postgres', "CREATE FUNCTION slow(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_sleep(0.0002); RETURN \$1; END \$\$")
	  if $node->safe_psql('postgres', "SELECT to_regproc('slow') IS NULL") eq 't';
	$node->safe_psql('postgres', "SELECT elt.alter_transform('$name', query => 'SELECT id, slow(v) AS v FROM source')");
	my $run = $node->safe_psql('postgres', 'SELECT coalesce(max(id), 0) FROM elt.node_run');
	my $session = start_session('runner', "SET elt.debug_points = '$point'; CALL elt.run('$name')");
	$node->poll_query_until('postgres', "SELECT count(*) >= 2 FROM elt.run_shard WHERE run > $run AND state = 'done'") or die 'no shard is done';
	my $holder = hold($point);
	my $pid = wait_at($point, $point =~ /task/ ? 'worker' : 'leader');
	my $done = $node->safe_psql('postgres', "SELECT string_agg(shard::text, ' ' ORDER BY shard) FROM elt.run_shard WHERE run > $run AND state = 'done'");
	$pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE application_name = 'runner'") if $what eq 'leader';
	crash($what, $pid);
	finish($session);
	quit($holder);
	my $after = $node->safe_psql('postgres', "SELECT string_agg(shard::text, ' ' ORDER BY shard) FROM elt.run_shard WHERE run > $run AND state = 'done'");
	like($after, qr/^\Q$done\E/, "$name, $what killed at $point: shards that were done stay so");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM moved'), 20000, "$name, $what killed at $point: moved has as many rows as before");
	$node->safe_psql('postgres', "CALL elt.run('$name')");
	is($node->safe_psql('postgres', "SELECT * FROM differences WHERE what LIKE '$target{$name}%' LIMIT 3"), '', "$name, $what killed at $point: complete after all");
	is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE state <> 'done'), count(DISTINCT run) FROM elt.run_shard WHERE run > $run"),
		$node->safe_psql('postgres', "SELECT count(*), 0, 1 FROM elt.run_shard WHERE run = (SELECT max(id) FROM elt.node_run)"),
		"$name, $what killed at $point: it went on with the same run");
	my @attempts = split /\n/, $node->safe_psql('postgres', "SELECT shard FROM elt.run_shard WHERE run > $run AND attempts = 1 AND shard = ANY (string_to_array('$done', ' ')::int[]) ORDER BY shard");
	is(join(' ', @attempts), $done, "$name, $what killed at $point: each shard that was done has been done once");
	is($node->safe_psql('postgres', 'TABLE leftovers'), '', "$name, $what killed at $point: nothing is left behind");
}

# a leader that is cancelled, or terminated, takes its workers with it
for my $how ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $before = checksum('replaced');
	my $holder = hold('transform-task');
	my $session = start_session('runner', "SET elt.debug_points = 'transform-task'; CALL elt.run('replace')");
	wait_at('transform-task', 'worker');
	$node->safe_psql('postgres', "SELECT $how(pid) FROM pg_stat_activity WHERE application_name = 'runner'");
	finish($session);
	like($session->{err}, qr/cancel|terminat/, "$how: the run ends");
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'elt worker'") or die 'workers are left';
	pass("$how: no worker is left");
	quit($holder);
	is(checksum('replaced'), $before, "$how: the target is as before");
	$node->safe_psql('postgres', "CALL elt.run('replace')");
	is($node->safe_psql('postgres', 'TABLE leftovers'), '', "$how: nothing is left after the next run");
}

# who alters a table waits for workers, not for the leader, and the workers not for him
for my $ddl ('ALTER TABLE replaced ADD COLUMN more int', 'ALTER TABLE source ADD COLUMN more int', 'CREATE INDEX ON replaced (v)')
{
	my $holder = hold('transform-task');
	my $session = start_session('runner', "SET elt.debug_points = 'transform-task'; CALL elt.run('replace')");
	wait_at('transform-task', 'worker');
	my $alter = start_session('ddl', $ddl);
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'ddl' AND wait_event_type = 'Lock'") or die 'does not wait';
	quit($holder);
	my $start = time;
	finish($session);
	finish($alter);
	ok(time - $start < 15, "$ddl: nobody waits for long");
	is($alter->{err}, '', "$ddl: done");
	my ($status) = $node->psql('postgres', "CALL elt.run('replace')");
	is($status, 0, "$ddl: the next run works");
	is($node->safe_psql('postgres', 'TABLE leftovers'), '', "$ddl: nothing is left behind");
}

# many runs
$node->safe_psql('postgres', "SELECT elt.alter_transform('move', query => 'SELECT id, v FROM source')");
my $files = $node->safe_psql('postgres', 'SELECT count(*) FROM pg_class');
$node->safe_psql('postgres', join('', map { "CALL elt.run('$_');\n" } ('replace', 'group', 'sum', 'move') x 15));
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_class'), $files, 'as many relations as before');
is($node->safe_psql('postgres', 'TABLE leftovers'), '', 'nothing is left after many runs');
$node->safe_psql('postgres', "SET elt.run_history = 3;\nCALL elt.run('replace');\nCALL elt.run('sum');");
is($node->safe_psql('postgres', "SELECT count(DISTINCT run) FROM elt.run_shards WHERE node IN ('replace', 'sum')"), 6, 'old runs are forgotten');
my $directory = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT 'base/' || oid FROM pg_database WHERE datname = 'postgres'");
$node->safe_psql('postgres', 'CHECKPOINT');
my @orphans = split /\n/, $node->safe_psql('postgres', q{
	SELECT f FROM pg_ls_dir((SELECT 'base/' || oid FROM pg_database WHERE datname = current_database())) f
	WHERE f ~ '^[0-9]+$' AND NOT EXISTS (SELECT FROM pg_class WHERE pg_relation_filenode(oid)::text = f)});
# what a crash cuts off, the server cannot know of: at most the files of runs whose creation did not commit
cmp_ok(scalar(@orphans), '<', 40, 'hardly any file is orphaned');

# a dump has the definitions; what an append has read is known not to be of this database
my $dump = $node->basedir . '/dump.sql';
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'dumped');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restored');
$node->safe_psql('restored', "CALL elt.run('replace')");
is($node->safe_psql('restored', "SELECT count(*) FROM elt.transforms"), 5, 'the definitions are there');
is($node->safe_psql('restored', "SELECT * FROM differences WHERE what LIKE 'replaced%' LIMIT 3"), '', 'and work');
my (undef, undef, $err) = $node->psql('restored', "CALL elt.run('append')");
like($err, qr/has appended the rows of "source" already/, 'an append does not repeat itself in a copy');

$node->stop;
done_testing();
