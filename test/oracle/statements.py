"""Random statements of writers. Each function returns SQL, or a pair of COPY and its data, or None where it has no sense."""

from schema import KEY_RANGE, Key


def _values(table, rng, columns, count, member=None, cast=False):
    """Rows with distinct keys, as VALUES text."""
    numbers = rng.sample(range(1, KEY_RANGE + 1), count)
    rows = []
    for i in numbers:
        row = table.row(rng, i, member)
        rows.append('(' + ', '.join(f'({row[c]})::{table.column(c).sql}' if cast else row[c] for c in columns) + ')')
    return ', '.join(rows)


def _target(table, rng):
    """The relation to name: the root, or sometimes one of its partitions; and which member it is."""
    if table.members and rng.random() < 0.3:
        member = rng.choice(table.members)
        return member.name, member
    return table.name, None


def _first_key(table):
    return next((c for c in table.columns if isinstance(c, Key) and c.first), None)


def _where(table, rng, alias='t'):
    """A condition that a few rows meet."""
    column = _first_key(table)
    if column is None or rng.random() < 0.15:
        return f'{alias}.n = {rng.randint(-5, 20)}'
    low = rng.randint(1, KEY_RANGE)
    if rng.random() < 0.4:
        return f'{alias}.{column.name} = {column.at(low, rng)}'
    high = low + rng.randint(1, 6)
    return f'{alias}.{column.name} >= {column.at(low, rng)} AND {alias}.{column.name} < {column.at(high, rng)}'


def _changes(table, rng, alias='t', count=None):
    """Assignments to columns that are not part of the key."""
    columns = table.data()
    chosen = rng.sample(columns, min(len(columns), count or rng.choice((1, 1, 1, 2, 3))))
    number = table.column(table.number)
    if number not in chosen and rng.random() < 0.3:
        chosen[0] = number          # joins, conditions and checks depend on it
    result = []
    for c in chosen:
        if c.type.changes and rng.random() < 0.4:
            result.append(f'{c.name} = ' + rng.choice(c.type.changes).format(c=f'{alias}.{c.name}'))
        else:
            result.append(f'{c.name} = {c.literal(rng)}')
    return ', '.join(result)


def insert(table, rng):
    name, member = _target(table, rng)
    columns = table.names(generated=False)
    text = f"INSERT INTO {name} ({', '.join(columns)}) VALUES {_values(table, rng, columns, rng.choice((1, 1, 2, 3, 5)), member)}"
    if not table.key:
        return text
    r = rng.random()
    if r < 0.45:
        text += ' ON CONFLICT DO NOTHING'
    elif r < 0.85:
        text += f" ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {_changes(table, rng, 'excluded')}"
        if rng.random() < 0.2:
            text += ' WHERE excluded.n > 2'
    return text


def insert_many(table, rng, start=None):
    """Rows made by a query, more of them."""
    columns = [c for c in table.columns if not c.generated]
    bulk = table.bulk and (start is not None or rng.random() < 0.7)
    count = 300 if bulk else KEY_RANGE if start is not None else rng.choice((5, 10, 20))
    start = rng.randint(1, KEY_RANGE) if start is None else start
    expressions = []
    for c in columns:
        if isinstance(c, Key):
            expressions.append(c.sql_at('i'))
        elif c.name in ('p', 'q'):
            expressions.append('i % 10')
        elif c.name == table.number:
            expressions.append(f'i * {rng.randint(1, 19)} % 20')
        elif c.type_name == 'long':
            expressions.append(f'long_text({rng.randint(0, 1000000)} + i, {rng.choice((110, 110, 300)) if bulk else rng.choice((1, 50, 100))})')
        elif table.varied:
            cases = ' '.join(f'WHEN {k} THEN {c.literal(rng)}' for k in range(4))
            expressions.append(f'CASE i * {rng.randint(1, 9)} % 5 {cases} ELSE ({c.literal(rng)})::{c.sql} END')
        else:
            expressions.append(c.literal(rng))
    text = (f"INSERT INTO {table.name} ({', '.join(c.name for c in columns)}) SELECT {', '.join(expressions)} "
            f'FROM generate_series({start}, {start + count}) i WHERE i % 4 <> {rng.randint(0, 4)}')
    return text + ' ON CONFLICT DO NOTHING' if table.key else text


def update(table, rng):
    name, _ = _target(table, rng)
    return f'UPDATE {name} t SET {_changes(table, rng)} WHERE {_where(table, rng)}'


def update_nothing(table, rng):
    column = rng.choice([c for c in table.columns if not c.generated])
    return f'UPDATE {table.name} t SET {column.name} = t.{column.name} WHERE {_where(table, rng)}'


def update_key(table, rng):
    """Another key: a single row's, or that of many at once."""
    column = _first_key(table)
    if column is None:
        return None
    name = _target(table, rng)[0]
    if column.shift and rng.random() < 0.4:
        shifted = column.shift.format(c=f't.{column.name}', d=rng.choice((0, 1, -1, 7, 50)))
        return f'UPDATE {name} t SET {column.name} = {shifted} WHERE {_where(table, rng)}'
    i = rng.randint(1, KEY_RANGE)
    j = i if rng.random() < 0.2 else rng.randint(1, KEY_RANGE + 10)
    more = f', {_changes(table, rng, count=1)}' if rng.random() < 0.3 else ''
    return f'UPDATE {name} t SET {column.name} = {column.at(j, rng)}{more} WHERE t.{column.name} = {column.at(i, rng)}'


