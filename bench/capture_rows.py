"""What tracking costs the writers of a table."""
import os
import re
import subprocess
from functools import partial

from measure import Session, interleave, ratio_row, scaled, server_cpu
from tables import COLUMNS, drop, orders, staging, track

IMAGES = {'untracked': None, 'row': 'row', 'key': 'key'}


def compare_writes(session, table, prepare, statement, repetitions, images=IMAGES):
    """CPU of a statement on a table as prepare(images => ...) makes it, untracked and tracked."""
    sides = {name: (partial(prepare, images=images[name]), partial(session.cpu, statement)) for name in images}
    values = interleave(session, sides, repetitions)
    drop(session, table)
    return values


def insert():
    session = Session()
    staging(session, scaled(1000000))
    values = compare_writes(session, 'orders', partial(orders, session, 'orders'),
                            'INSERT INTO orders SELECT * FROM staging', 5, {'untracked': None, 'row': 'row'})
    yield ratio_row('INSERT of 1M rows, tracked : untracked (CPU)', values, 'row', 'untracked', 1.35, 1.20)


def change(title, statement, goals):
    """A statement on all rows of a table of 100k."""
    session = Session()
    staging(session, scaled(100000))
    prepare = partial(orders, session, 'orders', 'SELECT * FROM staging')
    values = compare_writes(session, 'orders', prepare, statement, 9)
    for images, (goal, aim) in goals.items():
        yield ratio_row(f"{title} of 100k rows, tracked with images '{images}' : untracked (CPU)",
                        values, images, 'untracked', goal, aim)


def update():
    return change('UPDATE', "UPDATE orders SET amount = amount + 1, status = 'checked'",
                  {'row': (1.3, 1.1), 'key': (1.2, 1.1)})


def delete():
    return change('DELETE', 'DELETE FROM orders', {'row': (2.8, 1.8), 'key': (1.8, 1.5)})


def documents(session, images):
    drop(session, 'documents')
    session.run('CREATE TABLE documents (id integer PRIMARY KEY, revision integer, body text)',
                'ALTER TABLE documents ALTER body SET STORAGE EXTERNAL',
                f'INSERT INTO documents SELECT n, 0, repeat(md5(n::text), 32768) FROM generate_series(1, {scaled(50)}) n',
                'VACUUM ANALYZE documents')
    track(session, 'documents', images)


def toast():
    session = Session()
    statement = """DO $$ BEGIN FOR round IN 1..200 LOOP
        UPDATE documents SET revision = revision + 1; COMMIT; END LOOP; END $$"""
    values = compare_writes(session, 'documents', partial(documents, session), statement, 5,
                            {'untracked': None, 'row': 'row'})
    yield ratio_row('UPDATE of a small column beside an unchanged value of 1 MB, tracked : untracked (CPU)',
                    values, 'row', 'untracked', 1.5, 1.1)


def wide_table(session, images):
    drop(session, 'wide')
    session.run('CREATE TABLE wide (LIKE wide_staging)', 'ALTER TABLE wide ADD PRIMARY KEY (c0)')
    track(session, 'wide', images)


def wide():
    session = Session()
    samples = ('n', 'n % 7', "timestamptz '2024-01-01' + n * interval '1 s'", 'n::numeric / 100', 'n * {0}', 'left(md5(n::text), 12)')
    columns = ', '.join(f'{samples[i % 6].format(i)} AS c{i}' for i in range(200))
    drop(session, 'wide_staging')
    session.run(f'CREATE TABLE wide_staging AS SELECT {columns} FROM generate_series(1, {scaled(20000)}) n',
                'VACUUM ANALYZE wide_staging')
    values = compare_writes(session, 'wide', partial(wide_table, session), 'INSERT INTO wide SELECT * FROM wide_staging', 5,
                            {'untracked': None, 'row': 'row'})
    drop(session, 'wide_staging')
    yield ratio_row('INSERT of 20k rows of 200 columns, tracked : untracked (CPU)', values, 'row', 'untracked', 1.5, 1.3)


def commits_table(session, images):
    drop(session, 'orders')
    session.run(f'CREATE TABLE orders ({COLUMNS})', 'ALTER TABLE orders ADD PRIMARY KEY (id)',
                'ALTER TABLE orders ALTER id ADD GENERATED ALWAYS AS IDENTITY')
    track(session, 'orders', images)


def pgbench(session, clients, script):
    """Time and CPU of the server per transaction, in seconds."""
    before = server_cpu(session.pid)
    output = subprocess.run(['pgbench', '-n', '-M', 'prepared', '-c', str(clients), '-j', str(min(clients, 2)),
                             '-T', str(max(1, round(scaled(3000) / 1000))), '-f', script],
                            check=True, capture_output=True, text=True).stdout
    cpu = server_cpu(session.pid) - before
    transactions = int(re.search(r'actually processed: (\d+)', output)[1])
    return 1 / float(re.search(r'^tps = ([\d.]+)', output, re.M)[1]), cpu / transactions


def commits():
    session = Session()
    script = os.path.join(os.environ['SCRATCH'], 'commit.sql')
    with open(script, 'w') as file:
        file.write("INSERT INTO orders (customer, amount, placed, status, note)"
                   " VALUES (4711, 12.34, now(), 'new', '0123456789abcdef0123456789abcdef');\n")
    for clients in (1, 8):
        sides = {name: (partial(commits_table, session, images), partial(pgbench, session, clients, script))
                 for name, images in {'untracked': None, 'row': 'row'}.items()}
        values = interleave(session, sides, 7)
        for part, what in enumerate(('time', 'CPU of the server')):
            yield ratio_row(f'Commits of one inserted row, {clients} client{"s"[:clients - 1]}, tracked : untracked ({what})',
                            {name: [value[part] for value in values[name]] for name in values},
                            'row', 'untracked', 1.15, 1.05)
    drop(session, 'orders')
