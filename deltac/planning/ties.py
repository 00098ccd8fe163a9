"""Weights that are one tensor under several names: what a delta on one of them means for the others."""

from __future__ import annotations

from dataclasses import replace

from deltac.diagnostics import Problems
from deltac.model.graph import ModelGraph
from deltac.planning.plan import Placement
from deltac.spec import DeltaSpec, Spec


def with_ties(
    spec: Spec,
    graph: ModelGraph,
    delta: DeltaSpec,
    placements: list[Placement],
    problems: Problems,
) -> list[Placement]:
    """The placements of a delta, with those that `tied: both` adds: the same parameters at the tensor's other readers.

    Reports DLT412 where `tied` has nothing to say, for no selected weight has a second name. A tied weight of a delta
    without `tied` is left to `check_overlap` (DLT406).
    """
    names = [names_of(graph, p.site.tensor) for p in placements if p.site.kind == "weight"]
    if delta.tied is not None and placements and all(len(each) == 1 for each in names):
        span = spec.key_span((*delta.path, "tied"))
        message = (
            f"no weight of this target has a second name, so 'tied: {delta.tied}' says nothing"
        )
        problems.add("DLT412", message, span, fix="take 'tied' away")
    if delta.tied != "both":
        return placements
    made: list[Placement] = []
    first: set[str] = set()
    for placement in placements:
        tensors = names_of(graph, placement.site.tensor)
        if placement.site.kind != "weight" or len(tensors) == 1:
            made.append(placement)
        elif tensors[0] not in first:  # both names may be selected: they are one place
            first.add(tensors[0])
            made.append(placement)
            made += [
                _at(graph, placement, name) for name in tensors if _is_other(graph, placement, name)
            ]
    return made


def names_of(graph: ModelGraph, tensor: str) -> list[str]:
    """Every name of a parameter, in the model's order."""
    first = graph.tied.get(tensor, tensor)
    return [first, *(alias for alias, name in graph.tied.items() if name == first)]


def _is_other(graph: ModelGraph, placement: Placement, name: str) -> bool:
    """Whether a name is that of another module, not of the same one at a second place."""
    module = name.rpartition(".")[0]
    return module != placement.site.module and module in graph.modules


def _at(graph: ModelGraph, placement: Placement, name: str) -> Placement:
    module, _, parameter = name.rpartition(".")
    site = graph.site("weight", module, parameter)
    return replace(placement, site=site, home=placement.site.module)
