"""Plain scalars of YAML 1.2's core schema: `1e-4` is a number, `no` is text."""

from __future__ import annotations

import re

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")

# Python refuses to convert integers of more than 4,300 digits; past a float's range the value is
# infinite here, which the schema check refuses like any other infinity.
_MAX_DIGITS = 300

Scalar = None | bool | int | float | str


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar."""
    if _NULL.fullmatch(text):
        return None
    first = text[0]
    if first in "tTfF":
        if _TRUE.fullmatch(text):
            return True
        return False if _FALSE.fullmatch(text) else text
    if first in "+-.0123456789":
        return _number(text)
    return text


def _number(text: str) -> int | float | str:
    if _OCTAL.fullmatch(text):
        return _integer(text[2:], 8)
    if _HEX.fullmatch(text):
        return _integer(text[2:], 16)
    if _INT.fullmatch(text):
        return _integer(text, 10)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INF.fullmatch(text):
        return float("-inf") if match[1] == "-" else float("inf")
    return float("nan") if _NAN.fullmatch(text) else text


def _integer(digits: str, base: int) -> int | float:
    if len(digits) > _MAX_DIGITS:
        return float("-inf") if digits[0] == "-" else float("inf")
    return int(digits, base)
