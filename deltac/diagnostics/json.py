"""Diagnostics for programs: one versioned JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable

from deltac.diagnostics.diagnostic import Diagnostic

VERSION = 1


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """The JSON text of all diagnostics, without a final line break."""
    return json.dumps(to_object(diagnostics), indent=2, ensure_ascii=False)


def to_object(diagnostics: Iterable[Diagnostic]) -> dict:
    """The object that `render` writes: its version and the diagnostics in order."""
    return {"version": VERSION, "diagnostics": [_entry(each) for each in diagnostics]}


def _entry(diagnostic: Diagnostic) -> dict:
    span = diagnostic.span
    return {
        "code": diagnostic.code,
        "name": diagnostic.name,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "file": span.source.name if span else None,
        "line": span.start.line if span else None,
        "column": span.start.column if span else None,
        "end_line": span.end.line if span else None,
        "end_column": span.end.column if span else None,
        "notes": list(diagnostic.notes),
        "fix": diagnostic.fix,
    }
