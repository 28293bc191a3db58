# What a refresh reads does not grow with the tables, where indexes exist.
#
# Two sets of the same tables, one of 100,000 rows each and one of a million (ELT_TEST_ROWS: another number), have the same views and get the same changes, of
# 1,000 rows: first in the core table, then in the other one, then in both. In the large set a refresh reads numbers of rows that are bounded by that of the
# changes, and blocks as in the small one, but for one more level in each index:
# a row that is looked up takes four blocks instead of three, one that is not there three instead of two.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %sizes = (small => 100_000, large => $ENV{ELT_TEST_ROWS} || 1_000_000);
my $changes = 1_000;

my %views = (
	filter => 'SELECT id, v FROM core WHERE v < 900',
	join => 'SELECT c.id, a.id AS a, a.v FROM core c JOIN app a ON a.k = c.k',
	left_join => 'SELECT c.id, c.v, a.v AS av FROM core c LEFT JOIN app a ON a.k = c.k',
	exists => 'SELECT c.id, c.v FROM core c WHERE EXISTS (SELECT FROM app a WHERE a.k = c.k AND a.v < 900)',
	not_exists => 'SELECT c.id, c.v FROM core c WHERE NOT EXISTS (SELECT FROM app a WHERE a.k = c.k AND a.v < 900)',
	in => 'SELECT c.id, c.v FROM core c WHERE c.k IN (SELECT a.k FROM app a WHERE a.v < 900)',
	counters => 'SELECT g, count(*) AS n, sum(v) AS s, max(v) AS m FROM core GROUP BY g',
	left_counters => 'SELECT c.g, count(a.id) AS n, sum(a.v) AS s FROM core c LEFT JOIN app a ON a.k = c.k GROUP BY c.g',
	affected_groups => 'SELECT g, array_agg(v ORDER BY id) AS vs FROM core GROUP BY g',
	window => 'SELECT id, row_number() OVER (PARTITION BY g ORDER BY v, id) AS r FROM core',
	distinct => 'SELECT DISTINCT g, v % 2 AS odd FROM core',
	scalar => 'SELECT c.id, (SELECT sum(a.v) FROM app a WHERE a.k = c.k) AS s FROM core c',
	full_join => 'SELECT c.id, a.id AS a FROM core c FULL JOIN app a ON a.k = c.k',
	self_join => 'SELECT c.id, d.v - c.v AS more FROM core c JOIN core d ON d.k = c.k + 1 AND c.k = d.k - 1',
	non_equi => 'SELECT c.id, a.id AS a FROM core c JOIN app a ON a.k BETWEEN c.k AND c.k + 1 AND c.k BETWEEN a.k - 1 AND a.k',
	union_all => 'SELECT id, v FROM core WHERE v < 500 UNION ALL SELECT id, v FROM app WHERE v < 500',
	union => 'SELECT g AS x FROM core UNION SELECT k FROM app',
	intersect => 'SELECT k FROM core INTERSECT SELECT k FROM app',
	except => 'SELECT k FROM core EXCEPT ALL SELECT k FROM app',
	grouping_sets => 'SELECT g, v % 3 AS m, count(*) AS n FROM core GROUP BY GROUPING SETS ((g), (v % 3))',
	distinct_on => 'SELECT DISTINCT ON (g) g, id, v FROM core ORDER BY g, v, id',
	top => 'SELECT id, v FROM core ORDER BY v DESC, id LIMIT 100',
	set_returning => 'SELECT c.id, x FROM core c, generate_series(c.v, c.v + 1) x',
	cte => 'WITH cheap AS (SELECT id, k FROM core WHERE v < 800) SELECT s.id, a.v FROM cheap s JOIN app a ON a.k = s.k',
	having => 'SELECT g, sum(v) AS s FROM core GROUP BY g HAVING sum(v) > 5000',
	groups_of_groups => 'SELECT n, count(*) AS groups FROM (SELECT g, count(*) AS n FROM core GROUP BY g) s GROUP BY n',
	any => 'SELECT c.id FROM core c WHERE c.v > ANY (SELECT a.v FROM app a WHERE a.k = c.k)',
	window_over_groups =>
	  'SELECT o, g, s, rank() OVER (PARTITION BY o ORDER BY s, g) AS r FROM (SELECT g, g / 10 AS o, sum(v) AS s FROM core GROUP BY 1, 2) x',
	lateral => 'SELECT c.id, l.v FROM core c LEFT JOIN LATERAL (SELECT a.v FROM app a WHERE a.k = c.k ORDER BY a.v DESC LIMIT 1) l ON true',
);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nshared_buffers = 128MB\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION elt;
	CREATE VIEW reads AS
		SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname IN ('small', 'large', 'elt_data')) +
			(SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname IN ('small', 'large', 'elt_data')) AS rows,
			(SELECT sum(heap_blks_read + heap_blks_hit + COALESCE(idx_blks_read + idx_blks_hit, 0)) FROM pg_statio_user_tables
			 WHERE schemaname IN ('small', 'large', 'elt_data')) AS blocks;
});

