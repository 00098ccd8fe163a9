"""Values and schemas in words: `found 2.5, a number; expected an integer from 1 to 64`."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_LONGEST = 60


def listed(words: Iterable[Any], last: str = "or") -> str:
    """`a`, `b` or `c`."""
    *head, tail = [str(word) for word in words] or [""]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def quoted(words: Iterable[Any]) -> list[str]:
    """Each word between backquotes, as YAML would write it."""
    return [f"`{word if isinstance(word, str) else json.dumps(word)}`" for word in words]


def value(found: Any, written: str = "") -> str:
    """A value in words, with its type where that is not plain to see.

    Args:
        found: the value.
        written: how it stands in the spec, for numbers.
    """
    if found is None:
        return "nothing (null)"
    if isinstance(found, bool):
        return f"`{'true' if found else 'false'}`, a boolean"
    if isinstance(found, int | float):
        kind = "an integer" if isinstance(found, int) else "a decimal number"
        return f"{short(written or str(found))}, {kind}"
    if isinstance(found, str):
        return f"the text {short(json.dumps(found, ensure_ascii=False))}"
    if isinstance(found, list):
        return "a list" if found else "an empty list"
    return "a mapping" if found else "an empty mapping"


def short(text: str) -> str:
    """The text, cut where it is long."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def expected(schema: Mapping[str, Any]) -> str:
    """What a schema takes, in words."""
    if "enum" in schema:
        return f"one of {listed(quoted(schema['enum']))}"
    types = schema.get("type", [])
    return listed(
        _with_bounds(kind, schema) for kind in ([types] if isinstance(types, str) else types)
    )


def _with_bounds(kind: str, schema: Mapping[str, Any]) -> str:
    words = _TYPES[kind]
    if kind in ("integer", "number"):
        return f"{words} {bounds(schema)}".rstrip()
    if kind == "string" and schema.get("examples"):
        return f"{words} such as {listed(quoted(schema['examples'][:3]))}"
    return words


def bounds(schema: Mapping[str, Any]) -> str:
    """The bounds of a number in words, or nothing."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"from {_number(low)} to {_number(high)}"
    parts = []
    if low is not None:
        parts.append(f"of at least {_number(low)}")
    if "exclusiveMinimum" in schema:
        parts.append(f"above {_number(schema['exclusiveMinimum'])}")
    if high is not None:
        parts.append(f"of at most {_number(high)}")
    if "exclusiveMaximum" in schema:
        parts.append(f"below {_number(schema['exclusiveMaximum'])}")
    return listed(parts, "and") if parts else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


#: Beginnings of the names of letters that look like those of ASCII.
_LOOKALIKES = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "FULLWIDTH", "MATHEMATICAL")


def lookalike(text: str) -> str | None:
    """A sentence on the first character that only looks like one of ASCII, or is not seen at all."""
    for char in text:
        name = unicodedata.name(char, "")
        if name.startswith(_LOOKALIKES):
            return f"`{char}` is U+{ord(char):04X} {name}, which only looks like another letter"
        if unicodedata.category(char) == "Cf":
            return f"it holds U+{ord(char):04X} {name}, which is not seen"
        if char != " " and unicodedata.category(char) == "Zs":
            return f"it holds U+{ord(char):04X} {name}, which is no space to YAML"
    return None
