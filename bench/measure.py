"""Measuring: sessions whose CPU time can be read, and comparisons side by side."""
import os
import statistics
import time
from dataclasses import dataclass

import psycopg2

SCALE = float(os.environ.get('BENCH_SCALE') or 1)
TICK = 1 / os.sysconf('SC_CLK_TCK')


def scaled(rows):
    """Shrink a number of rows for trial runs."""
    return max(10, int(rows * SCALE))


class Session:
    """A connection in autocommit mode, with the settings given."""

    def __init__(self, **settings):
        self.connection = psycopg2.connect('')
        self.connection.autocommit = True
        self.cursor = self.connection.cursor()
        self.pid = self.connection.get_backend_pid()
        for name, value in settings.items():
            self.run(f"SET {name} = '{value}'")

    def run(self, *statements):
        """Each statement is sent, and committed, by itself."""
        for statement in statements:
            self.cursor.execute(statement)

    def value(self, query):
        self.cursor.execute(query)
        return self.cursor.fetchone()[0]

    def elapsed(self, *statements):
        """The seconds that the statements take, including their commits."""
        start = time.perf_counter()
        self.run(*statements)
        return time.perf_counter() - start

    def cpu(self, *statements):
        """The CPU seconds that the statements take in this session's backend, including their commits."""
        start = backend_cpu(self.pid)
        self.run(*statements)
        return backend_cpu(self.pid) - start


def stat_fields(pid):
    """/proc/<pid>/stat from the process's state on, so that the parent is [1], utime [11], stime, cutime, cstime."""
    with open(f'/proc/{pid}/stat') as file:
        return file.read().rsplit(')', 1)[1].split()


def backend_cpu(pid):
    """CPU seconds of a process: by the scheduler's nanoseconds where the kernel tells them, else by its clock ticks."""
    try:
        with open(f'/proc/{pid}/schedstat') as file:
            return int(file.read().split()[0]) / 1e9
    except OSError:
        return sum(map(int, stat_fields(pid)[11:13])) * TICK


def children_ticks(parent):
    """The clock ticks that each child of a process has used."""
    ticks = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            fields = stat_fields(pid)
        except OSError:
            continue
        if fields[1] == parent:
            ticks[pid] = sum(map(int, fields[11:13]))
    return ticks


def server_cpu(pid):
    """CPU seconds of the whole server that process pid belongs to: the postmaster, its children, and those that ended."""
    postmaster = stat_fields(pid)[1]
    while True:
        children = children_ticks(postmaster)
        own_and_ended = sum(map(int, stat_fields(postmaster)[11:15]))
        # one that ended in between would be missing from both
        if children_ticks(postmaster).keys() == children.keys():
            return (sum(children.values()) + own_and_ended) * TICK


def nothing():
    pass


def interleave(session, sides, repetitions, before=nothing):
    """Measure several sides in turn: sides maps a name to (prepare, measure). The result maps it to the measured values.

    Every other repetition goes through the sides backwards, so that a drift of the machine favours none. Each measurement
    follows a CHECKPOINT. One repetition more comes first and does not count. before() is called once a repetition.
    """
    values = {name: [] for name in sides}
    for repetition in range(repetitions + 1):
        before()
        for name in list(sides)[::-1 if repetition % 2 else 1]:
            prepare, measure = sides[name]
            prepare()
            session.run('CHECKPOINT')
            values[name].append(measure())
    return {name: values[name][1:] for name in sides}


@dataclass
class Row:
    """One line of the table. Results, goal and aim are ratios, or seconds where absolute is set."""
    title: str
    value: float
    spread: float       # interquartile range, as a fraction of the median
    goal: float
    aim: float
    medians: str
    absolute: bool = False


def spread(values):
    quartiles = statistics.quantiles(values, n=4, method='inclusive')
    return (quartiles[2] - quartiles[0]) / quartiles[1]


def amount(seconds):
    """1.23 s, 12.3 ms, 123 us: three digits."""
    for unit, factor in (('s', 1), ('ms', 1e3)):
        if seconds * factor >= 1:
            return f'{seconds * factor:.3g} {unit}' if seconds * factor < 1000 else f'{seconds * factor:.0f} {unit}'
    return f'{seconds * 1e6:.3g} us'


def ratio_row(title, values, new, old, goal, aim):
    """Side new against side old: the median of the repetitions' ratios."""
    ratios = [a / b for a, b in zip(values[new], values[old])]
    medians = ' : '.join(amount(statistics.median(values[side])) for side in (new, old))
    return Row(title, statistics.median(ratios), spread(ratios), goal, aim, medians)
