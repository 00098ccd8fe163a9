"""The entry of one diagnostic code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """What a code means, with an example of the fault and of its repair.

    Attributes:
        code: `DLT` and three digits; the first digit names the family. Never given a new meaning.
        name: the same in words, for people.
        meaning: when it appears and what to do, in a few sentences.
        wrong: a whole spec (or call) with the fault; empty where none fits in a few lines.
        right: the same, mended.
        severity: `error` or `warning`.
        exit: exit code of the process: 1 the spec is at fault, 2 the call or the environment,
            3 deltac itself.
    """

    code: str
    name: str
    meaning: str
    wrong: str = ""
    right: str = ""
    severity: str = "error"
    exit: int = 1
