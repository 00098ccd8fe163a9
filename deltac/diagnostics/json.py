"""Diagnostics for programs: one versioned JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from deltac.diagnostics.diagnostic import Diagnostic

VERSION = 1

#: By file: `checked`, `schema` or `schema and model`, and `reason`, why it was not more.
Checked = Mapping[str, Mapping[str, str | None]]


def render(diagnostics: Iterable[Diagnostic], files: Checked | None = None) -> str:
    """The JSON text of all diagnostics, without a final line break."""
    return json.dumps(to_object(diagnostics, files), indent=2, ensure_ascii=False)


def to_object(diagnostics: Iterable[Diagnostic], files: Checked | None = None) -> dict:
    """The object that `render` writes: its version, the files that were checked, the diagnostics in order."""
    rows = [{"file": name, **facts} for name, facts in (files or {}).items()]
    return {
        "version": VERSION,
        "files": rows,
        "diagnostics": [_entry(each) for each in diagnostics],
    }


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


def schema() -> dict:
    """The JSON Schema of the object that `render` writes."""
    place = {"type": ["integer", "null"], "minimum": 1}
    fields = {
        "code": {"description": "Stable code.", "type": "string", "pattern": "^DLT[0-9]{3}$"},
        "name": {"description": "The code in words.", "type": "string"},
        "severity": {"description": "Only errors fail.", "enum": ["error", "warning"]},
        "message": {"description": "What was found, then what is allowed.", "type": "string"},
        "file": {"description": "The file, or null without one.", "type": ["string", "null"]},
        "line": {"description": "First line, counted from 1.", **place},
        "column": {"description": "First column, counted from 1 in characters.", **place},
        "end_line": {"description": "Line of the end.", **place},
        "end_column": {"description": "Column after the last character.", **place},
        "notes": {
            "description": "Further facts.",
            "type": "array",
            "items": {"description": "One sentence.", "type": "string"},
        },
        "fix": {"description": "What to write or do instead.", "type": ["string", "null"]},
    }
    checked = {
        "file": {"description": "As the call names it.", "type": "string"},
        "checked": {"description": "How far.", "enum": ["schema", "schema and model"]},
        "reason": {
            "description": "Why not the model; null where it was.",
            "type": ["string", "null"],
        },
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "deltac diagnostics, version 1",
        "description": "What --output-format json prints.",
        "type": "object",
        "properties": {
            "version": {"description": "Version of this form.", "const": VERSION},
            "files": {
                "description": "The files that deltac validate checked; empty for other verbs.",
                "type": "array",
                "items": {
                    "description": "One file.",
                    "type": "object",
                    "properties": checked,
                    "required": list(checked),
                    "additionalProperties": False,
                },
            },
            "diagnostics": {
                "description": "All problems, sorted by place.",
                "type": "array",
                "items": {
                    "description": "One problem.",
                    "type": "object",
                    "properties": fields,
                    "required": list(fields),
                    "additionalProperties": False,
                },
            },
        },
        "required": ["version", "files", "diagnostics"],
        "additionalProperties": False,
    }
