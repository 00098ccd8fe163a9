"""Rules about values that a JSON Schema can't state: patterns, layers, budgets, names."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from deltac.diagnostics import Problems
from deltac.spec.budget import BudgetError, parse_bytes, parse_trainable
from deltac.spec.spec import NARROWING_KEYS, default_delta_name
from deltac.spec.target import LayerRange, Pattern, TargetError
from deltac.spec.yaml import Document

Path = tuple[str | int, ...]


def check_values(document: Document, misspelt: Set[Path], problems: Problems) -> None:
    """Adds the faults of values; those of the wrong type are passed over: the schema names them.

    Args:
        document: the spec.
        misspelt: places of mappings with an unknown key: what they lack is not reported too.
        problems: where faults go.
    """
    data = document.data
    if not isinstance(data, dict):
        return
    if data.get("heads") != "auto":
        _patterns(document, ("heads",), data.get("heads"), problems)
    _budget(document, _mapping(data.get("budget")), problems)
    if isinstance(data.get("model"), dict) and ("model",) not in misspelt:
        _model(document, data["model"], problems)
    names: dict[str, Path] = {}
    for at, delta in enumerate(_list(data.get("deltas"))):
        if not isinstance(delta, dict):
            continue
        path: Path = ("deltas", at)
        _delta_name(document, path, delta, names, problems)
        target = delta.get("target")
        if isinstance(target, dict):
            _target(document, (*path, "target"), target, problems)
            empty = not target.keys() & {"role", "module", "class", "parameter"}
            if empty and (*path, "target") not in misspelt:
                problems.add(
                    "DLT116",
                    "a target needs `role`, `module`, `class` or `parameter`",
                    document.span((*path, "target")),
                    fix="name the places: `role: linear` means every linear in a block",
                )
        for index, override in enumerate(_list(delta.get("overrides"))):
            place = (*path, "overrides", index)
            if isinstance(override, dict):
                _target(document, place, override, problems)
                if place not in misspelt:
                    _override(document, place, override, problems)


def _target(document: Document, path: Path, target: dict, problems: Problems) -> None:
    for key in ("module", "stack", "exclude"):
        _patterns(document, (*path, key), target.get(key), problems)
    for key in ("layers", "experts"):
        for place, value in _entries((*path, key), target.get(key)):
            if (isinstance(value, str) and value) or type(value) is int:
                _try(document, place, lambda v=value, k=key: LayerRange.parse(v, k), problems)


def _patterns(document: Document, path: Path, value: Any, problems: Problems) -> None:
    for place, text in _entries(path, value):
        if isinstance(text, str) and text:
            _try(document, place, lambda text=text: Pattern.parse(text), problems)


def _try(document: Document, path: Path, read: Any, problems: Problems) -> None:
    try:
        read()
    except TargetError as error:
        problems.add(error.code, str(error), document.span(path), fix=error.fix)


def _override(document: Document, path: Path, override: dict, problems: Problems) -> None:
    narrowing = override.keys() & set(NARROWING_KEYS)
    if override and not narrowing:
        message = "this override narrows nothing: it would change the options everywhere"
        fix = f"add one of {', '.join(NARROWING_KEYS)}, or change the delta's own options"
        problems.add("DLT119", message, document.span(path), fix=fix)
    elif narrowing == override.keys():
        message = "this override changes no option"
        problems.add("DLT119", message, document.span(path), fix="add an option, or remove it")


def _delta_name(
    document: Document, path: Path, delta: dict, names: dict[str, Path], problems: Problems
) -> None:
    given, operator = delta.get("name"), delta.get("operator")
    if not isinstance(given, str) and isinstance(operator, str) and "name" not in delta:
        given = default_delta_name(operator)
    if not isinstance(given, str) or not given:
        return
    place = (*path, "name" if "name" in delta else "operator")
    first = names.setdefault(given, place)
    if first is not place:
        notes = [f"the first is at {document.span(first)}"]
        if place[-1] == "operator":
            notes.append("without `name`, a delta is named after its operator")
        problems.add(
            "DLT111",
            f"a second delta is named `{given}`",
            document.span(place),
            notes,
            "give it a `name` of its own",
        )


def _budget(document: Document, budget: dict, problems: Problems) -> None:
    for key, read in (("trainable", parse_trainable), ("bytes", parse_bytes)):
        value = budget.get(key)
        if isinstance(value, str):
            try:
                read(value)
            except BudgetError as error:
                problems.add("DLT115", str(error), document.span(("budget", key)))


def _model(document: Document, model: dict, problems: Problems) -> None:
    span = document.key_span(("model",))
    if "revision" in model and "source" not in model:
        message = "the model has a `revision`, but no `source` that it is one of"
        problems.add("DLT120", message, document.key_span(("model", "revision")))
    if "source" in model or "config_file" in model:
        return
    config = model.get("config")
    if config is None:
        fix = "write `source: ...`, or a whole `config` with its `model_type`"
        problems.add("DLT120", "the model has no `source` and no config", span, fix=fix)
    elif isinstance(config, dict) and "model_type" not in config:
        message = "the model has no `source`, and its `config` has no `model_type`"
        fix = "write `source: ...`, or the `model_type` that transformers knows the model by"
        problems.add("DLT120", message, span, fix=fix)


def _entries(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """The entries of a list with their places; a single value is a list of one."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield (*path, index), entry
    else:
        yield path, value


def _mapping(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []
