"""Diagnostics as workflow commands of GitHub Actions, which shows them beside the changed lines."""

from __future__ import annotations

from collections.abc import Iterable

from deltac.diagnostics.diagnostic import Diagnostic
from deltac.diagnostics.full import printable

_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """A `::error …` or `::warning …` line per diagnostic, without a final line break."""
    return "\n".join(map(_command, diagnostics))


def _command(diagnostic: Diagnostic) -> str:
    properties: dict[str, str | int] = {}
    if span := diagnostic.span:
        properties = {
            "file": printable(span.source.name),
            "line": span.start.line,
            "col": span.start.column,
        }
        # GitHub drops the columns of an annotation over several lines: those end with their first.
        same_line = span.end.line == span.start.line
        end = span.end.column if same_line else len(span.line_text) + 1
        properties |= {"endLine": span.start.line, "endColumn": max(end, span.start.column)}
    properties["title"] = f"{diagnostic.code} {diagnostic.name}"
    named = ",".join(f"{key}={_escape(str(value), _PROPERTY)}" for key, value in properties.items())
    return f"::{diagnostic.severity} {named}::{_escape(_message(diagnostic), _DATA)}"


def _message(diagnostic: Diagnostic) -> str:
    lines = [diagnostic.message, *(f"note: {note}" for note in diagnostic.notes)]
    if diagnostic.fix:
        lines.append(f"help: {diagnostic.fix}")
    return "\n".join(printable(line) for text in lines for line in text.split("\n"))


def _escape(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(char, char) for char in text)
