"""Does every entry of a target give the operator something to act on, and as much as `expect` says?"""

from __future__ import annotations

from collections.abc import Collection

from deltac.diagnostics import Problems
from deltac.model.fold import shown
from deltac.model.graph import ModelGraph
from deltac.model.select import Selection
from deltac.operators import Operator
from deltac.planning.plan import Placement
from deltac.spec import DeltaSpec, Spec


def check_yields(
    spec: Spec,
    graph: ModelGraph,
    delta: DeltaSpec,
    operator: Operator,
    selection: Selection,
    placements: list[Placement],
    heads: Collection[str],
    problems: Problems,
) -> None:
    """Reports DLT303 and DLT404 for entries without a site, DLT204 for another number of sites than expected."""
    acted = {graph.tied.get(p.selected, p.selected) for p in placements}
    dead = {
        path: names
        for path, names in selection.entries.items()
        if acted.isdisjoint(graph.tied.get(name, name) for name in names)
    }
    spans = {spec.span(path): names for path, names in dead.items()}
    if not placements:  # one problem, not one for each entry
        spans = {spec.span(delta.target.path): frozenset(selection.names)}
    for span, names in spans.items():
        chosen = [name for name in selection.names if name in names]
        where = shown(
            dict.fromkeys(n if n in graph.modules else n.rpartition(".")[0] for n in chosen)
        )
        if all(graph.tied.get(name, name) in heads for name in names):
            message = f"{delta.operator} has nothing to do here: {where} belong to a head, which is trained whole"
            fix = "leave them out of the target, or out of 'heads'"
            problems.add("DLT404", message, span, fix=fix)
            continue
        message = f"{delta.operator} finds nothing to act on in {where}"
        notes = [f"{delta.operator}: {operator.summary()}"]
        # An option by this convention widens an operator to places that lack what it tunes.
        adds = "write 'add: true' to add what is missing"
        fix = adds if getattr(operator, "add", None) is False else "leave it out of the target"
        problems.add("DLT303", message, span, notes=notes, fix=fix)
    expected = delta.target.expect
    if placements and not dead and expected is not None and len(placements) != expected:
        message = f"{delta.operator} acts at {len(placements)} places, expected {expected}"
        notes = [f"the places: {shown(placement.site.path for placement in placements)}"]
        fix = f"write 'expect: {len(placements)}' if these are the right ones"
        problems.add(
            "DLT204", message, spec.span((*delta.target.path, "expect")), notes=notes, fix=fix
        )
