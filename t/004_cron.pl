# CALL elt.run by pg_cron, in a background worker and through a connection: an unattended load in a transaction for each batch, and its failure on record.
#
# pg_cron starts jobs at full minutes: two servers wait for theirs at the same time.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub start_server
{
	my ($name, $workers) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $dir = $node->host;
	$node->init;
	$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'pg_cron,elt'
cron.database_name = 'postgres'
cron.host = '$dir'
cron.use_background_workers = $workers
});
	$node->start;
	$node->safe_psql('postgres', q{
		CREATE EXTENSION pg_cron;
		CREATE EXTENSION elt;
		CREATE TABLE source (id int PRIMARY KEY, v text);
		CREATE TABLE target (id int PRIMARY KEY, v text);
		CREATE TABLE xids (xid xid8);
		CREATE FUNCTION note_xid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.xids VALUES (pg_current_xact_id()); RETURN NULL; END $$;
		CREATE TRIGGER note_xid AFTER INSERT ON target FOR EACH STATEMENT EXECUTE FUNCTION note_xid();
		CREATE TABLE strict (id int PRIMARY KEY, v int);
		INSERT INTO source SELECT i, 'copied' FROM generate_series(1, 10) i;
		SELECT elt.create_load('x', 'target', source => 'source', mode => 'mirror', batch_rows => 100);
		SELECT elt.create_load('It''s bad', 'strict', source => 'source', query => 'SELECT id, v::int AS v FROM source');
	});
	# the first batch copies; what comes then takes several, which are pg_cron's
	$node->safe_psql('postgres', q{CALL elt.run('x'); TRUNCATE xids; INSERT INTO source SELECT i, 'new' FROM generate_series(11, 1000) i; DELETE FROM source WHERE id = 1});
	$node->safe_psql('postgres', q{
		SELECT cron.schedule('load x', '* * * * *', 'CALL elt.run(''x'')');
		SELECT cron.schedule('bad', '* * * * *', 'CALL elt.run(''It''''s bad'')');
		SELECT cron.schedule('not there', '* * * * *', 'CALL elt.run(''no such load'')');
	});
	return $node;
}

my %node = (worker => start_server('worker', 'on'), connection => start_server('connection', 'off'));

for my $kind (qw(worker connection))
{
	my $node = $node{$kind};
	my $runs = 'FROM cron.job_run_details d JOIN cron.job j USING (jobid) WHERE jobname =';
	for my $job ('load x', 'bad', 'not there')
	{
		$node->poll_query_until('postgres', "SELECT count(*) > 0 $runs '$job' AND status IN ('succeeded', 'failed')") or die "$kind: no run of $job";
	}
	is($node->safe_psql('postgres', "SELECT status $runs 'load x' ORDER BY runid LIMIT 1"), 'succeeded', "$kind: a run on record");
	is($node->safe_psql('postgres', 'TABLE source EXCEPT ALL TABLE target UNION ALL (TABLE target EXCEPT ALL TABLE source)'), '', "$kind: the target is as the source");
	cmp_ok($node->safe_psql('postgres', 'SELECT count(DISTINCT xid) FROM xids'), '>=', 10, "$kind: a transaction for each batch");
	is($node->safe_psql('postgres', q{SELECT pending_rows FROM elt.loads WHERE name = 'x'}), '0', "$kind: nothing is left");
	like($node->safe_psql('postgres', "SELECT status || ': ' || return_message $runs 'bad' ORDER BY runid LIMIT 1"),
		qr/failed: .*invalid input syntax for type integer: "copied"/, "$kind: a failure on record, with its message");
	like($node->safe_psql('postgres', "SELECT status || ': ' || return_message $runs 'not there' ORDER BY runid LIMIT 1"),
		qr/failed: .*load "no such load" does not exist/, "$kind: likewise");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM strict'), '0', "$kind: nothing came of it");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM elt.progress'), '0', "$kind: nothing is said to be running");
	$node->safe_psql('postgres', 'SELECT cron.unschedule(jobid) FROM cron.job');
	$node->stop;
}
done_testing();
