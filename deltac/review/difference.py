"""One difference between two versions of a spec, and the classes that say what it means for a saved delta."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deltac.model.fold import fold, unfold

#: A saved delta no longer loads: tensor names, shapes, dtypes, or the base.
CHECKPOINT = "CHECKPOINT"
#: A saved delta computes something else.
MATH = "MATH"
#: The set of places changed.
SITES = "SITES"
#: Neither: names, texts, limits, and what matters in training or at its start alone.
META = "META"

CLASSES = (CHECKPOINT, MATH, SITES, META)


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same on both sides.

    Attributes:
        subject: what it is part of: `spec`, `model`, `heads`, or a delta's name as `delta NAME`.
        what: which part of that.
        before: its value on the first side; None where it is not there.
        after: its value on the second side.
        classes: one or more of `CLASSES`.
        sites: where, with runs of numbers folded, if it is not everywhere.
    """

    subject: str
    what: str
    before: Any
    after: Any
    classes: tuple[str, ...]
    sites: tuple[str, ...] = ()

    @property
    def sign(self) -> str:
        """`+` where something is new, `-` where it is gone, `~` where it changed."""
        return "+" if self.before is None else "-" if self.after is None else "~"

    def data(self) -> dict[str, Any]:
        """The difference as plain values."""
        return {
            "subject": self.subject,
            "what": self.what,
            "before": self.before,
            "after": self.after,
            "classes": list(self.classes),
            "sites": list(self.sites),
        }


def folded(paths: Iterable[str]) -> tuple[str, ...]:
    """Paths with runs of numbers folded, and how many each line stands for: `h.{0-5}.q ×6`."""
    lines = []
    for path in fold(paths):
        number = len(unfold(path))
        lines.append(f"{path} ×{number}" if number > 1 else path)
    return tuple(lines)


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested maps as one, its keys joined with dots."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            found |= flat(item, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = item
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Key, value before and value after, for each key that differs; in the order of the keys."""
    keys = dict.fromkeys([*before, *after])
    return [
        (key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    ]
