"""Which of the selected places run in a forward pass, and how often."""

from __future__ import annotations

from deltac.diagnostics import Problems
from deltac.model.fold import shown
from deltac.model.graph import ModelGraph
from deltac.model.select import Selection
from deltac.planning.plan import Placement
from deltac.planning.ties import names_of
from deltac.spec import DeltaSpec, Spec


def check_runs(
    spec: Spec,
    graph: ModelGraph,
    delta: DeltaSpec,
    selection: Selection,
    placements: list[Placement],
    problems: Problems,
) -> list[Placement]:
    """Drops nothing in silence: a place that never runs is an error (DLT205), one with several runs a warning (DLT206).

    Parameters that a wide target of a parameter operator picks up on the way (a pooler that isn't used) are left out
    with a warning (DLT209). A weight that is read outside its module's forward is an error (DLT306).
    """

    def report(code: str, message: str, found: list[Placement], fix: str | None = None) -> None:
        span = selection.span(spec, delta.target, [each.selected for each in found])
        problems.add(code, message, span, fix=fix)

    elsewhere = {p.site.path: readers for p in placements if (readers := _readers(graph, p))}
    if elsewhere:
        found = [placement for placement in placements if placement.site.path in elsewhere]
        scopes = sorted(set().union(*elsewhere.values()))
        outside = shown([scope or graph.class_name for scope in scopes])
        message = (
            f"the model reads {shown(elsewhere)} outside of its module's forward, in {outside}; "
            "a change there would be missed"
        )
        report("DLT306", message, found, "leave it out of the target")
    dead = [p for p in placements if not _runs(graph, p) and p.site.path not in elsewhere]
    if dead:
        paths = shown(placement.site.path for placement in dead)
        tuned = all(placement.site.kind == "parameter" for placement in dead)
        if tuned and len(dead) < len(placements):
            message = f"left out, for the forward pass never reads them: {paths}"
            report("DLT209", message, dead, "name them in 'exclude' to say so in the spec")
        else:
            message = f"a forward pass of {graph.class_name} never uses {paths}"
            report("DLT205", message, dead, "leave it out of the target, with 'exclude' if need be")
    again: dict[int, list[Placement]] = {}
    for placement in placements:
        calls = len(graph.modules[placement.site.module].calls)
        if placement.site.kind != "parameter" and calls > 1:
            again.setdefault(calls, []).append(placement)
    for calls, found in again.items():
        paths = shown(dict.fromkeys(placement.site.module for placement in found))
        message = f"runs {calls} times in a forward pass, each time with the same delta: {paths}"
        report("DLT206", message, found)
    return [placement for placement in placements if placement not in dead]


def _runs(graph: ModelGraph, placement: Placement) -> bool:
    site = placement.site
    name = graph.tied.get(site.tensor, site.tensor)
    if site.kind == "parameter" or (site.kind == "weight" and _is_tied(graph, name)):
        # Of a tied weight, another module may be the one that runs.
        return name in graph.trace.readers
    return bool(graph.modules[site.module].calls)


def _readers(graph: ModelGraph, placement: Placement) -> set[str]:
    """Paths of the modules that read a placement's weight, but do not own it."""
    site = placement.site
    if site.kind != "weight":
        return set()
    names = names_of(graph, site.tensor)
    return graph.trace.readers.get(names[0], set()) - {name.rpartition(".")[0] for name in names}


def _is_tied(graph: ModelGraph, name: str) -> bool:
    return name in graph.tied or name in graph.tied.values()
