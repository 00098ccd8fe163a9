"""A document against the schema: every fault with its code, its place and the way out."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import jsonschema
from jsonschema import Draft7Validator, ValidationError

from deltac.diagnostics import Problems
from deltac.spec import faults, phrases, values
from deltac.spec.schema import Schema
from deltac.spec.yaml import Document

Path = tuple[str | int, ...]


def check(document: Document, schema: Schema) -> Problems:
    """All faults of a document that show without a model: keys, types, bounds, patterns, names."""
    problems = Problems()
    bad: set[Path] = set()
    for path in _not_finite(document.data):
        bad.add(path)
        span = document.span(path)
        message = f"found {phrases.short(span.text)}, expected a finite number"
        problems.add("DLT108", message, span)
    errors = [(tuple(error.absolute_path), error) for error in _errors(document.data, schema)]
    # A value of the wrong type fails other rules too; the type says it all.
    mistyped = {path for path, error in errors if error.validator == "type"}
    # Where a key is misspelt, that is the fault; what is then missing is no second one.
    misspelt = {
        path: faults.meant(error)
        for path, error in errors
        if error.validator == "additionalProperties"
    }
    for path, error in errors:
        if path in bad or (path in mistyped and error.validator != "type"):
            continue
        faults.report(document, path, error, problems, misspelt.get(path, ()))
    values.check_values(document, misspelt.keys(), problems)
    return problems


def _errors(data: Any, schema: Schema) -> Iterator[ValidationError]:
    yield from _compiled(_Shared(schema)).iter_errors(data)


class _Shared:
    """A schema as key of a cache, compared by identity: schemas are shared and never changed."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shared) and self.schema is other.schema


@functools.lru_cache(maxsize=4)
def _compiled(shared: _Shared) -> Draft7Validator:
    types = Draft7Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    strict = jsonschema.validators.extend(
        Draft7Validator, {"uniqueItems": _unique_items}, type_checker=types
    )
    return strict(shared.schema)


def _is_integer(_: object, value: object) -> bool:
    # JSON Schema takes 2.0 for an integer; here it is a slip.
    return isinstance(value, int) and not isinstance(value, bool)


def _unique_items(_: object, wanted: bool, items: Any, __: object) -> Iterator[ValidationError]:
    # jsonschema's own compares each entry with each other: minutes for a long list of mixed types.
    if wanted and isinstance(items, list) and faults.repeated(items) is not None:
        yield ValidationError("an entry is repeated")


def _not_finite(data: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(data, float) and not math.isfinite(data):
        yield path
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _not_finite(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _not_finite(value, (*path, index))
