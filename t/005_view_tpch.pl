# The 22 queries of TPC-H as precomputed views, followed through a mixed workload, whatever a full refresh would cost: each refresh is incremental, and the rows, by
# their text, are what the query gives.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tpch = "$FindBin::RealBin/../test/tpch";
# orders that come, change and go in a step
my @steps = (1, 20, 150, 150, 20, 150, 1, 150);

my %query;
foreach my $file (glob "$tpch/queries/*.sql")
{
	my ($name) = $file =~ m{(\d+)\.sql$};
	$query{$name} = slurp_file($file);
}

# Some views are refreshed after each step, others after some steps only, when more has come together.
sub is_due
{
	my ($name, $step) = @_;
	return $step == @steps || $step % (1, 2, 1, 3, 1, 7)[$name % 6] == 0;
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "search_path = 'tpch, public'\nwork_mem = '32MB'\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION elt; CREATE SCHEMA tpch');
$node->safe_psql('postgres', "SET tpch.scale = '0.01';\n" . join("\n", map { slurp_file("$tpch/$_.sql") } qw(schema generate keys changes)) . "\nANALYZE");

sub create
{
	my ($name) = @_;
	my ($stdout, $stderr);
	my $status = $node->psql('postgres', "SELECT elt.create_view('v$name', \$query\$$query{$name}\$query\$, refresh_mode => 'incremental')", stdout => \$stdout, stderr => \$stderr);
	ok($status == 0, "query $name is a view") or diag $stderr;
	return $status == 0;
}

# An empty text, or what the view's rows have too much (+) or lack (-).
sub difference
{
	my ($name) = @_;
	return $node->safe_psql('postgres', qq{
		CREATE TEMP TABLE expected AS SELECT q::text AS row FROM ($query{$name}) q;
		CREATE TEMP TABLE found AS SELECT v::text AS row FROM v$name v;
		SELECT * FROM (SELECT '+', row FROM (TABLE found EXCEPT ALL TABLE expected) more
			UNION ALL SELECT '-', row FROM (TABLE expected EXCEPT ALL TABLE found) lacks) difference ORDER BY row LIMIT 8;
	});
}

sub refresh
{
	my ($name, $step) = @_;
	my ($stdout, $stderr);
	my $status = $node->psql('postgres', "SELECT strategy, reason, ms::int, rows_inserted, rows_updated, rows_deleted FROM elt.refresh('v$name')",
		stdout => \$stdout, stderr => \$stderr);
	if ($status != 0)
	{
		fail("query $name, step $step: refreshed");
		diag $stderr;
		return 0;
	}
	note "query $name, step $step: $stdout";
	is((split /\|/, $stdout, -1)[0], 'incremental', "query $name, step $step: incremental") or diag $stdout;
	return is(difference($name), '', "query $name, step $step: as computed anew");
}

my @views = grep { create($_) } sort keys %query;
is(scalar keys %query, 22, 'there are 22 queries');
is(difference($_), '', "query $_: filled") foreach @views;

my %failed;
foreach my $step (1 .. @steps)
{
	$node->safe_psql('postgres', "SELECT tpch_step($step, $steps[$step - 1])");
	foreach my $name (grep { is_due($_, $step) && !$failed{$_} } @views)
	{
		# after the first difference the others tell nothing new
		refresh($name, $step) or $failed{$name} = 1;
	}
}

foreach my $name (@views)
{
	is($node->safe_psql('postgres', "SELECT strategy FROM elt.refresh('v$name')"), 'none', "query $name: nothing is left") unless $failed{$name};
}

done_testing();
