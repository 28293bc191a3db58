"""What incremental loads cost, against what one would write by hand."""
import statistics
from functools import partial
from itertools import count

from measure import Row, Session, amount, interleave, nothing, ratio_row, scaled, spread
from tables import drop, must_equal, orders, staging

# so that statements written by hand have the memory that a batch has
MEMORY = '256MB'

MERGE = """MERGE INTO by_hand t USING changes s ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET customer = s.customer, amount = s.amount, placed = s.placed, status = s.status, note = s.note
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.customer, s.amount, s.placed, s.status, s.note)"""

CLEAN = """SELECT s.id, s.customer, CASE WHEN s.amount BETWEEN 0 AND 100000 THEN round(s.amount * 1.19, 2) END AS amount,
        date_trunc('minute', s.placed AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS placed,
        coalesce(w.meaning, 'unknown') AS status, upper(trim(regexp_replace(s.note, '[^0-9a-f]+', ' ', 'g'))) AS note
    FROM source s LEFT JOIN words w ON w.word = lower(trim(s.status))
    WHERE s.customer IS NOT NULL"""


def create_load(session, name, target, source, query=None):
    """An upsert load that is up to date: its target holds the present rows already."""
    more = f', query => $${query}$$' if query else ''
    session.run(f"SELECT elt.create_load('{name}', '{target}', source => '{source}', mode => 'upsert', initial => 'none'{more})",
                f"CALL elt.run('{name}')")


def drop_loads(session, *names):
    session.run(*(f"SELECT elt.drop_load('{name}')" for name in names))


def empty():
    session = Session(work_mem=MEMORY)
    staging(session, scaled(100000))
    for table in ('source', 'target'):
        orders(session, table, 'SELECT * FROM staging')
    create_load(session, 'empty', 'target', 'source')
    session.run('CHECKPOINT')
    times = [session.elapsed("CALL elt.run('empty')") for _ in range(220)][20:]
    must_equal(session, 'target', 'TABLE source')
    drop_loads(session, 'empty')
    drop(session, 'source', 'target')
    yield Row('Batch of 0 changes', statistics.median(times), spread(times), 0.005, 0.002, '', absolute=True)


def change_tenth(session, round):
    """Change 1 in 11 rows of the source and insert a tenth of that; the same rows, as they are then, go to a plain table."""
    updated, inserted = f'id % 11 = {round}', f'id > {round * 100000000}'
    drop(session, 'changes')
    session.run(f"UPDATE source SET amount = amount + 1, status = 'checked' WHERE {updated}",
                f'INSERT INTO source SELECT id + {round * 100000000}, customer, amount, placed, status, note FROM staging'
                ' WHERE id % 110 = 0',
                f'CREATE TABLE changes AS SELECT * FROM source WHERE {updated} OR {inserted}',
                'VACUUM ANALYZE changes', 'VACUUM target', 'VACUUM by_hand')


def upsert():
    session = Session(work_mem=MEMORY)
    staging(session, scaled(1000000))
    for table in ('source', 'target', 'by_hand'):
        orders(session, table, 'SELECT * FROM staging')
    create_load(session, 'upsert', 'target', 'source')
    rounds = count(1)
    values = interleave(session, {'load': (nothing, partial(session.elapsed, "CALL elt.run('upsert')")),
                                  'merge': (nothing, partial(session.elapsed, MERGE))},
                        5, before=lambda: change_tenth(session, next(rounds)))
    for table in ('target', 'by_hand'):
        must_equal(session, table, 'TABLE source')
    drop_loads(session, 'upsert')
    drop(session, 'source', 'target', 'by_hand', 'changes')
    yield ratio_row('Upsert of 100k changes into 1M rows, load : MERGE by hand from a plain staging table (time)',
                    values, 'load', 'merge', 1.3, 1.1)


def change_first(session, rows):
    for size in ('small', 'large'):
        session.run(f"UPDATE source_{size} SET amount = amount + 1, status = 'checked' WHERE id <= {rows}",
                    f'VACUUM source_{size}', f'VACUUM target_{size}')


def source_size():
    session = Session(work_mem=MEMORY)
    changed = scaled(100000)
    staging(session, scaled(10000000))
    for size, rows in {'small': changed, 'large': scaled(10000000)}.items():
        orders(session, f'source_{size}', f'SELECT * FROM staging WHERE id <= {rows}')
        orders(session, f'target_{size}', f'SELECT * FROM staging WHERE id <= {changed}')
        create_load(session, size, f'target_{size}', f'source_{size}')
    drop(session, 'staging')
    values = interleave(session, {size: (nothing, partial(session.elapsed, f"CALL elt.run('{size}')"))
                                  for size in ('small', 'large')},
                        5, before=lambda: change_first(session, changed))
    for size in ('small', 'large'):
        must_equal(session, f'target_{size}', f'SELECT * FROM source_{size} WHERE id <= {changed}')
    drop_loads(session, 'small', 'large')
    drop(session, 'source_small', 'source_large', 'target_small', 'target_large')
    yield ratio_row('Upsert of 100k changes of a source of 10M rows : of 100k rows (time)', values, 'large', 'small', 1.2, 1.0)


def change_percent(session, changed):
    session.run(f"UPDATE source SET amount = amount + 1, status = 'checked' WHERE {changed}", 'VACUUM source', 'VACUUM target')


def percent():
    """1 % of the rows change: those that came last, as in most tables; or every 100th, so that each page of the target is touched and,
    after a checkpoint, logged as a whole."""
    session = Session(work_mem=MEMORY)
    rows = scaled(1000000)
    staging(session, rows)
    orders(session, 'source', 'SELECT * FROM staging')
    drop(session, 'words')
    session.run("CREATE TABLE words AS SELECT word, initcap(word) AS meaning"
                " FROM unnest(ARRAY['new', 'paid', 'shipped', 'checked']) word", 'ANALYZE words')
    for table in ('target', 'reloaded'):
        orders(session, table, CLEAN)
    create_load(session, 'percent', 'target', 'source', CLEAN)
    sides = {
        'load': (nothing, partial(session.elapsed, "CALL elt.run('percent')")),
        'reload': (nothing, partial(session.elapsed, 'BEGIN', 'TRUNCATE reloaded', f'INSERT INTO reloaded {CLEAN}', 'COMMIT')),
    }
    rounds = count(1)
    recent = interleave(session, sides, 5, before=lambda: change_percent(session, f'id > {rows - rows // 100}'))
    scattered = interleave(session, sides, 5, before=lambda: change_percent(session, f'id % 100 = {next(rounds)}'))
    must_equal(session, 'target', CLEAN)
    drop_loads(session, 'percent')
    drop(session, 'source', 'target', 'reloaded', 'words')
    yield ratio_row('1 % of 1M rows changed, the latest ones, cleaning query, incremental : full reload (time)', recent, 'load',
                    'reload', 1 / 20, 1 / 60)
    yield ratio_row('The same, every 100th row', scattered, 'load', 'reload', 1 / 20, 1 / 60)
