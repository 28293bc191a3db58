"""Comparison of what is with what should be, row by row, by the rows' text: 1.0 is not 1.00, and NULL is not ''."""

import hashlib
import re

from session import Failure


def difference(session, what, expected, actual):
    """Both ways, as multisets."""
    rows = session.sql(
        f'WITH e AS ({expected}), a AS ({actual}), et AS (SELECT e::text AS r FROM e), at AS (SELECT a::text AS r FROM a) '
        "SELECT 'lacks', r FROM (TABLE et EXCEPT ALL TABLE at) x UNION ALL "
        "SELECT 'has too much', r FROM (TABLE at EXCEPT ALL TABLE et) y ORDER BY 1, 2", {'40001'})
    _report(session, what, rows)


def difference_upsert(session, what, expected, actual, ever, key):
    """All expected rows are there; others have keys that are not among theirs, and were expected at some time."""
    match = ' AND '.join(f'e.{k} = a.{k}' for k in key)
    rows = session.sql(
        f'WITH e AS ({expected}), a AS ({actual}), v AS ({ever}), et AS (SELECT e::text AS r FROM e), at AS (SELECT a::text AS r FROM a), '
        'vt AS (SELECT v::text AS r FROM v) '
        "SELECT 'lacks', r FROM (TABLE et EXCEPT ALL TABLE at) x UNION ALL "
        f"SELECT 'has an old version', a::text FROM a WHERE EXISTS (SELECT FROM e WHERE {match}) AND a::text NOT IN (TABLE et) UNION ALL "
        "SELECT 'has what never was', r FROM (TABLE at EXCEPT TABLE vt) y ORDER BY 1, 2", {'40001'})
    _report(session, what, rows)


def difference_frozen(session, what, expected, actual, frozen, key):
    """Rows that are frozen stay, and keep the place of those with the same key (None: it is not known); the others are as expected."""
    match = 'true' if key is None else ' AND '.join(['true'] + [f'f.{k} IS NOT DISTINCT FROM e.{k}' for k in key])
    rows = session.sql(
        f'WITH e AS ({expected}), a AS (SELECT * FROM {actual}), f AS (SELECT * FROM a WHERE {frozen}) '
        f"SELECT 'lacks', e::text FROM e WHERE e::text NOT IN (SELECT a::text FROM a) AND NOT EXISTS (SELECT FROM f WHERE {match}) UNION ALL "
        f"SELECT 'has too much', a::text FROM a WHERE ({frozen}) IS NOT TRUE AND a::text NOT IN (SELECT e::text FROM e) ORDER BY 1, 2", {'40001'})
    _report(session, what, rows)


def lost(session, what, kept, actual):
    """Rows that were there are there still."""
    if not kept:
        return
    literals = ', '.join("('" + row.replace("'", "''") + "')" for row in kept)
    rows = session.sql(f"WITH e AS (VALUES {literals}), a AS (SELECT * FROM {actual}) SELECT 'has lost', r FROM (TABLE e EXCEPT ALL SELECT a::text FROM a) x(r)")
    _report(session, what, rows)


def _short(row):
    """Long values are told by their length and hash."""
    return re.sub(r'[^,"]{40,}', lambda m: f'<{m[0][:8]}... {len(m[0])} {hashlib.md5(m[0].encode()).hexdigest()[:6]}>', row)


def _report(session, what, rows):
    if rows:
        lines = ''.join(f'\n    {what} {side} {_short(row)}' for side, row in rows[:12])
        more = f'\n    and {len(rows) - 12} more' if len(rows) > 12 else ''
        raise Failure(f'{what} differs, seen by {session.name}:{lines}{more}')
