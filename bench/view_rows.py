"""What precomputed views cost, against REFRESH MATERIALIZED VIEW of the same query."""
import glob
import math
import os
import statistics
import sys
from functools import partial
from itertools import count

from capture_rows import commits_table, pgbench
from load_rows import MEMORY
from measure import SCALE, Row, Session, amount, interleave, nothing, ratio_row, scaled, spread
from tables import drop, must_equal

TPCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'test', 'tpch')

QUERIES = {
    'sums': 'SELECT customer, count(*) AS n, sum(amount) AS total, avg(amount) AS mean FROM fact GROUP BY customer',
    'joined': 'SELECT region, count(*) AS n, sum(amount) AS total FROM fact JOIN dimension ON dimension.id = customer GROUP BY region',
    'extremes': 'SELECT customer, min(amount) AS low, max(amount) AS high FROM fact GROUP BY customer',
}
TITLES = {'sums': 'count, sum, avg by {groups} groups', 'joined': 'join to 50 groups', 'extremes': 'min, max by {groups} groups'}

COLUMNS = 'id bigint, customer integer NOT NULL, amount numeric(10,2) NOT NULL, placed timestamptz NOT NULL, note text'


def short(n):
    for factor, unit in ((1000000, 'M'), (1000, 'k')):
        if n % factor == 0:
            return f'{n // factor}{unit}'
    return str(n)


def fact_rows(first, last, customers):
    """Customers come in no order."""
    return f"""SELECT n, 1 + abs(hashint8(n)::bigint) % {customers}, (n % 100000)::numeric / 100, timestamptz '2024-01-01' + n * interval '1 second',
        md5(n::text) FROM generate_series({first}::bigint, {last}) n"""


def facts(session, table, rows, customers):
    drop(session, table)
    session.run(f'CREATE TABLE {table} ({COLUMNS})', f'INSERT INTO {table} {fact_rows(1, rows, customers)}',
                f'ALTER TABLE {table} ADD PRIMARY KEY (id)', f'CREATE INDEX ON {table} (customer)', f'VACUUM ANALYZE {table}')


def dimension(session, rows):
    drop(session, 'dimension')
    session.run("CREATE TABLE dimension AS SELECT n AS id, n % 50 AS region, 'customer ' || n AS name"
                f' FROM generate_series(1, {rows}) n', 'ALTER TABLE dimension ADD PRIMARY KEY (id)', 'VACUUM ANALYZE dimension')


def create_view(session, name, query, **arguments):
    more = ''.join(f", {key} => '{value}'" for key, value in arguments.items())
    session.run(f"SELECT elt.create_view('{name}', $${query}$${more})")


def drop_views(session):
    session.cursor.execute('SELECT name FROM elt.views')
    session.run(*(f"SELECT elt.drop_view('{name}')" for name, in session.cursor.fetchall()))


def refresh(name):
    return f"SELECT elt.refresh('{name}')"


def storages(session, *names):
    """The tables that the views, all of them if none is named, are kept in."""
    session.cursor.execute('SELECT p.storage::text FROM elt.view_part p JOIN elt.view v USING (node) WHERE %s OR v.relation::text = ANY (%s)',
                           (not names, list(names)))
    return [row[0] for row in session.cursor.fetchall()]


def vacuum(session, *tables):
    session.run(*(f'VACUUM {table}' for table in tables))


def change_facts(session, rows, part, round):
    """1 row in `part`, all over the table, is changed: 8 of 10 updated, one moved to another customer, one replaced by a new row."""
    chosen = f'fact.id % {part} = {round % part} AND fact.id <= {rows}'
    session.run(f'UPDATE fact SET amount = amount + 1 WHERE {chosen} AND fact.id / {part} % 10 < 8',
                f'UPDATE fact SET customer = dimension.id FROM dimension WHERE {chosen} AND fact.id / {part} % 10 = 8'
                f' AND dimension.id = customer % {customers()} + 1',
                f'INSERT INTO fact SELECT id + {round} * 100000000::bigint, customer, amount + 1, placed, note FROM fact'
                f' WHERE {chosen} AND fact.id / {part} % 10 = 9',
                f'DELETE FROM fact WHERE {chosen} AND fact.id / {part} % 10 = 9')
    vacuum(session, 'fact', *storages(session))


