"""Database sessions that note down what they did, and what may go wrong in them."""

import collections
import io
import time

import psycopg2

# Long enough that no lock that is free is missed, short because who has it will not go on meanwhile: one session at a
# time works, the others wait for their turn.
LOCK_TIMEOUT = 20

# What a writer may run into, through no fault of the extension: lock_timeout, deadlock, serialization, duplicate key, a
# foreign key, a check or partition constraint, a row met twice by ON CONFLICT or MERGE, a row that a user's trigger finds in
# the wrong partition.
WRITER_ERRORS = {'55P03', '40P01', '40001', '23505', '23503', '23514', '21000', '0A000'}


class Expected(Exception):
    """An error that can happen; the transaction is aborted."""

    def __init__(self, code, message):
        super().__init__(f'{code} {message}')
        self.code = code
        self.message = message


class Failure(Exception):
    """What the test was looking for."""


class Session:
    def __init__(self, name, dsn):
        self.name = name
        self.connection = psycopg2.connect(dsn, application_name=name)
        self.connection.autocommit = True
        self.cursor = self.connection.cursor()
        self.trace = []
        self.schema = None
        self.in_transaction = False
        self.level = None
        self.weight = 1.0
        self.task = None
        self.live = False           # others really work at the same time
        self.counts = collections.Counter()

    def start(self, schema, trace):
        """Begin another workload."""
        self.trace = trace
        self.schema = schema
        self.weight = 1.0
        self.task = None
        self.live = False
        self.in_transaction = False
        self.counts = collections.Counter()
        self.cursor.execute('ROLLBACK')
        self.cursor.execute('DISCARD ALL')
        self.cursor.execute(f'SET search_path = {schema}, public; SET lock_timeout = {LOCK_TIMEOUT}; '
                            "SET statement_timeout = '30s'; SET client_min_messages = error")

    def close(self):
        self.connection.close()

    def sql(self, text, allow=(), copy=None):
        """Run statements; the rows of the last one. Errors with a code in allow raise Expected, others Failure."""
        entry = [self.name, text, 'unfinished', copy]
        self.trace.append(entry)
        started = time.time()
        self.counts['statements'] += 1
        try:
            if copy is not None:
                self.cursor.copy_expert(text, io.StringIO(copy))
            else:
                self.cursor.execute(text)
            rows = self.cursor.fetchall() if copy is None and self.cursor.description else []
        except psycopg2.Error as error:
            message = f'{error.pgcode} {str(error).strip()}'
            entry[2] = message
            # where two lock waits follow each other closely, the server may call a lock timeout a request
            code = '55P03' if error.pgcode == '57014' and 'user request' in str(error) else error.pgcode
            if code in allow or code == '40001' and self.in_transaction and self.level == 'SERIALIZABLE':
                self.counts['expected errors'] += 1
                raise Expected(code, str(error)) from None
            raise Failure(f'{self.name}: {message}\n  in: {text[:1500]}') from None
        entry[2] = str(rows)[:200] if rows else self.cursor.statusmessage
        if time.time() - started > 1:
            entry[2] += f' after {time.time() - started:.1f} s'
        return rows

    def value(self, text, allow=()):
        return self.sql(text, allow)[0][0]

    def begin(self, level='READ COMMITTED'):
        self.sql(f'BEGIN ISOLATION LEVEL {level}')
        self.in_transaction = True
        self.level = level

    def commit(self):
        self.in_transaction = False
        self.sql('COMMIT', WRITER_ERRORS)

    def rollback(self):
        self.in_transaction = False
        self.sql('ROLLBACK')


def format_trace(trace):
    return ''.join(f'[{name}] {text};\n        -- {result}\n' for name, text, result, _ in trace)
