"""What the YAML reader says, in words that name the slip and the way out."""

from __future__ import annotations

import re
from collections.abc import Callable

from deltac.diagnostics import Diagnostic, Span
from deltac.spec import phrases
from deltac.spec.node import Stop
from deltac.spec.slips import line_at

#: Message and notes for each code of an unquoted value.
SLIPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "DLT015": (
        "`{}` needs quotes: an unquoted `*` begins a YAML alias",
        ("an alias repeats a value that `&` marked earlier; this one has no such mark",),
    ),
    "DLT016": (
        "`{}` needs quotes: between `{{}}` or `[]`, its brackets and commas are read as YAML",
        (),
    ),
    "DLT017": (
        "`{}` needs quotes: between `{{}}` or `[]`, `${{...}}` is read as YAML",
        (),
    ),
}

# What libyaml says (a part of it), what we say, and what to do.
_WORDS = (
    ("expected ',' or '}'", "expected `,` or `}` here", "close the `{`, or put a comma here"),
    ("expected ',' or ']'", "expected `,` or `]` here", "close the `[`, or put a comma here"),
    (
        "could not find expected ':'",
        "found text where a key was expected: there is no `:` after it",
        "put `: ` and a value after the key, or check the indentation",
    ),
    ("unknown escape", "found an unknown escape", r"write `\\`, or use single quotes"),
    ("escape code", "found a wrong escape", r"write `\\`, or use single quotes"),
    ("expected key", "expected a key here", "check the indentation and the quotes before it"),
    ("expected '-'", "expected `- ` here", "check the indentation"),
    (
        "expected <document start>",
        "expected the end of the file",
        "check the brackets and the indentation",
    ),
    ("indentation", "the indentation is wrong", "indent with spaces"),
)


def explain(stop: Stop, text: str, place: Callable[[int, int], Span]) -> Diagnostic:
    """The diagnostic of a text that is not YAML."""
    offset = min(stop.offset, len(text))
    tab = _tab(text, offset)
    if tab is not None or "tab character" in stop.problem:
        at = offset if tab is None else tab
        message = "found a tab in the indentation, expected spaces"
        return Diagnostic("DLT014", message, place(at, at + 1), fix="replace the tab with spaces")
    char = text[offset : offset + 1]
    if stop.problem == "undefined alias":
        message, notes = SLIPS["DLT015"]
        word = line_at(text, offset).split(maxsplit=1)[0]
        span = place(offset, offset + len(word))
        return Diagnostic("DLT015", message.format(phrases.short(word)), span, notes)
    if "end of stream" in stop.problem and stop.began >= 0:
        message, fix = "this quoted text does not end", "close the quotes"
        return Diagnostic("DLT001", message, place(stop.began, stop.began + 1), fix=fix)
    if "cannot start any token" in stop.problem:
        message, fix = f"a value can't begin with `{char}`", "put the value in quotes"
    elif char and char in "]}" and "expected ','" not in stop.problem:
        message, fix = f"this `{char}` closes nothing", "remove it, or open it before"
    elif "mapping values are not allowed" in stop.problem:
        message, fix = _second_colon(text, offset)
    else:
        found = (words[1:] for words in _WORDS if words[0] in stop.problem)
        message, fix = next(found, (f"this is not YAML: {stop.problem}", None))
    if "could not find expected ':'" in stop.problem:
        # The reader notices only on the next line.
        offset = stop.began
        end = offset + len(line_at(text, offset))
        return Diagnostic("DLT001", message, place(offset, end), fix=fix)
    notes = ()
    if "expected ','" in stop.problem and stop.began >= 0:
        notes = (f"the `{text[stop.began]}` at {place(stop.began, stop.began)} is still open",)
    # At the end of a line or of the file, the caret stands behind the last character.
    while offset == len(text) and offset > 0 and text[offset - 1] in "\r\n":
        offset -= 1
        text = text[:offset]
    return Diagnostic("DLT001", message, place(offset, offset + 1), notes, fix)


def _second_colon(text: str, offset: int) -> tuple[str, str]:
    """Message and fix for a `: ` inside a value: the text needs quotes, or it is a key too deep."""
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    line = line_at(text, start).partition(" #")[0].rstrip()
    match = re.fullmatch(r"\s*((?:- )*[\w-]+: +)([^\s'\"\[{].*)", line)
    if match and start + match.start(2) <= offset and len(line) <= 200:
        value = match[2].replace("'", "''")
        return "a value that holds `: ` needs quotes", f"write `{match[1]}'{value}'`"
    message = "a key can't begin here: this line goes on with the value above it"
    above = text[:start].rstrip("\r\n").splitlines()[-1:] if start else []
    slip = re.match(r"\s*(?:- +)*(-[A-Za-z]|[\w-]+:[^\s/])", above[0]) if above else None
    if slip:
        sign = slip[1][0] if slip[1][0] == "-" else ":"
        return message, f"put a space after the `{sign}` in the line above"
    return message, "indent it like the keys that it belongs to"


def _tab(text: str, offset: int) -> int | None:
    """Offset of a tab that indents the line of an offset, if one does."""
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    for at in range(start, len(text)):
        if text[at] == "\t":
            return at
        if text[at] not in " -":
            return None
    return None