def customers():
    return scaled(100000)


def star(session):
    """A million facts, 100k customers."""
    drop_views(session)
    dimension(session, customers())
    facts(session, 'fact', scaled(1000000), customers())


def follow():
    session = Session(work_mem=MEMORY)
    star(session)
    sides = {}
    for name, query in QUERIES.items():
        create_view(session, name, query)
        session.run(f'CREATE MATERIALIZED VIEW {name}_anew AS {query}')
        sides[name] = (nothing, partial(session.elapsed, refresh(name)))
        sides[f'{name}_anew'] = (nothing, partial(session.elapsed, f'REFRESH MATERIALIZED VIEW {name}_anew'))
    rounds = count(1)
    goals = {1000: {'sums': (40, 100), 'joined': (60, 150), 'extremes': (6, 30)},
             100: {'sums': (8, 15), 'joined': (50, 100), 'extremes': (4, 12)}}
    for part, by_name in goals.items():
        values = interleave(session, sides, 6, before=lambda: change_facts(session, scaled(1000000), part, next(rounds)))
        for name, (goal, aim) in by_name.items():
            title = TITLES[name].format(groups=short(customers()))
            yield ratio_row(f'{100 / part:g} % of {short(scaled(1000000))} rows changed, {title}, refresh : REFRESH MATERIALIZED VIEW (time)',
                            values, name, f'{name}_anew', 1 / goal, 1 / aim)
    session.run(*map(refresh, QUERIES))
    for name, query in QUERIES.items():
        must_equal(session, name, query)
    times = [session.elapsed(refresh('sums')) for _ in range(220)][20:]
    yield Row('Refresh of a view whose tables have not changed', statistics.median(times), spread(times), 0.005, 0.001, '', absolute=True)
    drop_views(session)
    drop(session, 'fact', 'dimension')


def insert_and_refresh():
    session = Session(work_mem=MEMORY)
    rows, more = scaled(1000000), scaled(10000)
    drop_views(session)
    for table in ('fact', 'plain'):
        facts(session, table, rows, customers())
    create_view(session, 'sums', QUERIES['sums'])
    rounds = count(0)
    at = {'fact': 0, 'plain': 0}

    def before():
        round = next(rounds)
        for table in at:
            first = rows + round * more + 1
            at[table] = f'INSERT INTO {table} {fact_rows(first, first + more - 1, customers())}'
        vacuum(session, 'fact', 'plain', *storages(session))

    values = interleave(session, {'view': (nothing, lambda: session.elapsed(at['fact'], refresh('sums'))),
                                  'plain': (nothing, lambda: session.elapsed(at['plain']))}, 7, before=before)
    must_equal(session, 'sums', QUERIES['sums'])
    drop_views(session)
    drop(session, 'fact', 'plain')
    yield ratio_row(f'INSERT of {short(more)} rows plus refresh of the view by {short(customers())} groups : INSERT into a table without (time)',
                    values, 'view', 'plain', 6, 3)


def commits_with_views():
    session = Session()
    script = os.path.join(os.environ['SCRATCH'], 'commit_views.sql')
    queries = {'per_customer': 'SELECT customer, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer',
               'per_status': 'SELECT status, max(placed) AS latest FROM orders GROUP BY status',
               'large': 'SELECT id, customer, amount FROM orders WHERE amount > 12'}
    with open(script, 'w') as file:
        file.write("INSERT INTO orders (customer, amount, placed, status, note)"
                   " VALUES (4711, 12.34, now(), 'new', '0123456789abcdef0123456789abcdef');\n")

    def prepare(views):
        drop_views(session)
        commits_table(session, None)
        for name, query in queries.items() if views else ():
            create_view(session, name, query)

    values = interleave(session, {'views': (partial(prepare, True), partial(pgbench, session, 8, script)),
                                  'none': (partial(prepare, False), partial(pgbench, session, 8, script))}, 7)
    prepare(False)
    drop(session, 'orders')
    for part, what in enumerate(('time', 'CPU of the server')):
        yield ratio_row(f'Commits of one inserted row, 8 clients, three views on the table : none ({what})',
                        {name: [value[part] for value in values[name]] for name in values}, 'views', 'none', 1.15, 1.05)


