# Runs of tasks by background workers, and what may happen to them: each end of a leader, of a worker and of the server; limits; fairness; and that
# nothing is ever left behind.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# mmap: a segment of shared memory is a file, which can be counted
$node->append_conf('postgresql.conf', q{
restart_after_crash = on
autovacuum = off
shared_preload_libraries = ''
dynamic_shared_memory_type = mmap
max_worker_processes = 6
elt.cpu_count = 4
elt.max_workers = 4
});
$node->start;

$node->safe_psql('postgres', q{
	CREATE EXTENSION elt;
	CREATE TABLE done (run text, n int, since timestamptz, until timestamptz DEFAULT clock_timestamp());
	CREATE TABLE item (id int);
	CREATE ROLE bounded LOGIN;
	ALTER ROLE bounded SET elt.max_workers_per_role = 1;
	CREATE ROLE stranger LOGIN;
	CREATE ROLE monitor LOGIN;
	GRANT pg_monitor TO monitor;
	-- a task that takes a while and then tells who did it
	CREATE PROCEDURE task(run text, n int, seconds float) LANGUAGE plpgsql AS $$
	DECLARE
		since timestamptz := clock_timestamp();
	BEGIN
		PERFORM pg_sleep(seconds);
		INSERT INTO done VALUES (run, n, since);
	END $$;
	CREATE FUNCTION commands(run text, tasks int, seconds float) RETURNS text[] LANGUAGE sql AS
		$$ SELECT array_agg(format('CALL task(%L, %s, %s)', run, i, seconds)) FROM generate_series(1, tasks) i $$;
	GRANT ALL ON done TO PUBLIC;
});

my $workers = q{FROM pg_stat_activity WHERE backend_type = 'elt worker'};

sub value
{
	my ($query) = @_;
	return $node->safe_psql('postgres', $query);
}

# Starts psql on a script; the session is known by its application_name.
sub start_session
{
	my ($name, $script, %option) = @_;
	my %session = (name => $name, out => '', err => '');
	my $file = $node->basedir . "/$name.sql";
	unlink $file;
	append_to_file($file, $script);
	my $connection = $node->connstr('postgres') . " application_name=$name" . ($option{user} ? " user=$option{user}" : '');
	$session{handle} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $connection, '-f', $file ],
		'<', \undef, '>', \$session{out}, '2>', \$session{err}, IPC::Run::timeout(180));
	return \%session;
}

sub finish
{
	my ($session) = @_;
	$session->{handle}->finish;
	return $session;
}

sub wait_for
{
	my ($query, $what) = @_;
	$node->poll_query_until('postgres', $query) or die "$what did not happen";
	return;
}

sub pid_of
{
	my ($name) = @_;
	return value("SELECT pid FROM pg_stat_activity WHERE application_name = '$name'");
}

sub wait_until_up
{
	for (1 .. 1800)
	{
		my ($status, $out) = $node->psql('postgres', 'SELECT 1');
		return if $status == 0 && $out eq '1';
		sleep 0.1;
	}
	die 'the server did not come back';
}

# The processes of the tasks, when as many as expected have one.
sub working
{
	my ($n) = @_;
	wait_for("SELECT count(*) = $n $workers AND state = 'active'", "$n workers");
	return split /\n/, value("SELECT pid $workers ORDER BY application_name");
}

# Segments of shared memory; the server's own are among them.
sub segments
{
	my @files = glob($node->data_dir . '/pg_dynshmem/mmap.*');
	return scalar @files;
}

sub process_is_there
{
	my ($pid) = @_;
	return kill 0, $pid;
}

# Nothing is left of a run: workers, slots, shared memory.
sub nothing_left
{
	my ($what, $segments) = @_;
	is(value("SELECT count(*) $workers"), '0', "$what: no worker is left");
	is(value(q{SELECT in_use FROM elt.worker_limits() WHERE scope = 'cluster'}), '0', "$what: no slot is taken");
	is(value(q{SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND database = 0}), '0', "$what: no lock is held");
	is(segments(), $segments, "$what: no shared memory is left") if defined $segments;
	return;
}

