"""From a target's selection to the sites of an operator."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from deltac.model.graph import ModelGraph
from deltac.model.select import Selection
from deltac.operators import Operator
from deltac.planning.refused import RefusedError
from deltac.sites import Site


def candidates(
    graph: ModelGraph, operator: Operator, selection: Selection, heads: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """The places where the operator may act: kind of site, module, and parameter (empty for a module).

    A weight operator acts on the `weight` of the selected modules, or on the selected parameters; an activation
    operator on the selected modules; a parameter operator on every parameter below them, but for those of heads, which
    are trained anyway.
    """
    if operator.site != "parameter":
        for name in selection.names:
            parameter = "weight" if operator.site == "weight" else ""
            yield operator.site, *(_owner(name) if selection.are_parameters else (name, parameter))
        return
    selected = set(selection.names)
    seen: set[str] = set()
    for name in selection.names if selection.are_parameters else _names_below(graph, selected):
        first = graph.tied.get(name, name)
        if first not in heads and first not in seen:
            seen.add(first)
            yield "parameter", *_owner(name)
    if "activation" in operator.kinds and not selection.are_parameters:
        for path in graph.modules:
            inside = path in selected or _is_below_any(path, selected)
            if inside and not any(head.startswith(path + ".") for head in heads):
                yield "activation", path, ""


def check_candidate(
    graph: ModelGraph, kind: str, module: str, parameter: str, heads: Collection[str]
) -> Site:
    """The site at a place.

    Raises:
        RefusedError: DLT302 (no weight there), DLT304 (a parameter, for an operator on modules), DLT404 (in a head).
    """
    info = graph.modules[module]
    if kind == "activation" and parameter:
        raise RefusedError("DLT304", "it acts on modules, not on parameters", "use 'module'")
    if kind == "weight" and parameter not in info.parameters:
        below = dict.fromkeys(
            path[len(module) + 1 :]
            for path in graph.modules
            if path.startswith(module + ".") and _has_matrix(graph, path)
        )
        fix = f"name the modules inside it: {', '.join([*below][:6])}" if below else None
        raise RefusedError("DLT302", f"{info.class_name} has no weight of its own", fix)
    own = {f"{module}.{name}" for name in info.parameters}
    if kind != "parameter" and any(h in own or h.startswith(module + ".") for h in heads):
        fix = "leave it out of the target with 'exclude', or out of 'heads'"
        raise RefusedError("DLT404", "it belongs to a head, which is trained whole", fix)
    return graph.site(kind, module, parameter)


def _names_below(graph: ModelGraph, modules: set[str]) -> list[str]:
    return [
        f"{path}.{own}"
        for path, info in graph.modules.items()
        if path in modules or _is_below_any(path, modules)
        for own in info.parameters
    ]


def _has_matrix(graph: ModelGraph, path: str) -> bool:
    weight = graph.modules[path].parameters.get("weight")
    return weight is not None and len(weight.shape) == 2


def _owner(name: str) -> tuple[str, str]:
    module, _, parameter = name.rpartition(".")
    return module, parameter


def _is_below_any(name: str, modules: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:count]) in modules for count in range(1, len(parts)))
