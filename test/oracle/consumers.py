"""Consumers of changes: streams, whose rows a client applies to a copy, and loads. What is created, run, and expected."""

from check import difference, difference_upsert
from session import Expected, Failure

# 40001: another session consumed the same changes, or did so after this transaction's snapshot
CONSUMER_ERRORS = {'55P03', '40P01', '40001'}
# the stream is stale; also: a table cannot begin to be tracked in REPEATABLE READ
STALE = '55000'
# what the CHECK of a target refuses
BAD = '(coalesce({}, 0) % 5 IN (3, 4))'


class Consumer:
    def __init__(self, name, table):
        self.name = name
        self.table = table
        self.created = False
        self.after = None           # the load whose target is the table, if it is one
        self.truncated = 0          # the table's TRUNCATEs when it was created

    def create(self, session):
        """In the session's transaction, in one step."""
        raise NotImplementedError

    def creation_errors(self, session):
        tracked = session.value(f"SELECT count(*) FROM elt.capture WHERE relation = '{self.table.name}'::regclass")
        return CONSUMER_ERRORS if tracked or session.level == 'READ COMMITTED' else CONSUMER_ERRORS | {STALE}

    def has_begun(self, session):
        return True

    def consume(self, session):
        """One batch, within the session's transaction. True if nothing is left."""
        raise NotImplementedError

    def expect(self, session, final=False):
        """Compare with the source, as the session sees it now."""
        raise NotImplementedError


class Stream(Consumer):
    """Its rows are applied to a copy, each exactly once: what is to be removed has to be there."""

    def __init__(self, name, table, rng):
        super().__init__(name, table)
        self.initial = rng.random() < 0.4
        self.copy = f'{name}_copy'

    def create(self, session):
        key = f", PRIMARY KEY ({', '.join(self.table.key)})" if self.table.key else ''
        columns = ', '.join(f'{c.name} {c.sql}' for c in self.table.columns)
        session.sql(f'CREATE TABLE {self.copy} ({columns}{key})')
        session.sql(f"SELECT elt.create_stream('{self.name}', '{self.table.name}', {str(self.initial).lower()})", self.creation_errors(session))
        if not self.initial:
            session.sql(f'INSERT INTO {self.copy} SELECT {self.table.select()} FROM {self.table.name}')

    def recreate(self, session):
        """After a TRUNCATE, which a stream cannot show."""
        session.sql(f"SELECT elt.drop_stream('{self.name}')", CONSUMER_ERRORS)
        session.sql(f'DELETE FROM {self.copy}')
        self.initial = True
        session.sql(f"SELECT elt.create_stream('{self.name}', '{self.table.name}', true)", CONSUMER_ERRORS)

    def apply(self, session):
        columns = self.table.select()
        if self.table.primary:
            remove = f"DELETE FROM {self.copy} c USING {self.name} s WHERE {self.table.match('c', 's')} AND s._elt_op <> 'insert'"
        else:
            # any of several equal rows is as good as another
            remove = (f'DELETE FROM {self.copy} WHERE ctid IN (SELECT c.ctid FROM '
                      f'(SELECT ctid, t::text AS image, row_number() OVER (PARTITION BY t::text) AS n FROM {self.copy} t) c JOIN '
                      f'(SELECT t::text AS image, count(*) AS n FROM (SELECT {columns} FROM {self.name} WHERE _elt_op <> \'insert\') t GROUP BY 1) s '
                      f'ON c.image = s.image AND c.n <= s.n)')
        stale = {STALE} if self.table.truncated > self.truncated else set()
        expected = session.value(f"SELECT count(*) FROM {self.name} WHERE _elt_op <> 'insert'", CONSUMER_ERRORS | stale)
        session.sql(remove, CONSUMER_ERRORS)
        found = session.cursor.rowcount
        if found != expected and session.live:
            raise Expected('', 'another session may have consumed the same rows, and changed the copy')
        if found != expected:
            raise Failure(f'stream {self.name}: of {expected} rows to be removed {found} are in the copy')
        session.sql(f"INSERT INTO {self.copy} SELECT {columns} FROM {self.name} WHERE _elt_op <> 'delete'",
                    CONSUMER_ERRORS | {'23505'} if session.live else CONSUMER_ERRORS)

    def advance(self, session):
        session.sql(f"SELECT elt.advance_stream('{self.name}')", CONSUMER_ERRORS)

    def consume(self, session):
        self.apply(session)
        self.advance(session)
        return True

    def catch_up(self, session):
        session.begin()
        try:
            self.consume(session)
        except Expected as error:
            session.rollback()
            if error.code != STALE:
                raise Failure(f'stream {self.name}: {error} while nothing else is going on') from None
            session.begin()
            self.recreate(session)
            self.truncated = self.table.truncated
            self.consume(session)
        session.commit()

    def expect(self, session, final=False):
        left = session.value(f'SELECT count(*) FROM {self.name}') if final else 0
        if left:
            raise Failure(f'stream {self.name} shows {left} rows when all are consumed')
        difference(session, f'stream {self.name}', f'SELECT {self.table.select()} FROM {self.table.name}',
                   f'SELECT {self.table.select()} FROM {self.copy}')

    def drop(self, session):
        session.sql(f"SELECT elt.drop_stream('{self.name}')")


