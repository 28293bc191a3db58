# Crashes in the middle of loads, with writers going on: afterwards every change is in the targets exactly once.
#
# Halted at each debug point, in the middle of a copy, in the middle of a batch and between the chunks of a window, the backend or the postmaster is
# killed. After the restart the target is as it was before the batch; then the loads are run to their end and compared:
#
#   append    every committed row version once: versions are noted by a trigger, in the writer's own transaction
#   mirror    the query over the source
#   upsert    holds the query over the source
#   events    rows that are only ever inserted, and loaded into a table without a key that would notice a second one
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off\nelt.segment_size = '256kB'\n");
$node->start;

$node->safe_psql('postgres', q{
	CREATE EXTENSION elt;
	CREATE TABLE source (id int PRIMARY KEY, v text, n int);
	CREATE TABLE versions (id int, v text, n int);
	CREATE FUNCTION note_version() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		-- an update that changes nothing makes no version
		IF TG_OP = 'INSERT' OR OLD *<> NEW THEN
			INSERT INTO versions VALUES (NEW.*);
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER note_version AFTER INSERT OR UPDATE ON source FOR EACH ROW EXECUTE FUNCTION note_version();
	CREATE TABLE event (id bigserial, what text);

	CREATE TABLE appended (id int, v text, n int);
	CREATE TABLE mirrored (id int PRIMARY KEY, v text, twice int);
	CREATE TABLE upserted (id int PRIMARY KEY, v text, n int);
	CREATE TABLE events (id bigint, what text);
	INSERT INTO source SELECT i, 'old', i FROM generate_series(1, 500) i;
	SELECT elt.create_load('append', 'appended', source => 'source', mode => 'append');
	SELECT elt.create_load('mirror', 'mirrored', source => 'source', mode => 'mirror', batch_rows => 200,
	                       query => 'SELECT id, v, n * 2 AS twice FROM source WHERE n > 0');
	SELECT elt.create_load('upsert', 'upserted', source => 'source');
	SELECT elt.create_load('events', 'events', source => 'event', mode => 'append');

	CREATE VIEW differences AS
		SELECT 'append lacks' AS what, l.* FROM (TABLE versions EXCEPT ALL TABLE appended) l
		UNION ALL SELECT 'append has', h.* FROM (TABLE appended EXCEPT ALL TABLE versions) h
		UNION ALL SELECT 'mirror lacks', l.* FROM (SELECT id, v, n * 2 FROM source WHERE n > 0 EXCEPT ALL TABLE mirrored) l
		UNION ALL SELECT 'mirror has', h.* FROM (TABLE mirrored EXCEPT ALL SELECT id, v, n * 2 FROM source WHERE n > 0) h
		UNION ALL SELECT 'upsert lacks', l.* FROM (TABLE source EXCEPT ALL TABLE upserted) l
		UNION ALL SELECT 'events lack', id, what, 0 FROM (TABLE event EXCEPT ALL TABLE events) l
		UNION ALL SELECT 'events have', id, what, 0 FROM (TABLE events EXCEPT ALL TABLE event) h;
	CREATE VIEW targets AS
		SELECT md5(string_agg(r, ' ' ORDER BY r)) AS state FROM (
			SELECT 'm' || m FROM mirrored m UNION ALL SELECT 'a' || a FROM appended a UNION ALL SELECT 'u' || u FROM upserted u UNION ALL SELECT 'e' || e FROM events e) x (r);

	CREATE PROCEDURE busy(seed int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 1000000 LOOP
			INSERT INTO source VALUES (seed + i, 'busy ' || i, i % 9);
			UPDATE source SET v = v || '!', n = n - 3 WHERE id IN (seed + i - 3, seed + i - 7);
			DELETE FROM source WHERE id = seed + i - 15;
			INSERT INTO event (what) VALUES ('e' || i);
			IF i % 13 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
			PERFORM pg_sleep(0.0005);	-- a wait, to notice that the postmaster is gone
		END LOOP;
	END $$;

	-- waits in the middle of writing the target, while somebody holds this lock; else it passes
	CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.v = 'halt here' THEN
			PERFORM pg_advisory_lock(0, hashtext('in-the-middle')), pg_advisory_unlock(0, hashtext('in-the-middle'));
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER halt BEFORE INSERT OR UPDATE ON appended FOR EACH ROW EXECUTE FUNCTION halt();
	CREATE TRIGGER halt BEFORE INSERT OR UPDATE ON mirrored FOR EACH ROW EXECUTE FUNCTION halt();
	CREATE TRIGGER halt BEFORE INSERT OR UPDATE ON upserted FOR EACH ROW EXECUTE FUNCTION halt();
});

# Starts psql on a script; the session is known by its application_name.
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

# Waits until a session is in a state, and returns its process id.
sub wait_for_session
{
	my ($name, $condition) = @_;
	my $query = "FROM pg_stat_activity WHERE application_name = '$name' AND $condition";
	$node->poll_query_until('postgres', "SELECT count(*) = 1 $query") or die "$name: not $condition";
	return $node->safe_psql('postgres', "SELECT pid $query");
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

# Ends a backend as the kernel would (the server restarts by itself), or the postmaster.
sub crash
{
	my ($what, $pid, @sessions) = @_;
	if ($what eq 'backend')
	{
		kill 'KILL', $pid or die "no process $pid";
		$_->{handle}->finish for @sessions;
		wait_until_up();
		return;
	}
	$node->kill9;
	# the backends notice, and let go of the shared memory
	for (1 .. 600)
	{
		if ($node->start(fail_ok => 1))
		{
			$_->{handle}->finish for @sessions;
			return;
		}
		# it has read the process id that the killed one left behind
		$node->{_pid} = undef;
		select undef, undef, undef, 0.1;
	}
	die 'the server did not start';
}

# A session that holds the lock of a point, so that others wait there.
sub hold
{
	my ($point) = @_;
	my $control = start_session('control', "SELECT pg_advisory_lock(0, hashtext('$point'));\nSELECT 'stop here', pg_sleep(600);\n");
	wait_for_session('control', "query LIKE '%stop here%'");
	return $control;
}

my $seed = 0;

# A writer that is known to get on.
sub start_writer
{
	my ($name) = @_;
	$seed += 10_000_000;
	return start_session($name, "CALL busy($seed);\n");
}

sub wait_for_writes
{
	my $count = $node->safe_psql('postgres', 'SELECT count(*) FROM event');
	$node->poll_query_until('postgres', "SELECT count(*) > $count + 60 FROM event") or die 'the writers do not get on';
	return;
}

sub targets
{
	return $node->safe_psql('postgres', 'TABLE targets');
}

sub check
{
	my ($what) = @_;
	for my $load (qw(append mirror upsert events))
	{
		my ($status, $out, $err) = $node->psql('postgres', "CALL elt.run('$load')");
		is($err, '', "$what: load $load can be run to its end");
	}
	is($node->safe_psql('postgres', 'SELECT * FROM differences LIMIT 10'), '', "$what: each change exactly once");
	is($node->safe_psql('postgres', 'SELECT sum(pending_rows) FROM elt.loads'), '0', "$what: nothing is left");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM elt.progress'), '0', "$what: nothing is said to be running");
	return;
}

sub change
{
	my ($text) = @_;
	$node->safe_psql('postgres', qq{
		UPDATE source SET v = '$text', n = -n WHERE id % 3 = 0 AND id <= 500;
		UPDATE source SET v = '$text' WHERE id % 5 = 0 AND id <= 500;
		INSERT INTO event (what) SELECT '$text' FROM generate_series(1, 50);
	});
	return;
}

# Runs a load into a lock, lets writers go on, and crashes.
sub crash_at
{
	my ($load, $point, $setting, $what, $title) = @_;
	my $control = hold($point);
	my $before = targets();
	my $session = start_session('load', "$setting\nCALL elt.run('$load');\n");
	my $pid = wait_for_session('load', "wait_event_type = 'Lock' AND wait_event = 'advisory'");
	is($node->safe_psql('postgres', 'SELECT node FROM elt.progress'), $load, "$title: it is seen to be running");
	my @writers = map { start_writer($_) } qw(writer1 writer2);
	wait_for_writes();
	crash($what, $pid, $session, $control, @writers);
	is(targets(), $before, "$title: the targets are as they were");
	unlike($_->{err}, qr/ERROR/, "$title: $_->{name} had no error of its own") for @writers;
	return;
}

# 1. in the middle of the first copy
$node->safe_psql('postgres', q{UPDATE source SET v = 'halt here' WHERE id = 250; TRUNCATE versions; INSERT INTO versions TABLE source});
for my $what (qw(backend postmaster))
{
	for my $load (qw(append mirror))
	{
		crash_at($load, 'in-the-middle', '', $what, "$what killed while $load copied");
		# nothing was loaded yet: its versions are the rows that it will copy
		$node->safe_psql('postgres', 'TRUNCATE versions; INSERT INTO versions TABLE source');
	}
}
check('killed while copying');

# 2. at each debug point
for my $point (qw(batch-locked batch-snapshot batch-stored))
{
	my %load = ('batch-locked' => [qw(mirror append)], 'batch-snapshot' => [qw(append upsert)], 'batch-stored' => [qw(mirror append)]);
	my @load = @{ $load{$point} };
	for my $what (qw(backend postmaster))
	{
		my $load = shift @load;
		change("$point $what");
		crash_at($load, $point, "SET elt.debug_points = '$point';", $what, "$what killed at $point of $load");
		check("$what killed at $point of $load");
	}
}
change('events');
crash_at('events', 'batch-stored', "SET elt.debug_points = 'batch-stored';", 'backend', 'backend killed at batch-stored of events');
check('backend killed at batch-stored of events');

# 3. in the middle of writing a batch
for my $load (qw(append mirror upsert))
{
	my $what = $load eq 'mirror' ? 'postmaster' : 'backend';
	# fewer changes than batch_rows: one batch
	$node->safe_psql('postgres', q{UPDATE source SET v = 'halt here', n = 1 WHERE id = 300; UPDATE source SET v = v || '+' WHERE id % 6 = 1 AND id < 500});
	crash_at($load, 'in-the-middle', '', $what, "$what killed while $load wrote");
	check("$what killed while $load wrote");
	$node->safe_psql('postgres', q{UPDATE source SET v = 'passed' WHERE id = 300});
	check("$load, once more");
}

# 4. between the chunks of a window: those that were committed stay, the window's end stays recorded
for my $what (qw(backend postmaster))
{
	$node->safe_psql('postgres', "INSERT INTO source SELECT i, 'chunk $what', 1 FROM generate_series(1001, 2000) i ON CONFLICT (id) DO UPDATE SET v = excluded.v");
	cmp_ok($node->safe_psql('postgres', q{SELECT pending FROM elt.run_batch('mirror')}), '>', 500, "$what: the first chunk of several");
	my $done = $node->safe_psql('postgres', qq{SELECT count(*) FROM mirrored WHERE v = 'chunk $what'});
	change("next window $what");
	crash_at('mirror', 'batch-stored', "SET elt.debug_points = 'batch-stored';", $what, "$what killed in the second chunk");
	is($node->safe_psql('postgres', qq{SELECT count(*) FROM mirrored WHERE v = 'chunk $what'}), $done, "$what killed in the second chunk: the first one stays");
	check("$what killed in the second chunk");
}

# 5. at any moment, while writers and all loads are busy
for my $round (1 .. 3)
{
	my $what = $round == 2 ? 'backend' : 'postmaster';
	my @sessions = map { start_writer($_) } qw(writer1 writer2);
	push @sessions, map { start_session("load_$_", "CALL elt.run('$_');\n" x 2000) } qw(append mirror upsert events);
	my $events = $node->safe_psql('postgres', 'SELECT count(*) FROM events');
	my $mirrored = $node->safe_psql('postgres', 'SELECT max(id) FROM mirrored');
	$node->poll_query_until('postgres', "SELECT count(*) > $events + 100 FROM events") or die 'nothing was loaded';
	$node->poll_query_until('postgres', "SELECT max(id) > $mirrored FROM mirrored") or die 'nothing was loaded';
	crash($what, wait_for_session('load_mirror', 'true'), @sessions);
	unlike($_->{err}, qr/ERROR/, "$_->{name} had no error of its own, round $round") for @sessions;
	check("$what killed while all were busy, round $round");
}

$node->stop;
done_testing();
