"""Column types: how values of them are written, and what a query can do with them."""


class Type:
    """literal(rng): an SQL expression; expressions: (template, type name) that a query may make of a column {c};
    filters: templates of conditions."""

    def __init__(self, sql, literal, expressions=(), filters=(), changes=()):
        self.sql = sql
        self.literal = literal
        self.expressions = expressions
        self.filters = filters
        self.changes = changes      # templates of another value made from a column's own


def _pick(*choices):
    return lambda rng: rng.choice(choices)


def long_text(rng):
    """Mostly short; sometimes long enough for the toast table, compressible or not.

    What the server may compress or toast is never made twice: an update that stores an equal value anew may count as a change or not."""
    r = rng.random()
    if r < 0.45:
        return f"'short {rng.randint(0, 9)}'"
    if r < 0.6:
        return f"repeat('abc{rng.randint(0, 999999)}', {rng.choice((300, 900, 2500))})"
    return f'long_text({rng.randint(0, 1000000)}, {rng.choice((20, 70, 150, 300))})'


def ints(rng):
    a, b = rng.randint(0, 10**9), rng.randint(0, 10**9)
    return rng.choice(("'{}'::int[]", f'ARRAY[{a}, NULL, {b}]', f'ARRAY[[{a}, 2], [3, {b}]]', f'array_fill({a}, ARRAY[40])'))


_ANY = (('{c}', None), ('{c}', None), ('{c}', None), ('({c} IS NULL)', 'bool'))
_TEXT = _ANY + (('upper({c})', 'text'), ("({c} || '!')", 'text'), ('length({c})', 'int'), ("coalesce({c}, 'none')", 'text'),
                ('md5({c})', 'text'), ("left({c}, 3)", 'text'))
_INT = _ANY + (('({c} + 1)', 'int'), ('coalesce({c}, 0)', 'int'), ('({c} % 7)', 'int'),
               ("CASE WHEN {c} > 3 THEN 'many' ELSE 'few' END", 'text'))
_NULLS = ('{c} IS NOT NULL', '{c} IS NULL OR true')

