"""Diagnostics for people: the message, the place in its source with a caret, notes and help."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltac.diagnostics.diagnostic import Diagnostic
    from deltac.diagnostics.span import Span

#: Columns of source shown; longer lines are cut around the caret.
WIDTH = 96
_LEAD = 24

_STYLES = {"error": "\033[1;31m", "warning": "\033[1;33m", "frame": "\033[1;34m", "bold": "\033[1m"}
_RESET = "\033[0m"


def render(diagnostics: Iterable[Diagnostic], color: bool = False) -> str:
    """The text of all diagnostics, an empty line between two; without a final line break."""
    return "\n\n".join(render_one(each, color) for each in diagnostics)


def render_one(diagnostic: Diagnostic, color: bool = False) -> str:
    """The text of one diagnostic, as rustc lays it out."""

    def paint(style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}{_RESET}" if color else text

    severity = diagnostic.severity
    head = paint(severity, f"{severity}[{diagnostic.code}] {diagnostic.name}")
    lines = [f"{head}{paint('bold', ': ' + printable(diagnostic.message))}"]
    margin = ""
    if diagnostic.span is not None:
        number = str(diagnostic.span.start.line)
        margin = " " * len(number)
        shown, caret = _excerpt(diagnostic.span)
        bar = paint("frame", "|")
        lines += [
            f"{margin}{paint('frame', '-->')} {printable(str(diagnostic.span))}",
            f"{margin} {bar}",
            f"{paint('frame', number)} {bar} {shown}".rstrip(),
            f"{margin} {bar} {paint(severity, caret)}",
        ]
        if diagnostic.notes or diagnostic.fix:
            lines.append(f"{margin} {bar}")
    tail = [("note", note) for note in diagnostic.notes]
    if diagnostic.fix:
        tail.append(("help", diagnostic.fix))
    for label, text in tail:
        # A second line of the text stands under the first.
        indent = "\n" + " " * (len(margin) + len(label) + 5)
        body = indent.join(printable(line) for line in text.split("\n"))
        lines.append(f"{margin} {paint('frame', '=')} {paint('bold', label + ':')} {body}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text with control characters escaped: a spec may try to write to the terminal."""
    return "".join(char if _is_safe(char) else _escape(char) for char in text)


def _is_safe(char: str) -> bool:
    # Cc: controls; Cf: among them the marks that reverse the direction of text; Zl, Zp: breaks.
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _excerpt(span: Span) -> tuple[str, str]:
    """The source line and the caret line under it, cut to `WIDTH`."""
    line = span.line_text
    start = min(span.start.column - 1, len(line))
    # A span over several lines is underlined to the end of its first.
    end = span.end.column - 1 if span.end.line == span.start.line else len(line.rstrip())
    end = max(start + 1, end)
    before, after = "", ""
    if len(line) > WIDTH:
        first = max(0, min(start - _LEAD, len(line) - WIDTH))
        before, after = "... " if first else "", " ..." if first + WIDTH < len(line) else ""
        line, start, end = line[first : first + WIDTH], start - first, end - first
        end = max(start + 1, min(end, WIDTH))
    cells = [" " * 4 if char == "\t" else printable(char) for char in line]
    pad = len(before) + sum(_columns(cell) for cell in cells[:start])
    width = sum(_columns(cell) for cell in cells[start:end]) or 1
    return f"{before}{''.join(cells)}{after}", " " * pad + "^" * width


def _columns(text: str) -> int:
    """Columns that a terminal gives the text: two for wide characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
