"""From a plan to the code of every region: group by module, trace, insert, factor, generate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import fx, nn

from deltac.diagnostics import Problems
from deltac.model.fold import fold, shown
from deltac.planning import Placement, Plan
from deltac.rewrite.edge import edge_graph, with_first_output
from deltac.rewrite.expression import NotAdditiveError
from deltac.rewrite.factor import factor
from deltac.rewrite.insert import insert_bias, insert_output, insert_weight
from deltac.rewrite.interior_build import interior_region
from deltac.rewrite.leaf import NotTraceableError, trace_leaf
from deltac.rewrite.orient import orient
from deltac.rewrite.region import PROLOGUE, Region
from deltac.rewrite.source import drop_unused, source_of


@dataclass(frozen=True)
class Rewriting:
    """The code of every module that a plan rewrites: module path → region."""

    regions: Mapping[str, Region]

    def by_region(self) -> list[tuple[Region, list[str]]]:
        """Each distinct region with the folded paths of its modules."""
        paths: dict[Region, list[str]] = {}
        for path, region in self.regions.items():
            paths.setdefault(region, []).append(path)
        return [(region, fold(found)) for region, found in paths.items()]


#: Which form of a weight delta is taken: the one that costs least, the one that follows W' = op(W) word for word, or
#: one that the rules of the pass `factor` give, even where it costs more. All compute the same.
Forms = Literal["cheapest", "inserted", "factored"]


def rewrite(plan: Plan, forms: Forms = "cheapest") -> Rewriting:
    """Generates the code of a plan from its skeleton; changes nothing.

    Args:
        plan: the plan.
        forms: which form of the code; for those who compare them.

    Raises:
        DeltacError: DLT503 (not traceable), DLT506 (dropout that no sum can hold), DLT815 (an operator's own fault).
    """
    problems = Problems()
    by_module: dict[str, list[Placement]] = {}
    for placement in plan.placements:
        if placement.every:
            by_module.setdefault(placement.site.module, []).append(placement)
    regions: dict[str, Region] = {}
    failed: dict[tuple[str, str, str], list[Placement]] = {}
    for path, placements in by_module.items():
        module = plan.graph.model.get_submodule(path)
        try:
            regions[path] = _region(module, placements, forms)
        except (NotTraceableError, NotAdditiveError) as error:
            code = "DLT503" if isinstance(error, NotTraceableError) else "DLT506"
            # One line for all modules alike, not one for each layer.
            key = (code, placements[0].delta.name, f"{type(module).__name__}: {error}")
            failed.setdefault(key, []).append(placements[0])
        except Exception as error:
            foreign = [each for each in placements if each.registered.package != "deltac"]
            if not foreign:
                raise
            reason = f"{type(module).__name__}: {foreign[0].registered.fault(error)}"
            failed.setdefault(("DLT815", foreign[0].delta.name, reason), []).append(foreign[0])
    for (code, _, reason), found in failed.items():
        paths = shown(placement.site.module for placement in found)
        message = f"{found[0].delta.operator} can't act on {paths}, a {reason}"
        problems.add(code, message, plan.target_span(found), fix="leave it out of the target")
    problems.raise_if_any()
    return Rewriting(regions)


def _region(module: nn.Module, placements: list[Placement], forms: Forms) -> Region:
    if any(placement.site.inside for placement in placements):
        return interior_region(module, placements)
    weights = [placement for placement in placements if placement.site.kind == "weight"]
    outputs = [placement for placement in placements if placement.site.kind == "activation"]
    if weights:
        graph = trace_leaf(module)
        original = source_of(graph, "forward").text
        _check_reads(graph, weights)
        for name in dict.fromkeys(placement.site.parameter for placement in weights):
            same = [placement for placement in weights if placement.site.parameter == name]
            own = next(n for n in graph.nodes if n.op == "get_attr" and n.target == name)
            weight = changed = orient(graph, own, same[0].site)
            for placement in same:
                changed = insert_weight(graph, placement, changed)
                insert_bias(graph, placement)
            factor(graph, weight, changed, same, forms)
        end = next(node for node in graph.nodes if node.op == "output")
        x, result = next(iter(graph.nodes)), end.args[0]
        y = result
    else:
        graph, x, result, y = edge_graph()
        original = (
            f"def forward(self, *args, **kwargs):\n    ...  # {type(module).__name__}'s own\n"
        )
        end = None
    with graph.inserting_before(end) if end is not None else graph.inserting_after():
        for placement in outputs:
            y = insert_output(graph, placement, x, y)
        if end is None:
            graph.output(graph.call_function(with_first_output, (result, y)))
        else:
            end.args = (y,)
    drop_unused(graph)
    graph.lint()
    _check_used(graph, placements)
    arguments = ", ".join(str(node.target) for node in graph.nodes if node.op == "placeholder")
    return Region(
        type(module),
        source_of(graph, "forward", prologue=PROLOGUE.format(arguments=arguments)),
        original,
        tuple(placement.own_name(name) for placement in placements for name in placement.every),
    )


def _check_reads(graph: fx.Graph, weights: Iterable[Placement]) -> None:
    read = {node.target for node in graph.nodes if node.op == "get_attr"}
    for placement in weights:
        if placement.site.parameter not in read:
            raise NotTraceableError(f"its forward doesn't read '{placement.site.parameter}'")


def _check_used(graph: fx.Graph, placements: Iterable[Placement]) -> None:
    """Every delta parameter of the region must stand in its code: an operator that ignores one is at fault."""
    read = {node.target for node in graph.nodes if node.op == "get_attr" and node.users}
    for placement in placements:
        for name in placement.every:
            if placement.own_name(name) not in read:
                raise NotTraceableError(
                    f"{placement.delta.operator} declares '{name}' and never uses it"
                )
