"""What transforms take, against one INSERT ... SELECT and against sessions that somebody starts by hand."""
import statistics
import threading
import time

from measure import Row, Session, amount, interleave, nothing, ratio_row, scaled, spread
from tables import drop

SHARDS = 8


def hash_table(session, table, columns, key, shards=SHARDS):
    drop(session, table)
    session.run(f'CREATE TABLE {table} ({columns}) PARTITION BY HASH ({key})',
                *(f'CREATE TABLE {table}_{i} PARTITION OF {table} FOR VALUES WITH (MODULUS {shards}, REMAINDER {i})' for i in range(shards)))


def transform(session, name, target, query, **options):
    """One that has as many workers as there are processors."""
    session.cursor.execute('SELECT name FROM elt.transforms')
    session.run(*(f"SELECT elt.drop_transform('{old}')" for old, in session.cursor.fetchall()))
    more = ''.join(f', {key} => {value!r}' for key, value in options.items())
    session.run(f"SELECT elt.create_transform('{name}', '{target}', $${query}$$, workers => 2{more})")


def insert_select(session, target, query):
    """The transform's work as one statement, on a table emptied before."""
    def prepare():
        session.run(f'TRUNCATE {target}')

    return prepare, lambda: session.elapsed(f'INSERT INTO {target} {query}')


def run_transform(session, name):
    return nothing, lambda: session.elapsed(f"CALL elt.run('{name}')")


def must_be_equal(session, one, other):
    for a, b in ((one, other), (other, one)):
        assert session.value(f'SELECT count(*) FROM (TABLE {a} EXCEPT ALL TABLE {b}) x') == 0, f'{a} and {b} differ'


def copy():
    """10M narrow rows from one plain table to another."""
    session = Session()
    rows = scaled(10_000_000)
    columns = 'id integer, a integer, b bigint, c date'
    drop(session, 'narrow', 'copied', 'inserted')
    session.run(f'CREATE TABLE narrow ({columns})', f'CREATE TABLE copied ({columns})', f'CREATE TABLE inserted ({columns})',
                f"INSERT INTO narrow SELECT n, n % 1000, n * 7, date '2024-01-01' + n % 700 FROM generate_series(1, {rows}) n", 'VACUUM ANALYZE narrow')
    transform(session, 'copy', 'copied', 'SELECT * FROM narrow')
    values = interleave(session, {'transform': run_transform(session, 'copy'),
                                  'insert': insert_select(session, 'inserted', 'SELECT * FROM narrow')}, 5)
    must_be_equal(session, 'copied', 'inserted')
    drop(session, 'narrow', 'copied', 'inserted')
    return [ratio_row(f'copy of {rows:,} narrow rows : INSERT ... SELECT', values, 'transform', 'insert', 1 / 3.5, 1 / 4.5)]


def parse():
    """JSON text into ten columns."""
    session = Session()
    rows = scaled(2_000_000)
    names = [f'c{i}' for i in range(10)]
    query = 'SELECT id, ' + ', '.join(f"(doc::json ->> '{name}')::int AS {name}" for name in names) + ' FROM documents'
    drop(session, 'documents', 'parsed', 'inserted')
    columns = 'id integer, ' + ', '.join(f'{name} integer' for name in names)
    session.run('CREATE TABLE documents (id integer, doc text)', f'CREATE TABLE parsed ({columns})', f'CREATE TABLE inserted ({columns})',
                'INSERT INTO documents SELECT n, json_build_object(' + ', '.join(f"'{name}', n + {i}" for i, name in enumerate(names)) +
                f') FROM generate_series(1, {rows}) n', 'VACUUM ANALYZE documents')
    transform(session, 'parse', 'parsed', query)
    values = interleave(session, {'transform': run_transform(session, 'parse'), 'insert': insert_select(session, 'inserted', query)}, 5)
    must_be_equal(session, 'parsed', 'inserted')
    drop(session, 'documents', 'parsed', 'inserted')
    return [ratio_row(f'{rows:,} JSON texts into 10 columns : INSERT ... SELECT', values, 'transform', 'insert', 1 / 1.9, 1 / 2.2)]