foreach my $size (sort keys %sizes)
{
	$node->safe_psql('postgres', qq{
		CREATE SCHEMA $size;
		SET search_path = $size, public;
		CREATE TABLE core (id int PRIMARY KEY, k int NOT NULL, g int NOT NULL, v int NOT NULL);
		CREATE TABLE app (id int PRIMARY KEY, k int NOT NULL, v int NOT NULL);
		INSERT INTO core SELECT i, i, i / 10, i * 7 % 1000 FROM generate_series(1, $sizes{$size}) i;
		INSERT INTO app SELECT i, i, i * 3 % 1000 FROM generate_series(1, $sizes{$size}) i;
		CREATE INDEX ON core (k);
		CREATE INDEX ON core (g);
		CREATE INDEX ON app (k);
		VACUUM ANALYZE core;
		VACUUM ANALYZE app;
	});
	foreach my $view (sort keys %views)
	{
		(my $query = $views{$view}) =~ s/\b(core|app)\b/$size.$1/g;
		$node->safe_psql('postgres', "SELECT elt.create_view('$size.v_$view', \$\$$query\$\$, refresh_mode => 'incremental')");
	}
}

# Rows and blocks that a refresh reads.
sub refresh
{
	my ($name) = @_;
	my $result = $node->safe_psql('postgres', qq{
		SET stats_fetch_consistency = none;
		SELECT pg_stat_force_next_flush();
		SELECT rows AS rows0, blocks AS blocks0 FROM reads \\gset
		SELECT strategy AS strategy FROM elt.refresh('$name') \\gset
		SELECT pg_stat_force_next_flush();
		SELECT 'read', :'strategy', rows - :rows0, blocks - :blocks0 FROM reads;
	});
	return $result =~ /read\|(\w+)\|(\d+)\|(\d+)/;
}

sub is_right
{
	my ($view, $size) = @_;
	(my $query = $views{$view}) =~ s/\b(core|app)\b/$size.$1/g;
	return $node->safe_psql('postgres', qq{
		SELECT count(*) FROM ((TABLE $size.v_$view EXCEPT ALL ($query)) UNION ALL (($query) EXCEPT ALL TABLE $size.v_$view)) d
	}) eq '0';
}

my $third = int($changes / 3);
my $from = 1_000;
foreach my $tables ([ 'core' ], [ 'app' ], [ 'core', 'app' ])
{
	my $what = join(' and ', @$tables);

	$from += $changes;
	foreach my $size (sort keys %sizes)
	{
		my $dml = '';
		foreach my $table (@$tables)
		{
			my $columns = $table eq 'core' ? 'i, i, i / 10, 5' : 'i, i, 5';
			my $new = $sizes{$size} + $from;

			$dml .= qq{
				UPDATE $size.$table SET v = v + 1 WHERE id >= $from AND id < $from + $third;
				DELETE FROM $size.$table WHERE id >= $from + $third AND id < $from + 2 * $third;
				INSERT INTO $size.$table SELECT $columns FROM generate_series($new, $new + $third) i;
			};
		}
		$node->safe_psql('postgres', $dml);
	}
	foreach my $view (sort keys %views)
	{
		next if $views{$view} !~ /\b$tables->[0]\b/;
		my ($small_strategy, $small_rows, $small_blocks) = refresh("small.v_$view");
		my ($strategy, $rows, $blocks) = refresh("large.v_$view");

		is($strategy, 'incremental', "$view, $what changed: followed");
		cmp_ok($rows, '<', 25 * $changes * @$tables, "$view, $what changed: reads $rows rows");
		cmp_ok($blocks, '<=', 1.5 * $small_blocks, "$view, $what changed: reads $blocks blocks, $small_blocks of the small tables");
		ok(is_right($view, 'large'), "$view, $what changed: right");
	}
}

$node->stop;
done_testing();
