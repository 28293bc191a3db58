"""The results as a document."""
import os

from measure import SCALE, amount

SETTINGS = """shared_buffers max_wal_size checkpoint_timeout fsync synchronous_commit wal_sync_method full_page_writes wal_level
    wal_compression work_mem autovacuum jit elt.segment_size elt.batch_memory""".split()

INTRODUCTION = """# Benchmarks

Written by `make bench`. Each line compares two ways in one run: repetitions in turn (5 to 9, one more to warm the caches),
each after a CHECKPOINT. The result is the median of the repetitions' ratios, its spread their interquartile range in percent
of it; the medians are those of the two sides. Time is what the client waits, commits included. CPU is that of the backend
which runs the statement and commits it; for commits of one row, that of all processes of the server.
"""


def shown(row, value):
    if row.absolute:
        return amount(value)
    if row.aim >= 1:
        return f'{value:.2f}'
    return f'1/{1 / value:.1f}' if 1 / value < 10 else f'1/{1 / value:.0f}'


def verdict(row):
    if row.value <= row.aim:
        return 'aim'
    return 'goal' if row.value <= row.goal else '-'


def cells(row):
    return [row.title, shown(row, row.value), f'{row.spread * 100:.0f} %', shown(row, row.goal), shown(row, row.aim),
            verdict(row), row.medians]


def table(rows):
    """Aligned, so that it can be read in a terminal too."""
    lines = [['', 'Result', 'Spread', 'Goal', 'Aim', 'Reached', 'Medians']] + [cells(row) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines.insert(1, ['-' * width for width in widths])
    return ''.join('| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |\n' for line in lines)


def machine():
    with open('/proc/cpuinfo') as file:
        model = next((line.split(':', 1)[1].strip() for line in file if line.startswith('model name')), 'unknown')
    with open('/proc/meminfo') as file:
        memory = int(file.readline().split()[1]) / 1024 ** 2
    return f'{os.cpu_count()} cores ({model}), {memory:.0f} GB of memory'


def environment(session):
    settings = ', '.join(f"{name} = {session.value(f'SHOW {name}')}" for name in SETTINGS)
    return (f"* Machine: {machine()}\n* PostgreSQL {session.value('SHOW server_version')}, elt "
            + session.value("SELECT extversion FROM pg_extension WHERE extname = 'elt'")
            + f'\n* Settings: {settings}; work_mem = 256MB for loads, refreshes and what they are compared with\n')


def document(rows, session):
    trial = '' if SCALE == 1 else f'\nA trial run on {SCALE:g} of the rows: not to be quoted.\n'
    reached = f'{sum(row.value <= row.goal for row in rows)} of {len(rows)} lines reach the goal, ' \
              f'{sum(row.value <= row.aim for row in rows)} the aim.'
    return '\n'.join([INTRODUCTION + trial, table(rows), reached + '\n', environment(session)])
