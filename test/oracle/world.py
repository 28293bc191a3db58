"""One workload: its tables and consumers, the scheduler that interleaves the sessions, and the checks when all is quiet."""

import random
import threading

from consumers import CONSUMER_ERRORS, Load, Stream
from queries import LOOKUPS, make_query
from schema import audited, make_table
from session import WRITER_ERRORS, Expected, Failure
from statements import fill
from workload import LEVELS, end_prepared, finish, write, writer

# Without elt.create_load (of an early build) only streams are tested.
HAS_LOADS = "SELECT count(*) FROM pg_proc WHERE proname = 'create_load' AND pronamespace = 'elt'::regnamespace"


class World:
    def __init__(self, seed, sessions):
        self.seed = seed
        self.schema = f's{seed}'
        self.rng = random.Random(f'{seed}/world')
        self.trace = []
        self.writers = sessions[2:]
        self.readers = sessions[:2]
        self.tables = []
        self.consumers = []
        self.prepared = []
        self.truncates = self.rng.random() < 0.3
        self.rounds = self.rng.choice((1, 2, 2, 3))
        self.random = {s.name: random.Random(f'{seed}/{s.name}') for s in sessions}

    def writable(self):
        return [t for t in self.tables if t.writable]

    def all_sessions(self):
        return self.readers + self.writers

    # ------------------------------------------------------------------------------------------------ set up

    def set_up(self):
        session, rng = self.readers[0], self.rng
        session.start('public', self.trace)
        session.sql(f'DROP SCHEMA IF EXISTS {self.schema} CASCADE; CREATE SCHEMA {self.schema}')
        for s in self.all_sessions():
            s.start(self.schema, self.trace)
        session.sql('; '.join(LOOKUPS))
        has_loads = session.value(HAS_LOADS) > 0
        for n in range(rng.choice((1, 1, 1, 2))):
            table = make_table(f't{n + 1}', rng)
            session.sql('; '.join(table.ddl))
            self.tables.append(table)
            if table.images == 'key' or rng.random() < 0.7:
                session.sql(f"SELECT elt.track('{table.name}', '{table.images}')")
            for _ in range(rng.choice((1, 2, 3, 3, 4))):
                self.add_consumer(table, has_loads)
        if rng.random() < 0.6 or any(t.bulk for t in self.tables):
            for s in self.all_sessions():
                s.sql("SET elt.segment_size = '64kB'; SET elt.batch_memory = '1MB'")
        if rng.random() < 0.75:
            self.create_some(session, 0.6)
        for table in self.tables:
            if rng.random() < 0.7:
                session.sql(fill(table, rng))
            for _ in range(rng.choice((0, 2, 5))):
                try:
                    write(session, table, rng)
                except Expected:
                    pass
        if rng.random() < 0.5:
            self.create_some(session, 0.6)

    def add_consumer(self, table, has_loads, after=None):
        rng = self.rng
        name = f'c{len(self.consumers) + 1}'
        if table.images == 'row' and (not has_loads or rng.random() < 0.25):
            consumer = Stream(name, table, rng)
        elif has_loads:
            consumer = self.make_load(name, table)
        else:
            return
        consumer.after = after
        self.consumers.append(consumer)
        if isinstance(consumer, Load) and rng.random() < (0.25 if after is None else 0.1):
            self.add_downstream(consumer)

    def make_load(self, name, table):
        rng = self.rng
        query = make_query(table, rng, bool(table.key) and (table.images == 'key' or rng.random() < 0.8))
        modes = (['append'] if table.images == 'row' else []) + (['upsert', 'mirror', 'mirror'] if query.key else [])
        mode = rng.choice(modes)
        if mode == 'mirror' and not query.owned and (query.lookups or table.images == 'key'):
            mode = 'upsert'         # a mirror is refused, because it could not tell what to delete
        return Load(name, f'{self.schema}_{name}', table, query, mode, rng)

    def add_downstream(self, load):
        """Consumers of the load's target: one transaction may run both."""
        load.extra = False
        load.downstream = audited(load.target, load.query.columns, load.query.key if load.mode != 'append' else [],
                                  load.mode != 'append' and not load.unique_only)
        for _ in range(self.rng.choice((1, 1, 2))):
            self.add_consumer(load.downstream, True, load)

    def create_some(self, session, share):
        for consumer in self.consumers:
            if not consumer.created and (consumer.after is None or consumer.after.created) and self.rng.random() < share:
                session.begin()
                consumer.create(session)
                session.commit()
                self.created(consumer)

    def created(self, consumer):
        consumer.created = True
        consumer.truncated = consumer.table.truncated

    # ------------------------------------------------------------------------------------------------ consumers

    def reader(self, session, rng):
        """What a consuming session does next."""
        if self.prepared and rng.random() < 0.1:
            end_prepared(self, session, rng)
            return
        missing = [c for c in self.consumers if not c.created and (c.after is None or c.after.created)]
        if missing and rng.random() < 0.3 and not session.live:
            yield from self.create_task(session, rng.choice(missing), rng)
            return
        ready = [c for c in self.consumers if c.created and (not session.live or c.has_begun(session))]
        if not ready:
            return
        consumer = rng.choice(ready)
        try:
            if hasattr(consumer, 'call') and rng.random() < 0.3:
                if consumer.mode != 'append' or consumer.has_begun(session):
                    consumer.call(session)
                    session.counts[consumer.called] += 1
            else:
                yield from self.consume_task(session, consumer, ready, rng)
        except Expected:
            if session.in_transaction:
                session.rollback()
        session.weight = 1.0

    def create_task(self, session, consumer, rng):
        """In a transaction that may have written before; rolled back sometimes."""
        session.begin(rng.choice(LEVELS))
        try:
            if rng.random() < 0.3:
                write(session, consumer.table if consumer.table.writable else self.tables[0], rng)
                yield
            if consumer.created:
                raise Expected('', 'another session has created it')
            consumer.create(session)
            if rng.random() < 0.2:
                session.rollback()
            else:
                session.commit()
                self.created(consumer)
        except Expected:
            session.rollback()

    def consume_task(self, session, consumer, ready, rng):
        session.weight = rng.choice((1.0, 1.0, 1.0, 0.2))
        session.begin(rng.choice(LEVELS))
        table = consumer.table if consumer.table.writable else self.tables[0]
        savepoint = False
        for _ in range(rng.choice((1, 1, 2, 3, 4))):
            if rng.random() < 0.2:
                session.sql('SAVEPOINT c')
                savepoint = True
            if rng.random() < 0.4:
                write(session, table, rng)
                yield
            if rng.random() < 0.25:
                consumer = rng.choice(ready)
            done = yield from self.consume(session, consumer, rng)
            if done and rng.random() < 0.4 and (session.level != 'READ COMMITTED' or not session.live):
                consumer.expect(session)
                session.counts['checks while others write'] += 1
            yield
            if savepoint and rng.random() < 0.3:
                session.sql('ROLLBACK TO c')
                yield
        if rng.random() < 0.3:
            write(session, table, rng)
        finish(self, session, rng)

    def consume(self, session, consumer, rng):
        """One batch. True if the consumer has everything that the session sees."""
        stale = isinstance(consumer, Stream) and consumer.table.truncated > consumer.truncated
        if isinstance(consumer, Stream) and rng.random() < 0.4:
            # what was read is consumed, however long after it
            if stale:
                raise Expected('', 'it may be stale')
            consumer.apply(session)
            yield
            consumer.advance(session)
            return False
        return consumer.consume(session)

    # ------------------------------------------------------------------------------------------------ running

    def step(self, session, begin):
        """Advance a session's task, or begin one."""
        if session.task is None:
            if not begin:
                return False
            rng = self.random[session.name]
            session.task = self.reader(session, rng) if session in self.readers else writer(self, session, rng)
        try:
            next(session.task)
        except StopIteration:
            session.task = None
        return True

    def run_round(self, steps):
        sessions = self.all_sessions()
        for _ in range(steps):
            session = self.rng.choices(sessions, [s.weight for s in sessions])[0]
            self.step(session, True)

    def run_burst(self, steps):
        """The same, all sessions at once, from the first to the last statement of their tasks. It cannot be replayed exactly."""
        failures = []

        def work(session):
            try:
                left = steps
                while left > 0 or session.task is not None:
                    left -= 1
                    self.step(session, left > 0)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(s,)) for s in self.all_sessions()]
        for s in self.all_sessions():
            s.live = True
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for s in self.all_sessions():
            s.live = False
        if failures:
            raise failures[0]

    def quiesce(self):
        """End what is open, let the consumers catch up, and compare."""
        sessions = self.all_sessions()
        for _ in range(1000):
            busy = [s for s in sessions if s.task is not None]
            if not busy:
                break
            self.step(self.rng.choice(busy), False)
        session = self.rng.choice(self.readers)
        session.sql("SET lock_timeout = '10s'")
        while self.prepared:
            end_prepared(self, session, self.rng)
        ready = [c for c in self.consumers if c.created]
        for consumer in ready:
            consumer.catch_up(session)
        for consumer in ready:
            consumer.expect(session, final=True)
            session.counts['checks'] += 1
        rows = session.sql(f"SELECT relation, pending_rows, slowest_consumer, stale FROM elt.tracked WHERE relation::regclass IN "
                           f"(SELECT oid FROM pg_class WHERE relnamespace = '{self.schema}'::regnamespace) AND (pending_rows > 0 OR stale)")
        if rows:
            raise Failure(f'elt.tracked shows what is not there: {rows}')
        if any(isinstance(c, Load) for c in ready):
            rows = session.sql(f"SELECT name, pending_rows FROM elt.loads WHERE name LIKE '{self.schema}\\_%' AND pending_rows IS DISTINCT FROM 0")
            if rows:
                raise Failure(f'elt.loads shows what is not there: {rows}')
        self.alter(session)
        session.sql("SET lock_timeout = '20ms'")

    def alter(self, session):
        """Add a column that consumers do not know, or drop it again. They have read everything, so that it must not bother them."""
        for table in self.writable():
            if self.rng.random() < 0.75:
                continue
            starred = any(isinstance(c, Load) and c.table is table and c.query.star for c in self.consumers)
            if table.extra and not starred and self.rng.random() < 0.6:
                session.sql(f'ALTER TABLE {table.name} DROP COLUMN {table.extra.pop()}')
                continue
            table.extra.append(f'extra{len(self.trace)}')
            session.sql(f"ALTER TABLE {table.name} ADD COLUMN {table.extra[-1]} int {self.rng.choice(('', 'DEFAULT 5'))}")

    def tear_down(self):
        session = self.readers[0]
        segments = session.sql(f"SELECT coalesce(sum(segno), 0) - count(DISTINCT capture), coalesce(sum(trimmed), 0) FROM elt.capture_segment s "
                               f"JOIN elt.capture c ON c.id = s.capture JOIN pg_class r ON r.oid = c.relation "
                               f"WHERE s.state = 'o' AND relnamespace = '{self.schema}'::regnamespace")[0]
        session.counts.update({'segments': int(segments[0]), 'segments trimmed': int(segments[1])})
        session.sql("SET lock_timeout = '10s'")
        for consumer in reversed(self.consumers):
            if consumer.created:
                consumer.drop(session)
        session.sql(f'DROP SCHEMA {self.schema} CASCADE')
        left = session.sql(f"SELECT name FROM elt.node WHERE name ~ '^{self.schema}[_.]'")
        if left:
            raise Failure(f'nodes are left behind: {left}')

    def run(self):
        self.set_up()
        for n in range(self.rounds):
            if n == self.rounds - 1:
                session = self.readers[0]
                session.sql("SET lock_timeout = '10s'")
                if self.rng.random() < 0.5:
                    self.create_some(session, 1)
                session.sql("SET lock_timeout = '20ms'")
            self.run_round(self.rng.choice((30, 50, 80)))
            self.quiesce()
        if self.rng.random() < 0.25:
            self.run_burst(15)
            self.quiesce()
        self.create_some(self.readers[0], 1)
        for consumer in self.consumers:
            consumer.catch_up(self.readers[0])
            if isinstance(consumer, Load) and consumer.checked:
                consumer.retry(self.readers[0])
        self.quiesce()
        self.tear_down()

    def clean_up(self):
        """After a failure: leave nothing open."""
        for s in self.all_sessions():
            s.cursor.execute('ROLLBACK')
        for gid in self.prepared:
            self.readers[0].cursor.execute(f"ROLLBACK PREPARED '{gid}'")
