"""Workloads of precomputed views: random queries over the tables of a workload, over lookups, ordinary views and each other."""

import random

from check import difference, difference_frozen, lost
from consumers import CONSUMER_ERRORS, Consumer, Stream
from expressions import Col
from queries import LOOKUPS
from schema import make_lookup, make_table
from session import Expected, Failure
from statements import fill
from tree import Seq
from values import COMMON, DATA_TYPES
from viewqueries import Generator, Query, Source, make_query, reads
from workload import LEVELS, write
from world import World

HAS_VIEWS = "SELECT count(*) FROM pg_proc WHERE proname = 'create_view' AND pronamespace = 'elt'::regnamespace"
SIMPLE = ('int', 'int', 'text', 'numeric', 'amount', 'date', 'bool')
TYPES = SIMPLE * 3 + tuple(t for t in DATA_TYPES if t != 'long') + ('long',)

# it cannot be maintained incrementally
IMPOSSIBLE = '0A000'
# sources that are not tracked as the snapshot sees it; a view that was made after the snapshot
LATE = {'25001', '55000', '42704', '42P01'}


def has(session, function):
    return session.value(f"SELECT count(*) FROM pg_proc WHERE proname = '{function}' AND pronamespace = 'elt'::regnamespace")


class Upstream(list):
    """Views that a view reads."""

    @property
    def created(self):
        return all(v.created for v in self)


