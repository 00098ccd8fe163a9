"""Paths of identical siblings in one line: `layers.0.mlp`, `layers.1.mlp` … become `layers.{0-1}.mlp`."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Mapping

#: A block's number. "07" is a name: as a number it would come back as 7.
_NUMBER = re.compile("0|[1-9][0-9]*")
_INSIDE = re.compile(r"(?<=\d)\[")


def fold(paths: Iterable[str]) -> list[str]:
    """The paths with runs of block numbers joined, in the order of their first appearance.

    >>> fold(["h.0.q", "h.1.q", "h.2.q", "h.5.q", "head"])
    ['h.{0-2,5}.q', 'head']
    """
    return [name for name, _ in fold_values(dict.fromkeys(paths, 0))]


def fold_values(values: Mapping[str, Hashable]) -> list[tuple[str, Hashable]]:
    """The same for paths that carry a value: only paths with equal values are joined.

    >>> fold_values({"h.0.q": 1, "h.1.q": 1, "h.2.q": 7})
    [('h.{0-1}.q', 1), ('h.2.q', 7)]

    A place inside a block follows its number: it counts as a segment.

    >>> fold(["h.0[attn]", "h.1[attn]"])
    ['h.{0-1}[attn]']
    """
    rows: list[tuple[tuple[str, ...], Hashable]] = [
        (tuple(_INSIDE.sub(".[", path).split(".")), value) for path, value in values.items()
    ]
    depth = max((len(segments) for segments, _ in rows), default=0)
    for position in reversed(range(depth)):
        rows = _fold_at(position, rows)
    return [(".".join(segments).replace(".[", "["), value) for segments, value in rows]


def _fold_at(
    position: int, rows: list[tuple[tuple[str, ...], Hashable]]
) -> list[tuple[tuple[str, ...], Hashable]]:
    groups: dict[Hashable, list[int]] = {}
    order: list[tuple[Hashable, tuple[str, ...], Hashable]] = []
    for segments, value in rows:
        numbered = position < len(segments) and _NUMBER.fullmatch(segments[position]) is not None
        key = (
            segments[:position],
            segments[position + 1 :],
            value,
            numbered,
            "" if numbered else segments[position:],
        )
        if key not in groups:
            groups[key] = []
            order.append((key, segments, value))
        if numbered:
            groups[key].append(int(segments[position]))
    folded = []
    for key, segments, value in order:
        numbers = sorted(groups[key])
        if len(numbers) > 1:
            segments = (
                *segments[:position],
                "{" + ranges(numbers) + "}",
                *segments[position + 1 :],
            )
        folded.append((segments, value))
    return folded


def shown(paths: Iterable[str], limit: int = 6) -> str:
    """The folded paths on one line; of many the first ones, and how many more there are.

    >>> shown(["h.0.q", "h.1.q", "a", "b"], limit=2)
    'h.{0-1}.q, a and 1 more'
    """
    folded = fold(paths)
    more = f" and {len(folded) - limit} more" if len(folded) > limit else ""
    return ", ".join(folded[:limit]) + more


def counted(matched: Collection[str], order: Iterable[str]) -> str:
    """How many, and which, folded, in the given order.

    >>> counted({"h.1.q", "h.0.q"}, ["h.0.q", "h.1.q", "head"])
    '2: h.{0-1}.q'
    """
    return f"{len(matched)}: {shown(name for name in order if name in matched)}"


def joined(words: Collection[str]) -> str:
    """The words as a sentence lists them.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def ranges(numbers: Iterable[int]) -> str:
    """Sorted numbers as ranges.

    >>> ranges([0, 1, 2, 5])
    '0-2,5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def unfold(name: str) -> list[str]:
    """The paths that a folded one stands for.

    >>> unfold("h.{0-1,3}.q")
    ['h.0.q', 'h.1.q', 'h.3.q']
    """
    head, brace, rest = name.partition("{")
    if not brace:
        return [name]
    inside, _, tail = rest.partition("}")
    numbers = []
    for run in inside.split(","):
        low, _, high = run.partition("-")
        numbers += range(int(low), int(high or low) + 1)
    return [path for number in numbers for path in unfold(f"{head}{number}{tail}")]
