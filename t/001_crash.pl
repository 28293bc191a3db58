# Crashes of a stream's consumer, of a writer and of the whole server: afterwards every change is consumed exactly once.
#
# The target is filled by a function that does not forgive: a change that comes twice violates its key or finds no row to remove. A table without a key
# is consumed into a ledger of rows added and removed. After each restart what is left is consumed, and both are compared with their sources.
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
	CREATE TABLE source (id int PRIMARY KEY, v text);
	CREATE TABLE bag (v int);
	CREATE TABLE target (id int PRIMARY KEY, v text);
	CREATE TABLE ledger (v int, n int);
	INSERT INTO source SELECT i, 'old' FROM generate_series(1, 100) i;
	INSERT INTO target TABLE source;
	SELECT elt.create_stream('changes', 'source');
	SELECT elt.create_stream('bag_changes', 'bag');

	CREATE PROCEDURE apply() LANGUAGE plpgsql AS $$
	DECLARE
		expected bigint;
		found_rows bigint;
	BEGIN
		SELECT count(*) INTO expected FROM changes WHERE _elt_op <> 'insert';
		DELETE FROM target t USING changes c WHERE t.id = c.id AND c._elt_op <> 'insert';
		GET DIAGNOSTICS found_rows = ROW_COUNT;
		IF found_rows <> expected THEN
			RAISE EXCEPTION '% of % rows to be removed are there', found_rows, expected;
		END IF;
		INSERT INTO target SELECT id, v FROM changes WHERE _elt_op <> 'delete';
		INSERT INTO ledger SELECT v, CASE _elt_op WHEN 'insert' THEN 1 ELSE -1 END FROM bag_changes;
	END $$;
	CREATE PROCEDURE consume() LANGUAGE plpgsql AS $$
	BEGIN
		CALL apply();
		PERFORM elt.advance_stream('changes'), elt.advance_stream('bag_changes');
	END $$;
	CREATE VIEW differences AS
		SELECT 'lacks' AS what, l.* FROM (TABLE source EXCEPT ALL TABLE target) l
		UNION ALL SELECT 'has', h.* FROM (TABLE target EXCEPT ALL TABLE source) h
		UNION ALL SELECT 'ledger', v, s.n || ' and not ' || coalesce(b.n, 0)
		FROM (SELECT v, sum(n) AS n FROM ledger GROUP BY v) s FULL JOIN (SELECT v, count(*) AS n FROM bag GROUP BY v) b USING (v)
		WHERE s.n IS DISTINCT FROM coalesce(b.n, 0);
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