class View(Consumer):
    called = 'refreshes outside of transactions'

    def __init__(self, name, table, query, upstream, rng, world):
        super().__init__(name, table)
        self.moving = world.moving
        self.volatile = 'random()' in str(query)
        self.frozen = self.choose_frozen(query, world.special) if world.freezes else None
        self.kept = []              # rows that were frozen when all was quiet last
        self.query = query
        self.text = str(query)
        self.upstream = upstream
        self.after = Upstream(upstream)
        self.mode = rng.choice(('auto', 'auto', 'auto', 'incremental', 'incremental', 'full'))
        self.with_data = rng.random() < 0.85
        self.rng = rng

    def choose_frozen(self, query, rng):
        """A condition for rows that stay as they are."""
        cols = [c for c in query.cols if c.type in ('int', 'bigint', 'positive')]
        if cols and rng.random() < 0.7:
            return f'{rng.choice(cols).sql} % 3 = 1'
        return f'{rng.choice(query.cols).sql} IS NOT NULL'

    def source(self):
        """It as a relation that others read."""
        return Source(self.name, self.query.cols, self.query.key, self.query.size)

    def create(self, session):
        if not self.after.created:
            raise Expected('', 'what it reads was dropped')
        errors = CONSUMER_ERRORS | (LATE if session.level != 'READ COMMITTED' else set())
        self.kept = []
        while self.mode == 'incremental' or self.frozen:
            session.sql('SAVEPOINT demanding')
            try:
                session.sql(self.creation(), errors | {IMPOSSIBLE})
                session.counts['views that are incremental by declaration'] += self.mode == 'incremental'
                session.counts['views with frozen rows'] += self.frozen is not None
                return
            except Expected as error:
                if error.code != IMPOSSIBLE:
                    raise
                session.sql('ROLLBACK TO demanding')
                if self.frozen:
                    self.frozen = None
                else:
                    self.mode = 'auto'
        session.sql(self.creation(), errors)

    def creation(self):
        arguments = [f"'{self.name}'", f'$query${self.text}$query$']
        if self.mode != 'auto':
            arguments.append(f"refresh_mode => '{self.mode}'")
        if not self.with_data:
            arguments.append('with_data => false')
        if self.frozen:
            arguments.append(f'frozen_where => $${self.frozen}$$')
        return f"SELECT elt.create_view({', '.join(arguments)})"

    def refresh(self, session):
        """(strategy, reason, rows inserted, updated, deleted)"""
        errors = CONSUMER_ERRORS | (LATE if session.level != 'READ COMMITTED' else set())
        row = session.sql(f"SELECT strategy, reason, rows_inserted, rows_updated, rows_deleted FROM elt.refresh('{self.name}')", errors)[0]
        session.counts[f'refreshes: {row[0]}'] += 1
        unavoidable = row[1] is not None and row[1].startswith(('initial', 'source_'))
        if self.mode == 'incremental' and row[0] == 'full' and not unavoidable:
            raise Failure(f'view {self.name}: refreshed in full, though it is incremental: {row[1]}')
        if self.volatile and (row[0] != 'full' or row[1] is None):
            raise Failure(f'view {self.name}: its query is volatile, and was not evaluated: {row[0]}, {row[1]}')
        return row

    def consume(self, session):
        if not self.created:
            raise Expected('', 'it was dropped')
        self.refresh(session)
        return True

    def call(self, session):
        session.level = 'READ COMMITTED'
        self.consume(session)

    def catch_up(self, session):
        session.level = 'READ COMMITTED'
        try:
            self.refresh(session)
        except Expected as error:
            raise Failure(f'view {self.name}: {error} while nothing else is going on') from None

    def expect(self, session, final=False):
        if not self.moving or session.in_transaction:
            self.compare(session, final)
            return
        # as of one time
        session.begin()
        self.refresh(session)
        self.compare(session, final)
        session.commit()

    def compare(self, session, final):
        if self.frozen:
            difference_frozen(session, f'view {self.name}', self.text, self.name, self.frozen, self.query.key)
        else:
            difference(session, f'view {self.name}', self.text, f'SELECT * FROM {self.name}')
        if self.frozen and final:
            lost(session, f'view {self.name}', self.kept, self.name)
            self.kept = [row[0] for row in session.sql(f'SELECT v::text FROM {self.name} v WHERE {self.frozen}')]
        if final and self.rng.random() < 0.25:
            row = self.refresh(session)
            if any(row[2:]):
                raise Failure(f'view {self.name}: a refresh without any change in between has written: {row}')
        if final and self.rng.random() < 0.25 and has(session, 'verify_view'):
            row = session.sql(f"SELECT missing, extra FROM elt.verify_view('{self.name}')")[0]
            if any(row) and not self.frozen:
                raise Failure(f'view {self.name}: elt.verify_view says {row}')
        if final and self.rng.random() < 0.1 and has(session, 'explain_view') and not session.sql(f"SELECT * FROM elt.explain_view('{self.name}')"):
            raise Failure(f'view {self.name}: elt.explain_view has nothing to say')

    def drop(self, session):
        session.sql(f"SELECT elt.drop_view('{self.name}')", CONSUMER_ERRORS)


