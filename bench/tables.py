"""The tables that are measured on."""

# about 100 bytes a row, with its header
COLUMNS = 'id bigint, customer integer, amount numeric(10,2), placed timestamptz, status text, note text'
ROW = """n, n % 50000, (n % 100000)::numeric / 100, timestamptz '2024-01-01' + n * interval '1 second',
    (ARRAY['new', 'paid', 'shipped', 'returned'])[1 + n % 4], md5(n::text)"""


def drop(session, *tables):
    session.run(*(f'DROP TABLE IF EXISTS {table} CASCADE' for table in tables))


def staging(session, rows):
    """A plain table without an index, from which the others are filled."""
    drop(session, 'staging')
    session.run(f'CREATE TABLE staging ({COLUMNS})',
                f'INSERT INTO staging SELECT {ROW} FROM generate_series(1, {rows}) n',
                'VACUUM ANALYZE staging')


def orders(session, table, fill='', images=None):
    """A table with a primary key, filled by a query, then tracked where images are named."""
    drop(session, table)
    session.run(f'CREATE TABLE {table} ({COLUMNS})')
    if fill:
        session.run(f'INSERT INTO {table} {fill}')
    session.run(f'ALTER TABLE {table} ADD PRIMARY KEY (id)', f'VACUUM ANALYZE {table}')
    track(session, table, images)


def track(session, table, images):
    if images:
        session.run(f"SELECT elt.track('{table}', images => '{images}')")


def must_equal(session, table, query):
    """What did not do its work must not be quoted."""
    if not session.value(f"""SELECT (SELECT count(*) FROM {table}) = (SELECT count(*) FROM ({query}) q)
            AND NOT EXISTS (TABLE {table} EXCEPT ALL ({query}))"""):
        raise AssertionError(f'{table} has not the rows that it should have')
