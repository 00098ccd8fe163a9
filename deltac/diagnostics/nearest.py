"""The known name that a misspelt one most likely meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like the word, or None when none is like it."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    # difflib is quadratic; no name is this long, and a spec may come from a stranger.
    lower = word.lower()[:200]
    matches = difflib.get_close_matches(lower, by_lower, n=3, cutoff=0.6)
    # Letters that changed places are the likelier slip: `lroa` is `lora`, not `road`.
    matches.sort(key=lambda match: sorted(match) != sorted(lower))
    if not matches or _other_digits(word, matches[0]):
        return None
    return by_lower[matches[0]]


def _other_digits(word: str, other: str) -> bool:
    """Whether both names hold digits, and not the same: `bfloat16` is no slip for `float32`."""
    digits = [re.findall("[0-9]+", each) for each in (word, other)]
    return all(digits) and digits[0] != digits[1]


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The question that names the nearest candidate, or None when none is like the word."""
    found = nearest(word, candidates)
    return f"did you mean `{found}`?" if found else None
