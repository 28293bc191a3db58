"""Random row-wise queries for loads. A query is a template in which {src} stands for the source."""

from schema import Column, Key

LOOKUPS = [
    'CREATE TABLE lookup (id int PRIMARY KEY, label text, factor numeric)',
    "INSERT INTO lookup SELECT i, 'label ' || i, i * 1.5 FROM generate_series(-3, 12) i WHERE i % 4 <> 1",
    'CREATE TABLE lookup_many (id int, part int, PRIMARY KEY (id, part))',
    'INSERT INTO lookup_many SELECT i, j FROM generate_series(-3, 12) i, generate_series(1, 3) j WHERE (i + j) % 4 <> 1',
    'CREATE VIEW lookup_view AS SELECT id, upper(label) AS label, factor FROM lookup WHERE id < 9',
]


class Query:
    def __init__(self):
        self.template = None
        self.given = True           # else the load is created without a query
        self.star = False           # there is a * in it, which stands for the columns that there are when the load is made
        self.lookups = False
        self.owned = True           # the key has the source's primary key as it is, so that one row's results are known by it
        self.source_key = []        # names of those columns, where it is so
        self.checked = None         # a result column that passes the source's number through
        self.columns = []           # of the result: Column or Key objects under their new names
        self.key = []

    def over(self, rows):
        """The query's text over a table, or anything else that can stand in FROM."""
        return self.template.replace('{src}', rows)


def _output(name, source, sql):
    """A result column that passes a column of the source through."""
    if isinstance(source, Key):
        column = Key(name, source.type_name, source.first)
    else:
        column = Column(name, source.type_name)
    column.sql = sql
    return column


def default_query(table, rng):
    """The load is created without one: the columns that source and target share."""
    query = Query()
    keep = [c for c in table.columns if c.name in table.key or rng.random() < 0.8]
    if rng.random() < 0.5:
        rng.shuffle(keep)
    query.owned = table.primary
    query.columns = [_output(c.name, c, c.sql) for c in keep]
    query.key = [c.name for c in keep if c.name in table.key]
    query.source_key = query.key
    query.checked = table.number if table.number in [c.name for c in keep] else None
    query.template = f"SELECT {', '.join(c.name for c in keep)} FROM {{src}} s"
    query.given = False
    return query


def _key_columns(table, rng):
    """(expression, Column): the key in the result, as it is, renamed or computed from it."""
    result = []
    for n, name in enumerate(table.key):
        column = table.column(name)
        out = name if rng.random() < 0.5 else f'id{n + 1}'
        expression = f's.{name}'
        output = _output(out, column, column.sql)
        if rng.random() < 0.12:
            expression, output = f"(s.{name}::text || '-x')", Column(out, 'text', nullable=False)
        result.append((expression, output))
    if rng.random() < 0.3:
        rng.shuffle(result)
    return result


def _data_columns(table, rng):
    result = []
    for n, column in enumerate(c for c in table.columns if c.name not in table.key):
        if rng.random() < 0.2:
            continue
        template, of = rng.choice(column.type.expressions)
        output = _output(f'd{n + 1}', column, column.sql) if of is None else Column(f'd{n + 1}', of)
        result.append((template.format(c=f's.{column.name}'), output))
    return result


def _make_unique(columns):
    names = set()
    for column in columns:
        while column.name in names:
            column.name += '_'
        names.add(column.name)


def _joined(table, rng, keyed):
    """(clause, more columns) of a join to a lookup table, or of none."""
    r = rng.random()
    if r < 0.4 or table.number is None:
        return '', []
    on = f'ON l.id = s.{table.number}'
    if r < 0.55 and keyed:
        kind, lookup = 'JOIN', 'lookup_many'
        return f' {kind} {lookup} l {on}', [('l.part', Key('part', 'int', False))]
    if r < 0.63 and keyed:
        return ' CROSS JOIN LATERAL generate_series(1, 2) AS l(part)', [('l.part', Key('part', 'int', False))]
    kind = rng.choice(('JOIN', 'LEFT JOIN', 'LEFT JOIN'))
    lookup = rng.choice(('lookup', 'lookup', 'lookup_view'))
    return f' {kind} {lookup} l {on}', [('l.label', Column('label', 'text')), ('l.factor * 2', Column('factor', 'numeric'))]


def make_query(table, rng, keyed=True):
    """keyed: the result has a key. Without it duplicates may be in it."""
    if rng.random() < 0.15:
        return default_query(table, rng)
    query = Query()
    keys = _key_columns(table, rng) if keyed else []
    data = _data_columns(table, rng)
    if not keyed:
        data += [(f's.{n}', _output(n, table.column(n), table.column(n).sql)) for n in table.key if rng.random() < 0.7]
    join, more = _joined(table, rng, keyed)
    data += [(e, c) for e, c in more if not isinstance(c, Key)]
    keys += [(e, c) for e, c in more if isinstance(c, Key)]
    if table.number and rng.random() < 0.4:
        data.append((f's.{table.number}', Column('number', 'int')))
    elif not keys + data:
        data.append((f's.{table.columns[0].name} IS NULL', Column('empty', 'bool')))
    columns = keys + data
    if rng.random() < 0.3:
        rng.shuffle(columns)
    _make_unique([c for _, c in columns])
    query.lookups = 'lookup' in join
    query.owned = table.primary and not any('::text' in e for e, _ in keys)
    query.source_key = [c.name for e, c in keys if e.startswith('s.')]
    query.checked = next((c.name for e, c in columns if e == f's.{table.number}'), None)
    query.columns = [c for _, c in columns]
    query.key = [c.name for _, c in keys]

    conditions = []
    while rng.random() < 0.45:
        column = rng.choice(table.columns)
        conditions.append(rng.choice(column.type.filters if column.type.filters else ('true',)))
        conditions[-1] = '(' + conditions[-1].format(c=f's.{column.name}') + ')'
    where = ' WHERE ' + ' AND '.join(conditions) if conditions else ''
    out = ', '.join(f'{e} AS {c.name}' for e, c in columns)

    shape = rng.choice(('plain', 'plain', 'cte', 'subquery'))
    if shape == 'cte':
        query.star = True
        query.template = f'WITH s AS (SELECT * FROM {{src}} s{where}) SELECT {out} FROM s{join}'
    elif shape == 'subquery':
        query.template = f'SELECT {out} FROM (SELECT {table.select("s")} FROM {{src}} s{where}) s{join}'
    else:
        query.template = f'SELECT {out} FROM {{src}} s{join}{where}'
    return query