def time_and_pages(session, statement):
    """The seconds that a statement takes, and how many pages it looks at."""
    seconds = session.elapsed(f'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}')
    plan = session.cursor.fetchone()[0][0]['Plan']
    return seconds, plan['Shared Hit Blocks'] + plan['Shared Read Blocks']


def base_size():
    """The same change of the same 10k groups, joined to the same dimension, in a small and in a large table."""
    session = Session(work_mem=MEMORY)
    groups, changed = scaled(10000), scaled(1000)
    dimension(session, groups)
    sizes = {'small': scaled(100000), 'large': scaled(10000000)}
    query = 'SELECT customer, region, count(*) AS n, sum(amount) AS total FROM {} JOIN dimension ON dimension.id = customer GROUP BY customer, region'
    for size, rows in sizes.items():
        facts(session, f'fact_{size}', rows, groups)
        create_view(session, f'by_{size}', query.format(f'fact_{size}'))
    rounds = count(1)

    def before():
        round = next(rounds)
        for size, rows in sizes.items():
            session.run(f"""UPDATE fact_{size} SET amount = amount + 1 WHERE id IN (
                SELECT 1 + abs(hashint8(n * 1000 + {round})::bigint) % {sizes['small']} * {rows // sizes['small']} FROM generate_series(1, {changed}) n)""")
        vacuum(session, 'fact_small', *storages(session))

    values = interleave(session, {size: (nothing, partial(time_and_pages, session, refresh(f'by_{size}'))) for size in sizes}, 7, before=before)
    for size in sizes:
        must_equal(session, f'by_{size}', query.format(f'fact_{size}'))
    drop_views(session)
    drop(session, 'fact_small', 'fact_large', 'dimension')
    title = f'{short(changed)} changes of a table of {short(sizes["large"])} rows : of {short(sizes["small"])} rows, refresh'
    yield ratio_row(f'{title} (time)', {size: [value[0] for value in values[size]] for size in sizes}, 'large', 'small', 1.3, 1.0)
    row = ratio_row(f'{title} (pages looked at)', {size: [value[1] for value in values[size]] for size in sizes}, 'large', 'small', 1.3, 1.0)
    row.medians = ' : '.join(f'{statistics.median(value[1] for value in values[size]):.0f}' for size in ('large', 'small'))
    yield row


def vacuum_as_due(session, table):
    """What autovacuum would do when it comes by."""
    session.run('SELECT pg_stat_force_next_flush()')
    if session.value(f"""SELECT pg_stat_get_dead_tuples(oid) > current_setting('autovacuum_vacuum_threshold')::int + reltuples *
            coalesce(substring(reloptions::text FROM 'autovacuum_vacuum_scale_factor=([0-9.]+)'), current_setting('autovacuum_vacuum_scale_factor'))::float8
            FROM pg_class WHERE oid = '{table}'::regclass"""):
        vacuum(session, table)


def size():
    """Autovacuum is off while we measure: here it comes by once after each refresh, as it would once a minute."""
    session = Session(work_mem=MEMORY)
    groups, refreshes = scaled(20000), scaled(1500)
    query = 'SELECT customer, count(*) AS n, sum(amount) AS total FROM fact GROUP BY customer'
    facts(session, 'fact', groups * 2, groups)
    create_view(session, 'old', query)
    for round in range(refreshes):
        session.run(f'UPDATE fact SET amount = amount + 1 WHERE id IN (SELECT 1 + abs(hashint8(n * 10000 + {round})::bigint) % {groups * 2}'
                    f' FROM generate_series(1, {groups // 100}) n)', refresh('old'))
        for table in ['fact'] + storages(session, 'old'):
            vacuum_as_due(session, table)
    must_equal(session, 'old', query)
    create_view(session, 'fresh', query)
    bytes = {name: sum(session.value(f"SELECT pg_total_relation_size('{table}')") for table in storages(session, name)) for name in ('old', 'fresh')}
    drop_views(session)
    drop(session, 'fact')
    yield Row(f'Size of a view of {short(groups)} rows after {refreshes} refreshes of 1 % : freshly built', bytes['old'] / bytes['fresh'], 0, 1.5, 1.2,
              f'{bytes["old"] / 1024 ** 2:.2f} MB : {bytes["fresh"] / 1024 ** 2:.2f} MB')


