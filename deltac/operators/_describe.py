"""An operator in words, for the command line and for docs/operators.md: where it acts, and what its options take."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from deltac.operators._contract import Operator
from deltac.operators._fields import fragment
from deltac.spec.phrases import listed

_TYPES = {"string": "text"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_IDENTITY = {"exact": "exactly, bit for bit", "near": "nearly", "no": "no"}


def identity(operator: type[Operator]) -> str:
    """Whether the model starts as the base: with the defaults, and with which other choices otherwise."""
    (_, plain), *others = _variants(operator)
    differ: dict[str, list[str]] = {}
    for setting, variant in others:
        if variant.identity != plain.identity:
            differ.setdefault(variant.identity, []).append(f"`{setting}`")
    words = [f"{_IDENTITY[how]} with {listed(settings)}" for how, settings in differ.items()]
    return "; ".join([_IDENTITY[plain.identity], *words])


def kinds(operator: type[Operator]) -> str:
    """What it acts on, such as `weight`, and with which setting on what else."""
    (_, plain), *others = _variants(operator)
    more = [
        f"{kind} (with `{setting}`)"
        for setting, variant in others
        for kind in variant.kinds
        if kind not in plain.kinds
    ]
    return ", ".join([*plain.kinds, *more])


def options(operator: type[Operator]) -> Iterator[tuple[str, str, str, str]]:
    """Each option: its name, what it takes, its default (`required` where it has none to have), what it means."""
    schema = fragment(operator)
    for name, form in schema["properties"].items():
        default = f"`{_in_yaml(form['default'])}`" if "default" in form else ""
        default = "required" if name in schema["required"] else default
        yield name, _takes(form), default, form["description"]


def _variants(operator: type[Operator]) -> list[tuple[str, Operator]]:
    """The operator with its defaults, then with each other value of each option that is a choice."""
    schema = fragment(operator)
    needed = {
        name: schema["properties"][name].get("minimum", 1) for name in schema["required"]
    }  # a required option is a number or a list so far, and chooses nothing
    plain = operator(**needed)
    found = [("", plain)]
    for field in dataclasses.fields(operator):
        form = schema["properties"][field.name]
        values = [False, True] if form.get("type") == "boolean" else form.get("enum", [])
        for value in values:
            if value != getattr(plain, field.name):
                variant = operator(**{**needed, field.name: value})
                found.append((f"{field.name}: {_in_yaml(value)}", variant))
    return found


def _takes(form: dict[str, Any]) -> str:
    """What a value may be: the words that there are, or its type and bounds."""
    if "enum" in form:
        return ", ".join(f"`{_in_yaml(value)}`" for value in form["enum"])
    return " or ".join(map(_one_type, form.get("anyOf", [form])))


def _one_type(form: dict[str, Any]) -> str:
    if "enum" in form:
        return _takes(form)
    if words := re.fullmatch(r"\^\(([a-z|]+)\)\$", form.get("pattern", "")):
        return ", ".join(f"`{word}`" for word in words[1].split("|"))
    if form["type"] == "array":
        return f"list of {_one_type(form['items'])}"
    bounds = [f"{sign} {_number(form[key])}" for key, sign in _BOUNDS.items() if key in form]
    return f"{_TYPES.get(form['type'], form['type'])} {', '.join(bounds)}".strip()


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _in_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
