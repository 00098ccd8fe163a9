"""From a target's selection to the sites of an operator."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from deltac.diagnostics import Problems
from deltac.model.fold import fold
from deltac.model.graph import ModelGraph
from deltac.model.select import Selection
from deltac.operators import Operator
from deltac.sites import Site
from deltac.spec import DeltaSpec, Spec


def candidate_sites(
    spec: Spec,
    graph: ModelGraph,
    delta: DeltaSpec,
    operator: Operator,
    selection: Selection,
    heads: Collection[str],
    problems: Problems,
) -> Iterator[Site]:
    """The places where the operator may act. Reports DLT302 (no weight there), DLT304 (no parameters there), DLT404 (in a head).

    A weight operator acts on the `weight` of the selected modules, or on the selected parameters; an activation
    operator on the selected modules; a parameter operator on every parameter below them.
    """
    if operator.site == "parameter":
        yield from _parameter_sites(graph, operator, selection, heads)
        return
    target = spec.span((*delta.path, "target"))
    for name in selection.names:
        if selection.are_parameters and operator.site != "weight":
            message = f"{delta.operator} acts on modules; 'parameter' selects {name}"
            problems.add(
                "DLT304",
                message,
                spec.span((*delta.path, "target", "parameter")),
                fix="use 'module'",
            )
            return
        module, parameter = _owner(name) if selection.are_parameters else (name, "weight")
        info = graph.modules[module]
        if operator.site == "weight" and parameter not in info.parameters:
            below = [
                path
                for path in graph.modules
                if path.startswith(module + ".") and _has_matrix(graph, path)
            ]
            notes = (
                [f"modules below it with a weight: {', '.join(fold(below)[:6])}"] if below else []
            )
            fix = "name those modules" if below else "exclude it"
            message = (
                f"{delta.operator} needs a weight; {name} ({info.class_name}) has none of its own"
            )
            problems.add("DLT302", message, target, notes=notes, fix=fix)
            return
        own = {f"{module}.{own}" for own in info.parameters}
        if any(head in own or head.startswith(module + ".") for head in heads):
            fix = "leave it out of the target with 'exclude', or out of 'heads'"
            problems.add(
                "DLT404", f"{name} belongs to a head, which is trained whole", target, fix=fix
            )
            continue
        yield graph.site(operator.site, module, parameter if operator.site == "weight" else "")


def _parameter_sites(
    graph: ModelGraph, operator: Operator, selection: Selection, heads: Collection[str]
) -> Iterator[Site]:
    if selection.are_parameters:
        names = list(selection.names)
    else:
        selected = set(selection.names)
        names = [name for name in _all_names(graph) if _is_below_any(name, selected)]
    for name in names:
        if graph.tied.get(name, name) not in heads:
            yield graph.site("parameter", *_owner(name))
    if "activation" in operator.kinds and not selection.are_parameters:
        for path in graph.modules:
            if path in selected or _is_below_any(path, selected):
                if not any(head.startswith(path + ".") for head in heads):
                    yield graph.site("activation", path)


def _all_names(graph: ModelGraph) -> list[str]:
    return [
        f"{path}.{own}" if path else own
        for path, info in graph.modules.items()
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
