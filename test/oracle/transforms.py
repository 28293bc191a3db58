"""Workloads of transforms: random queries over tables with and without partitions, divided among workers, and compared with the query itself."""

import random

from session import Failure

HAS_TRANSFORMS = "SELECT count(*) FROM pg_proc WHERE proname = 'create_transform' AND pronamespace = 'elt'::regnamespace"

# sums of these are exact in any order; numerics have one scale, so that equal values have equal text
TYPES = {'k': 'int', 'k2': 'int', 'a': 'int', 'n': 'numeric(10,2)', 'f': 'float8', 't': 'text', 'd': 'date'}
KEY_TYPES = ('int', 'int', 'bigint', 'text')
AGGREGATES = ('count(*)', 'count({c})', 'min({c})', 'max({c})', 'count(DISTINCT {c})')
NUMERIC_AGGREGATES = ('sum({c})', 'avg({c})')


class Table:
    def __init__(self, name, kind, key_type, parts, rng):
        self.name = name
        self.kind = kind
        self.parts = parts
        self.types = dict(TYPES, k=key_type)
        self.rng = rng

    def literal(self, value):
        return 'NULL' if value is None else f"'{value}'" if self.types['k'] == 'text' else str(value)

    def partitions(self):
        n = self.parts
        if self.kind in ('hash', 'hash2'):
            return [f'FOR VALUES WITH (MODULUS {n}, REMAINDER {i})' for i in range(n)]
        if self.kind == 'list':
            lists = [[v for v in range(30) if v % n == i] for i in range(n)]
            return ['FOR VALUES IN (' + ', '.join(map(self.literal, values)) + (', NULL)' if i == 0 else ')') for i, values in enumerate(lists)]
        if self.kind == 'range':
            step = 30 // n + 1
            # of text, 'k' sorts as text does: one partition for the rest takes whatever is left
            bounds = [self.literal(i * step) for i in range(n)] if self.types['k'] != 'text' else [f"'{c}'" for c in '0123456789'[:n]]
            return [f'FOR VALUES FROM ({a}) TO ({b})' for a, b in zip(bounds, bounds[1:])] + ['DEFAULT']
        return []

    def create(self, session):
        columns = ', '.join(f'{c} {t}' for c, t in self.types.items())
        by = {'hash': 'HASH (k)', 'hash2': 'HASH (k, k2)', 'list': 'LIST (k)', 'range': 'RANGE (k)'}.get(self.kind)
        if by is None:
            session.sql(f'CREATE TABLE {self.name} ({columns})')
            return
        session.sql(f'CREATE TABLE {self.name} ({columns}) PARTITION BY {by}')
        for i, bound in enumerate(self.partitions()):
            if self.rng.random() < 0.2:
                # other attribute numbers than the parent's
                names = list(self.types)
                self.rng.shuffle(names)
                odd = ', '.join(f'{c} {self.types[c]}' for c in names)
                session.sql(f'CREATE TABLE {self.name}_{i} (gone int, {odd}); ALTER TABLE {self.name}_{i} DROP COLUMN gone; '
                            f'ALTER TABLE {self.name} ATTACH PARTITION {self.name}_{i} {bound}')
            else:
                session.sql(f'CREATE TABLE {self.name}_{i} PARTITION OF {self.name} {bound}')

    def fill(self, session, rows):
        skew = self.rng.choice(('g % 30', 'g % 30', 'CASE WHEN g % 5 > 0 THEN 7 ELSE g % 30 END'))
        session.sql(f"INSERT INTO {self.name} SELECT CASE WHEN g % 11 > 0 THEN ({skew})::{self.types['k']} END, CASE WHEN g % 7 > 0 THEN g % 4 END, "
                    f"CASE WHEN g % 13 > 0 THEN g % 23 END, (g % 50) / 4.0, CASE WHEN g % 3 > 0 THEN (g % 40) / 4.0 END, 't' || g % 9, "
                    f"date '2026-01-01' + g % 20 FROM (SELECT {self.rng.randint(0, 1000)} + (i * 7919) % 1009 AS g FROM generate_series(1, {rows}) i) s")

    def change(self, session):
        session.sql(self.rng.choice((
            f'UPDATE {self.name} SET a = a + 1, n = n * 2 WHERE a % 3 = 1',
            f'DELETE FROM {self.name} WHERE a % 4 = 2',
            f'UPDATE {self.name} SET k = NULL WHERE a % 9 = 4',
            f'DELETE FROM {self.name}')))


