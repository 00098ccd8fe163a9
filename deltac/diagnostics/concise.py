"""Diagnostics for people and for `grep`: one line each."""

from __future__ import annotations

from collections.abc import Iterable

from deltac.diagnostics.diagnostic import Diagnostic
from deltac.diagnostics.full import printable


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """A line per diagnostic, `FILE:LINE:COLUMN: SEVERITY[CODE] NAME: MESSAGE`; without a final line break."""
    return "\n".join(map(_line, diagnostics))


def _line(diagnostic: Diagnostic) -> str:
    place = f"{diagnostic.span}: " if diagnostic.span is not None else ""
    text = (
        f"{place}{diagnostic.severity}[{diagnostic.code}] {diagnostic.name}: {diagnostic.message}"
    )
    if diagnostic.fix:
        text += f" ({diagnostic.fix})"
    return printable(" ".join(text.splitlines()))
