"""Limits on the size of a delta: `trainable: 2%`, `bytes: 1.5MB`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from deltac.spec import phrases

_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,9})?) ?%", re.ASCII)
_BYTES = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(B|KB|MB|GB|KiB|MiB|GiB)", re.ASCII)


class BudgetError(ValueError):
    """A limit that can't be read; the message says what is allowed."""


@dataclass(frozen=True)
class Budget:
    """What a delta may cost, heads apart; the build fails when it costs more.

    Attributes:
        trainable: most trainable parameters, as a count.
        trainable_percent: most trainable parameters, in percent of the base and what is added.
        bytes: most bytes of the delta's tensors as saved.
    """

    trainable: int | None = None
    trainable_percent: float | None = None
    bytes: int | None = None


def parse_trainable(value: int | str) -> tuple[int | None, float | None]:
    """The count, or the percentage, that a value of `trainable` stands for.

    Raises:
        BudgetError: it is neither.
    """
    if isinstance(value, int):
        return value, None
    match = _PERCENT.fullmatch(value)
    if match is None or not 0 < Fraction(match[1]) <= 100:
        raise BudgetError(
            f"found `{phrases.short(value)}`, expected a count or a percentage such as 2%"
        )
    return None, float(match[1])


def parse_bytes(value: int | str) -> int:
    """The number of bytes that a value of `bytes` stands for, rounded down.

    Raises:
        BudgetError: it is no size.
    """
    if isinstance(value, int):
        return value
    match = _BYTES.fullmatch(value)
    if match is None:
        units = ", ".join(_UNITS)
        found = phrases.short(value)
        raise BudgetError(f"found `{found}`, expected a count or a size such as 1.5MB ({units})")
    return int(Fraction(match[1]) * _UNITS[match[2]])