class Rows:
    """What can stand in FROM: columns by name, with their types."""

    def __init__(self, text, columns):
        self.text = text
        self.columns = columns


class Generator:
    def __init__(self, rng, tables):
        self.rng = rng
        self.tables = tables
        self.count = 0

    def name(self, prefix):
        self.count += 1
        return f'{prefix}{self.count}'

    def entry(self, depth):
        """An entry of FROM with an alias, and its columns, qualified."""
        rng = self.rng
        alias = self.name('e')
        if depth > 0 and rng.random() < 0.3:
            text, columns = self.select(depth - 1)
            return Rows(f'({text}) {alias}', {f'{alias}.{c}': t for c, t in columns.items()})
        table = rng.choice(self.tables)
        return Rows(f'{table.name} {alias}', {f'{alias}.{c}': t for c, t in table.types.items()})

    def condition(self, left, right):
        """Mostly on what may be the partition key."""
        rng = self.rng

        def named(rows, name):
            return [c for c in rows.columns if c.split('.')[1] == name]

        conditions = []
        for name in ('k', 'k2') if rng.random() < 0.4 else ('k',) if rng.random() < 0.8 else ('a',):
            for a in named(left, name)[-1:]:
                for b in named(right, name)[-1:]:
                    if left.columns[a] == right.columns[b] or {left.columns[a], right.columns[b]} == {'int', 'bigint'}:
                        conditions.append(f'{a} = {b}' if rng.random() < 0.5 else f'{b} = {a}')
        if not conditions or rng.random() < 0.1:
            a, b = rng.choice(list(left.columns)), rng.choice(list(right.columns))
            conditions.append(f'{a}::text = {b}::text')
        return ' AND '.join(conditions)

    def source(self, depth):
        """FROM, and what WHERE says of its joins."""
        rng = self.rng
        rows = self.entry(depth)
        where = []
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            other = self.entry(depth)
            condition = self.condition(rows, other)
            columns = {**rows.columns, **other.columns}
            kind = rng.choice(('JOIN', 'JOIN', 'LEFT JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN', ','))
            if kind == ',' and '(' not in rows.text.split(' ')[0] and 'JOIN' not in rows.text:
                rows = Rows(f'{rows.text}, {other.text}', columns)
                where.append(condition)
                break
            if kind == 'FULL JOIN' and '::text' in condition:
                rows = Rows(f'({rows.text} LEFT JOIN {other.text} ON {condition})', columns)
            else:
                rows = Rows(f"({rows.text} {'JOIN' if kind == ',' else kind} {other.text} ON {condition})", columns)
        return rows, where

    def filter(self, rows):
        rng = self.rng
        column = rng.choice(list(rows.columns))
        if rng.random() < 0.3:
            table = rng.choice(self.tables)
            k = [c for c in rows.columns if c.split('.')[1] in ('k', 'a') and rows.columns[c] in ('int', 'bigint')]
            if k:
                return f"{rng.choice(('', 'NOT '))}EXISTS (SELECT FROM {table.name} x WHERE x.a = {rng.choice(k)})"
        return f'{column} IS NOT NULL' if rng.random() < 0.5 else f'{column}::text < \'5\''

    def select(self, depth):
        """A SELECT, and the columns that it gives."""
        rng = self.rng
        if depth > 0 and rng.random() < 0.12:
            return self.union(depth)
        rows, where = self.source(depth)
        if rng.random() < 0.4:
            where.append(self.filter(rows))
        shape = rng.choice(('rows', 'rows', 'group', 'group', 'distinct', 'window', 'limit', 'whole'))
        tail = f" FROM {rows.text}{' WHERE ' + ' AND '.join(where) if where else ''}"
        return getattr(self, shape)(rows, tail)

    def chosen(self, rows, most):
        """Some columns, those that may be keys rather than others: expression, output name, type."""
        rng = self.rng
        names = list(rows.columns)
        picked = rng.sample(names, min(len(names), rng.randint(1, most)))
        if rng.random() < 0.75:
            picked = [c for c in names if c.split('.')[1] == 'k'][:1] + picked
        result = {}
        for column in picked:
            short = column.split('.')[1]
            if short not in result:
                result[short] = (column, rows.columns[column])
        return [(column, short, kind) for short, (column, kind) in result.items()]

    def rows(self, rows, tail):
        chosen = self.chosen(rows, 5)
        columns = {name: kind for _, name, kind in chosen}
        items = [f'{column} AS {name}' for column, name, _ in chosen]
        if 'made' not in columns and self.rng.random() < 0.3:
            items.append(f"upper({chosen[0][0]}::text) || 'x' AS made")
            columns['made'] = 'text'
        return f"SELECT {', '.join(items)}{tail}", columns

    def aggregates(self, rows):
        rng = self.rng
        items, columns = [], {}
        for _ in range(rng.randint(1, 4)):
            column = rng.choice(list(rows.columns))
            kind = rows.columns[column]
            numeric = kind in ('int', 'bigint', 'float8') or kind.startswith('numeric')
            text = rng.choice(AGGREGATES + (NUMERIC_AGGREGATES * 2 if numeric else ())).format(c=column)
            if rng.random() < 0.2:
                text += f' FILTER (WHERE {column} IS NOT NULL)'
            name = self.name('m')
            items.append(f'{text} AS {name}')
            columns[name] = 'any'
        return items, columns

    def group(self, rows, tail):
        chosen = self.chosen(rows, 2)
        items, columns = self.aggregates(rows)
        having = ' HAVING count(*) > 1' if self.rng.random() < 0.25 else ''
        keys = [column for column, _, _ in chosen]
        self.rng.shuffle(keys)
        return (f"SELECT {', '.join([f'{column} AS {name}' for column, name, _ in chosen] + items)}{tail} GROUP BY {', '.join(keys)}{having}",
                {**{name: kind for _, name, kind in chosen}, **columns})

    def whole(self, rows, tail):
        items, columns = self.aggregates(rows)
        return f"SELECT {', '.join(items)}{tail}", columns

    def distinct(self, rows, tail):
        chosen = self.chosen(rows, 3)
        return (f"SELECT DISTINCT {', '.join(f'{column} AS {name}' for column, name, _ in chosen)}{tail}",
                {name: kind for _, name, kind in chosen})

    def window(self, rows, tail):
        chosen = self.chosen(rows, 3)
        by = self.rng.choice(chosen)[0] if self.rng.random() < 0.4 else chosen[0][0]
        name = self.name('w')
        function = self.rng.choice(('count(*)', f'min({chosen[-1][0]})', 'sum(1)'))
        items = [f'{column} AS {short}' for column, short, _ in chosen] + [f'{function} OVER (PARTITION BY {by}) AS {name}']
        return f"SELECT {', '.join(items)}{tail}", {**{short: kind for _, short, kind in chosen}, name: 'any'}

    def limit(self, rows, tail):
        chosen = self.chosen(rows, 3)
        order = ', '.join(str(i + 1) for i in range(len(chosen)))
        return (f"SELECT {', '.join(f'{column} AS {name}' for column, name, _ in chosen)}{tail} ORDER BY {order} LIMIT {self.rng.randint(1, 20)}",
                {name: kind for _, name, kind in chosen})

    def union(self, depth):
        table, other = self.rng.choice(self.tables), self.rng.choice(self.tables)
        names = self.rng.sample(('a', 'n', 't', 'd'), 2) + (['k'] if table.types['k'] == other.types['k'] else [])
        kind = self.rng.choice(('UNION ALL', 'UNION ALL', 'UNION', 'EXCEPT'))
        return (f"SELECT {', '.join(names)} FROM {table.name} {kind} SELECT {', '.join(names)} FROM {other.name}",
                {name: table.types[name] for name in names})

    def query(self):
        """A query whose columns have types of their own and distinct names."""
        text, columns = self.select(self.rng.choice((0, 1, 1, 2)))
        if self.rng.random() < 0.15:
            cte = self.name('c')
            text = f'WITH {cte} AS ({text}) SELECT * FROM {cte}'
        return text, columns


