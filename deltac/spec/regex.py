"""Regular expressions that match in bounded time, whoever wrote them.

Python's `re` tries one way after the other: `(a+)+b` takes longer than the age of the universe on a
path that it doesn't match. So only expressions that can't do that go to `re`; the others are
matched here by following all ways at once. What can't be followed so (references to groups, looking
ahead or behind) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as sre  # the parse tree of `re` has no public name
from re import _parser as parser
from typing import Any, Protocol

#: Repetitions without bound that `re` may have: with more, its time grows with a higher power.
_MOST_LOOPS = 3
_LONG = 16  # a repetition with a higher bound counts as one without

_SETS = {
    sre.CATEGORY_DIGIT: str.isdecimal,
    sre.CATEGORY_NOT_DIGIT: lambda char: not char.isdecimal(),
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    sre.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
    sre.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
}
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)


class Matcher(Protocol):
    """Tells whether it matches a whole text."""

    def fullmatch(self, text: str) -> Any:
        """Something true, or not."""


class UnsupportedError(ValueError):
    """An expression that can't be matched in bounded time. The message names what is in the way."""


def compile_bounded(text: str) -> Matcher:
    """The matcher of an expression.

    Raises:
        re.error: it is no expression.
        UnsupportedError: it holds what can't be matched in bounded time.
    """
    compiled = re.compile(text)
    tree = parser.parse(text)
    flags = compiled.flags & ~re.UNICODE
    loops = _Loops(tree)
    if loops.harmless:
        return compiled
    if flags:
        raise UnsupportedError("flags such as `(?i)` beside nested repetitions")
    return _AllWays(tree)


class _Loops:
    """Whether `re` can take an expression: few repetitions, none inside another.

    Raises:
        UnsupportedError: the expression looks back or ahead.
    """

    def __init__(self, tree: Iterable) -> None:
        self.count = 0
        self.nested = False
        self._visit(tree, False)

    @property
    def harmless(self) -> bool:
        return not self.nested and self.count <= _MOST_LOOPS

    def _visit(self, tree: Iterable, inside: bool) -> None:
        for op, value in tree:
            if op in _REPEATS:
                _, most, body = value
                loop = most is sre.MAXREPEAT or most > _LONG
                self.count += loop
                self.nested |= inside
                self._visit(body, inside or loop or most > 1)
            elif op is sre.SUBPATTERN:
                _, on, off, body = value
                if on or off:
                    raise UnsupportedError("flags inside of it, such as `(?i:...)`")
                self._visit(body, inside)
            elif op is sre.BRANCH:
                self.nested |= inside
                for body in value[1]:
                    self._visit(body, inside)
            elif op in (sre.ASSERT, sre.ASSERT_NOT):
                raise UnsupportedError("looking ahead or behind, `(?=...)` or the like")
            elif op in (sre.GROUPREF, sre.GROUPREF_EXISTS):
                raise UnsupportedError("a reference to a group")
            elif op not in (*_LEAVES, sre.AT):
                raise UnsupportedError("repetitions that give nothing back, such as `++`")


class _AllWays:
    """Follows all ways through an expression at once: from a set of places to the set behind it."""

    def __init__(self, tree: Iterable) -> None:
        self._tree = list(tree)

    def fullmatch(self, text: str) -> bool:
        """Whether the expression matches the whole text."""
        return len(text) in _Run(text).sequence(self._tree, frozenset([0]))


class _Run:
    """One match. What was found out about a part of the expression is never worked out again."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._known: dict[tuple[int, frozenset[int]], frozenset[int]] = {}

    def sequence(self, tree: Iterable, places: frozenset[int]) -> frozenset[int]:
        key = (id(tree), places)
        if key not in self._known:
            for op, value in tree:
                places = self._step(op, value, places) if places else places
            self._known[key] = places
        return self._known[key]

    def _step(self, op: Any, value: Any, places: frozenset[int]) -> frozenset[int]:
        if op is sre.SUBPATTERN:
            return self.sequence(value[3], places)
        if op is sre.BRANCH:
            return frozenset().union(*(self.sequence(body, places) for body in value[1]))
        if op in _REPEATS:
            return self._repeat(*value, places)
        if op is sre.AT:
            return frozenset(at for at in places if _anchored(value, self.text, at))
        ends = (at + 1 for at in places if at < len(self.text) and _takes(op, value, self.text[at]))
        return frozenset(ends)

    def _repeat(self, least: int, most: Any, body: Any, places: frozenset[int]) -> frozenset[int]:
        found = places if least == 0 else frozenset()
        times = 0
        while places and (most is sre.MAXREPEAT or times < most):
            after, times = self.sequence(body, places), times + 1
            # A body that can be empty keeps its places, so once none is new none will be.
            settled = after == places or (times > least and after <= found)
            places = after
            if times >= least or settled:
                found |= places
            if settled:
                break
        return found


def _literal(value: int, char: str) -> bool:
    return ord(char) == value


def _in(value: list, char: str) -> bool:
    (first, _), *_ = value
    found = any(_takes(op, each, char) for op, each in value if op is not sre.NEGATE)
    return found != (first is sre.NEGATE)


_LEAVES = {
    sre.LITERAL: _literal,
    sre.NOT_LITERAL: lambda value, char: ord(char) != value,
    sre.ANY: lambda _, char: char != "\n",
    sre.IN: _in,
    sre.RANGE: lambda value, char: value[0] <= ord(char) <= value[1],
    sre.CATEGORY: lambda value, char: _SETS[value](char),
}


def _takes(op: Any, value: Any, char: str) -> bool:
    return _LEAVES[op](value, char)


def _anchored(where: Any, text: str, at: int) -> bool:
    if where in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
        return at == 0
    if where in (sre.AT_END, sre.AT_END_STRING):
        return at == len(text)
    word = [0 <= i < len(text) and (text[i].isalnum() or text[i] == "_") for i in (at - 1, at)]
    return (word[0] != word[1]) == (where is sre.AT_BOUNDARY)
