"""Diagnostics as SARIF 2.1.0, the form that code scanning reads."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import deltac
from deltac.diagnostics.catalogue import Code
from deltac.diagnostics.diagnostic import Diagnostic
from deltac.diagnostics.full import printable

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
#: The fingerprint's name ends in its version: another way to compute it takes another name.
FINGERPRINT = "deltacProblem/v1"


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """The JSON text of one run, without a final line break."""
    return json.dumps(to_object(diagnostics), indent=2, ensure_ascii=False)


def to_object(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """The object that `render` writes: the rules of the codes that appear, and the results."""
    found = list(diagnostics)
    rules = {each.code: each.entry for each in sorted(found, key=lambda each: each.code)}
    order = list(rules)
    seen: Counter[str] = Counter()
    driver = {
        "name": "deltac",
        "version": deltac.__version__,
        "rules": [_rule(entry) for entry in rules.values()],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each, order.index(each.code), seen) for each in found],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(entry: Code) -> dict[str, Any]:
    examples = [(title, text) for title, text in (("Wrong", entry.wrong), ("Right", entry.right))]
    shown = [(title, _lines(text)) for title, text in examples if text]
    plain = "\n\n".join([entry.meaning, *(f"{title}:\n{text}" for title, text in shown)])
    marked = [f"{title}:\n\n```yaml\n{text}\n```" for title, text in shown]
    return {
        "id": entry.code,
        "name": "".join(word.capitalize() for word in entry.name.split("-")),
        "shortDescription": {"text": entry.name.replace("-", " ").capitalize()},
        "fullDescription": {"text": entry.meaning},
        "help": {"text": plain, "markdown": "\n\n".join([entry.meaning, *marked])},
        "defaultConfiguration": {"level": entry.severity},
        "properties": {"tags": ["delta-spec", entry.name]},
    }


def _result(diagnostic: Diagnostic, rule: int, seen: Counter[str]) -> dict[str, Any]:
    lines = [diagnostic.message, *diagnostic.notes]
    if diagnostic.fix:
        lines.append(f"help: {diagnostic.fix}")
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": diagnostic.severity,
        "message": {"text": _lines("\n".join(lines))},
    }
    fingerprint = _fingerprint(diagnostic, seen)
    if span := diagnostic.span:
        region = {
            "startLine": span.start.line,
            "startColumn": span.start.column,
            "endLine": span.end.line,
            "endColumn": span.end.column,
        }
        place = {"artifactLocation": {"uri": uri(span.source.name)}, "region": region}
        result["locations"] = [{"physicalLocation": place}]
    return {**result, "partialFingerprints": {FINGERPRINT: fingerprint}}


def _fingerprint(diagnostic: Diagnostic, seen: Counter[str]) -> str:
    """What stays the same when lines move: the file, the code, the text of the line; equal ones are counted.

    The message is left out, for it may name a line or a count.
    """
    span = diagnostic.span
    what = (uri(span.source.name), span.line_text.strip(), span.text) if span else ()
    key = "\0".join([diagnostic.code, *(what or [diagnostic.message])])
    seen[key] += 1
    return hashlib.sha256(f"{key}\0{seen[key]}".encode(errors="replace")).hexdigest()[:32]


def uri(name: str) -> str:
    """The URI of a file: relative to the current folder where it lies below it.

    >>> uri("specs/a b.delta.yaml")
    'specs/a%20b.delta.yaml'
    """
    path = Path(name)
    if path.is_absolute():
        here = Path.cwd()
        if not path.is_relative_to(here):
            return path.as_uri()
        path = path.relative_to(here)
    return quote(path.as_posix(), errors="replace")


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.rstrip("\n").split("\n"))
