"""Operators that installed packages bring: asked for only where a spec names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from deltac.diagnostics import DeltacError, Problems
from deltac.spec.schema import Schema, admit, extend_schema, operator_names
from deltac.spec.settings import Settings
from deltac.spec.yaml import Document

#: Gives the schema fragment of an operator that an installed package registers.
ExtraFragment = Callable[[str], Mapping[str, Any]]

#: The entry points under which packages register operators.
GROUP = "deltac.operators"


def with_installed(
    schema: Schema,
    document: Document,
    extra_fragment: ExtraFragment | None,
    settings: Settings | None,
    problems: Problems,
) -> Schema:
    """The schema with the operators of installed packages that the document names."""
    used = _operators(document.data)
    unknown = [name for name in used if name not in operator_names(schema)]
    if not unknown or extra_fragment is None:
        return schema
    # Names only: nothing is imported but what the spec names.
    installed = {point.name: point for point in entry_points(group=GROUP)}
    for name in unknown:
        if name in installed and not _is_allowed(installed[name], settings):
            package = _package(installed[name])
            message = f"this project does not allow operators of the package {package}"
            notes = [f"`plugins` in {settings.file}: {', '.join(settings.plugins) or 'none'}"]
            problems.add("DLT144", message, document.span(used[name]), notes)
            schema = admit(schema, name)
        elif name in installed:
            try:
                schema = extend_schema(schema, name, extra_fragment(name))
                continue
            except DeltacError as error:
                problems.extend(error.diagnostics)
            except Exception as error:
                message = f"the operator `{name}` of an installed package can't be loaded: {error}"
                problems.add("DLT815", message, document.span(used[name]))
            schema = admit(schema, name)
    return schema


def _is_allowed(point: EntryPoint, settings: Settings | None) -> bool:
    return settings is None or settings.plugins is None or _package(point) in settings.plugins


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else ""


def _operators(data: Any) -> dict[str, tuple[str | int, ...]]:
    """The operators that a document names, with the place of each one's first use."""
    deltas = data.get("deltas") if isinstance(data, dict) else None
    found: dict[str, tuple[str | int, ...]] = {}
    for at, delta in enumerate(deltas if isinstance(deltas, list) else ()):
        if isinstance(delta, dict) and isinstance(delta.get("operator"), str):
            found.setdefault(delta["operator"], ("deltas", at, "operator"))
    return found
