"""Random expressions, conditions, aggregates and window functions over the relations of a FROM clause.

Everything has one result only, whatever the plan: a value that may be equal to another one without having its text (1.0 and
1.00, 0 and -0) is not grouped by; what depends on the order of rows is given a total order; sums of floats are exact, or
rounded where they cannot be."""

from tree import Alt, Seq, Some
from values import ALL_TYPES

INTS = ('int', 'bigint', 'positive')
ORDERED = ('int', 'bigint', 'positive', 'text', 'long', 'varchar', 'char', 'date', 'timestamptz', 'amount', 'float', 'numeric')
NUMBERS = ('int', 'bigint', 'positive', 'amount', 'numeric')
TEXTS = ('text', 'long', 'varchar')


class Col:
    """A value in reach: its SQL, its type, and whether equal values have equal text (exact)."""

    def __init__(self, sql, type_name, exact=None):
        self.sql = sql
        self.type = type_name
        self.exact = type_name not in ('numeric', 'float', 'json') if exact is None else exact

    def at(self, alias, name=None):
        return Col(f'{alias}.{name or self.sql}', self.type, self.exact)


class Rel:
    """A relation of a FROM clause."""

    def __init__(self, alias, cols, key=None, size=40, table=None):
        self.alias = alias
        self.cols = cols
        self.key = key              # SQL of columns that identify its rows, if known
        self.size = size            # number of rows, about
        self.table = table          # the base table with a primary key, if it is one

    def order(self):
        """A total order of its rows, but for those that are the same in all columns."""
        if self.key is not None:
            return list(self.key)
        result = []
        for c in self.cols:
            if c.type in ('json', 'jsonb', 'pair'):
                result.append(f'{c.sql}::text')
            elif c.exact:
                result.append(c.sql)
            else:
                result += [c.sql, f'scale({c.sql})' if c.type == 'numeric' else f'{c.sql}::text']
        return result


def columns(scope, types=None, exact=False):
    return [c for r in scope for c in r.cols if (types is None or c.type in types) and (c.exact or not exact)]


def total_order(scope):
    return [o for r in scope for o in r.order()]


def expression(col, rng):
    """Of one column."""
    template, of = rng.choice(ALL_TYPES[col.type].expressions)
    if template == '{c}':
        return col
    of = of or col.type
    if col.type == 'numeric' and 'round' in template:
        return Col(template.format(c=col.sql), of, True)
    return Col(template.format(c=col.sql), of)


def value(scope, rng):
    col = rng.choice(columns(scope))
    made = expression(col, rng)
    r = rng.random()
    if made is not col:
        return Col(Alt(made.sql, col.sql) if made.type == col.type else made.sql, made.type, made.exact)
    if r < 0.05 and col.type in TEXTS:
        return Col(Alt(f"concat_ws('-', {col.sql}, {number(scope, rng)})", col.sql), 'text')
    if r < 0.12 and col.type in INTS:
        return Col(Alt(f'CASE WHEN {simple_condition(scope, rng)} THEN {col.sql} END', col.sql), col.type)
    if r < 0.15:
        return Col(f'coalesce({col.sql}, {col.sql})', col.type, col.exact)
    if r < 0.2 and col.type == 'numeric':
        return Col(f'trim_scale({col.sql})', 'numeric', True)
    if r < 0.22:
        return Col(f'to_json({col.sql})', 'json')
    return col


def number(scope, rng):
    """SQL of an integer."""
    ints = columns(scope, ('int', 'positive'))
    r = rng.random()
    if not ints or r < 0.1:
        texts = columns(scope, TEXTS)
        if texts:
            return f'length({rng.choice(texts).sql})'
        dates = columns(scope, ('date',))
        if dates:
            return f"({rng.choice(dates).sql} - date '2024-02-27')"
        return f'({rng.choice(columns(scope)).sql} IS NULL)::int'
    col = rng.choice(ints).sql
    if r < 0.55:
        return col
    return rng.choice(('{} % 5', 'coalesce({}, -1)', '({} + 1)', 'abs({})', '(-{})', '{} % 3')).format(col)