# Ends a session's backend as the kernel would; the server restarts by itself.
sub kill_backend
{
	my ($session, $pid) = @_;
	kill 'KILL', $pid or die "no process $pid";
	$session->{handle}->finish;
	wait_until_up();
	return;
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

# Ends the postmaster, and then its backends: one that is busy would notice its death only when it waits for something.
sub kill_postmaster
{
	my @backends = split ' ', $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
	$node->kill9;
	kill 'KILL', @backends;
	# the other processes notice, and let go of the shared memory
	for (1 .. 600)
	{
		return if $node->start(fail_ok => 1);
		# it has read the process id that the killed one left behind
		$node->{_pid} = undef;
		select undef, undef, undef, 0.1;
	}
	die 'the server did not start';
}

# What is pending now, of the stream with a key.
sub pending
{
	return $node->safe_psql('postgres', q{SELECT coalesce(string_agg(_elt_op || ' ' || id || ' ' || v, ', ' ORDER BY id), 'nothing') FROM changes});
}

sub check
{
	my ($what) = @_;
	my ($status, $out, $err) = $node->psql('postgres', 'CALL consume()');
	is($err, '', "$what: the rest can be consumed");
	is($node->safe_psql('postgres', 'TABLE differences'), '', "$what: each change exactly once");
	is(pending(), 'nothing', "$what: nothing is left");
	return;
}



# 1. a consumer that has written its target, and not advanced
$node->safe_psql('postgres', q{
	INSERT INTO source VALUES (101, 'a'); UPDATE source SET v = 'a' WHERE id = 1; DELETE FROM source WHERE id = 2; INSERT INTO bag VALUES (1), (1), (2)});
my $before = pending();
is($before, 'update 1 a, delete 2 old, insert 101 a', 'changes to consume');
$node->safe_psql('postgres', q{SELECT elt.track('target')});
my $control = start_session('control', "SELECT pg_advisory_lock(0, hashtext('capture-locked'));\nSELECT 'stop here', pg_sleep(600);\n");
wait_for_session('control', "query LIKE '%stop here%'");
my $session = start_session('consumer', "SET elt.debug_points = 'capture-locked';\nBEGIN;\nCALL consume();\nCOMMIT;\n");
kill_backend($session, wait_for_session('consumer', "wait_event = 'advisory'"));
$control->{handle}->finish;
is(pending(), $before, 'consumer killed while it wrote its target: the stream is where it was');
check('consumer killed while it wrote its target');
$node->safe_psql('postgres', q{SELECT elt.untrack('target')});

# 2. a consumer that has advanced, and not committed
$node->safe_psql('postgres', q{UPDATE source SET v = 'b' WHERE id <= 3; DELETE FROM bag WHERE v = 2; INSERT INTO bag VALUES (3)});
$before = pending();
$session = start_session('consumer', "BEGIN;\nCALL consume();\nSELECT 'stop here', pg_sleep(600);\n");
kill_backend($session, wait_for_session('consumer', "wait_event = 'PgSleep'"));
is(pending(), $before, 'consumer killed before its commit: the stream is where it was');
check('consumer killed before its commit');

# 3. a consumer that has committed
$node->safe_psql('postgres', q{UPDATE source SET v = 'c' WHERE id <= 3; INSERT INTO bag VALUES (3)});
$session = start_session('consumer', "BEGIN;\nCALL consume();\nCOMMIT;\nSELECT 'stop here', pg_sleep(600);\n");
kill_backend($session, wait_for_session('consumer', "wait_event = 'PgSleep'"));
is(pending(), 'nothing', 'consumer killed after its commit: the stream has advanced');
check('consumer killed after its commit');

# 4. a writer before it has logged what it wrote, and after that
$control = start_session('control', "SELECT pg_advisory_lock(0, hashtext('capture-locked'));\nSELECT 'stop here', pg_sleep(600);\n");
wait_for_session('control', "query LIKE '%stop here%'");
$session = start_session('writer', "SET elt.debug_points = 'capture-locked';\nUPDATE source SET v = 'lost' WHERE id < 50;\n");
kill_backend($session, wait_for_session('writer', "wait_event = 'advisory'"));
$control->{handle}->finish;
is(pending(), 'nothing', 'writer killed before it logged: nothing happened');
$session = start_session('writer',
	"BEGIN;\nUPDATE source SET v = 'lost' WHERE id < 50;\nINSERT INTO bag VALUES (9);\nSELECT 'stop here', pg_sleep(600);\n");
my $pid = wait_for_session('writer', "wait_event = 'PgSleep'");
$node->safe_psql('postgres', q{INSERT INTO source VALUES (102, 'kept')});
$node->safe_psql('postgres', 'CALL consume()');
$node->safe_psql('postgres', q{INSERT INTO source VALUES (103, 'kept')});
kill_backend($session, $pid);
is(pending(), 'insert 103 kept', 'writer killed before its commit: only what others wrote');
check('writer killed before its commit');

# 5. the postmaster, with a writer, a consumer and a prepared transaction under way, over several segments of the log
$node->append_conf('postgresql.conf', "elt.segment_size = '64kB'\n");
$node->reload;
for my $round (1 .. 3)
{
	$node->safe_psql('postgres', qq{
		INSERT INTO source SELECT $round * 1000 + i, repeat('x', 300) FROM generate_series(1, 300) i;
		DELETE FROM source WHERE id % 7 = $round;
		INSERT INTO bag SELECT i % 5 FROM generate_series(1, 100) i;
	});
	$node->safe_psql('postgres', qq{BEGIN; INSERT INTO source VALUES ($round * 1000 + 999, 'prepared'); INSERT INTO bag VALUES (77); PREPARE TRANSACTION 'p$round'});
	$node->safe_psql('postgres', 'CALL consume()') if $round == 2;
	my $consumer = start_session('consumer', "BEGIN;\nCALL consume();\nSELECT 'stop here', pg_sleep(600);\n");
	my $writer = start_session('writer', "BEGIN;\nINSERT INTO source VALUES (-$round, 'lost');\nSELECT 'stop here', pg_sleep(600);\n");
	wait_for_session($_, "wait_event = 'PgSleep'") for qw(consumer writer);
	kill_postmaster();
	$_->{handle}->finish for ($consumer, $writer);
	check("postmaster killed, round $round");
	$node->safe_psql('postgres', "COMMIT PREPARED 'p$round'");
	is(pending(), "insert ${round}999 prepared", "a transaction prepared before the crash comes when it is committed, round $round");
	check("postmaster killed, then prepared transaction, round $round");
}
cmp_ok($node->safe_psql('postgres', q{
	SELECT max(segno) FROM elt.capture_segment s JOIN elt.capture c ON c.id = s.capture WHERE c.relation = 'source'::regclass}),
	'>', 3, 'several segments were used');

# 6. the postmaster at any moment, while two writers and a consumer are busy
$node->safe_psql('postgres', q{
	CREATE PROCEDURE busy(seed int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 1000000 LOOP
			INSERT INTO source VALUES (seed + i, 'busy ' || i);
			UPDATE source SET v = v || '!' WHERE id IN (seed + i - 3, seed + i - 7);
			DELETE FROM source WHERE id = seed + i - 5;
			INSERT INTO bag VALUES (i % 10);
			IF i % 13 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
			PERFORM pg_sleep(0.0005);	-- a wait, to notice that the postmaster is gone
		END LOOP;
	END $$;
	CREATE PROCEDURE busy_consumer() LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 1000000 LOOP
			CALL consume();
			COMMIT;
			PERFORM pg_sleep(0.0005);
		END LOOP;
	END $$;
});
for my $round (1 .. 3)
{
	my @sessions = map { start_session(@$_) } (
		[ 'writer1', "CALL busy($round * 10000000);\n" ], [ 'writer2', "CALL busy($round * 10000000 + 5000000);\n" ],
		[ 'consumer', "CALL busy_consumer();\n" ]);
	my $size = $node->safe_psql('postgres', 'SELECT count(*) FROM ledger');
	$node->poll_query_until('postgres', "SELECT count(*) > $size + 200 FROM ledger") or die 'nothing was consumed';
	kill_postmaster();
	$_->{handle}->finish for @sessions;
	unlike($_->{err}, qr/ERROR/, "$_->{name} had no error of its own, round $round") for @sessions;
	check("postmaster killed while all were busy, round $round");
}

$node->stop;
done_testing();
