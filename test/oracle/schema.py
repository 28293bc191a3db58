"""Random source tables: their columns, keys, partitions and triggers, and the SQL that creates them."""

from values import ALL_TYPES, COMMON, DATA_TYPES, KEYS

KEY_RANGE = 40


class Column:
    def __init__(self, name, type_name, sql=None, nullable=True, generated=None):
        self.name = name
        self.type_name = type_name
        self.type = ALL_TYPES[type_name]
        self.sql = sql or self.type.sql
        self.nullable = nullable
        self.generated = generated

    def literal(self, rng):
        if self.nullable and rng.random() < 0.15:
            return 'NULL'
        return self.type.literal(rng)

    def ddl(self):
        text = f'{self.name} {self.sql}'
        if self.generated:
            text += f' GENERATED ALWAYS AS ({self.generated}) STORED'
        return text if self.nullable else text + ' NOT NULL'


class Key(Column):
    """A column of the key. Only the first one counts up; the others follow from it, so that conflicts happen."""

    def __init__(self, name, key_type, first):
        super().__init__(name, key_type, nullable=False)
        self.of, self.expression, self.shift = KEYS[key_type]
        self.first = first

    def number(self, i):
        return i if self.first else i % 3

    def at(self, i, rng):
        return self.of(self.number(i), rng)

    def sql_at(self, i):
        return self.expression.format(i=i if self.first else f'({i}) % 3')


class Member:
    """A relation of the partition tree. fits: for some columns the literals that it takes."""

    def __init__(self, name, fits, leaf):
        self.name = name
        self.fits = fits
        self.leaf = leaf


class Table:
    def __init__(self, name):
        self.name = name
        self.columns = []           # those that rows are written with, in order
        self.key = []               # names; identify a row, if there are any
        self.primary = False        # they are a primary key
        self.ddl = []
        self.members = []           # partitions
        self.number = None          # a column of type int
        self.part = None            # name of the column that the root is partitioned by
        self.images = 'row'
        self.referenced = None      # a table that a foreign key with cascades refers to
        self.truncated = 0          # how often, about
        self.extra = []             # columns added later, which consumers do not look at
        self.bulk = False           # sometimes gets many long rows at once
        self.varied = False         # rows made by a query differ in all columns
        self.writable = True        # by writers: not the target of a load

    def names(self, generated=True):
        return [c.name for c in self.columns if generated or not c.generated]

    def column(self, name):
        return next(c for c in self.columns if c.name == name)

    def data(self):
        """Columns that may be changed as one likes."""
        return [c for c in self.columns if c.name not in self.key and not c.generated and c.name not in ('p', 'q')]

    def select(self, alias=None):
        return ', '.join(f'{alias}.{n}' if alias else n for n in self.names())

    def row(self, rng, i=None, member=None):
        """Literals of a new row, by column; that of the i-th key."""
        i = rng.randint(1, KEY_RANGE) if i is None else i
        row = {c.name: c.at(i, rng) if isinstance(c, Key) else c.literal(rng) for c in self.columns if not c.generated}
        if member is not None:
            for name, choices in member.fits.items():
                row[name] = rng.choice(choices)
        return row

    def match(self, left, right):
        return ' AND '.join(f'{left}.{n} = {right}.{n}' for n in self.key)


def _bounds(method, column, rng):
    """(clause, literals that fit) of the partitions by an int column with values 0..9."""
    if method == 'hash':
        modulus = rng.randint(2, 3)
        return [(f'FOR VALUES WITH (MODULUS {modulus}, REMAINDER {r})', None) for r in range(modulus)]
    if method == 'list':
        return [('FOR VALUES IN (0, 1, 2)', '012'), ('FOR VALUES IN (3, 4)', '34'), ('DEFAULT', '56789')]
    return [('FOR VALUES FROM (MINVALUE) TO (3)', '012'), ('FOR VALUES FROM (3) TO (7)', '3456'), ('FOR VALUES FROM (7) TO (MAXVALUE)', '789')]


def _layout(table, rng):
    """Columns of a partition that is attached: in another order, with others that were dropped."""
    columns = [c.ddl() for c in table.columns]
    rng.shuffle(columns)
    if rng.random() < 0.6:
        columns.insert(rng.randint(0, len(columns)), 'gone int')
    return columns