def few(scope, rng):
    """A value to group by: there are not many of it, and equal ones have equal text."""
    r = rng.random()
    exact = [c for c in columns(scope, exact=True) if c.type not in ('json',)]
    if r < 0.5 or not exact:
        col = number(scope, rng)
        return Col(Alt(f'({col}) % {rng.choice((3, 4, 7))}', col) if r < 0.3 else col, 'int')
    short = [c for c in exact if c.type in ('bool', 'date', 'varchar', 'char', 'text', 'timestamptz', 'amount', 'positive', 'uuid')]
    if short and r < 0.85:
        col = rng.choice(short)
        if col.type == 'date' and rng.random() < 0.3:
            return Col(f"date_trunc('month', {col.sql}::timestamp)::date", 'date')
        return col
    return rng.choice(exact)


def of_type(scope, type_name, rng):
    """A column or expression of a type that any scope can give."""
    if type_name == 'int':
        return number(scope, rng)
    found = columns(scope, (type_name,), exact=True)
    if found:
        return rng.choice(found).sql
    if type_name == 'text':
        return f'({rng.choice(columns(scope, TEXTS + INTS) or columns(scope)).sql})::text'
    if type_name == 'bool':
        return f'({rng.choice(columns(scope)).sql} IS NULL)'
    return f'NULL::{ALL_TYPES[type_name].sql}'


def simple_condition(scope, rng):
    r = rng.random()
    if r < 0.2:
        return f'{number(scope, rng)} {rng.choice(("<", ">", ">=", "<>", "<>"))} {rng.choice((rng.randint(-2, 10), rng.randint(0, 6), number(scope, rng)))}'
    if r < 0.28:
        return f'{number(scope, rng)} {rng.choice(("IN (1, 2, 3, 5, 8)", "BETWEEN 2 AND 12", "NOT IN (0, 4)", "= ANY (ARRAY[1, 2, NULL, 7])"))}'
    if r < 0.33:
        return f'{number(scope, rng)} IS {rng.choice(("", "NOT ")) if rng.random() < 0.4 else ""}DISTINCT FROM {rng.choice(("4", number(scope, rng)))}'
    col = rng.choice(columns(scope))
    filters = ALL_TYPES[col.type].filters
    if not filters:
        return f'{col.sql} IS NOT NULL'
    return '(' + rng.choice(filters).format(c=col.sql) + ')'


def condition(scope, rng, subquery=None):
    """subquery: makes a condition that has one."""
    r = rng.random()
    if subquery is not None and r < 0.3:
        made = subquery(scope)
        q = rng.random()
        if q < 0.2:
            return Alt(Seq('(', simple_condition(scope, rng), ' OR ', made, ')'), made)
        if q < 0.25:
            return Alt(Seq('(', made, ') IS NOT TRUE'), made)
        if q < 0.3:
            return Alt(Seq('CASE WHEN ', simple_condition(scope, rng), ' THEN ', made, ' ELSE true END'), made)
        return made
    if r < 0.4:
        return Some(rng.choice((' OR ', ' AND ')), [simple_condition(scope, rng) for _ in range(2)], '(', 1, ')')
    if r < 0.45:
        return f'NOT coalesce({simple_condition(scope, rng)}, false)'
    return simple_condition(scope, rng)


def moving_condition(scope, rng):
    """Rows meet it at some times: within seconds, and again and again, so that a replay finds the same."""
    n = number(scope, rng)
    r = rng.random()
    if r < 0.45:
        return f"({n}) * interval '40 milliseconds' {rng.choice(('<', '>='))} {rng.choice(NOW)} - date_trunc('second', {rng.choice(NOW)})"
    if r < 0.7:
        return f"({n}) % 10 {rng.choice(('<', '>', '='))} (extract(epoch FROM {rng.choice(NOW)}) * 7)::bigint % 10"
    if r < 0.8:
        return f"now() + ({n}) * interval '20 milliseconds' > date_trunc('second', now()) + interval '500 milliseconds'"
    if r < 0.9:
        return f"({n}) % 4 <> extract(second FROM localtimestamp)::int % 4"
    dates = columns(scope, ('date',))
    return f'{rng.choice(dates).sql} < current_date' if dates else f'({n}) + current_date > date {rng.choice(("2024-02-27", "2999-01-01"))!r}'


NOW = ('now()', 'now()', 'now()', 'current_timestamp', 'transaction_timestamp()')


# ------------------------------------------------------------------------------------------------ aggregates

def _ordered_by(col, scope, rng):
    """ORDER BY of an aggregate's argument: equal ones are the same."""
    if col.exact and col.type not in ('pair', 'jsonb'):
        return f'{col.sql}{rng.choice(("", " DESC", " NULLS FIRST"))}'
    return f'{col.sql}::text'


