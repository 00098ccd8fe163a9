"""Which of the selected places run in a forward pass, and how often."""

from __future__ import annotations

from deltac.diagnostics import Problems
from deltac.model.fold import fold
from deltac.model.graph import ModelGraph
from deltac.planning.plan import Placement
from deltac.spec import DeltaSpec, Spec


def check_runs(
    spec: Spec, graph: ModelGraph, delta: DeltaSpec, placements: list[Placement], problems: Problems
) -> list[Placement]:
    """Drops nothing in silence: a place that never runs is an error (DLT205), one with several runs a warning (DLT206).

    Parameters that a wide target of a parameter operator picks up on the way (a pooler that isn't used) are left out
    with a warning (DLT209). A weight that is read outside its module's forward is an error (DLT306).
    """
    span = spec.span((*delta.path, "target"))
    dead = [placement for placement in placements if not _runs(graph, placement)]
    if dead:
        names = ", ".join(fold(placement.site.path for placement in dead)[:6])
        wide = all(placement.site.kind == "parameter" for placement in dead) and len(dead) < len(
            placements
        )
        if wide:
            message = f"left out, because the forward pass never reads them: {names}"
            problems.add("DLT209", message, span)
        else:
            message = f"never used in a forward pass: {names}"
            problems.add("DLT205", message, span, fix="leave it out with 'exclude'")
    again = {
        p.site.module: len(graph.modules[p.site.module].calls)
        for p in placements
        if p.site.kind != "parameter"
    }
    again = {module: calls for module, calls in again.items() if calls > 1}
    if again:
        _module, calls = next(iter(again.items()))
        message = f"runs {calls} times in a forward pass, each time with the same delta: {', '.join(fold(again)[:6])}"
        problems.add("DLT206", message, span)
    for placement in placements:
        site = placement.site
        readers = graph.trace.readers.get(graph.tied.get(site.path, site.path), set())
        if (
            site.kind == "weight"
            and placement not in dead
            and not _is_tied(graph, site.path)
            and readers - {site.module}
        ):
            outside = ", ".join(sorted(readers - {site.module}))
            message = f"{site.path} is read outside its module's forward, in {outside}; a change there would be missed"
            problems.add("DLT306", message, span, fix="leave it out with 'exclude'")
    return [placement for placement in placements if placement not in dead]


def _runs(graph: ModelGraph, placement: Placement) -> bool:
    site = placement.site
    if site.kind == "parameter":
        return graph.tied.get(site.path, site.path) in graph.trace.readers
    return bool(graph.modules[site.module].calls)


def _is_tied(graph: ModelGraph, name: str) -> bool:
    return name in graph.tied or name in graph.tied.values()
