"""The JSON Schemas of what `diff` and `breaking` print with `--format json`."""

from __future__ import annotations

from typing import Any

from deltac.review.changes import STATES
from deltac.review.difference import CLASSES
from deltac.review.lock_schema import list_of, object_of

DIFF_FILE_NAME = "deltac-diff.v1.schema.json"
CHANGES_FILE_NAME = "deltac-changes.v1.schema.json"

#: Version of both forms.
VERSION = 1

_DRAFT = "http://json-schema.org/draft-07/schema#"
_CLASSES = list_of(
    "What it means for a delta saved before, see `deltac breaking --help`.",
    {"description": "A class.", "enum": list(CLASSES)},
)
_DIFFERENCE = {
    "description": "One thing that is not the same on both sides.",
    **object_of(
        {
            "subject": {
                "description": "What it is part of: `spec`, `model`, `heads`, `delta NAME` or `operator NAME`.",
                "type": "string",
            },
            "what": {"description": "Which part of that.", "type": "string"},
            "before": {"description": "Its value on the first side; null: not there."},
            "after": {"description": "Its value on the second side; null: not there."},
            "classes": {**_CLASSES, "minItems": 1},
            "sites": list_of(
                "Where, if it is not everywhere.",
                {
                    "description": "A path, runs of numbers folded, and how many it stands for.",
                    "type": "string",
                },
            ),
        }
    ),
}
_COMPARISON: dict[str, Any] = {
    "before": {"description": "The first side, as the call names it.", "type": "string"},
    "after": {"description": "The second side, as the call names it.", "type": "string"},
    "level": {
        "description": "What was compared: plans, or texts alone where a model is out of reach.",
        "enum": ["plan", "text"],
    },
    "why": {"description": "Why the texts alone; else empty.", "type": "string"},
    "differences": list_of("In the order of a spec.", _DIFFERENCE),
    "counts": {
        "description": "Each count that differs; none at the level of the text.",
        "type": "object",
        "additionalProperties": {
            "description": "A number of elements, or of bytes.",
            **object_of(
                {
                    "before": {"description": "On the first side.", "type": "integer"},
                    "after": {"description": "On the second side.", "type": "integer"},
                }
            ),
        },
    },
}
_CHANGE: dict[str, Any] = {
    "path": {"description": "The spec's file, as seen from the working folder.", "type": "string"},
    "state": {
        "description": "Only `compared` comes with a comparison: `unknown` is an earlier version, `faulty` a spec, "
        "that can't be planned.",
        "enum": list(STATES),
    },
    "note": {"description": "What is to be said of the state; else empty.", "type": "string"},
    "classes": _CLASSES,
}
_VERSION = {"description": "Version of this form.", "const": VERSION}


def diff_schema() -> dict[str, Any]:
    """The JSON Schema of `deltac diff A B`, draft-07 keywords only."""
    return {
        "$schema": _DRAFT,
        "title": "deltac diff, version 1",
        "description": "What `deltac diff A B --format json` prints.",
        **object_of({"version": _VERSION, **_COMPARISON}),
    }


def changes_schema() -> dict[str, Any]:
    """The JSON Schema of `deltac breaking` and of `deltac diff --against`, draft-07 keywords only."""
    compared = {"properties": {"state": {"const": "compared"}}}
    change = {
        "description": "One spec against its earlier version.",
        **object_of({**_CHANGE, **_COMPARISON}, optional=tuple(_COMPARISON)),
        "if": compared,
        "then": {"required": list(_COMPARISON)},
        "else": {"not": {"anyOf": [{"required": [key]} for key in _COMPARISON]}},
    }
    fail_on = list_of(
        "`breaking` alone: the classes that fail the call.", _CLASSES["items"]
    )  # fmt: skip
    return {
        "$schema": _DRAFT,
        "title": "deltac changes, version 1",
        "description": "What `--format json` prints for `deltac breaking` and for `deltac diff --against`.",
        **object_of(
            {
                "version": _VERSION,
                "against": {"description": "As the call names it.", "type": "string"},
                "fail_on": fail_on,
                "failed": {
                    "description": "`breaking` alone: whether a spec hits one of them.",
                    "type": "boolean",
                },
                "specs": list_of("Those that are there now, then the deleted ones.", change),
            },
            optional=("fail_on", "failed"),
        ),
    }
