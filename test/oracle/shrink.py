"""Reduces a failing workload: leaves out statements, simplifies the queries of its views, and keeps what still fails in the same way.

A step of it is a replay of the remaining statements in a database of its own, one at a time; errors do not matter but for that of the last
one. The refresh before a comparison always stays, so that what differs is never just not refreshed."""

import collections
import os
import re
import time

import psycopg2

from session import Failure, Session
from tree import actions

Step = collections.namedtuple('Step', 'session text copy')
TEMPLATE = 'oracle_template'
DATABASE = 'oracle_shrink'


class Failing:
    """What happens at the last statement: an error, or rows that tell of one."""

    def __init__(self, step, code):
        self.code = code
        self.text = step.text

    def __eq__(self, other):
        return other is not None and self.code == other.code


def _code(error):
    """SQLSTATE and the message without what is quoted in it."""
    return f'{error.pgcode} ' + re.sub(r'"[^"]*"|\d+', '', str(error).split('\n')[0])[:60]


def _tells(text, rows):
    if text.startswith('WITH e AS'):
        return bool(rows)
    if 'elt.refresh' in text:
        return any(rows[0][2:])
    if 'elt.verify_view' in text:
        return any(rows[0])
    return not rows if 'elt.explain_view' in text else bool(rows)


class Replay:
    def __init__(self, create_database, schema, seconds):
        self.schema = schema
        self.until = time.time() + seconds
        self.count = 0
        create_database(TEMPLATE)

    def fresh(self):
        for attempt in range(60):
            try:
                connection = psycopg2.connect('dbname=postgres')
                connection.autocommit = True
                cursor = connection.cursor()
                cursor.execute(f'DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)')
                cursor.execute(f'CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}')
                connection.close()
                return
            except psycopg2.Error:
                time.sleep(0.5)         # the server may be starting again, or a worker may still be in one of them
        raise Failure(f'database {DATABASE} cannot be created')

    def run(self, steps):
        """How the last step fails, or None."""
        self.count += 1
        self.fresh()
        sessions, result = {}, None
        trace = []
        try:
            for n, step in enumerate(steps):
                session = sessions.get(step.session)
                if session is None:
                    session = sessions[step.session] = Session(step.session, f'dbname={DATABASE}')
                    session.start(self.schema, trace)
                result = self.step(session, step, n == len(steps) - 1)
        except psycopg2.OperationalError as error:
            result = Failing(step, _code(error))
        finally:
            for session in sessions.values():
                self.close(session)
        return result

    def step(self, session, step, last):
        try:
            rows = session.sql(step.text, copy=step.copy) if not last else self.last(session, step)
        except Failure:
            if session.connection.closed:
                return Failing(step, 'crash')
            return None
        return rows if last else None

    def last(self, session, step):
        try:
            session.cursor.execute(step.text)
            rows = session.cursor.fetchall() if session.cursor.description else []
        except psycopg2.Error as error:
            return Failing(step, 'crash' if session.connection.closed else _code(error))
        return Failing(step, 'rows') if _tells(step.text, rows) else None

    def close(self, session):
        """Prepared transactions would keep the database from being dropped."""
        try:
            session.cursor.execute('ROLLBACK')
            session.cursor.execute('SELECT gid FROM pg_prepared_xacts WHERE database = current_database()')
            for gid, in session.cursor.fetchall():
                session.cursor.execute('ROLLBACK PREPARED %s', (gid,))
        except psycopg2.Error:
            pass
        session.close()


def to_steps(trace):
    """Statements one by one, where several were sent together."""
    steps = []
    for name, text, _, copy in trace:
        parts = [text] if '$' in text or text.startswith(('DO', 'WITH')) or "'" in text and '; ' in text and text.startswith(('INSERT', 'MERGE')) else text.split('; ')
        steps += [Step(name, part, copy) for part in parts]
    return steps