class ViewWorld(World):
    """seed: 'v17'"""

    def __init__(self, seed, sessions):
        super().__init__(seed, sessions)
        self.schema = seed
        self.special = random.Random(f'{seed}/special')
        self.moving = self.special.random() < 0.15
        self.freezes = not self.moving and self.special.random() < 0.15
        self.volatile = self.special.random() < 0.05

    def set_up(self):
        session, rng = self.readers[0], self.rng
        session.start('public', self.trace)
        session.sql(f'DROP SCHEMA IF EXISTS {self.schema} CASCADE; CREATE SCHEMA {self.schema}')
        for s in self.all_sessions():
            s.start(self.schema, self.trace)
        session.sql('; '.join(LOOKUPS))
        sources = self.make_tables(session)
        sources += self.make_ordinary_views(session, sources)
        count = rng.choice((1, 1, 2, 2, 3, 4, 5))
        while len(self.consumers) < count:
            self.add_view(sources)
        if rng.random() < 0.15:
            # another consumer of the same log
            self.consumers.append(Stream('stream', rng.choice(self.tables), rng))
        if rng.random() < 0.6:
            for s in self.all_sessions():
                s.sql("SET elt.segment_size = '64kB'; SET elt.batch_memory = '1MB'")
        if rng.random() < 0.5:
            self.create_some(session, 0.6)
        for table in self.tables:
            if rng.random() < 0.9:
                session.sql(fill(table, rng))
            for _ in range(rng.choice((0, 2, 5))):
                try:
                    write(session, table, rng)
                except Expected:
                    pass
        if rng.random() < 0.8:
            self.create_some(session, 0.8)

    def make_tables(self, session):
        rng = self.rng
        for n in range(rng.choice((1, 1, 2, 2, 2, 3))):
            self.tables.append(make_table(f't{n + 1}', rng, SIMPLE, TYPES, audit=False))
        for n in range(rng.choice((0, 1, 1))):
            self.tables.append(make_lookup(f'd{n + 1}', rng))
        sources = []
        for table in self.tables:
            table.images = 'row'
            table.bulk = False
            table.varied = True
            session.sql('; '.join(table.ddl))
            if rng.random() < 0.5:
                session.sql(f"SELECT elt.track('{table.name}')")
            cols = [Col(c.name, c.type_name) for c in table.columns]
            sources.append(Source(table.name, cols, table.key if table.primary else None, table=table if table.primary else None))
            leaves = [m.name for m in table.members if m.leaf]
            if leaves and rng.random() < 0.2:
                sources.append(Source(rng.choice(leaves), cols, table.key if table.primary else None, 15))
            if table.referenced and rng.random() < 0.3:
                sources.append(Source(table.referenced, [Col('id', 'int')], ['id'], 100))
        if rng.random() < 0.3:
            sources.append(Source('lookup', [Col('id', 'int'), Col('label', 'text'), Col('factor', 'numeric')], ['id'], 12))
        return sources

    def make_ordinary_views(self, session, sources):
        rng, made = self.rng, []
        for n in range(rng.choice((0, 0, 1, 2))):
            generator = Generator(sources, rng, self.moving)
            query = generator.query(0)
            session.sql(f'CREATE VIEW ov{n + 1} AS {query}')
            made.append(Source(f'ov{n + 1}', query.cols, query.key, query.size))
        return made

    def add_view(self, sources):
        """Over the others too: chains and diamonds."""
        rng = self.rng
        views = self.consumers
        if views and rng.random() < 0.4:
            above = [v.source() for v in rng.sample(views, min(len(views), rng.choice((1, 2))))]
            sources = above * 2 + rng.sample(sources, min(2, len(sources)))
        query = self.make_query(sources)
        text = str(query)
        upstream = [v for v in views if reads(text, v.name)]
        self.consumers.append(View(f'c{len(views) + 1}', rng.choice(self.tables), query, upstream, rng, self))

    def make_query(self, sources):
        query = make_query(sources, self.rng, self.moving)
        if self.volatile and self.special.random() < 0.5:
            cols = [Col(c.sql, c.type, c.exact) for c in query.cols]
            return Query(Seq('SELECT * FROM (', query.node, ') v WHERE random() < 2'), cols, query.key, query.size)
        return query

    def create_some(self, session, share):
        super().create_some(session, share)
        if share == 1:
            super().create_some(session, share)     # what was missing above them

    # ------------------------------------------------------------------------------------------------ consumers

    def reader(self, session, rng):
        views = [c for c in self.consumers if isinstance(c, View)]
        last = [c for c in views if c.created and not any(c in d.upstream for d in views)]
        if last and not session.live and rng.random() < 0.03:
            yield from self.drop_task(session, rng.choice(last), rng)
        else:
            yield from super().reader(session, rng)

    def drop_task(self, session, view, rng):
        """It can be created again."""
        session.begin(rng.choice(LEVELS[:6]))
        try:
            view.drop(session)
            yield
            if rng.random() < 0.4:
                session.rollback()
            else:
                session.commit()
                view.created = False
                session.counts['views dropped and perhaps made again'] += 1
        except Expected:
            session.rollback()

    def tear_down(self):
        super().tear_down()
        left = self.readers[0].sql("SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('elt_data')")
        if left:
            raise Failure(f'relations are left behind: {left}')
