"""Random queries of precomputed views, over whatever can stand in FROM. Each is a tree (tree.py) with one result, whatever the plan."""

from expressions import (INTS, TEXTS, Col, Rel, aggregate, columns, condition, few, moving_condition, number, of_type, simple_condition, total_order, value,
                         window_function)
from tree import Alt, Seq, Some, opt

MAX_ROWS = 1500


class Source:
    """A relation that queries can read."""

    def __init__(self, name, cols, key=None, size=40, table=None):
        self.name = name
        self.cols = cols            # Col, with plain names
        self.key = key              # names
        self.size = size
        self.table = table

    def rel(self, alias):
        key = [f'{alias}.{k}' for k in self.key] if self.key else None
        return Rel(alias, [c.at(alias) for c in self.cols], key, self.size, self.table)


class Query:
    """Its text, and what its result is like."""

    def __init__(self, node, cols, key=None, size=40):
        self.node = node
        self.cols = cols            # Col, with the names of the result's columns
        self.key = key              # names of columns that identify a row of the result
        self.size = size

    def __str__(self):
        return str(self.node)


def reads(text, name):
    """Does the text have this name in a FROM clause?"""
    return f' {name} ' in text or f'({name} ' in text


class Generator:
    """One query's. Aliases are never used twice, so that subqueries can name what is around them."""

    def __init__(self, sources, rng, moving=False):
        self.sources = sources
        self.rng = rng
        self.aliases = 0
        self.moving = moving        # conditions may depend on the time

    def chance(self, p):
        return self.rng.random() < p

    def alias(self, prefix='x'):
        self.aliases += 1
        return f'{prefix}{self.aliases}'

    # -------------------------------------------------------------------------------------------- FROM

    def relation(self, depth):
        """(node, Rel)"""
        rng = self.rng
        alias = self.alias()
        if depth > 0 and self.chance(0.2):
            query = self.query(depth - 1)
            return Seq('(', query.node, f') {alias}'), self.result(query, alias)
        if self.chance(0.04):
            return (f"(VALUES (1, 'v1'), (3, NULL), (4, 'v2'), (7, 'v1')) {alias}(i, t)",
                    Rel(alias, [Col(f'{alias}.i', 'int'), Col(f'{alias}.t', 'text')], [f'{alias}.i'], 4))
        source = rng.choice(self.sources)
        return f'{source.name} {alias}', source.rel(alias)

    def result(self, query, alias):
        return Rel(alias, [c.at(alias) for c in query.cols], [f'{alias}.{k}' for k in query.key] if query.key else None, query.size)

    def equality(self, left, right):
        """(SQL, how many rows of the right one fit one of the left): a condition that hash and merge joins take."""
        rng = self.rng
        pairs = [(a, b) for a in columns(left) for b in right.cols
                 if a.type == b.type and a.type not in ('json', 'float', 'bool', 'ints', 'bytea', 'pair', 'jsonb')]
        keys = [(a, b) for a, b in pairs if a.type in INTS or (left[0].key and a.sql in left[0].key)]
        if keys and self.chance(0.7):
            pairs = keys
        if pairs and self.chance(0.75):
            a, b = rng.choice(pairs)
            return f'{a.sql} = {b.sql}', right.size / (20 if a.type in INTS + ('numeric', 'uuid') else 4)
        a, b = number(left, rng), number([right], rng)
        return f'{a} = {b}', right.size / (4 if '%' in a + b or '::int' in a + b else 20)

    def on(self, left, right, full):
        """(conditions, number of fitting rows)"""
        rng = self.rng
        size = left[0].size
        if not full and self.chance(0.12) and right.size * size < 4 * MAX_ROWS:
            a, b = number(left, rng), number([right], rng)
            near = rng.choice((f'{b} BETWEEN {a} AND {a} + 2', f'{a} < {b} AND {b} < {a} + 4', f'{a} > {b}', f'{a} <> {b}'))
            return [near], right.size / (6 if 'B' in near or '+' in near else 2)
        equal, fit = self.equality(left, right)
        result = [equal]
        if not full and self.chance(0.25):
            result.append(rng.choice((simple_condition([right], rng), simple_condition(left + [right], rng))))
        return result, fit

    def joined(self, depth, count):
        """(node, scope) of a FROM clause."""
        rng = self.rng
        first, rel = self.relation(depth)
        scope, rows = [rel], rel.size
        joins = []
        for n in range(count - 1):
            if self.chance(0.13):
                node, rel, fit = self.lateral(scope)
                joins.append(node)
                scope.append(rel)
                rows *= fit
                continue
            node, rel = self.relation(depth)
            if depth > 0 and self.chance(0.1):
                # parentheses: a join on the right side
                node, inner = self.nested(node, rel)
            else:
                inner = [rel]
            kind = rng.choices(('JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN', 'CROSS JOIN'), (50, 28, 7, 8, 3))[0]
            if kind == 'CROSS JOIN' and rows * rel.size > MAX_ROWS / 2:
                kind = 'JOIN'
            if kind == 'CROSS JOIN':
                joins.append(Seq(' CROSS JOIN ', node))
                rows *= rel.size
            elif (len(scope) == 1 and len(inner) == 1 and self.chance(0.06)
                  and 'n' in [c.sql.split('.')[-1] for c in scope[0].cols] and 'n' in [c.sql.split('.')[-1] for c in rel.cols]):
                joins.append(Seq(f' {kind} ', node, ' USING (n)'))
                rows *= 2
            else:
                conditions, fit = self.on(scope, rel, kind == 'FULL JOIN')
                if rows * fit > MAX_ROWS:
                    equal, fit = self.equality(scope, rel)
                    conditions = [equal]
                word = kind if kind in ('JOIN', 'FULL JOIN') else Alt(kind, 'JOIN')
                joins.append(Seq(' ', word, ' ', node, ' ON ', Some(' AND ', conditions, least=1)))
                rows = max(rows * fit, rel.size)
            scope += inner
            if rows > MAX_ROWS:
                break
        for r in scope:
            r.size = rows
        return Seq(first, Some('', joins)), scope

    def nested(self, node, rel):
        other, right = self.relation(0)
        conditions, fit = self.on([rel], right, False)
        kind = self.rng.choice(('JOIN', 'LEFT JOIN'))
        return Seq('(', node, f' {kind} ', other, ' ON ', Some(' AND ', conditions, least=1), ')'), [rel, right]

    def lateral(self, scope):
        """(node, Rel, rows of it for one of the scope)"""
        rng = self.rng
        alias = self.alias('l')
        r = rng.random()
        join = rng.choice((' CROSS JOIN LATERAL ', ' LEFT JOIN LATERAL '))
        on = ' ON true' if 'LEFT' in join else ''
        if r < 0.25:
            node = f'{join}generate_series(1, abs(coalesce({number(scope, rng)}, 0)) % 4) {alias}(i){on}'
            return node, Rel(alias, [Col(f'{alias}.i', 'int')]), 2
        if r < 0.45:
            arrays = columns(scope, ('ints',))
            array = rng.choice(arrays).sql if arrays and self.chance(0.6) else f'ARRAY[{number(scope, rng)}, 3, NULL]'
            ordinality = self.chance(0.4)
            node = f"{join}unnest({array}) {'WITH ORDINALITY ' if ordinality else ''}{alias}(i{', o' if ordinality else ''}){on}"
            return node, Rel(alias, [Col(f'{alias}.i', 'int')] + ([Col(f'{alias}.o', 'bigint')] if ordinality else [])), 3
        source = rng.choice(self.sources)
        inner = source.rel(self.alias('y'))
        equal, fit = self.equality(scope, inner)
        where = Some(' AND ', [equal] + [simple_condition([inner], rng) for _ in range(rng.choice((0, 0, 1)))], ' WHERE ')
        frm = f' FROM {source.name} {inner.alias}'
        if r < 0.7:
            aggs = [aggregate([inner], rng) for _ in range(rng.choice((1, 2)))]
            node = Seq(join, '(SELECT ', Some(', ', [Seq(a.sql, f' AS a{n}') for n, a in enumerate(aggs)], least=1), frm, where, f') {alias}{on}')
            return node, Rel(alias, [a.at(alias, f'a{n}') for n, a in enumerate(aggs)], []), 1
        cols = [c for c in inner.cols if self.chance(0.5)] or inner.cols[:1]
        order = [number([inner], rng)] + inner.order()
        limit = rng.choice((1, 2)) if r < 0.9 else None
        ordered = f" ORDER BY {', '.join(order)} LIMIT {limit}" if limit else ''
        node = Seq(join, '(SELECT ', Some(', ', [f'{c.sql} AS b{n}' for n, c in enumerate(cols)], least=1), frm, where, ordered, f') {alias}{on}')
        return node, Rel(alias, [c.at(alias, f'b{n}') for n, c in enumerate(cols)]), limit or fit

    # -------------------------------------------------------------------------------------------- subqueries in expressions

    def inner(self, scope, correlated=None):
        """(FROM clause, scope, conditions) of a subquery in an expression."""
        rng = self.rng
        source = rng.choice(self.sources)
        rel = source.rel(self.alias('y'))
        frm, inside = f'{source.name} {rel.alias}', [rel]
        if self.chance(0.2):
            other = rng.choice(self.sources)
            more = other.rel(self.alias('y'))
            frm += f' {rng.choice(("JOIN", "LEFT JOIN"))} {other.name} {more.alias} ON {self.equality([rel], more)[0]}'
            inside.append(more)
        conditions = []
        if correlated or correlated is None and self.chance(0.6):
            r = rng.random()
            if r < 0.8:
                conditions.append(self.equality(scope, rel)[0])
            else:
                conditions.append(f'{number([rel], rng)} {rng.choice(("<", ">", "<>"))} {number(scope, rng)}')
        while self.chance(0.3):
            conditions.append(simple_condition(inside + (scope if correlated is not False and self.chance(0.2) else []), rng))
        if self.moving and self.chance(0.15):
            conditions.append(moving_condition(inside, rng))
        if self.chance(0.08):
            conditions.append(Seq(rng.choice(('', 'NOT ')), 'EXISTS (SELECT FROM ', self.nested_inner(rel), ')'))
        return frm, inside, Some(' AND ', conditions, ' WHERE ')

    def nested_inner(self, rel):
        source = self.rng.choice(self.sources)
        more = source.rel(self.alias('z'))
        return f'{source.name} {more.alias} WHERE {self.equality([rel], more)[0]}'

    def predicate(self, scope):
        """A condition with a subquery."""
        rng = self.rng
        r = rng.random()
        if r < 0.4:
            frm, inside, where = self.inner(scope, True)
            return Seq(rng.choice(('', 'NOT ')), 'EXISTS (SELECT 1 FROM ', frm, where, ')')
        if r < 0.65:
            frm, inside, where = self.inner(scope)
            test = rng.choice(('IN', 'IN', 'NOT IN', '= ANY', '> ALL', '<= ALL', '<> ALL', '< ANY'))
            return Seq(f'{number(scope, rng)} {test} (SELECT {number(inside, rng)} FROM ', frm, where, ')')
        if r < 0.72:
            frm, inside, where = self.inner(scope)
            return Seq(f'({number(scope, rng)}, {of_type(scope, "text", rng)}) {rng.choice(("IN", "NOT IN"))} '
                       f'(SELECT {number(inside, rng)}, {of_type(inside, "text", rng)} FROM ', frm, where, ')')
        return Seq(f'{number(scope, rng)} {rng.choice(("<", ">", "<=", "="))} ', self.scalar(scope)[0])

    def scalar(self, scope, correlated=None):
        """(node, type, exact) of a scalar subquery."""
        rng = self.rng
        frm, inside, where = self.inner(scope, correlated)
        r = rng.random()
        if r < 0.75:
            n = number(inside, rng)
            return Seq(f'(SELECT {rng.choice(("count(*)", f"max({n})", f"min({n})", f"sum({n})", f"avg({n})::int", f"count(DISTINCT {n})"))} FROM ',
                       frm, where, ')'), 'bigint', True
        n = number(inside, rng)
        return Seq(f'(SELECT {n} FROM ', frm, where, f' ORDER BY {n} DESC NULLS LAST LIMIT 1)'), 'int', True

    def scalar_value(self, scope):
        """Any value: the lookup of a label, an aggregate of any kind."""
        rng = self.rng
        if self.chance(0.5):
            node, of, exact = self.scalar(scope)
            return Col(node, of, exact)
        frm, inside, where = self.inner(scope, True)
        made = aggregate(inside, rng)
        return Col(Seq('(SELECT ', made.sql, ' FROM ', frm, where, ')'), made.type, made.exact)

    def conditions(self, scope, often=0.35, subquery=None):
        result = []
        while self.chance(often) and len(result) < 3:
            result.append(condition(scope, self.rng, subquery or self.predicate))
        if self.moving and self.chance(0.4):
            result.append(moving_condition(scope, self.rng))
        return result

    def where(self, scope, often=0.35):
        return Some(' AND ', self.conditions(scope, often), ' WHERE ')

    # -------------------------------------------------------------------------------------------- query levels

    def named(self, cols):
        """(select list's items, result's columns)"""
        names, items, result = set(), [], []
        for n, c in enumerate(cols):
            name = f'o{n + 1}'
            plain = c.sql.rsplit('.', 1)[-1] if isinstance(c.sql, str) and c.sql.replace('.', '').replace('_', '').isalnum() else None
            if plain and plain not in names and not plain[-1:].isdigit() and self.chance(0.5):
                name = plain
            names.add(name)
            items.append(Seq(c.sql, '' if plain == name else f' AS {name}'))
            result.append(Col(name, c.type, c.exact))
        return items, result

    def size(self):
        return self.rng.choices((1, 2, 3, 4), (45, 33, 15, 7))[0]

    def outputs(self, scope):
        rng = self.rng
        cols = []
        for r in scope:
            if r.key and self.chance(0.6) and len(cols) < 6:
                cols += [c for c in r.cols if c.sql in r.key]
        cols += [value(scope, rng) for _ in range(rng.choice((1, 2, 2, 3, 4)))]
        if self.chance(0.12):
            cols.append(self.scalar_value(scope))
        return cols

    def block(self, depth):
        frm, scope = self.joined(depth, self.size())
        items, result = self.named(self.outputs(scope))
        return Query(Seq('SELECT ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope)), result, size=scope[0].size)

    def having(self, scope):
        rng = self.rng
        r = rng.random()
        if r < 0.65:
            return ''
        if r < 0.75:
            frm, inside, where = self.inner(scope, False)
            return opt(' HAVING count(*) * 5 > ', Seq('(SELECT count(*) FROM ', frm, where, ')'))
        n = number(scope, rng)
        return Some(' AND ', [rng.choice(('count(*) > 1', f'sum({n}) > 4', f'max({n}) IS NOT NULL', f'min({n}) < 3', f'count(DISTINCT {n}) > 1',
                                           f"count(*) FILTER (WHERE {simple_condition(scope, rng)}) > 0", f'NOT bool_and({n} > 3)'))
                              for _ in range(rng.choice((1, 1, 2)))], ' HAVING ')

    def aggregates(self, scope):
        rng = self.rng
        plain = self.chance(0.45)
        return [aggregate(scope, rng, plain) for _ in range(rng.choice((1, 2, 2, 3, 4)))]

    def keys(self, scope, count):
        """Distinct expressions to group by."""
        found = {}
        for _ in range(count):
            col = few(scope, self.rng)
            found.setdefault(str(col.sql), Col(str(col.sql), col.type, col.exact))
        return list(found.values())

    def group(self, depth):
        rng = self.rng
        frm, scope = self.joined(depth, self.size())
        keys = self.keys(scope, rng.choice((1, 1, 1, 2, 2, 3)))
        cols = list(keys)
        grouped = [k.sql for k in keys]
        table = next((r for r in scope if r.table is not None and r.key), None)
        if table is not None and self.chance(0.1):
            # what the primary key determines need not be named
            grouped = list(table.key)
            keys = [c for c in table.cols if c.sql in table.key]
            cols = keys + [expression for expression in (value([table], rng) for _ in range(2))]
        aggs = self.aggregates(scope)
        if self.chance(0.08):
            aggs.append(Col(rng.choice(('rank() OVER (ORDER BY count(*))', 'sum(count(*)) OVER ()',
                                        f'count(*) * 100 / sum(count(*)) OVER (PARTITION BY {keys[0].sql})')), 'bigint'))
            if 'sum' in aggs[-1].sql:
                aggs[-1].type = 'numeric'
                aggs[-1].exact = False
        hidden = self.chance(0.1) and len(cols) > 1 and cols.pop(0)
        shown = cols + aggs
        if self.chance(0.2):
            rng.shuffle(shown)
        items, result = self.named(shown)
        node = Seq('SELECT ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope, 0.3), Some(', ', grouped, ' GROUP BY '), self.having(scope))
        key = None if hidden else [r.sql for r, c in zip(result, shown) if any(c is k for k in keys)]
        return Query(node, result, key, 12)

    def total(self, depth):
        """Aggregates without GROUP BY."""
        frm, scope = self.joined(depth, self.size())
        items, result = self.named(self.aggregates(scope))
        having = self.having(scope) if self.chance(0.3) else ''
        return Query(Seq('SELECT ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope, 0.3), having), result, [], 1)

    def sets(self, depth):
        """GROUPING SETS and the like."""
        rng = self.rng
        frm, scope = self.joined(depth, self.size())
        keys = self.keys(scope, rng.choice((2, 2, 3)))
        while len(keys) < 2:
            keys.append(Col(f'({keys[0].sql}) IS NULL', 'bool'))
        names = [k.sql for k in keys]
        every = ', '.join(names)
        clause, used = rng.choice(((f'ROLLUP ({every})', len(keys)), (f'CUBE ({names[0]}, {names[1]})', 2),
                                   (f'GROUPING SETS (({every}), ({names[0]}), ())', len(keys)),
                                   (f'GROUPING SETS (({names[0]}), ({names[1]}))', 2), (f'{names[0]}, ROLLUP ({names[1]})', 2)))
        keys = keys[:used]
        cols = keys + [Col(f"GROUPING({', '.join(k.sql for k in keys)})", 'int')] + self.aggregates(scope)
        items, result = self.named(cols)
        node = Seq('SELECT ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope, 0.3), ' GROUP BY ', clause, self.having(scope))
        return Query(node, result, size=25)

    def distinct(self, depth):
        rng = self.rng
        frm, scope = self.joined(depth, self.size())
        cols = self.keys(scope, rng.choice((1, 2, 3)))
        items, result = self.named(cols)
        return Query(Seq('SELECT DISTINCT ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope)), result, [c.sql for c in result], 15)

    def distinct_on(self, depth):
        rng = self.rng
        frm, scope = self.joined(depth, self.size())
        keys = self.keys(scope, rng.choice((1, 1, 2)))
        items, result = self.named(keys + [value(scope, rng) for _ in range(rng.choice((1, 2, 3)))])
        on = ', '.join(k.sql for k in keys)
        order = ', '.join([on, number(scope, rng) + rng.choice(('', ' DESC NULLS LAST'))] + total_order(scope))
        node = Seq(f'SELECT DISTINCT ON ({on}) ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope), f' ORDER BY {order}')
        return Query(node, result, [c.sql for c in result[:len(keys)]], 12)

    def window(self, depth):
        rng = self.rng
        frm, scope = self.joined(depth, self.size())
        cols = self.outputs(scope)
        partition = ', '.join(k.sql for k in self.keys(scope, 1)) if self.chance(0.6) else None
        cols.append(window_function(scope, rng, partition))
        if self.chance(0.3):
            # of rows that are the same in all columns, two functions might number each another one first
            cols.append(window_function(scope, rng, partition, all(r.key for r in scope)))
        items, result = self.named(cols)
        node = Seq('SELECT ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope))
        query = Query(node, result, size=scope[0].size)
        counters = [c for c in result if c.type == 'bigint']
        if counters and self.chance(0.4):
            # the first ones of each partition
            return self.filtered(query, f'{counters[-1].sql} <= {rng.randint(1, 3)}')
        return query

    def filtered(self, query, text):
        alias = self.alias('f')
        rel = self.result(query, alias)
        items, result = self.named(rel.cols)
        return Query(Seq('SELECT ', Some(', ', items, least=1), ' FROM (', query.node, f') {alias} WHERE {alias}.{text}'), result, size=query.size)

    def limited(self, depth):
        rng = self.rng
        limit = rng.choice((1, 3, 5, 10, 20))
        offset = f' OFFSET {rng.randint(1, 5)}' if self.chance(0.15) else ''
        if self.chance(0.4):
            query = self.rng.choice((self.block, self.group, self.distinct))(depth)
            alias = self.alias('f')
            rel = self.result(query, alias)
            items, result = self.named(rel.cols)
            node = Seq('SELECT ', Some(', ', items, least=1), ' FROM (', query.node, f') {alias}')
            return self.cut(node, [rel], result, limit, offset)
        frm, scope = self.joined(depth, self.size())
        items, result = self.named(self.outputs(scope))
        node = Seq('SELECT ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope))
        return self.cut(node, scope, result, limit, offset)

    def cut(self, node, scope, result, limit, offset):
        rng = self.rng
        by = number(scope, rng) + rng.choice(('', ' DESC', ' DESC NULLS LAST'))
        if self.chance(0.15):
            return Query(Seq(node, f' ORDER BY {by} FETCH FIRST {limit} ROWS WITH TIES'), result, size=limit * 2)
        order = ', '.join([by] + total_order(scope))
        return Query(Seq(node, f' ORDER BY {order} LIMIT {limit}{offset}'), result, size=limit)

    # -------------------------------------------------------------------------------------------- combinations

    def branch(self, types, depth):
        """A query with a result of these types, equal values of which have equal text."""
        rng = self.rng
        frm, scope = self.joined(depth, rng.choice((1, 1, 1, 2)))
        items = [Seq(of_type(scope, t, rng), f' AS o{n + 1}') for n, t in enumerate(types)]
        distinct = 'DISTINCT ' if self.chance(0.1) else ''
        group = ''
        if self.chance(0.15):
            group = f" GROUP BY {', '.join(str(n + 1) for n in range(len(types)))}"
        return Seq(f'SELECT {distinct}', Some(', ', items, least=len(items)), ' FROM ', frm, self.where(scope), group), scope[0].size

    def set_operation(self, depth):
        rng = self.rng
        types = [rng.choice(('int', 'int', 'text', 'bool', 'date')) for _ in range(rng.choice((1, 2, 2, 3)))]
        node, rows = self.branch(types, depth)
        for _ in range(rng.choice((1, 1, 1, 2))):
            other, more = self.branch(types, depth)
            operator = rng.choice(('UNION', 'UNION ALL', 'UNION ALL', 'INTERSECT', 'INTERSECT ALL', 'EXCEPT', 'EXCEPT ALL'))
            whole = Seq('(', node, f') {operator} (', other, ')')
            node = Alt(whole, node, other)
            rows += more
        return Query(node, [Col(f'o{n + 1}', 'text' if t in TEXTS else t) for n, t in enumerate(types)], size=rows)

    def with_clause(self, depth):
        """A CTE, used once or twice."""
        rng = self.rng
        name = self.alias('w')
        query = self.query(max(depth - 1, 0))
        word = rng.choice(('', '', 'MATERIALIZED ', 'NOT MATERIALIZED '))
        before, self.sources = self.sources, [Source(name, query.cols, query.key, query.size)]
        twice = self.chance(0.5) and query.size < 200
        if not twice:
            self.sources = self.sources * 2 + before
        main = rng.choice((self.block, self.group, self.block, self.distinct))
        first = self.sources[0]
        result = main(0)
        self.sources = before
        if not reads(str(result.node), first.name):
            return result
        return Query(Seq(f'WITH {name} AS {word}(', query.node, ') ', result.node), result.cols, result.key, result.size)

    def recursive(self, depth):
        rng = self.rng
        source = rng.choice(self.sources)
        a, b = source.rel(self.alias()), source.rel(self.alias())
        name = self.alias('w')
        n, m = number([a], rng), number([b], rng)
        node = (f'WITH RECURSIVE {name}(v, d) AS (SELECT {n}, 0 FROM {source.name} {a.alias} WHERE {simple_condition([a], rng)} '
                f'UNION SELECT {m}, {name}.d + 1 FROM {source.name} {b.alias} JOIN {name} ON {m} = {name}.v + {rng.randint(1, 3)} WHERE {name}.d < 5) '
                f'SELECT v, d FROM {name}')
        return Query(Seq(node), [Col('v', 'int'), Col('d', 'int')], ['v', 'd'], 40)

    def unnested(self, depth):
        """A set-returning function in the select list."""
        frm, scope = self.joined(depth, self.rng.choice((1, 1, 2)))
        cols = self.outputs(scope) + [Col(f'generate_series(1, abs(coalesce({number(scope, self.rng)}, 0)) % 3)', 'int')]
        items, result = self.named(cols)
        return Query(Seq('SELECT ', Some(', ', items, least=1), ' FROM ', frm, self.where(scope)), result, size=scope[0].size * 2)

    SHAPES = (('block', 26), ('group', 30), ('total', 5), ('sets', 5), ('distinct', 7), ('distinct_on', 5), ('window', 9), ('limited', 6),
              ('set_operation', 11), ('with_clause', 8), ('unnested', 2), ('recursive', 1))

    def query(self, depth=1):
        names, weights = zip(*self.SHAPES)
        return getattr(self, self.rng.choices(names, weights)[0])(depth)


def make_query(sources, rng, moving=False):
    """A query of a view. Some are kept simple: those are the ones that are maintained in the most elaborate ways."""
    generator = Generator(sources, rng, moving)
    return generator.query(rng.choice((0, 0, 0, 1, 1, 2)))