class Load(Consumer):
    called = 'elt.run'

    def __init__(self, name, node, table, query, mode, rng):
        super().__init__(name, table)
        self.node = node
        self.query = query
        self.mode = mode
        self.target = f'{name}_target'
        self.initial = 'copy'
        if rng.random() < (0.35 if mode == 'append' else 0.1):
            self.initial = 'none'
        self.batch_rows = rng.choice((None, 50) if table.bulk else (None, None, 1, 2, 3, 5, 10, 50))
        self.name_key = mode != 'append' and rng.random() < 0.5
        self.unique_only = mode != 'append' and rng.random() < 0.2
        self.extra = rng.random() < 0.2
        self.downstream = None      # the target as a table that others read
        # a CHECK of the target, which some rows violate: they are put aside, or stop the load until it is dropped
        self.checked = query.checked is not None and rng.random() < 0.4
        self.quarantine = rng.random() < (0.7 if self.checked else 0.1)
        self.errors = CONSUMER_ERRORS | {'23514'} if self.checked and not self.quarantine else CONSUMER_ERRORS

    def columns(self):
        return ', '.join(c.name for c in self.query.columns)

    def base(self):
        """For append: rows of the audit that were there when the load began, and the source's rows of that time."""
        return f'{self.name}_audit_base', f'{self.name}_rows_base'

    def create(self, session):
        if self.initial == 'none' and self.mode != 'append' and session.value(
                f'SELECT (SELECT count(*) FROM {self.table.name}_audit) + (SELECT count(*) FROM {self.table.name})'):
            self.initial = 'copy'
        session.sql(f'CREATE TABLE {self.target} AS {self.query.over(self.table.name)} WITH NO DATA', CONSUMER_ERRORS)
        if self.query.key and self.mode != 'append':
            kind = 'UNIQUE' if self.unique_only else 'PRIMARY KEY'
            session.sql(f"ALTER TABLE {self.target} ADD {kind} ({', '.join(self.query.key)})")
            if self.unique_only:
                session.sql(f"ALTER TABLE {self.target} " + ', '.join(f'ALTER {k} SET NOT NULL' for k in self.query.key))
        if self.extra:
            session.sql(f"ALTER TABLE {self.target} ADD COLUMN loaded_at timestamptz DEFAULT now()")
        if self.checked:
            session.sql(f'ALTER TABLE {self.target} ADD CONSTRAINT good CHECK (NOT {BAD.format(self.query.checked)})')
        if self.downstream is not None:
            session.sql('; '.join(self.downstream.ddl))
        audit, rows = self.base()
        if self.mode != 'mirror':
            session.sql(f'CREATE TABLE {audit} (audit_id bigint); CREATE TABLE {self.name}_begun (one int PRIMARY KEY); '
                        f'CREATE TABLE {rows} AS SELECT {self.table.select()} FROM {self.table.name} WITH NO DATA', CONSUMER_ERRORS)
        arguments = [f"'{self.node}'", f"'{self.target}'", f"source => '{self.table.name}'", f"mode => '{self.mode}'"]
        if self.query.given:
            arguments.append(f'query => $query${self.query.over(self.table.name)}$query$')
        if self.mode != 'append' and (self.name_key or self.unique_only):
            arguments.append("key => ARRAY['" + "', '".join(self.query.key) + "']")
        if self.batch_rows:
            arguments.append(f'batch_rows => {self.batch_rows}')
        if self.quarantine:
            arguments.append("on_error => 'quarantine', max_rejected => 1000000")
        if self.initial != 'copy':
            arguments.append("initial => 'none'")
        session.sql(f"SELECT elt.create_load({', '.join(arguments)})", self.creation_errors(session))
        if self.initial == 'none':
            self.note_base(session, rows=False)

    def note_base(self, session, rows=True):
        """Note what the load begins with, in the transaction that runs its first batch."""
        if self.mode == 'mirror':
            return
        audit, copied = self.base()
        begun = f'WHERE NOT EXISTS (SELECT FROM {self.name}_begun)'
        # a session that noted it and is not finished is waited for; one that is newer than a fixed snapshot makes the key fail
        session.sql(f'LOCK TABLE {self.name}_begun IN SHARE ROW EXCLUSIVE MODE; '
                    f'INSERT INTO {audit} SELECT audit_id FROM {self.table.name}_audit {begun}; '
                    + (f'INSERT INTO {copied} SELECT {self.table.select()} FROM {self.table.name} {begun}; ' if rows else '')
                    + f'INSERT INTO {self.name}_begun SELECT 1 {begun}', CONSUMER_ERRORS | {'23505'})

    def run_batch(self, session):
        self.note_base(session)
        errors = self.errors
        if session.level != 'READ COMMITTED':
            # such a transaction may see a key twice: deleted by another one, and inserted by itself
            errors = errors | {'21000'}
        return session.value(f"SELECT pending FROM elt.run_batch('{self.node}')", errors)

    def consume(self, session):
        return self.run_batch(session) == 0

    def has_begun(self, session):
        """For append: has what it began with been noted?"""
        return self.mode == 'mirror' or session.value(f'SELECT count(*) FROM {self.name}_begun') > 0

    def call(self, session):
        self.note_base(session)
        session.sql(f"CALL elt.run('{self.node}')", self.errors)

    def drop_check(self, session):
        """The target takes all rows from now on."""
        session.sql(f'ALTER TABLE {self.target} DROP CONSTRAINT good')
        self.checked = False

    def catch_up(self, session):
        try:
            self.call(session)
        except Expected as error:
            if error.code != '23514':
                raise Failure(f'load {self.name}: {error} while nothing else is going on') from None
            # it stays where it was until the reason is gone; then nothing is missing
            self.drop_check(session)
            self.call(session)

    def over(self, rows):
        """The query over rows, without those that are put aside."""
        if self.checked:
            rows = f'(SELECT {self.table.select()} FROM {rows} x WHERE NOT {BAD.format("x." + self.table.number)})'
        return self.query.over(rows)

    def expect_rejected(self, session):
        """Of a source row whose present version is bad there is one rejected row, and of others none."""
        rejected = session.value(f"SELECT count(*) FROM elt.rejected WHERE load = '{self.node}'")
        if self.checked and self.mode == 'append':
            return
        bad = self.checked and f'(SELECT {self.table.select()} FROM {self.table.name} x WHERE {BAD.format("x." + self.table.number)})'
        expected = 0
        if self.checked:
            if not self.query.owned:
                return
            expected = session.value(f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(self.query.source_key)} FROM ({self.query.over(bad)}) r) r")
        if rejected != expected:
            raise Failure(f'{self.mode} load {self.name} has rejected {rejected} rows and not {expected}')

    def retry(self, session):
        """With the constraint gone, rejected rows can be loaded."""
        rejected = session.value(f"SELECT count(*) FROM elt.rejected WHERE load = '{self.node}'")
        self.drop_check(session)
        loaded = session.value(f"SELECT elt.retry_rejected('{self.node}')")
        if loaded != rejected:
            raise Failure(f'load {self.name}: of {rejected} rejected rows {loaded} are loaded')

    def ever(self):
        """All row versions from the load's beginning on."""
        audit, rows = self.base()
        columns = self.table.select()
        return (f'(SELECT {columns} FROM {rows} UNION ALL SELECT {columns} FROM {self.table.name}_audit '
                f'WHERE audit_id NOT IN (SELECT audit_id FROM {audit}))')

    def expect(self, session, final=False):
        actual = f'SELECT {self.columns()} FROM {self.target}'
        what = f'{self.mode} load {self.name}'
        if self.mode == 'append':
            difference(session, what, self.over(self.ever()), actual)
        elif self.mode == 'mirror':
            difference(session, what, self.over(self.table.name), actual)
        else:
            difference_upsert(session, what, self.over(self.table.name), actual, self.over(self.ever()), self.query.key)
        if final and self.quarantine:
            self.expect_rejected(session)

    def drop(self, session):
        session.sql(f"SELECT elt.drop_load('{self.node}')")
