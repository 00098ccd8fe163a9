"""Several deltas at one place: which combinations mean something."""

from __future__ import annotations

from deltac.diagnostics import Problems
from deltac.model.graph import ModelGraph
from deltac.planning.plan import HeadParameter, Placement
from deltac.spec import Spec


def check_overlap(
    spec: Spec,
    graph: ModelGraph,
    placements: list[Placement],
    heads: list[HeadParameter],
    problems: Problems,
) -> None:
    """Reports DLT401 (repeated operator), DLT403 (tuned and reparameterized), DLT406 (tied), DLT408 (name taken)."""
    seen: dict[tuple, Placement] = {}
    reparameterized: dict[str, Placement] = {}
    tuned: dict[str, Placement] = {}
    reported: set[tuple] = set()

    def report(code: str, message: str, placement: Placement, other: str, fix: str) -> None:
        key = (code, placement.delta.name, other)
        if key not in reported:  # one line per pair of deltas, not per site
            reported.add(key)
            problems.add(code, message, spec.span((*placement.delta.path, "target")), fix=fix)

    for placement in placements:
        site, delta = placement.site, placement.delta
        name = graph.tied.get(site.path, site.path)
        key = (delta.operator, site.kind, site.module, site.parameter)
        earlier = seen.setdefault(key, placement)
        # Tuned parameters form a union: the same one twice is counted once and means the same.
        if earlier is not placement and not placement.tunes and not delta.overlap:
            there = f"{site.path}, where '{earlier.delta.name}' already has it"
            message = f"'{delta.name}' puts {delta.operator} on {there}"
            report(
                "DLT401",
                message,
                placement,
                earlier.delta.name,
                "narrow one target, or say 'overlap: true' if both are meant",
            )
        if site.kind == "weight":
            reparameterized.setdefault(name, placement)
            if name in graph.tied.values():
                others = [
                    n
                    for n in (name, *(a for a, f in graph.tied.items() if f == name))
                    if n != site.path
                ]
                message = f"{site.path} is the same tensor as {', '.join(others)}; a delta on one side would untie them"
                report("DLT406", message, placement, name, "leave it out of the target")
        if placement.tunes:
            tuned.setdefault(name, placement)
        for own in placement.new:
            if placement.own_name(own) in site.parameters or hasattr(
                graph.model.get_submodule(site.module), placement.own_name(own)
            ):
                message = f"{site.module} already has '{placement.own_name(own)}'"
                report("DLT408", message, placement, own, "give the delta another name")
    for name in tuned.keys() & reparameterized.keys():
        first, second = tuned[name], reparameterized[name]
        message = f"{name} is tuned in place by '{first.delta.name}' and reparameterized by '{second.delta.name}'"
        report("DLT403", message, second, first.delta.name, "keep one of the two")