def _counted(scope, rng):
    r = rng.random()
    if r < 0.5:
        return 'count(*)', 'bigint', True
    col = rng.choice(columns(scope))
    if r < 0.8 or col.type in ('json',):
        return f'count({col.sql})', 'bigint', True
    return f'count(DISTINCT {col.sql})', 'bigint', True


def _summed(scope, rng):
    found = columns(scope, NUMBERS)
    r = rng.random()
    if not found or r < 0.2:
        return f'sum({number(scope, rng)})', 'bigint', True
    col = rng.choice(found)
    name = rng.choice(('sum', 'sum', 'avg'))
    exact = name == 'sum' and col.type != 'numeric'
    result = 'bigint' if name == 'sum' and col.type in ('int', 'positive') else 'numeric'
    if r < 0.35 and col.type != 'numeric':
        return f'{name}(DISTINCT {col.sql})', result, exact
    if r < 0.45 and col.type in ('int', 'positive'):
        return f'sum({col.sql} * 0.25::float8 + 1)', 'float', False
    if r < 0.6 and col.type in INTS:
        return f'{name}({col.sql} * {rng.choice((2, 3))} + coalesce({number(scope, rng)}, 0))', 'bigint' if result == 'bigint' else 'numeric', exact
    return f'{name}({col.sql})', result, exact


def _extreme(scope, rng):
    found = [c for c in columns(scope, ORDERED, exact=True)]
    name = rng.choice(('min', 'max'))
    if not found:
        return f'{name}({number(scope, rng)})', 'int', True
    col = rng.choice(found)
    of = 'text' if col.type in ('varchar', 'long') else 'int' if col.type == 'positive' else 'numeric' if col.type == 'amount' else col.type
    return f'{name}({col.sql})', of, True


def _logical(scope, rng):
    return f'{rng.choice(("bool_and", "bool_or", "every"))}({simple_condition(scope, rng)})', 'bool', True


def _bits(scope, rng):
    return f'{rng.choice(("bit_and", "bit_or", "bit_xor"))}({number(scope, rng)})', 'int', True


def _collected(scope, rng):
    r = rng.random()
    usable = [c for c in columns(scope) if c.type != 'long'] or columns(scope)
    col = rng.choice(usable)
    if r < 0.3:
        texts = columns(scope, ('text', 'varchar'))
        text = rng.choice(texts).sql if texts else f'({number(scope, rng)})::text'
        distinct = 'DISTINCT ' if rng.random() < 0.3 else ''
        return f"string_agg({distinct}{text}, ',' ORDER BY {text}{rng.choice(('', ' DESC') if not distinct else ('',))})", 'text', True
    if r < 0.6:
        if col.type in ('ints', 'json', 'pair', 'bytea', 'uuid'):
            n = number(scope, rng)
            return f'array_agg({n} ORDER BY {n})', 'ints', True
        if rng.random() < 0.3 and col.exact:
            return f'(array_agg(DISTINCT {col.sql}))::text', 'text', True
        return f'(array_agg({col.sql} ORDER BY {_ordered_by(col, scope, rng)}))::text', 'text', True
    if r < 0.85:
        return f'{rng.choice(("json_agg", "jsonb_agg"))}({col.sql} ORDER BY {_ordered_by(col, scope, rng)})::text', 'text', True
    n = number(scope, rng)
    return f"{rng.choice(('json_object_agg', 'jsonb_object_agg'))}(coalesce(({n})::text, '-'), {col.sql} ORDER BY {n}, {_ordered_by(col, scope, rng)})::text", 'text', True


def _ordered_set(scope, rng):
    n = number(scope, rng)
    r = rng.random()
    if r < 0.25:
        return f'percentile_cont({rng.choice((0.25, 0.5, 0.9))}) WITHIN GROUP (ORDER BY {n})', 'float', False
    if r < 0.45:
        found = columns(scope, ORDERED, exact=True)
        by = rng.choice(found).sql if found else n
        return f'(percentile_disc({rng.choice((0.25, 0.5, 0.9))}) WITHIN GROUP (ORDER BY {by}))::text', 'text', True
    if r < 0.7:
        col = few(scope, rng)
        return f'(mode() WITHIN GROUP (ORDER BY {col.sql}))::text', 'text', True
    return f'{rng.choice(("rank", "dense_rank"))}({rng.randint(0, 10)}) WITHIN GROUP (ORDER BY {n})', 'bigint', True