my $two_long = q{SELECT count(*) FROM elt.run_parallel(commands('long', 2, 100));};
# the second never waits for anything
my $one_busy = q{SELECT count(*) FROM elt.run_parallel(ARRAY['CALL task(''long'', 1, 100)', 'SELECT count(*) FROM generate_series(1, 1000000000) i']);};



# 1. without shared_preload_libraries
is(value(q{SELECT count(*) FROM elt.run_parallel(commands('first', 4, 0.1))}), '4', 'workers without shared_preload_libraries');
is(value(q{SELECT count(*) FROM done WHERE run = 'first'}), '4', 'and their tasks are committed');
value('SELECT count(*) FROM pg_stat_database');
my $segments = segments();
nothing_left('an ordinary run', $segments);

# 2. ends of the leader
for my $run ([ $two_long, 'sleeping' ], [ $one_busy, 'busy' ])
{
	my ($script, $kind) = @$run;
	my $session = start_session('leader', $script);
	my @pids = working(2);
	value('SELECT pg_cancel_backend(' . pid_of('leader') . ')');
	like(finish($session)->{err}, qr/57014: canceling statement due to user request/, "$kind workers, leader cancelled");
	is(scalar(grep { process_is_there($_) } @pids), 0, "$kind workers, leader cancelled: they ended before the leader said so");
	nothing_left("$kind workers, leader cancelled", $segments);

	$session = start_session('leader', $script);
	@pids = working(2);
	my $leader = pid_of('leader');
	value("SELECT pg_terminate_backend($leader, 60000)");
	ok(!process_is_there($leader), "$kind workers, leader terminated");
	is(scalar(grep { process_is_there($_) } @pids), 0, "$kind workers, leader terminated: they ended before it");
	finish($session);
	nothing_left("$kind workers, leader terminated", $segments);

	$session = start_session('leader', "SET statement_timeout = '500ms';\n$script");
	like(finish($session)->{err}, qr/57014: canceling statement due to statement timeout/, "$kind workers, statement_timeout");
	nothing_left("$kind workers, statement_timeout", $segments);
}
is(value(q{SELECT count(*) FROM done WHERE run = 'long'}), '0', 'tasks that were ended have left nothing');

# a task that fails ends the others
my $session = start_session('leader', q{SELECT elt.run_parallel(ARRAY['CALL task(''long'', 1, 100)', 'SELECT pg_sleep(0.3), 1/0']);});
finish($session);
like($session->{err}, qr/22012: division by zero.*task "command 2\/2"/s, 'a task fails');
nothing_left('a task fails', $segments);

# the client goes away: nobody reads the answer, but the run is over when its statement is
$session = start_session('leader', "SET client_connection_check_interval = '100ms';\n$two_long");
working(2);
$session->{handle}->kill_kill;
wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'leader'", 'end of the leader');
nothing_left('the client is gone', $segments);

# the leader cannot answer, being stopped: workers keep its statement_timeout by themselves
$session = start_session('leader', "SET statement_timeout = '1s';\n$one_busy");
my @stopped = working(2);
my $stopped = pid_of('leader');
kill 'STOP', $stopped;
wait_for(qq{SELECT count(*) = 0 $workers AND state = 'active' AND backend_xmin IS NOT NULL}, 'end of the tasks');
pass('leader stopped: the tasks end by themselves');
kill 'CONT', $stopped;
like(finish($session)->{err}, qr/57014: canceling statement due to statement timeout/, 'leader stopped: the error is the same');
nothing_left('leader stopped', $segments);

# a large error, and more notices than a queue holds, while the leader is cancelled
is(value(q{SELECT length(error) FROM elt.run_parallel(ARRAY[$$DO 'BEGIN RAISE EXCEPTION ''%'', repeat(''x'', 1000000); END'$$], keep_going => true)}), '1000000', 'a large error');
$session = start_session('leader', q{
	SET client_min_messages = error;
	SET statement_timeout = '500ms';
	SELECT elt.run_parallel(array_fill($$DO 'BEGIN LOOP RAISE NOTICE ''%'', repeat(''x'', 1000); END LOOP; END'$$::text, ARRAY[2]));});
like(finish($session)->{err}, qr/57014: canceling statement due to statement timeout/, 'workers that send while the leader ends');
nothing_left('workers that send while the leader ends', $segments);