TYPES = {
    'int': Type('int', lambda rng: str(rng.randint(-5, 20)), _INT, _NULLS + ('{c} % 3 <> 0', '{c} > 4', 'coalesce({c}, 1) < 9'),
                ('{c} + 1', '-{c}', '{c} % 5')),
    'bigint': Type('bigint', lambda rng: str(rng.choice((0, 1, -1, 2**40, rng.randint(0, 30)))),
                   _ANY + (('({c} / 2)', 'bigint'),), _NULLS + ('{c} < 10',), ('{c} - 1',)),
    'text': Type('text', _pick("''", "'a'", "'b''c'", "'NULL'", "'äöü €'", "'  x '", "E'tab\\tnew\\nline\\\\'", "'v1'", "'v2'", "'v3'"),
                 _TEXT, _NULLS + ("{c} LIKE 'v%'", 'length({c}) < 4'), ("{c} || '+'", 'left({c}, 2)')),
    'long': Type('text', long_text, _TEXT, _NULLS + ('length({c}) < 2000', "{c} LIKE 's%'"), ("{c} || 'x'", "'y' || left({c}, 500)")),
    'varchar': Type('varchar(12)', _pick("'one'", "'two'", "''", "'twelve chars'"), _ANY + (('{c}::text', 'text'),), _NULLS, ('left({c}, 4)',)),
    'char': Type('char(6)', _pick("'a'", "'b  '", "'abcdef'"), _ANY, _NULLS),
    'numeric': Type('numeric', _pick('1', '1.0', '1.00', '2.5', '2.50', "'NaN'", '-0.1', '12345678901234567890.5', '0', '0.000'),
                    _ANY + (('({c} * 1.5)', 'numeric'), ('round({c}, 1)', 'numeric')), _NULLS + ('{c} > 1',),
                    ('{c} + 0.00', '{c} * 2', 'round({c}, 2)')),
    'float': Type('float8', _pick("'0'", "'-0'", "'NaN'", '1.5', '1e300', '0.1'), _ANY + (('({c} * 2)', 'float'),), _NULLS, ('-{c}',)),
    'bool': Type('bool', _pick('true', 'false'), _ANY + (('(NOT {c})', 'bool'),), _NULLS + ('{c}', 'NOT coalesce({c}, true)'), ('NOT {c}',)),
    'date': Type('date', lambda rng: f"date '2024-02-27' + {rng.randint(0, 5)}", _ANY + (('({c} + 7)', 'date'),),
                 _NULLS + ("{c} >= '2024-02-29'",), ('{c} + 1',)),
    'timestamptz': Type('timestamptz', lambda rng: f"timestamptz '2024-02-27 12:00+00' + interval '{rng.randint(0, 5)} hours'",
                        _ANY + (("date_trunc('day', {c}, 'UTC')", 'timestamptz'),), _NULLS, ("{c} + interval '1 day'",)),
    'uuid': Type('uuid', lambda rng: f"'00000000-0000-4000-8000-{rng.randint(0, 9):012d}'::uuid", _ANY + (('{c}::text', 'text'),), _NULLS),
    'ints': Type('int[]', ints,
                 _ANY + (('cardinality({c})', 'int'),), _NULLS + ('cardinality({c}) > 0',), ('{c} || ARRAY[3, 4]',)),
    'jsonb': Type('jsonb', lambda rng: rng.choice(("'{}'::jsonb", "'{\"a\": 1}'::jsonb", f"'{{\"a\": [{rng.randint(0, 10**9)}, null]}}'::jsonb", "'null'::jsonb")),
                  _ANY + (("({c} ->> 'a')", 'text'),), _NULLS + ("{c} ? 'a'",)),
    'bytea': Type('bytea', _pick("'\\x'::bytea", "'\\x00ff'::bytea", "'\\x0102'::bytea"), _ANY + (('length({c})', 'int'),), _NULLS),
    'pair': Type('public.pair', lambda rng: rng.choice(("ROW(1, 'x')::public.pair", "ROW(NULL, NULL)::public.pair",
                                                        f"ROW(2, repeat('x{rng.randint(0, 10**6)}', 60))::public.pair")),
                 _ANY + (('({c}).a', 'int'),), ('{c} IS NOT NULL', '({c}).a = 1')),
    'positive': Type('public.positive', lambda rng: f'{rng.randint(1, 9)}::public.positive', _ANY + (('({c} + 1)', 'int'),), _NULLS, ('{c} + 1',)),
}
# Types of views' sources only.
VIEW_TYPES = {
    'amount': Type('numeric(12, 2)', _pick('1', '2.5', '0', '-0.1', '19.99', '100', '100.00', "'NaN'"),
                   _ANY + (('({c} * 2)', 'numeric'), ('abs({c})', 'amount')), _NULLS + ('{c} > 1',), ('{c} + 1', '-{c}')),
    'json': Type('json', None, (('{c}', None), ("({c} #>> '{{}}')", 'text')), ('{c} IS NOT NULL',)),
}
COMMON = ('int', 'text', 'long', 'numeric', 'int', 'long')
DATA_TYPES = COMMON * 2 + tuple(sorted(TYPES))
ALL_TYPES = {**TYPES, **VIEW_TYPES}

# What the databases of the workloads have, beside the extension.
PRELUDE = r"""
CREATE FUNCTION public.long_text(seed int, n int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT string_agg(md5(seed || chr(46) || i), '') FROM generate_series(1, n) i $$;
CREATE TYPE public.pair AS (a int, b text);
CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);
CREATE FUNCTION public.add_square(sum bigint, i int) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT sum + coalesce(i, 0)::bigint * i $$;
CREATE AGGREGATE public.sum_of_squares(int) (SFUNC = public.add_square, STYPE = bigint, INITCOND = 0);
"""

# Keys: the i-th value as a literal, and as an expression of an integer column i.
KEYS = {
    'int': (lambda i, rng: str(i), '{i}::int', '{c} + {d}'),
    'bigint': (lambda i, rng: str(i * 3000000000), '{i} * 3000000000::bigint', '{c} + {d} * 3000000000'),
    'text': (lambda i, rng: f"'k{i:04d}'", "'k' || lpad(({i})::text, 4, '0')", "{c} || 'x'"),
    'numeric': (lambda i, rng: f'{i}' + rng.choice(('', '', '.0', '.000')), '({i})::numeric', '{c} + {d}.0'),
    'uuid': (lambda i, rng: f"'00000000-0000-4000-8000-{i:012d}'::uuid", "('00000000-0000-4000-8000-' || lpad(({i})::text, 12, '0'))::uuid", None),
    'date': (lambda i, rng: f"date '2000-01-01' + {i}", "date '2000-01-01' + ({i})::int", '{c} + {d}'),
}
