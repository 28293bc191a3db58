"""Queries as trees of text: what a tree is made of can be left out or made simpler, which is how a failing query is reduced."""


class Seq:
    """Parts one after the other."""

    def __init__(self, *parts):
        self.parts = list(parts)

    def __str__(self):
        return ''.join(map(str, self.parts))

    def inner(self):
        return self.parts

    def actions(self):
        return []


class Some:
    """A list of which all but `least` items can go; nothing at all is written where there are none."""

    def __init__(self, separator, items, before='', least=0, after=''):
        self.separator, self.items, self.before, self.least, self.after = separator, list(items), before, least, after

    def __str__(self):
        if not self.items:
            return ''
        return self.before + self.separator.join(map(str, self.items)) + self.after

    def inner(self):
        return self.items

    def actions(self):
        if len(self.items) > self.least:
            return [(self, i) for i in reversed(range(len(self.items)))]
        return []

    def apply(self, i):
        self.items.pop(i)

    def state(self):
        return list(self.items)

    def restore(self, state):
        self.items = state


class Alt:
    """The first of some choices; the others are simpler."""

    def __init__(self, *choices):
        self.choices = list(choices)

    def __str__(self):
        return str(self.choices[0])

    def inner(self):
        return self.choices[:1]

    def actions(self):
        return [(self, i) for i in reversed(range(1, len(self.choices)))]

    def apply(self, i):
        self.choices = self.choices[i:]

    def state(self):
        return list(self.choices)

    def restore(self, state):
        self.choices = state


def opt(*parts):
    """What can be left out."""
    return Alt(Seq(*parts), '')


def actions(node):
    """All ways to make a tree simpler by one step, the large ones first: pairs of a node and what to do with it."""
    level, found = [node], []
    while level:
        nodes = [n for n in level if not isinstance(n, str)]
        found += [action for n in nodes for action in n.actions()]
        level = [part for n in nodes for part in n.inner()]
    return found