def _add_partition(table, parent, name, clause, subpartition, rng):
    """DDL of one partition; subpartition: 'PARTITION BY ...' or nothing."""
    if rng.random() < 0.5:
        table.ddl.append(f'CREATE TABLE {name} PARTITION OF {parent} {clause} {subpartition}')
        return
    columns = _layout(table, rng)
    table.ddl.append(f'CREATE TABLE {name} ({", ".join(columns)}) {subpartition}')
    if any(c.startswith('gone') for c in columns):
        table.ddl.append(f'ALTER TABLE {name} DROP COLUMN gone')
    table.ddl.append(f'ALTER TABLE {parent} ATTACH PARTITION {name} {clause}')


def _partition(table, rng):
    method = rng.choice(('range', 'list', 'hash'))
    two_levels = rng.random() < 0.5
    deep = rng.randint(0, 1)
    for n, (clause, fits) in enumerate(_bounds(method, 'p', rng)):
        name = f'{table.name}_{n}'
        choices = {'p': list(fits)} if fits else {}
        if two_levels and n == deep:
            by = 'q' if any(c.name == 'q' for c in table.columns) else 'p'
            submethod = 'hash' if by == 'p' else rng.choice(('range', 'list', 'hash'))
            _add_partition(table, table.name, name, clause, f'PARTITION BY {submethod} ({by})', rng)
            table.members.append(Member(name, choices, False))
            for m, (subclause, subfits) in enumerate(_bounds(submethod, by, rng)):
                _add_partition(table, name, f'{name}_{m}', subclause, '', rng)
                table.members.append(Member(f'{name}_{m}', {**choices, **({by: list(subfits)} if subfits else {})}, True))
        else:
            _add_partition(table, table.name, name, clause, '', rng)
            table.members.append(Member(name, choices, True))
    return f'PARTITION BY {method} (p)'


def _audit(table):
    """Every row version that a committed transaction wrote, noted by means that have nothing to do with the extension."""
    columns = ', '.join(table.names())
    values = ', '.join(f'NEW.{n}' for n in table.names())
    return [
        f'CREATE TABLE {table.name}_audit AS SELECT {columns} FROM {table.name} WITH NO DATA',
        f'ALTER TABLE {table.name}_audit ADD COLUMN audit_id bigserial PRIMARY KEY',
        f"CREATE FUNCTION {table.name}_note() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN "
        f"IF TG_OP = 'UPDATE' THEN IF OLD *= NEW THEN RETURN NULL; END IF; END IF; "
        f'INSERT INTO {table.name}_audit ({columns}) VALUES ({values}); RETURN NULL; END $$',
        f'CREATE TRIGGER a_note AFTER INSERT OR UPDATE ON {table.name} FOR EACH ROW EXECUTE FUNCTION {table.name}_note()',
    ]


def _nested_trigger(table, column):
    """A user's AFTER ROW trigger that changes the row again, before the outer statement's own log rows are written."""
    return [
        f'CREATE FUNCTION {table.name}_again() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN '
        f'UPDATE {table.name} t SET {column} = 99 WHERE {table.match("t", "NEW")} AND t.{column} % 4 = 2; RETURN NULL; END $$',
        f'CREATE TRIGGER b_again AFTER INSERT OR UPDATE ON {table.name} FOR EACH ROW EXECUTE FUNCTION {table.name}_again()',
    ]


def _before_trigger(table, column):
    """A user's BEFORE ROW trigger that changes some rows and suppresses others."""
    return [
        f'CREATE FUNCTION {table.name}_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN '
        f'IF NEW.{column} = 6 THEN RETURN NULL; END IF; IF NEW.{column} = 5 THEN NEW.{column} = -5; END IF; RETURN NEW; END $$',
        f'CREATE TRIGGER c_first BEFORE INSERT OR UPDATE ON {table.name} FOR EACH ROW EXECUTE FUNCTION {table.name}_first()',
    ]


def _early_rows(table, rng):
    """Rows older than a column, which has a default that only the catalog knows."""
    columns = table.names(generated=False)
    for i in rng.sample(range(1, KEY_RANGE), 8):
        row = table.row(rng, i)
        table.ddl.append(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join(row[c] for c in columns)})")
    column = Column('late', rng.choice(('int', 'text', 'numeric')))
    default = f' DEFAULT {column.type.literal(rng)}' if rng.random() < 0.7 else ''
    table.ddl.append(f'ALTER TABLE {table.name} ADD COLUMN late {column.sql}{default}')
    table.columns.append(column)


