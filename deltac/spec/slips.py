"""Values that need quotes and have none: what was meant, and the text with its quotes."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPEN, _CLOSE = "([{", ")]}"
_STAR, _REGEX, _VARIABLE = "DLT015", "DLT016", "DLT017"
_BREAK = re.compile(r"[\r\n]")
_VARIABLE_FORM = re.compile(r"[^\s,\[\]{}]*\$\{")
# A line that someone wrote by hand is shorter; a stranger's may be a megabyte.
_LONGEST_LINE = 4000


@dataclass(frozen=True)
class Slip:
    """One unquoted value: its code and where it lies in the text."""

    code: str
    start: int
    end: int


def slip_at(text: str, offset: int, in_flow: bool) -> Slip | None:
    """The slip around an offset where reading failed, or None when the line shows none.

    Args:
        text: the whole text.
        offset: where the YAML reader gave up.
        in_flow: whether that place is known to lie between `{}` or `[]`.
    """
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    line = line_at(text, start)
    if len(line) > _LONGEST_LINE:
        return None
    for slip in _slips(line, in_flow):
        if start + slip.start <= offset <= start + slip.end:
            return Slip(slip.code, start + slip.start, start + slip.end)
    return None


def line_at(text: str, start: int) -> str:
    """The rest of the line from an offset, without its break."""
    match = _BREAK.search(text, start)
    return text[start : match.start() if match else len(text)]


def _slips(line: str, in_flow: bool) -> list[Slip]:
    """All unquoted values of a line that may have been meant as text."""
    found = []
    depth = 1 if in_flow else 0
    at = 0
    fresh = True  # whether a value or key can begin here
    while at < len(line):
        char = line[at]
        if char == "#" and (at == 0 or line[at - 1] in " \t"):
            break
        if fresh and char in "\"'":
            at = _after_quotes(line, at)
            fresh = False
            continue
        if fresh and char not in " \t[{":
            code = _code(line, at, depth)
            end = _end(line, at, depth) if code else at
            if code and end > at:
                found.append(Slip(code, at, end))
                at, fresh = end, False
                continue
        if char in "[{":
            depth, fresh = depth + 1, True
        elif char in "]}":
            depth, fresh = max(0, depth - 1), False
        elif char == "," or (char in ":-?" and line[at + 1 : at + 2] in ("", " ", "\t")):
            fresh = True
        elif char not in " \t":
            fresh = False
        at += 1
    return found


def _code(line: str, at: int, depth: int) -> str | None:
    """The code of the slip that begins here, if one does."""
    if line[at] == "*":
        return _STAR
    if not depth:
        return None
    if line.startswith("re:", at):
        return _REGEX
    # A variable may stand inside a longer value: `models/${NAME}`.
    return _VARIABLE if _VARIABLE_FORM.match(line, at) else None


def _end(line: str, at: int, depth: int) -> int:
    """Where the value that begins at `at` was meant to end."""
    begin, nested, in_class = at, 0, False
    while at < len(line):
        char = line[at]
        if char == "\\":
            at += 2
            continue
        if char == "#" and line[at - 1] in " \t":
            break
        if char == ":" and nested == 0 and line[at + 1 : at + 2] in ("", " "):
            break
        if depth and nested == 0 and (char == "," or char in "]}"):
            break
        if in_class:
            in_class = char != "]"
            nested -= not in_class
        elif char in _OPEN:
            nested, in_class = nested + 1, char == "["
        elif char in _CLOSE:
            nested = max(0, nested - 1)
        at += 1
    return begin + len(line[begin : min(at, len(line))].rstrip())


def _after_quotes(line: str, at: int) -> int:
    quote, at = line[at], at + 1
    while at < len(line) and line[at] != quote:
        at += 2 if line[at] == "\\" and quote == '"' else 1
    return min(at + 1, len(line))