def swap_keys(table, rng):
    """Two rows exchange their keys by way of a third one, in one statement each."""
    column = _first_key(table)
    if column is None:
        return None
    a, b = rng.sample(range(1, KEY_RANGE), 2)
    spare = 900 + rng.randint(0, 9)
    name = column.name
    return '; '.join(f'UPDATE {table.name} t SET {name} = {column.at(to, rng)} WHERE t.{name} = {column.at(of, rng)}'
                     for of, to in ((a, spare), (b, a), (spare, b)))


def move(table, rng):
    """To another partition."""
    if table.part is None:
        return None
    columns = [c for c in table.columns if c.name in ('p', 'q')]
    column = rng.choice(columns)
    value = rng.choice((str(rng.randint(0, 9)), f'(t.{column.name} + {rng.randint(1, 9)}) % 10'))
    more = f', {_changes(table, rng, count=1)}' if rng.random() < 0.3 else ''
    return f'UPDATE {table.name} t SET {column.name} = {value}{more} WHERE {_where(table, rng)}'


def delete(table, rng):
    return f'DELETE FROM {_target(table, rng)[0]} t WHERE {_where(table, rng)}'


def merge(table, rng):
    if not table.key:
        return None
    columns = table.names(generated=False)
    source = f"(VALUES {_values(table, rng, columns, rng.choice((2, 4, 8)), cast=True)}) AS m({', '.join(columns)})"
    clauses = [f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({', '.join('m.' + c for c in columns)})",
               f'WHEN MATCHED AND m.n > 3 THEN UPDATE SET {_changes(table, rng)}',
               'WHEN MATCHED AND m.n < 0 THEN DELETE']
    if table.part is not None:
        clauses.append('WHEN MATCHED THEN UPDATE SET p = (t.p + 1) % 10')
    clauses = [c for c in clauses if rng.random() < 0.8] or clauses[:1]
    on = ' AND '.join(f't.{k} = m.{k}' for k in table.key if not (table.part is not None and k in ('p', 'q') and rng.random() < 0.5))
    return f"MERGE INTO {table.name} t USING {source} ON {on} {' '.join(clauses)}"


def copy(table, rng):
    """Only columns whose literals are plain numbers or text are given; the others get their default."""
    columns = [c for c in table.columns if isinstance(c, Key) or c.name in ('n', 'p', 'q') or c.type_name in ('text', 'int') and not c.generated]
    if any(isinstance(c, Key) and c.type_name in ('uuid', 'date') for c in columns):
        return None
    lines = []
    for i in rng.sample(range(1, KEY_RANGE * 3), rng.choice((2, 5, 15))):
        row = table.row(rng, i)
        values = ['\\N' if row[c.name] == 'NULL' else row[c.name].strip("E'").replace('\\', '\\\\').replace("''", "'") for c in columns]
        lines.append('\t'.join(values) + '\n')
    return f"COPY {table.name} ({', '.join(c.name for c in columns)}) FROM STDIN", ''.join(lines)


def rewrite(table, rng):
    """Rows deleted and inserted again by one statement."""
    columns = ', '.join(table.names(generated=False))
    keep = rng.choice(('true', 'd.n IS DISTINCT FROM 3'))
    return (f'WITH d AS (DELETE FROM {table.name} t WHERE {_where(table, rng)} RETURNING *) '
            f'INSERT INTO {table.name} ({columns}) SELECT {columns} FROM d WHERE {keep}')


def update_extra(table, rng):
    """A column that nobody reads: the row changes, and yet what is seen of it does not."""
    if not table.extra:
        return None
    return f'UPDATE {table.name} t SET {rng.choice(table.extra)} = {rng.randint(0, 9)} WHERE {_where(table, rng)}'


def block(table, rng):
    """Subtransactions of PL/pgSQL, one of them undone."""
    one, two, three = (rng.choice((insert, update, delete, update_key, move))(table, rng) or update(table, rng) for _ in range(3))
    return (f"DO $block$ BEGIN {one}; BEGIN {two}; IF {rng.choice(('true', 'false'))} THEN RAISE EXCEPTION 'undone'; END IF; "
            f'EXCEPTION WHEN raise_exception OR unique_violation OR check_violation THEN NULL; END; {three}; END $block$')


def referenced(table, rng):
    """The foreign key's cascade."""
    if table.referenced is None:
        return None
    i = rng.randint(-5, 20)
    return rng.choice((f'DELETE FROM {table.referenced} WHERE id = {i}',
                       f'UPDATE {table.referenced} SET id = id + 20 WHERE id = {i}',
                       f'INSERT INTO {table.referenced} VALUES ({i}) ON CONFLICT DO NOTHING'))


KINDS = ((insert, 10), (insert_many, 3), (update, 9), (update_nothing, 2), (update_key, 5), (swap_keys, 1), (move, 4), (delete, 5),
         (merge, 3), (copy, 2), (rewrite, 2), (block, 3), (referenced, 2), (update_extra, 3))


def fill(table, rng):
    """Most of the keys."""
    return insert_many(table, rng, 1)


def statement(table, rng):
    kinds, weights = zip(*KINDS)
    while True:
        text = rng.choices(kinds, weights)[0](table, rng)
        if text is not None:
            return text
