"""Several deltas at one place: which combinations mean something."""

from __future__ import annotations

from collections.abc import Collection

from deltac.diagnostics import Problems
from deltac.model.fold import shown
from deltac.model.graph import ModelGraph
from deltac.model.select import Selection
from deltac.planning.plan import Placement
from deltac.sites import Site
from deltac.spec import Spec


def check_overlap(
    spec: Spec,
    graph: ModelGraph,
    placements: Collection[Placement],
    selections: dict[str, Selection],
    problems: Problems,
) -> None:
    """Reports DLT401 (repeated operator), DLT403 (tuned and reparameterized), DLT406 (tied), DLT408 (name taken).

    Each is one line for all places alike, at the delta that comes later.
    """
    repeated: dict[tuple[str, str], list[Placement]] = {}
    both: dict[tuple[str, str], list[Placement]] = {}
    tied: dict[tuple[str, str], list[Placement]] = {}
    taken: dict[tuple[str, str], list[Placement]] = {}
    seen: dict[tuple, list[Placement]] = {}
    tuned: dict[str, Placement] = {}
    weights: dict[str, Placement] = {}
    for placement in placements:
        site, delta = placement.site, placement.delta
        name = graph.tied.get(site.tensor, site.tensor)
        same = seen.setdefault((delta.operator, site.kind, site.module, site.parameter), [])
        # A part of a fused weight meets itself and the whole.
        whole = site.kind == "weight"  # of activations, each place is its own
        earlier = next(
            (
                p
                for p in same
                if (site.part == p.site.part or (whole and not (site.part and p.site.part)))
                and _share_experts(site, p.site)
            ),
            None,
        )
        same.append(placement)
        # Tuned parameters form a union: the same one twice is counted once and means the same.
        if earlier is not None and not placement.tunes and not delta.overlap:
            repeated.setdefault((delta.name, earlier.delta.name), []).append(placement)
        if placement.tunes:
            tuned.setdefault(name, placement)
        if site.kind == "weight":
            weights.setdefault(name, placement)
            if name in graph.tied.values() and delta.tied is None:
                tied.setdefault((delta.name, name), []).append(placement)
        module = graph.model.get_submodule(site.module)
        for own in map(placement.own_name, placement.new):
            if hasattr(module, own):
                taken.setdefault((delta.name, own), []).append(placement)
    for name, placement in weights.items():
        if name in tuned:
            order = [tuned[name], placement]
            order.sort(key=lambda each: [*spec.deltas].index(each.delta))
            both.setdefault((order[1].delta.name, order[0].delta.name), []).append(order[1])

    def report(code: str, message: str, found: list[Placement], fix: str) -> None:
        delta = found[0].delta
        span = selections[delta.name].span(spec, delta.target, [p.selected for p in found])
        problems.add(code, message, span, fix=fix)

    for (later, first), found in repeated.items():
        message = f"'{later}' puts {found[0].delta.operator} on {_paths(found)}, where '{first}' already has it"
        fix = "narrow one target, or write 'overlap: true' if both are meant"
        if later == first:
            message = f"'{later}' would act twice at {_paths(found)}: several places of its target lead there"
            fix = "keep one of these places in the target"
        report("DLT401", message, found, fix)
    for (later, first), found in both.items():
        words = ["tunes", "reparameterizes"] if found[0].tunes else ["reparameterizes", "tunes"]
        message = f"'{later}' {words[0]} {_paths(found)}, which '{first}' {words[1]}"
        report("DLT403", message, found, "narrow one of the two, with 'layers' or 'exclude'")
    for (_, name), found in tied.items():
        names = [name, *(alias for alias, first in graph.tied.items() if first == name)]
        message = f"one tensor under several names, {', '.join(names)}: a delta would change some of its uses only"
        fix = "write 'tied: both' or 'tied: untie' in the delta, or leave it out of the target; 'tune' trains it for "
        fix += "all its uses"
        report("DLT406", message, found, fix)
    for (delta, own), found in taken.items():
        message = (
            f"'{own}' is already a name in {shown(dict.fromkeys(p.site.module for p in found))}"
        )
        report("DLT408", message, found, f"give the delta '{delta}' another name")


def _share_experts(one: Site, other: Site) -> bool:
    """Whether two sites in one tensor meet: always, but for different experts."""
    if one.experts is None or other.experts is None:
        return True
    return bool({*one.experts.chosen} & {*other.experts.chosen})


def _paths(placements: list[Placement]) -> str:
    return shown(placement.site.path for placement in placements)