# a role that may not log in, taken on by SET SESSION AUTHORIZATION: before 17 no worker can be had for it, which is no error
value('CREATE ROLE nologin');
my ($status, $out, $err) = $node->psql('postgres', q{SET SESSION AUTHORIZATION nologin; SELECT state FROM elt.run_parallel(ARRAY['SELECT 1'])});
is("$status $out", '0 done', 'a role that cannot log in');
is($node->safe_psql('postgres', q{SET SESSION AUTHORIZATION bounded; SELECT count(*), min(worker) > 0 FROM elt.run_parallel(ARRAY[
	'DO $$ BEGIN IF session_user <> ''bounded'' THEN RAISE ''%'', session_user; END IF; END $$', 'SELECT 1'])}), '2|t', 'SET SESSION AUTHORIZATION');

# 3. a worker that is ended
$session = start_session('leader', $two_long);
my @pids = working(2);
value("SELECT pg_terminate_backend($pids[0])");
like(finish($session)->{err}, qr/57P01: terminating background worker "elt worker" due to administrator command.*task "command 1\/2"/s, 'worker terminated');
nothing_left('worker terminated', $segments);
$session = start_session('leader', $two_long);
@pids = working(2);
value("SELECT pg_cancel_backend($pids[1])");
like(finish($session)->{err}, qr/57014: canceling statement due to user request.*task "command 2\/2"/s, 'worker cancelled');
nothing_left('worker cancelled', $segments);
# with keep_going the other tasks are done, by another worker if need be
$session = start_session('leader', q{SELECT command, state, sqlstate FROM elt.run_parallel(ARRAY['CALL task(''kept'', 1, 100)', 'CALL task(''kept'', 2, 0)', 'CALL task(''kept'', 3, 0)'],
	workers => 1, keep_going => true);});
@pids = working(1);
value("SELECT pg_terminate_backend($pids[0])");
is(finish($session)->{out}, "1|failed|57P01\n2|done|\n3|done|\n", 'worker terminated, keep_going');
nothing_left('worker terminated, keep_going', $segments);

# 4. crashes
$session = start_session('leader', $two_long);
@pids = working(2);
kill 'KILL', $pids[0];
finish($session);
wait_until_up();
is(value(q{SELECT count(*) FROM done WHERE run = 'long'}), '0', 'worker killed: nothing of its run');
is(scalar(grep { process_is_there($_) } @pids), 0, 'worker killed: the other one is gone too');
is(value(q{SELECT count(*) FROM elt.run_parallel(commands('after', 2, 0))}), '2', 'worker killed: the next run');
nothing_left('worker killed');