class Shrinker:
    def __init__(self, replay, steps, failing):
        self.replay = replay
        self.steps = steps
        self.failing = failing
        self.kept = self.necessary()

    def necessary(self):
        """How many steps at the end are not touched: a comparison goes with the refresh before it."""
        last = self.steps[-1].text
        if 'FROM elt.tracked' in last:
            names = {m[1] for m in (re.search(r"elt\.refresh\('(\w+)'\)", s.text) for s in self.steps) if m}
            return {max(n for n, s in enumerate(self.steps) if f"elt.refresh('{name}')" in s.text) for name in names} | {len(self.steps) - 1}
        found = re.search(r'a AS \(SELECT \* FROM (\w+)\)', last) if last.startswith('WITH e AS') else None
        if found is None:
            return {len(self.steps) - 1}
        refresh = max((n for n, s in enumerate(self.steps) if f"elt.refresh('{found[1]}')" in s.text), default=len(self.steps) - 1)
        begin = {refresh - 1} if self.steps[refresh - 1].text.startswith('BEGIN') else set()
        return begin | {refresh, len(self.steps) - 1}

    def out_of_time(self):
        return time.time() > self.replay.until

    def fails(self, steps):
        return not self.out_of_time() and self.replay.run(steps) == self.failing

    def remove(self, start, count):
        """True if it fails without these."""
        gone = [n for n in range(start, min(start + count, len(self.steps))) if n not in self.kept]
        if not gone:
            return False
        rest = [s for n, s in enumerate(self.steps) if n not in set(gone)]
        if not self.fails(rest):
            return False
        self.kept = {n - sum(g < n for g in gone) for n in self.kept}
        self.steps = rest
        return True

    def statements(self, size=None):
        size = size or max(len(self.steps) // 2, 1)
        while size >= 1 and not self.out_of_time():
            start = max(len(self.steps) - 1 - size, 0)
            while True:
                self.remove(start, size)
                if start == 0:
                    break
                start = max(start - size, 0)
            size //= 2

    def one_session(self):
        steps = [Step('r1', s.text, s.copy) for s in self.steps]
        if len({s.session for s in self.steps}) > 1 and self.fails(steps):
            self.steps = steps

    def query(self, query):
        """Simplify one; its text stands in its definition and in comparisons."""
        if not any(str(query) in s.text for s in self.steps):
            return
        again = True
        while again and not self.out_of_time():
            again = False
            for node, what in actions(query.node):
                before, state = str(query), node.state()
                node.apply(what)
                steps = [Step(s.session, s.text.replace(before, str(query)), s.copy) for s in self.steps]
                if str(query) != before and self.fails(steps):
                    self.steps = steps
                    again = True
                    break
                node.restore(state)


def shrink(seed, world, create_database, print=print):
    """world: that has failed, with its trace."""
    replay = Replay(create_database, world.schema, int(os.environ.get('SHRINK_SECONDS', '300')))
    steps = to_steps(world.trace)
    failing = replay.run(steps)
    if failing is None:
        print('it does not fail when it is replayed one statement at a time')
        return
    print(f'{len(steps)} statements; the last one: {failing.code}', flush=True)
    shrinker = Shrinker(replay, steps, failing)
    shrinker.statements()
    print(f'{len(shrinker.steps)} statements', flush=True)
    shrinker.one_session()
    for consumer in reversed(world.consumers):
        if hasattr(consumer, 'query') and hasattr(consumer.query, 'node'):
            shrinker.query(consumer.query)
    shrinker.statements(4)
    shrinker.one_session()
    print(f'{len(shrinker.steps)} statements after {replay.count} replays\n')
    several = len({s.session for s in shrinker.steps}) > 1
    print(f'-- seed {seed}: {failing.code}\nSET search_path = {world.schema}, public;')
    for step in shrinker.steps:
        print(f'/* {step.session} */ ' if several else '', step.text, ';', '\n' + step.copy + '\\.' if step.copy else '', sep='')
