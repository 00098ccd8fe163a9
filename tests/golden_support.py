"""Golden specs: files with a fault, the codes and places expected in comments, the text beside."""

from __future__ import annotations

import re
from pathlib import Path

from deltac.diagnostics import Diagnostic
from deltac.spec.files import Folder
from deltac.spec.load import inspect_bytes

FOLDER = Path(__file__).parent / "golden" / "diagnostics"
_EXPECTED = re.compile(r"^# (error|warning): (DLT\d{3}) (\d+):(\d+)\r?$", re.MULTILINE)

_RATE = {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.0}

#: Operators as they were when the golden texts were written: a new option changes no golden text.
FRAGMENTS = {
    "adapter": {
        "description": "Bottleneck layers after a module.",
        "properties": {
            "bottleneck": {
                "description": "Width of the bottleneck: a number, or a share such as d/16.",
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 65536},
                    {"type": "string", "pattern": "^d/[1-9][0-9]{0,4}$"},
                ],
                "default": 64,
            },
            "activation": {"description": "The non-linearity.", "enum": ["relu", "gelu"]},
        },
        "required": [],
        "paper": "https://arxiv.org/abs/1902.00751",
    },
    "bitfit": {
        "description": "Tunes biases.",
        "properties": {
            "add": {"description": "Add biases where there are none.", "type": "boolean"}
        },
        "required": [],
        "paper": "https://arxiv.org/abs/2106.10199",
    },
    "lora": {
        "description": "A low-rank change of a weight.",
        "properties": {
            "rank": {
                "description": "Rank of the product.",
                "type": "integer",
                "minimum": 1,
                "maximum": 65536,
                "default": 8,
            },
            "alpha": {"description": "The scale.", "type": "number", "exclusiveMinimum": 0},
            "dropout": {"description": "Probability of dropout on the input.", **_RATE},
            "scaling": {
                "description": "By rank, or by its root.",
                "enum": ["standard", "rank-stabilized"],
                "default": "standard",
            },
        },
        "required": [],
        "paper": "https://arxiv.org/abs/2106.09685",
    },
    "mask": {
        "description": "A mask over a weight.",
        "properties": {"density": {"description": "Share of ones kept.", **_RATE}},
        "required": ["density"],
    },
}


def golden_files() -> list[Path]:
    """Every golden spec, sorted by name."""
    return sorted(FOLDER.glob("*.delta.yaml"))


def expected(path: Path) -> list[tuple[str, str, int, int]]:
    """Severity, code, line and column of each diagnostic that the file's comments announce."""
    text = path.read_bytes().decode("utf-8", "replace")
    return [
        (kind, code, int(at), int(column)) for kind, code, at, column in _EXPECTED.findall(text)
    ]


def diagnose(path: Path) -> list[Diagnostic]:
    """What deltac says about a golden spec, which is named by its file name alone."""
    place = Folder(FOLDER), path.name
    return list(inspect_bytes(path.read_bytes(), path.name, fragments=FRAGMENTS, place=place)[1])


def found(diagnostics: list[Diagnostic]) -> list[tuple[str, str, int, int]]:
    """Diagnostics in the form of `expected`."""
    places = [(each, each.span.start if each.span else None) for each in diagnostics]
    return [
        (each.severity, each.code, start.line if start else 0, start.column if start else 0)
        for each, start in places
    ]