def by_hand(sessions, shards, query):
    """Each session does half of the shards, one statement each, as somebody would who wants two processors to work."""
    def work(session, part):
        for i in part:
            session.run('INSERT INTO grouped_by_hand ' + query.format(table=f'sales_{i}'))

    threads = [threading.Thread(target=work, args=(session, range(n, shards, len(sessions)))) for n, session in enumerate(sessions)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def group():
    """Groups by the key of a hash-partitioned table: against one statement, and against two sessions by hand."""
    session = Session()
    rows, groups = scaled(10_000_000), scaled(600_000)
    query = 'SELECT customer, count(*) AS n, sum(amount) AS total, max(day) AS latest FROM {table} GROUP BY customer'
    columns = 'customer integer, n bigint, total bigint, latest date'
    hash_table(session, 'sales', 'customer integer, amount integer, day date', 'customer')
    drop(session, 'grouped', 'grouped_by_hand', 'inserted')
    session.run(*(f'CREATE TABLE {table} ({columns})' for table in ('grouped', 'grouped_by_hand', 'inserted')),
                f"INSERT INTO sales SELECT (n * 7919::bigint) % {groups}, n % 1000, date '2024-01-01' + n % 700 FROM generate_series(1, {rows}) n",
                'VACUUM ANALYZE sales')
    transform(session, 'group', 'grouped', query.format(table='sales'))
    hands = [Session(), Session()]
    values = interleave(session, {'transform': run_transform(session, 'group'),
                                  'insert': insert_select(session, 'inserted', query.format(table='sales')),
                                  'hands': (lambda: session.run('TRUNCATE grouped_by_hand'), lambda: by_hand(hands, SHARDS, query))}, 5)
    must_be_equal(session, 'grouped', 'inserted')
    must_be_equal(session, 'grouped', 'grouped_by_hand')
    drop(session, 'sales', 'grouped', 'grouped_by_hand', 'inserted')
    title = f'{rows:,} rows to {groups:,} groups by shard key'
    return [ratio_row(f'{title} : INSERT ... SELECT', values, 'transform', 'insert', 1 / 2.2, 1 / 2.6),
            ratio_row(f'{title} : two sessions by hand', values, 'transform', 'hands', 1.0, 0.91)]


def absolute(title, values, goal, aim):
    return Row(title, statistics.median(values), spread(values), goal, aim, amount(statistics.median(values)), absolute=True)


def swap():
    """How long the target of 8 shards is locked: the longest time that a reader had to wait."""
    session = Session()
    rows = scaled(1_250_000) * SHARDS
    hash_table(session, 'source', 'id integer, a integer, b bigint', 'id')
    hash_table(session, 'swapped', 'id integer, a integer, b bigint', 'id')
    session.run(f'INSERT INTO source SELECT n, n % 1000, n FROM generate_series(1, {rows}) n', 'CREATE INDEX ON swapped (id)', 'VACUUM ANALYZE source')
    transform(session, 'swap', 'swapped', 'SELECT * FROM source')
    session.run("CALL elt.run('swap')")
    waits = []
    for _ in range(5):
        longest, stop = [0.0], threading.Event()
        readers = [Session(), Session()]

        def read(reader):
            while not stop.is_set():
                longest[0] = max(longest[0], reader.elapsed('SELECT FROM swapped WHERE id = 1'))
                time.sleep(0.001)

        threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
        for thread in threads:
            thread.start()
        session.run("CALL elt.run('swap')")
        stop.set()
        for thread in threads:
            thread.join()
        waits.append(longest[0])
    drop(session, 'source', 'swapped')
    return [absolute(f'swap of {SHARDS} shards of {rows // SHARDS:,} rows: longest wait of a reader', waits, 0.080, 0.040)]


def idle():
    """A run that has nothing to write, and tasks that have nothing to do."""
    session = Session()
    drop(session, 'nothing', 'nowhere')
    session.run('CREATE TABLE nothing (id integer)', 'CREATE TABLE nowhere (id integer)')
    transform(session, 'idle', 'nowhere', 'SELECT * FROM nothing')
    runs = [session.elapsed("CALL elt.run('idle')") for _ in range(40)][10:]
    drop(session, 'nothing', 'nowhere')
    commands = 'ARRAY(SELECT $$SELECT 1$$::text FROM generate_series(1, 1000))'
    tasks = [session.elapsed(f'SELECT count(*) FROM elt.run_parallel({commands}, workers => 2, read_only => true)') / 1000 for _ in range(8)][1:]
    return [absolute('a run over an empty table', runs, 0.015, 0.005),
            absolute('1,000 tiny read-only tasks, each', tasks, 0.0001, 0.00003)]