def audited(name, columns, key, primary):
    """A table that exists already, the target of a load, as a source: with the DDL of its audit only."""
    table = Table(name)
    table.columns, table.key, table.primary, table.writable = columns, key, primary, False
    table.number = next((c.name for c in columns if c.sql == 'int' and c.name not in key), None)
    table.ddl = _audit(table)
    return table


def make_table(name, rng, common=COMMON, types=DATA_TYPES, audit=True):
    table = Table(name)
    keyed = rng.random() < 0.8
    partitioned = rng.random() < 0.45
    if keyed:
        types = [rng.choice(('int', 'int', 'bigint', 'text', 'numeric', 'uuid', 'date')) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        table.columns = [Key(f'k{n + 1}', t, n == 0) for n, t in enumerate(types)]
        table.key = [c.name for c in table.columns]
        table.primary = rng.random() < 0.85
    for n in range(rng.randint(2, 6)):
        table.columns.append(Column(f'c{n + 1}', rng.choice(types if n > 1 else common)))
    table.columns.append(Column('n', 'int'))
    table.number = 'n'

    if partitioned:
        part = Column('p', 'int', nullable=False)
        part.literal = lambda rng: str(rng.randint(0, 9))
        table.columns.append(part)
        table.part = 'p'
        extra = ['p']
        if rng.random() < 0.5:
            sub = Column('q', 'int', nullable=False)
            sub.literal = part.literal
            table.columns.append(sub)
            extra.append('q')
        if keyed:
            table.key += extra
    if rng.random() < 0.3:
        table.columns.append(Column('g', 'text', generated="coalesce(n, 0)::text || ' generated'"))
    if rng.random() < 0.5:
        rng.shuffle(table.columns)

    columns = [c.ddl() for c in table.columns]
    dropped = rng.random() < 0.35
    if dropped:
        columns.insert(rng.randint(0, len(columns)), 'gone text')
    by = _partition(table, rng) if partitioned else ''
    members, table.ddl = table.ddl, []
    if table.key:
        columns.append(f'{"PRIMARY KEY" if table.primary else "UNIQUE"} ({", ".join(table.key)})')
    table.ddl = [f'CREATE TABLE {name} ({", ".join(columns)}) {by}'] + members
    if dropped:
        table.ddl.insert(1, f'ALTER TABLE {name} DROP COLUMN gone')
    for c in table.columns:
        if c.type_name in ('long', 'text', 'bytea') and rng.random() < 0.35:
            table.ddl.append(f'ALTER TABLE {name} ALTER COLUMN {c.name} SET STORAGE EXTERNAL')
    if rng.random() < 0.25:
        _early_rows(table, rng)
    if rng.random() < 0.2:
        table.ddl.append(f'CREATE TABLE {name}_dim (id int PRIMARY KEY)')
        table.ddl.append(f'INSERT INTO {name}_dim SELECT generate_series(-10, 120)')
        table.ddl.append(f'ALTER TABLE {name} ADD FOREIGN KEY (n) REFERENCES {name}_dim ON DELETE {rng.choice(("CASCADE", "SET NULL"))} ON UPDATE CASCADE')
        table.referenced = f'{name}_dim'
    if audit:
        table.ddl += _audit(table)
    if table.key and rng.random() < 0.25:
        table.ddl += _nested_trigger(table, 'n')
    if rng.random() < 0.1:
        table.ddl += _before_trigger(table, 'n')
    table.bulk = any(c.type_name == 'long' for c in table.columns) and rng.random() < 0.1
    if table.primary and rng.random() < 0.2:
        table.images = 'key'
    return table


def make_lookup(name, rng):
    """A small table, whose rows others refer to by their number: with a key, or with duplicates."""
    table = Table(name)
    table.primary = rng.random() < 0.7
    table.key = ['id'] if table.primary else []
    table.columns = [Key('id', 'int', True) if table.primary else Column('id', 'int'),
                     Column('label', 'text'), Column('grp', 'int'), Column('n', 'int'), Column('price', 'amount')]
    table.number = 'n'
    columns = [c.ddl() for c in table.columns] + (['PRIMARY KEY (id)'] if table.key else [])
    table.ddl = [f'CREATE TABLE {name} ({", ".join(columns)})']
    return table