class TransformWorld:
    def __init__(self, seed, sessions):
        self.seed = seed
        self.rng = random.Random(seed)
        self.session = sessions[0]
        self.trace = []
        self.schema = f'transforms_{seed}'

    def make_tables(self):
        rng = self.rng
        key = rng.choice(KEY_TYPES)
        parts = rng.randint(2, 4)
        tables = []
        for i in range(rng.randint(2, 4)):
            kind = rng.choice(('hash', 'hash', 'hash2', 'list', 'range', 'plain', 'plain'))
            same = rng.random() < 0.8
            other_key = 'bigint' if key == 'int' and kind.startswith('hash') and rng.random() < 0.3 else key
            tables.append(Table(f's{i}', kind, other_key if same else rng.choice(KEY_TYPES), parts if same else rng.randint(2, 4), rng))
        for table in tables:
            table.create(self.session)
            table.fill(self.session, rng.choice((0, 40, 150, 250)))
        return tables

    def make_target(self, name, query):
        """Empty, with the query's columns; partitioned by the first of them now and then."""
        self.session.sql(f'CREATE TABLE {name}_shape AS {query} LIMIT 0' if ' LIMIT ' not in query and 'UNION' not in query and 'EXCEPT' not in query
                         else f'CREATE TABLE {name}_shape AS SELECT * FROM ({query}) q LIMIT 0')
        columns = [r[0] for r in self.session.sql(f"SELECT attname FROM pg_attribute WHERE attrelid = '{name}_shape'::regclass AND attnum > 0 ORDER BY attnum")]
        if self.rng.random() < 0.3:
            self.session.sql(f'CREATE TABLE {name} (LIKE {name}_shape) PARTITION BY HASH ({columns[0]})')
            for i in range(2):
                self.session.sql(f'CREATE TABLE {name}_{i} PARTITION OF {name} FOR VALUES WITH (MODULUS 2, REMAINDER {i})')
        else:
            self.session.sql(f'CREATE TABLE {name} (LIKE {name}_shape)')
        if self.rng.random() < 0.3:
            self.session.sql(f'CREATE INDEX ON {name} ({self.rng.choice(columns)})')

    def options(self):
        rng = self.rng
        options = [f'workers => {rng.choice((2, 2, 3))}']
        if rng.random() < 0.2:
            options.append("publish => 'mvcc'")
        if rng.random() < 0.2:
            options.append('atomic => false')
        return ', '.join(options)

    def check(self, name, query):
        lacks = self.session.value(f'SELECT count(*) FROM (SELECT * FROM ({query}) x EXCEPT ALL SELECT * FROM {name}) d')
        has = self.session.value(f'SELECT count(*) FROM (SELECT * FROM {name} EXCEPT ALL SELECT * FROM ({query}) x) d')
        if lacks or has:
            raise Failure(f'{name} lacks {lacks} rows and has {has} too many of: {query}')
        self.session.counts['checks of transforms'] += 1

    def try_query(self, number, generator):
        session = self.session
        query, _ = generator.query()
        name = f'o{number}'
        # avg of numerics and of what aggregates give have as many digits as they have; the target keeps them
        self.make_target(name, query)
        session.sql(f"SELECT elt.create_transform('{self.schema}.{name}', '{name}', $q${query}$q$, {self.options()})")
        split, reason = session.sql(f"SELECT split, reason FROM elt.explain_transform('{self.schema}.{name}') WHERE step = 'tasks'")[0]
        session.counts[f'transforms: {split}, {reason}'] += 1
        for _ in range(2):
            session.sql(f"CALL elt.run('{self.schema}.{name}')")
            self.check(name, query)
            if self.rng.random() < 0.5:
                break
            self.rng.choice(generator.tables).change(session)
        left = session.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'elt_data'::regnamespace AND relname ~ '^t[0-9]'")
        if left:
            raise Failure(f'{left} relations of runs are left')

    def run(self):
        session = self.session
        session.start(self.schema, self.trace)
        session.sql('SET lock_timeout = 0')
        session.sql(f'CREATE SCHEMA {self.schema}')
        generator = Generator(self.rng, self.make_tables())
        for number in range(self.rng.randint(4, 8)):
            self.try_query(number, generator)
        self.clean_up()

    def clean_up(self):
        self.session.cursor.execute('ROLLBACK; SET lock_timeout = 0')
        self.session.cursor.execute("SELECT elt.drop_transform(name) FROM elt.transforms")
        self.session.cursor.execute(f'DROP SCHEMA IF EXISTS {self.schema} CASCADE')
