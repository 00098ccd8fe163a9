"""The heads: parameters trained whole and saved, that are no part of the delta."""

from __future__ import annotations

from collections.abc import Collection

from deltac.diagnostics import Problems
from deltac.model.fold import fold
from deltac.model.graph import ModelGraph
from deltac.model.select import match_modules, nearest_paths
from deltac.planning.plan import HeadParameter
from deltac.spec import Pattern, Spec


def resolve_heads(
    spec: Spec, graph: ModelGraph, fresh: Collection[str], problems: Problems
) -> list[HeadParameter]:
    """The head parameters that `heads` names. Reports DLT207 (no match), DLT405 (a fresh head left
    frozen) and DLT409 (blocks that the checkpoint lacks).

    `auto` takes what the base checkpoint lacks. A path takes every parameter below the modules that it matches, or the
    parameters that it matches.
    """
    if spec.heads == "auto":
        names = [name for name in graph.parameters if name in fresh]
        inside = [name for name in names if graph.modules[name.rpartition(".")[0]].stack]
        if inside:
            message = (
                f"the base checkpoint lacks parameters of its blocks: {', '.join(fold(inside)[:6])}"
            )
            fix = "check 'model.config' and the source; if they shall be new, name them in 'heads'"
            problems.add("DLT409", message, spec.span(("heads",)), fix=fix)
            names = [name for name in names if name not in inside]
    else:
        names = _named(spec, graph, problems)
        left = [name for name in graph.parameters if name in fresh and name not in names]
        if left:
            message = f"the base checkpoint lacks {', '.join(fold(left)[:6])}: random values would stay frozen"
            problems.add(
                "DLT405", message, spec.span(("heads",)), fix="write 'heads: auto', or name them"
            )
    return [
        HeadParameter(name, graph.parameters[name], name in fresh)
        for name in graph.parameters
        if name in names
    ]


def _named(spec: Spec, graph: ModelGraph, problems: Problems) -> list[str]:
    found: list[str] = []
    for index, entry in enumerate(spec.heads):
        modules = match_modules(graph, entry)
        pattern = Pattern.parse(entry)
        names = [
            name
            for name in graph.parameters
            if pattern.matches(name) or any(name.startswith(module + ".") for module in modules)
        ]
        if not names:
            near = nearest_paths(entry, [path for path in graph.modules if path])
            fix = (
                f"did you mean {' or '.join(near)}?"
                if near
                else "see the paths with: deltac inspect MODEL"
            )
            message = f"'{entry}' matches no parameter of {graph.class_name}"
            problems.add("DLT207", message, spec.span(("heads", index)), fix=fix)
        found += names
    return found
