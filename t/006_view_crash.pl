# Crashes in the middle of refreshes, with writers going on: afterwards the views are what they were, and the next refresh makes them exact, still by the
# changes alone.
#
# Halted at each debug point, the backend or the postmaster is killed: before the snapshot, under it, after the storages were written and before the offsets
# are, and after the first of several offsets was stored. "top" reads "sums" and "joined": one refresh of it writes all three.
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

my %query = (
	sums => 'SELECT g, count(*) AS c, sum(n) AS n, max(n) AS top FROM public.source GROUP BY g',
	joined => 'SELECT d.name, s.v FROM public.source s JOIN public.dimension d ON d.g = s.g',
	ranks => 'SELECT id, g, row_number() OVER (PARTITION BY g ORDER BY n DESC, id) AS r FROM public.source',
	top => 'SELECT s.g, s.n, count(j.v) AS j FROM public.sums s JOIN public.dimension d ON d.g = s.g LEFT JOIN public.joined j ON j.name = d.name GROUP BY s.g, s.n');
my @views = qw(sums joined ranks top);

$node->safe_psql('postgres', q{
	CREATE EXTENSION elt;
	CREATE TABLE source (id int PRIMARY KEY, g int, n int, v text);
	CREATE TABLE dimension (g int PRIMARY KEY, name text);
	CREATE TABLE event (id bigserial, what text);
	INSERT INTO source SELECT i, i % 20, i, 'old' FROM generate_series(1, 2000) i;
	INSERT INTO dimension SELECT i, 'name ' || i % 15 FROM generate_series(0, 19) i;

	CREATE PROCEDURE busy(seed int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 1000000 LOOP
			INSERT INTO source VALUES (seed + i, i % 20, i % 9, 'busy ' || i);
			UPDATE source SET v = v || '!', n = n - 3, g = (g + 1) % 20 WHERE id IN (seed + i - 3, seed + i - 7);
			DELETE FROM source WHERE id = seed + i - 15;
			UPDATE dimension SET name = 'name ' || i % 17 WHERE g = seed / 10000000 % 20;
			INSERT INTO event (what) VALUES ('e' || i);
			IF i % 13 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
			PERFORM pg_sleep(0.002);	-- a wait, to notice that the postmaster is gone
		END LOOP;
	END $$;
});
$node->safe_psql('postgres', "SELECT elt.create_view('$_', '$query{$_}')") for @views;

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

# Ends a backend as the kernel would (the server restarts by itself), or the postmaster, or stops the server at once.
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
	if ($what eq 'server')
	{
		$node->stop('immediate');
		$_->{handle}->finish for @sessions;
		$node->start;
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

sub start_writer
{
	my ($name) = @_;
	$seed += 10_000_000;
	return start_session($name, "CALL busy($seed);\n");
}

# The writers are known to get on.
sub wait_for_writes
{
	my $count = $node->safe_psql('postgres', 'SELECT count(*) FROM event');
	$node->poll_query_until('postgres', "SELECT count(*) > $count + 60 FROM event") or die 'the writers do not get on';
	return;
}

sub contents
{
	return $node->safe_psql('postgres', 'SELECT md5(string_agg(r, chr(10) ORDER BY r)) FROM (' .
		join(' UNION ALL ', map { "SELECT '$_ ' || ROW(x.*)::text FROM $_ x" } @views) . ') c (r)');
}

sub differences
{
	my ($view) = @_;
	return $node->safe_psql('postgres', "(SELECT 'lacks', ROW(l.*) FROM ($query{$view} EXCEPT ALL TABLE $view) l LIMIT 3)
		UNION ALL (SELECT 'has', ROW(h.*) FROM (TABLE $view EXCEPT ALL $query{$view}) h LIMIT 3)");
}

sub check
{
	my ($what) = @_;
	for my $view (reverse @views)
	{
		unlike($node->safe_psql('postgres', "SELECT strategy, reason FROM elt.refresh('$view')"), qr/^full.(?!cost)/, "$what: $view follows the changes");
	}
	for my $view (@views)
	{
		is(differences($view), '', "$what: $view is exact");
		is($node->safe_psql('postgres', "SELECT * FROM elt.verify_view('$view')"), '0|0', "$what: elt.verify_view of $view");
	}
	is($node->safe_psql('postgres', 'SELECT count(*) FROM elt.views WHERE problem IS NOT NULL OR pending_rows > 0'), '0', "$what: nothing is left");
	return;
}

# Refreshes into a lock, lets writers go on, and crashes.
sub crash_at
{
	my ($view, $point, $what, $title) = @_;
	my $control = hold($point);
	my $before = contents();
	my $session = start_session('refresh', "SET elt.debug_points = '$point';\nSELECT strategy, reason FROM elt.refresh('$view');\n");
	my $pid = wait_for_session('refresh', "wait_event_type = 'Lock' AND wait_event = 'advisory'");
	my @writers = map { start_writer($_) } qw(writer1 writer2);
	wait_for_writes();
	is(contents(), $before, "$title: readers see the old rows meanwhile");
	crash($what, $pid, $session, $control, @writers);
	is(contents(), $before, "$title: the views are as they were");
	unlike($_->{err}, qr/ERROR/, "$title: $_->{name} had no error of its own") for @writers;
	return;
}

sub change
{
	my ($text) = @_;
	$node->safe_psql('postgres', qq{
		UPDATE source SET v = '$text', n = -n WHERE id % 30 = 0 AND id <= 2000;
		UPDATE source SET g = (g + 7) % 20 WHERE id % 50 = 0 AND id <= 2000;
		UPDATE dimension SET name = 'name ' || length('$text') WHERE g = 3;
	});
	return;
}

my @crashes = qw(backend postmaster server);
my $n = 0;
for my $point (qw(batch-locked batch-snapshot view-applied batch-stored))
{
	for my $view (qw(top ranks))
	{
		my $what = $crashes[ $n++ % 3 ];
		change("$point $view");
		crash_at($view, $point, $what, "$what killed at $point of $view");
		check("$what killed at $point of $view");
	}
}

# in the first refresh, and in one that makes all anew
$query{late} = 'SELECT v, count(*) AS c FROM public.source GROUP BY v';
$node->safe_psql('postgres', "SELECT elt.create_view('late', '$query{late}', with_data => false)");
push @views, 'late';
crash_at('late', 'view-applied', 'backend', 'backend killed in the first refresh');
is($node->safe_psql('postgres', "SELECT strategy, reason FROM elt.refresh('late')"), 'full|initial', 'the first refresh is still to come');
check('backend killed in the first refresh');
$node->safe_psql('postgres', 'BEGIN; CREATE TABLE kept AS TABLE source; TRUNCATE source; INSERT INTO source TABLE kept; DROP TABLE kept; COMMIT');
crash_at('late', 'batch-stored', 'postmaster', 'postmaster killed in a full refresh');
is($node->safe_psql('postgres', "SELECT strategy, reason FROM elt.refresh('late')"), 'full|source_truncated', 'it is still to be made anew');
$node->safe_psql('postgres', "SELECT elt.refresh('top'), elt.refresh('ranks')");
check('postmaster killed in a full refresh');

# while it is created
my $control = hold('view-applied');
my $session = start_session('create', "SET elt.debug_points = 'view-applied';\nSELECT elt.create_view('never', 'SELECT count(*) AS c FROM public.source');\n");
crash('backend', wait_for_session('create', "wait_event_type = 'Lock' AND wait_event = 'advisory'"), $session, $control);
is($node->safe_psql('postgres', "SELECT count(*) FROM elt.views WHERE name = 'never'"), '0', 'nothing is left of a view whose creation was cut off');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class c WHERE relnamespace = 'elt_data'::regnamespace AND relkind IN ('r', 'v')
	AND NOT EXISTS (SELECT FROM elt.view_part p WHERE p.storage = c.oid) AND NOT EXISTS (SELECT FROM elt.view v WHERE v.definition = c.oid)"), '0',
	'no storage either');

# at any moment
for my $round (1 .. 3)
{
	my $what = $crashes[ $round % 3 ];
	my @sessions = map { start_writer($_) } qw(writer1 writer2);
	push @sessions, map { start_session("refresh_$_", "SELECT elt.refresh('$_');\n" x 20000) } qw(top ranks late);
	my $refreshed = $node->safe_psql('postgres', q{SELECT max(last_refresh) FROM elt.views});
	wait_for_writes();
	$node->poll_query_until('postgres', "SELECT count(*) = 5 FROM elt.views WHERE last_refresh > '$refreshed'") or die 'nothing was refreshed';
	crash($what, wait_for_session('refresh_top', 'true'), @sessions);
	unlike($_->{err}, qr/ERROR:(?!.*deadlock)/, "$_->{name} had no error of its own, round $round") for @sessions;
	check("$what killed while all were busy, round $round");
}

$node->stop;
done_testing();
