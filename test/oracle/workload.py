"""Writers: what a session does, as generators that the scheduler advances one statement at a time."""

from session import WRITER_ERRORS, Expected
from statements import statement

LEVELS = ('READ COMMITTED',) * 5 + ('REPEATABLE READ',) * 3 + ('SERIALIZABLE',)


def write(session, table, rng):
    """One statement. Where it fails, the transaction has to be rolled back."""
    text = statement(table, rng)
    if isinstance(text, tuple):
        session.sql(text[0], WRITER_ERRORS, copy=text[1])
    else:
        session.sql(text, WRITER_ERRORS)


def finish(world, session, rng):
    """End a transaction: mostly by COMMIT. True if it was committed, or is going to be."""
    r = rng.random()
    if r < 0.72:
        session.commit()
        return True
    if r < 0.88:
        session.rollback()
        return False
    gid = f'{world.schema} {len(world.trace)}'
    session.in_transaction = False
    session.sql(f"PREPARE TRANSACTION '{gid}'", WRITER_ERRORS)
    world.prepared.append(gid)
    return None


def end_prepared(world, session, rng):
    try:
        gid = world.prepared.pop(rng.randrange(len(world.prepared)))
    except (ValueError, IndexError):
        return                  # another session was faster
    session.sql(f"{'COMMIT' if rng.random() < 0.7 else 'ROLLBACK'} PREPARED '{gid}'")


def _savepoint(session, savepoints, rng):
    """Set one, go back to one or release one."""
    r = rng.random()
    if r < 0.5 or not savepoints:
        savepoints.append(f's{len(savepoints)}')
        session.sql(f'SAVEPOINT {savepoints[-1]}')
    else:
        n = rng.randrange(len(savepoints))
        if r < 0.8:
            session.sql(f'ROLLBACK TO {savepoints[n]}')
            del savepoints[n + 1:]
        else:
            session.sql(f'RELEASE {savepoints[n]}')
            del savepoints[n:]


def transaction(world, session, rng):
    table = rng.choice(world.writable())
    if rng.random() < 0.3:
        try:
            write(session, table, rng)
        except Expected:
            pass
        return
    session.weight = rng.choice((1.0, 1.0, 1.0, 0.3, 0.08))
    session.begin(rng.choice(LEVELS))
    savepoints = []
    try:
        if rng.random() < 0.25:
            # a snapshot, and perhaps an xid, from well before the first write
            session.sql(rng.choice(('SELECT 1', 'SELECT pg_current_xact_id()')))
            yield
        for _ in range(rng.choice((1, 2, 3, 4, 6))):
            if rng.random() < 0.25:
                _savepoint(session, savepoints, rng)
                yield
            try:
                write(session, table, rng)
            except Expected as error:
                if not savepoints or error.code in ('40001', '40P01'):
                    raise
                session.sql(f'ROLLBACK TO {savepoints[-1]}')
            yield
        finish(world, session, rng)
    except Expected:
        session.rollback()
    session.weight = 1.0


def truncate(world, session, rng):
    """Rare: consumers have to begin anew. A lock that cannot be had at once is not waited for long."""
    table = rng.choice(world.writable())
    leaves = [m.name for m in table.members]
    name = rng.choice(leaves) if leaves and rng.random() < 0.4 else table.name
    table.truncated += 1
    try:
        if rng.random() < 0.5:
            session.sql(f'TRUNCATE {name}', WRITER_ERRORS)
        else:
            session.begin()
            write(session, table, rng)
            session.sql(f'TRUNCATE {name}', WRITER_ERRORS)
            yield
            write(session, table, rng)
            yield
            finish(world, session, rng)
    except Expected:
        if session.in_transaction:
            session.rollback()


def vacuum(world, session, rng):
    """FULL may move toasted values that the log points to: a stream is stale then."""
    table = rng.choice(world.writable())
    full = rng.random() < 0.4
    table.truncated += full
    try:
        session.sql(f"VACUUM ({'FULL' if full else 'TRUNCATE false'}) {table.name}", WRITER_ERRORS)
        session.counts['vacuum full'] += full
    except Expected:
        pass
    yield


def writer(world, session, rng):
    """What a writer does next."""
    if world.prepared and rng.random() < 0.25:
        end_prepared(world, session, rng)
    elif world.truncates and rng.random() < 0.04:
        yield from truncate(world, session, rng)
    elif rng.random() < 0.03:
        yield from vacuum(world, session, rng)
    else:
        yield from transaction(world, session, rng)