def _statistic(scope, rng):
    r = rng.random()
    n, m = number(scope, rng), number(scope, rng)
    if r < 0.5:
        return f'{rng.choice(("stddev", "variance", "var_pop", "stddev_pop"))}({n})', 'numeric', False
    if r < 0.6:
        return f'regr_count({n}, {m})', 'bigint', True
    # the order of rows decides on the last digits
    name = rng.choice(('corr', 'covar_pop', 'covar_samp', 'regr_slope', 'regr_avgx', 'regr_r2'))
    return f'round({name}({n}, {m})::numeric, 8)', 'numeric', True


def _defined(scope, rng):
    """A user's aggregate."""
    return f'public.sum_of_squares({number(scope, rng)})', 'bigint', True


AGGREGATES = ((_counted, 8), (_summed, 8), (_extreme, 6), (_logical, 2), (_bits, 1), (_collected, 3), (_ordered_set, 2), (_statistic, 2), (_defined, 1))


def aggregate(scope, rng, plain=False):
    """plain: of the kinds that are maintained by counters."""
    kinds, weights = zip(*(AGGREGATES[:3] if plain else AGGREGATES))
    sql, of, exact = rng.choices(kinds, weights)[0](scope, rng)
    r = rng.random()
    if r < 0.15 and '::text' not in sql and not sql.startswith(('round', '(')):
        sql = Alt(f'{sql} FILTER (WHERE {simple_condition(scope, rng)})', sql)
    elif r < 0.22 and of in ('bigint', 'int'):
        sql = Alt(f'coalesce({sql}, 0) * 2 + count(*)', sql)
        of = 'bigint'
    elif r < 0.26 and of in ('bigint', 'int'):
        sql = Alt(f"CASE WHEN {sql} > 10 THEN 'many' ELSE 'few' END", "''::text")
        of, exact = 'text', True
    return Col(sql, of, exact)


# ------------------------------------------------------------------------------------------------ window functions

def _window_order(scope, rng, total):
    order = [number(scope, rng) + rng.choice(('', ' DESC', ' NULLS FIRST'))]
    return ', '.join(order + (total_order(scope) if total else []))


def window_function(scope, rng, partition=None, total=True):
    """total: it may be one that tells rows apart that are the same in all columns."""
    if partition is None:
        partition = ', '.join(str(few(scope, rng).sql) for _ in range(rng.choice((1, 1, 1, 2))))
        if rng.random() < 0.1:
            partition = ''
    by = f'PARTITION BY {partition} ' if partition else ''
    r = rng.random()
    n = number(scope, rng)
    if r < 0.2:
        # of the whole partition
        col = aggregate_over(scope, rng)
        return Col(f'{col.sql} OVER ({by})', col.type, col.exact)
    if r < 0.4:
        # peers are treated alike
        col = aggregate_over(scope, rng)
        return Col(f'{col.sql} OVER ({by}ORDER BY {_window_order(scope, rng, False)})', col.type, col.exact)
    if r < 0.55 or not total:
        return Col(f'{rng.choice(("rank()", "dense_rank()"))} OVER ({by}ORDER BY {_window_order(scope, rng, False)})', 'bigint')
    if r < 0.7:
        return Col(f'row_number() OVER ({by}ORDER BY {_window_order(scope, rng, True)})', 'bigint')
    if r < 0.75:
        return Col(f'ntile(3) OVER ({by}ORDER BY {_window_order(scope, rng, True)})', 'int')
    if r < 0.92:
        call = rng.choice((f'lag({n})', f'lead({n})', f'first_value({n})', f'last_value({n})', f'nth_value({n}, 2)', f'lag({n}, 2, -1)'))
        return Col(f'{call} OVER ({by}ORDER BY {_window_order(scope, rng, True)})', 'int')
    frame = rng.choice(('ROWS BETWEEN 2 PRECEDING AND CURRENT ROW', 'ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING',
                        'ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING'))
    return Col(f'sum({n}) OVER ({by}ORDER BY {_window_order(scope, rng, True)} {frame})', 'bigint')


def aggregate_over(scope, rng):
    n = number(scope, rng)
    return rng.choice((Col('count(*)', 'bigint'), Col(f'sum({n})', 'bigint'), Col(f'max({n})', 'int'), Col(f'min({n})', 'int'),
                       Col(f'count({n})', 'bigint'), Col(f'avg({n})', 'numeric', False)))