# just before it commits
my $control = start_session('control', "SELECT pg_advisory_lock(0, hashtext('worker-done'));\nSELECT 'stop here', pg_sleep(600);\n");
wait_for(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%stop here%' AND application_name = 'control'}, 'a stop');
$session = start_session('leader', q{SET elt.debug_points = 'worker-done'; SELECT count(*) FROM elt.run_parallel(commands('long', 2, 0));});
wait_for(qq{SELECT count(*) = 2 $workers AND wait_event = 'advisory'}, 'two stopped workers');
kill 'KILL', (working(2))[0];
finish($_) for $session, $control;
wait_until_up();
is(value(q{SELECT count(*) FROM done WHERE run = 'long'}), '0', 'worker killed before it commits: nothing');

$session = start_session('leader', $one_busy);
@pids = working(2);
kill 'KILL', pid_of('leader');
finish($session);
wait_until_up();
is(scalar(grep { process_is_there($_) } @pids), 0, 'leader killed: its workers are gone');
is(value(q{SELECT count(*) FROM elt.run_parallel(commands('after', 2, 0))}), '2', 'leader killed: the next run');
nothing_left('leader killed');

for my $run ([ $two_long, 'sleeping', 0 ], [ $one_busy, 'busy', 0 ], [ $one_busy, 'orphaned', 1 ])
{
	my ($script, $kind, $leader_too) = @$run;
	$session = start_session('leader', $script);
	@pids = working(2);
	unshift @pids, pid_of('leader');
	$node->kill9;
	# nobody is left who could tell them
	kill 'KILL', $pids[0] if $leader_too;
	my $since = time;
	while (time - $since < 60 && grep { process_is_there($_) } @pids)
	{
		sleep 0.1;
	}
	is(scalar(grep { process_is_there($_) } @pids), 0, "postmaster killed, $kind workers: they end by themselves, and their leader");
	$session->{handle}->finish;
	for (1 .. 600)
	{
		last if $node->start(fail_ok => 1);
		$node->{_pid} = undef;
		sleep 0.1;
	}
	wait_until_up();
}
is(value(q{SELECT count(*) FROM done WHERE run = 'long'}), '0', 'postmaster killed: nothing of its runs');
is(value(q{SELECT count(*) FROM elt.run_parallel(commands('after', 2, 0))}), '2', 'postmaster killed: the next run');
nothing_left('postmaster killed');

# 5. the snapshot. A leader that has written, and others with a higher xid that commit: no worker may call its rows aborted in their hint bits.
$node->safe_psql('postgres', q{
	CREATE TABLE hinted (id int, deleted_soon boolean);
	INSERT INTO hinted SELECT i, true FROM generate_series(1, 100) i});
$session = start_session('leader', q{
	BEGIN ISOLATION LEVEL READ COMMITTED;
	INSERT INTO hinted SELECT i, false FROM generate_series(101, 200) i;
	DELETE FROM hinted WHERE deleted_soon;
	\! sleep 1
	SELECT string_agg(DISTINCT worker::text, ' '), sum(rows) FROM elt.run_parallel(array_fill('SELECT * FROM hinted'::text, ARRAY[8]), same_snapshot => true, read_only => true);
	SELECT min(worker) > 0, sum(rows) FROM elt.run_parallel(array_fill('SELECT * FROM hinted'::text, ARRAY[8]), read_only => true);
	SELECT elt.run_parallel(array_fill('INSERT INTO item SELECT count(*) FROM hinted'::text, ARRAY[8]));
	COMMIT;
});
for (1 .. 20)
{
	value('INSERT INTO item VALUES (0)');
	sleep 0.05;
}
finish($session);
is($session->{out} =~ s/^\(.*\n//mgr, "0|800\nt|800\n", 'a leader that has written reads by itself, unless each worker has a snapshot of its own');
is(value('SELECT count(*), min(id), max(id) FROM hinted'), '100|101|200', 'its rows are there, and those it deleted are not');
# the same the other way round: what the leader writes while workers have its snapshot
$session = start_session('leader', q{
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT count(*) FROM hinted;
	SELECT sum(rows) FROM elt.run_parallel(array_fill('SELECT * FROM hinted'::text, ARRAY[4]), same_snapshot => true, read_only => true);
	INSERT INTO hinted VALUES (201, false);
	SELECT sum(rows), max(worker) FROM elt.run_parallel(array_fill('SELECT * FROM hinted'::text, ARRAY[4]), same_snapshot => true, read_only => true);
	COMMIT;
});
is(finish($session)->{out}, "100\n400\n404|0\n", 'before and after its first write');
is(value('SELECT count(*), max(id) FROM hinted'), '101|201', 'and what it wrote is there');

# all workers see the same, while others commit
$session = start_session('leader', q{SELECT count(DISTINCT rows) FROM elt.run_parallel(array_fill('SELECT pg_sleep(0.02) FROM (SELECT count(*) FROM item) s, item LIMIT 1'::text, ARRAY[40])
	|| array_fill('SELECT * FROM item'::text, ARRAY[40]), same_snapshot => true, read_only => true);});
for (1 .. 10)
{
	value('INSERT INTO item VALUES (1)');
}
is(finish($session)->{out}, "2\n", 'one snapshot');

# 6. limits
$session = start_session('leader', $two_long, user => 'bounded');
wait_for("SELECT count(*) = 1 $workers AND state = 'active'", 'a worker of the role');
sleep 0.3;
is(value("SELECT count(*) $workers"), '1', 'elt.max_workers_per_role by ALTER ROLE');
value('SELECT pg_cancel_backend(' . pid_of('leader') . ')');
finish($session);
# the limit is not the role's to change, not even before the library is loaded that knows it
($status, $out, $err) = $node->psql('postgres', q{SET elt.max_workers_per_role = 4; SELECT count(DISTINCT worker) FROM elt.run_parallel(commands('bounded', 4, 0.1)); SHOW elt.max_workers_per_role},
	extra_params => [ '-U', 'bounded' ]);
is($out, "1\n1", 'elt.max_workers_per_role cannot be set by the role');
value('ALTER DATABASE postgres SET elt.max_workers_per_database = 2');
$session = start_session('leader', q{SELECT count(*) FROM elt.run_parallel(commands('long', 4, 100));});
working(2);
sleep 0.3;
is(value("SELECT count(*) $workers"), '2', 'elt.max_workers_per_database by ALTER DATABASE');
is(value(q{SELECT string_agg(scope || ' ' || coalesce(max_workers, -1) || ' ' || coalesce(in_use, -1), ', ') FROM elt.worker_limits()}),
	'cluster 4 2, database 2 2, role -1 -1', 'elt.worker_limits');
# one that waits for a worker in vain does its tasks itself
is(value(q{SET elt.worker_wait = '300ms'; SELECT count(*), max(worker) FROM elt.run_parallel(commands('alone', 2, 0))}), '2|0', 'no slot is free, and none becomes free');
is(value(q{SET elt.worker_wait = '300ms'; SELECT count(*), max(worker) FROM elt.run_parallel(ARRAY['SELECT 1', 'SELECT 2'], read_only => true)}), '2|0', 'likewise, reading');
value('SELECT pg_cancel_backend(' . pid_of('leader') . ')');
finish($session);
value('ALTER DATABASE postgres RESET elt.max_workers_per_database');
nothing_left('limits');

# every background worker of the server is taken: some by runs, none is an error
my @long = map { start_session("leader$_", q{SELECT count(*) FROM elt.run_parallel(commands('long', 2, 100));}) } 1 .. 2;
working(4);
$node->append_conf('postgresql.conf', "elt.max_workers = 20\n");
$node->reload;
push @long, start_session('leader3', q{SELECT count(*) FROM elt.run_parallel(commands('long', 4, 100));});
wait_for(qq{SELECT count(*) >= 5 $workers}, 'all of max_worker_processes');
($status, $out, $err) = $node->psql('postgres', q{SELECT count(*), max(worker) FROM elt.run_parallel(commands('alone', 4, 0.01))});
is($status, 0, 'max_worker_processes used up: no error');
like($out, qr/^4\|[01]$/, 'max_worker_processes used up: the session does it');
like($err, qr/no background worker is free/, 'max_worker_processes used up: said so');
is(scalar(() = $err =~ /NOTICE/g), 1, 'once');
value(qq{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'leader_'});
finish($_) for @long;
nothing_left('max_worker_processes used up');

# 7. two runs share
$node->append_conf('postgresql.conf', "elt.max_workers = 2\n");
$node->reload;
value('TRUNCATE done');
my @runs = map { my $session = start_session("run$_", qq{SELECT count(*), count(DISTINCT worker) > 1 FROM elt.run_parallel(commands('run$_', 8, 0.25));}); sleep 0.1; $session } 1 .. 2;
finish($_) for @runs;
is($runs[0]{out} . $runs[1]{out}, "8|t\n8|t\n", 'two runs on two slots');
# as long as both had tasks: how much of the worker time had the one that came second
my $part = value(q{
	WITH span AS (SELECT max(a) AS a, min(b) AS b FROM (SELECT min(since) AS a, max(until) AS b FROM done GROUP BY run) s)
	SELECT round((sum(extract(epoch FROM least(until, b) - greatest(since, a))) FILTER (WHERE run = 'run2')
		/ sum(extract(epoch FROM least(until, b) - greatest(since, a))))::numeric, 2) FROM done, span WHERE until > a AND since < b});
ok($part >= 0.4 && $part <= 0.6, "each has 40 % of the worker time at least: $part");
my $most = value(q{SELECT max(n) FROM (SELECT (SELECT count(*) FROM done o WHERE o.since <= d.since AND o.until > d.since) AS n FROM done d) s});
is($most, '2', 'and there were never more workers than slots');
nothing_left('two runs');
# a run that could not have a worker at once gets one when it is free
value('TRUNCATE done');
@runs = (start_session('run1', q{SELECT count(*) FROM elt.run_parallel(commands('run1', 2, 1));}));
working(2);
push @runs, start_session('run2', q{SELECT count(*), min(worker) > 0 FROM elt.run_parallel(commands('run2', 4, 0.05));});
finish($_) for @runs;
is($runs[1]{out}, "4|t\n", 'a run waits for its first worker');
nothing_left('a run that waits');

# 8. what can be seen
$session = start_session('leader', q{SELECT count(*) FROM elt.run_parallel(commands('seen', 3, 100), workers => 2);}, user => 'bounded');
working(1);
my $shown = q{SELECT count(*), min(task), min(task_number), min(tasks), min(role::text), bool_and(since <= now()) FROM elt.workers};
is($node->safe_psql('postgres', $shown, extra_params => [ '-U', 'bounded' ]), '1|command 1/3|1|3|bounded|t', 'elt.workers, by whom they work for');
is($node->safe_psql('postgres', $shown, extra_params => [ '-U', 'monitor' ]), '1|command 1/3|1|3|bounded|t', 'elt.workers, by a monitor');
is($node->safe_psql('postgres', 'SELECT count(*) FROM elt.workers', extra_params => [ '-U', 'stranger' ]), '0', 'elt.workers, by a stranger');
my $progress = 'SELECT node, phase, tasks_done, tasks_total, workers, snapshot_age >= 0 FROM elt.progress';
is($node->safe_psql('postgres', $progress, extra_params => [ '-U', 'bounded' ]), '|running tasks|0|3|1|t', 'elt.progress');
is($node->safe_psql('postgres', $progress, extra_params => [ '-U', 'stranger' ]), '', 'elt.progress, by a stranger');
is(value("SELECT application_name $workers"), 'elt parallel command 1/3', 'application_name');
value('SELECT pg_cancel_backend(' . pid_of('leader') . ')');
finish($session);

$session = start_session('leader', q{SELECT count(*) FROM elt.run_parallel(ARRAY['SELECT 1', 'SELECT pg_sleep(100)'], weights => ARRAY[3, 1]);});
wait_for('SELECT tasks_done = 1 AND rows_done = 1 AND rows_per_second > 0 AND eta > interval \'0\' FROM elt.progress', 'progress by weight');
pass('elt.progress: rows a second, and when it will be over');
value('SELECT pg_cancel_backend(' . pid_of('leader') . ')');
finish($session);

# 9. errors that pass, and others
value(q{TRUNCATE item; INSERT INTO item VALUES (1), (2); CREATE SEQUENCE tries});

# Locks a row in a session, runs commands in another, ends the first after `seconds`; returns what the second shows.
sub run_against_lock
{
	my ($seconds, $end, $arguments, $settings) = @_;
	my $holder = start_session('holder', "BEGIN;\nUPDATE item SET id = id WHERE id = 1;\n\\! sleep $seconds\n$end;\n");
	wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'holder' AND state = 'idle in transaction'", 'the lock');
	my $runner = start_session('runner', "$settings;\nSELECT command, state, attempts > 1, sqlstate FROM elt.run_parallel($arguments);\n");
	finish($_) for $holder, $runner;
	return $runner->{out};
}
my $update = q{'UPDATE item SET id = id WHERE id = 1'};
is(run_against_lock(1, 'COMMIT', "ARRAY[$update], retries => 1000", "SET lock_timeout = '30ms'"), "1|done|t|\n", 'a lock that is held for a while');
is(run_against_lock(1, 'COMMIT', "ARRAY[$update, 'UPDATE item SET id = id WHERE id = 2'], retries => 2, keep_going => true", "SET lock_timeout = '30ms'"),
	"1|failed|t|55P03\n2|done|f|\n", 'for longer than there are attempts: the other task is done');
is(run_against_lock(1, 'COMMIT', "ARRAY[$update], retries => 1000, same_snapshot => true, keep_going => true", 'SET lock_timeout = 0'),
	"1|failed|f|40001\n", 'updated since the shared snapshot: no attempt helps');
is(run_against_lock(1, 'COMMIT', "ARRAY[$update], retries => 3", 'BEGIN ISOLATION LEVEL REPEATABLE READ'), "1|done|t|\n", 'a snapshot for each attempt');
is(value(q{SELECT state, attempts, sqlstate FROM elt.run_parallel(ARRAY['SELECT nextval(''tries''), 1/0'], keep_going => true, retries => 5)}), 'failed|1|22012', 'an error that stays');
is(value('SELECT last_value FROM tries'), '1', 'is not tried again');
my $held = start_session('holder', "BEGIN;\nUPDATE item SET id = id WHERE id = 1;\nSELECT pg_sleep(100);\n");
wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'holder' AND query LIKE '%pg_sleep%'", 'the lock');
$session = start_session('leader', "SET lock_timeout = '30ms';\nSELECT elt.run_parallel(ARRAY[$update], retries => 100000);\n");
working(1);
sleep 0.5;
value('SELECT pg_cancel_backend(' . pid_of('leader') . ')');
like(finish($session)->{err}, qr/57014: canceling statement due to user request/, 'cancelled between attempts');
# two workers in a deadlock with each other: the server finds it, and the one that has to give way tries again
value('SELECT pg_cancel_backend(' . pid_of('holder') . ')');
finish($held);
is(value(q{SET deadlock_timeout = '50ms'; SELECT count(*), max(attempts) >= 2 FROM elt.run_parallel(ARRAY[
	'UPDATE item SET id = id WHERE id = 1; SELECT pg_sleep(1); UPDATE item SET id = id WHERE id = 2',
	'UPDATE item SET id = id WHERE id = 2; SELECT pg_sleep(1); UPDATE item SET id = id WHERE id = 1'], workers => 2, retries => 3)}), '2|t', 'a deadlock of two workers');
nothing_left('retries');

# 10. a thousand runs, some of which fail
$node->append_conf('postgresql.conf', "elt.max_workers = 4\n");
$node->reload;
my $many = q{
	DO $$
	BEGIN
		FOR i IN 1 .. %d LOOP
			BEGIN
				PERFORM elt.run_parallel(CASE WHEN i %% 5 = 0 THEN ARRAY['SELECT 1', 'SELECT 1/0'] ELSE ARRAY['SELECT 1', 'SELECT 2'] END, read_only => i %% 2 = 0, same_snapshot => i %% 3 = 0);
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		END LOOP;
	END $$};
value(sprintf $many, 20);
$segments = segments();
my $memory = value('SELECT sum(allocated_size) FROM pg_shmem_allocations');
value(sprintf $many, 1000);
nothing_left('a thousand runs', $segments);
is(value('SELECT sum(allocated_size) FROM pg_shmem_allocations'), $memory, 'a thousand runs: shared memory is what it was');

# 11. overhead
my ($by_workers, $ms) = (0, 1e9);
for (1 .. 5)
{
	my ($workers, $took) = split /\|/, value(q{
		WITH begun AS MATERIALIZED (SELECT clock_timestamp() AS at),
			run AS MATERIALIZED (SELECT count(*) AS tasks, min(r.worker) AS worker
				FROM begun, elt.run_parallel(array_fill('SELECT 1'::text, ARRAY[1000]), read_only => true, same_snapshot => true, workers => 2) r WHERE begun.at IS NOT NULL)
		SELECT worker, extract(epoch FROM clock_timestamp() - at) * 1000 FROM run, begun WHERE tasks = 1000});
	$by_workers ||= $workers > 0;
	$ms = $took if $took < $ms;
}
ok($by_workers, 'a thousand small tasks, by workers');
note("1000 tasks: $ms ms");
cmp_ok($ms, '<', 100, 'cost less than 0.1 ms each');

# 12. the server is shut down
for my $mode ('fast', 'immediate')
{
	$session = start_session('leader', $one_busy);
	working(2);
	my $since = time;
	$node->stop($mode);
	cmp_ok(time - $since, '<', 20, "$mode shutdown");
	finish($session);
	$node->start;
	wait_until_up();
}
is(value(q{SELECT count(*) FROM elt.run_parallel(ARRAY['SELECT 1', 'SELECT 2'])}), '2', 'after a shutdown');

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP: |runtime error: |PANIC: /, 'no process has crashed by itself');
done_testing();