def tpch_tables(session):
    drop_schema = 'DROP SCHEMA IF EXISTS tpch CASCADE'
    session.run(drop_schema, 'CREATE SCHEMA tpch', 'SET search_path = tpch, public', f'SET tpch.scale = {max(0.01, SCALE / 6):g}')
    for part in ('schema', 'generate', 'keys', 'changes'):
        with open(os.path.join(TPCH, f'{part}.sql')) as file:
            session.run(file.read())
    vacuum(session, *(f'(ANALYZE) {table}' for table in 'region nation supplier customer part partsupp orders lineitem'.split()))


def tpch_queries():
    result = {}
    for path in sorted(glob.glob(os.path.join(TPCH, 'queries', '*.sql'))):
        with open(path) as file:
            result[os.path.basename(path)[:2]] = file.read()
    return result


def tpch():
    """A million line items. 0.1 % of each table but nation and region: orders come, change and go with their line items; the others change."""
    session = Session(work_mem=MEMORY)
    tpch_tables(session)
    queries = tpch_queries()
    orders, customers = (int(session.value(f'SELECT greatest({column} / 1000, 3) FROM tpch_size')) for column in ('orders', 'customers'))
    sides = {}
    for number, query in queries.items():
        create_view(session, f'v{number}', query)
        session.run(f'CREATE MATERIALIZED VIEW anew{number} AS {query}')
        sides[f'v{number}'] = (nothing, partial(session.elapsed, refresh(f'v{number}')))
        sides[f'anew{number}'] = (nothing, partial(session.elapsed, f'REFRESH MATERIALIZED VIEW anew{number}'))
    rounds = count(1)
    few = max(1, orders // 3)

    def before():
        round = next(rounds)
        session.run(f'SELECT tpch_insert_orders({round}, {few}), tpch_update_orders({round}, {few}), tpch_update_dimensions({round}, {customers}),'
                    f' tpch_delete_orders({round}, {few})')
        vacuum(session, *storages(session))

    values = interleave(session, sides, 4, before=before)
    for number, query in queries.items():
        must_equal(session, f'v{number}', query)
        medians = [statistics.median(values[side + number]) for side in ('v', 'anew')]
        print(f'  query {number}: {amount(medians[0])} : {amount(medians[1])}', session.value(f"SELECT strategy FROM elt.views WHERE name = 'v{number}'"),
              file=sys.stderr)
    drop_views(session)
    session.run('DROP SCHEMA tpch CASCADE')
    ratios = [math.exp(statistics.mean(math.log(values[f'v{number}'][i] / values[f'anew{number}'][i]) for number in queries)) for i in range(4)]
    yield Row('TPC-H, 22 views, 1M line items, 0.1 % changed, refresh : REFRESH MATERIALIZED VIEW (time, geometric mean)', statistics.median(ratios), spread(ratios),
              1 / 10, 1 / 40, '')


def ivm():
    """The same change followed at once by pg_ivm, where it is installed."""
    session = Session(work_mem=MEMORY)
    if not session.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_ivm'"):
        print('  pg_ivm is not installed', file=sys.stderr)
        return
    session.run('CREATE EXTENSION pg_ivm')
    update = 'UPDATE {} SET amount = amount + 1 WHERE id % 1000 = 1'
    query = QUERIES['sums']
    for table in ('fact', 'fact_ivm'):
        facts(session, table, scaled(1000000), customers())
    create_view(session, 'sums', query)
    session.run(f"SELECT create_immv('sums_ivm', $${query.replace('FROM fact', 'FROM fact_ivm')}$$)")
    values = interleave(session, {'view': (nothing, lambda: session.elapsed(update.format('fact'), refresh('sums'))),
                                  'ivm': (nothing, lambda: session.elapsed(update.format('fact_ivm')))}, 5,
                        before=lambda: vacuum(session, 'fact', 'fact_ivm', *storages(session)))
    drop_views(session)
    drop(session, 'sums_ivm', 'fact', 'fact_ivm')
    yield ratio_row('UPDATE of 0.1 % plus refresh of the view by groups : UPDATE with the same view by pg_ivm (time)', values, 'view', 'ivm', 1.0, 0.5)
