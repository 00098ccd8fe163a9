"""From a plan to the code of every region: group by module, trace, insert, factor, generate."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from torch import fx, nn

from deltac.diagnostics import Problems
from deltac.model.fold import fold, shown
from deltac.planning import Placement, Plan
from deltac.rewrite.alike import alike
from deltac.rewrite.build import build_region
from deltac.rewrite.calls import sources, with_facts
from deltac.rewrite.expression import NotAdditiveError
from deltac.rewrite.factor import Forms
from deltac.rewrite.leaf import NotTraceableError
from deltac.rewrite.opaque import OpaqueWeightError
from deltac.rewrite.region import Region, whole_region
from deltac.rewrite.rungs import with_rungs
from deltac.rewrite.sequence_build import around_stacks, slots_by_stack
from deltac.rewrite.source import source_of
from deltac.rewrite.weight_function import WeightFunction


@dataclass(frozen=True)
class Rewriting:
    """The code of every module that a plan rewrites.

    Attributes:
        regions: module path → region.
        passes: for each distinct leaf or edge region, the name of each pass with the text after it, where asked for.
        sources: path of each module that reads the facts of a call → the path that it reads from, see calls.py.
    """

    regions: Mapping[str, Region]
    passes: Mapping[Region, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    sources: Mapping[str, str | None] = field(default_factory=dict)

    def by_region(self) -> list[tuple[Region, list[str]]]:
        """Each distinct region with the folded paths of its modules."""
        paths: dict[Region, list[str]] = {}
        for path, region in self.regions.items():
            paths.setdefault(region, []).append(path)
        return [(region, fold(found)) for region, found in paths.items()]


_CODES = {NotTraceableError: "DLT503", NotAdditiveError: "DLT506", OpaqueWeightError: "DLT510"}


def rewrite(plan: Plan, forms: Forms = "cheapest", *, texts: bool = False) -> Rewriting:
    """Generates the code of a plan from its skeleton; changes nothing.

    Args:
        plan: the plan.
        forms: which form of the code; for those who compare them.
        texts: whether the text after each pass is kept.

    Raises:
        DeltacError: DLT503 (not traceable), DLT506 (dropout that no sum can hold), DLT510 (a quantized
            weight that more than a sum would change), DLT815 (an operator's own fault).
    """
    problems = Problems()
    by_module: dict[str, list[Placement]] = {}
    for placement in plan.placements:
        if placement.every:
            by_module.setdefault(placement.site.module, []).append(placement)
    regions: dict[str, Region] = {}
    made: dict[Hashable, Region] = {}
    passes: dict[Region, tuple[tuple[str, str], ...]] | None = {} if texts else None
    failed: dict[tuple[str, str, str], list[Placement]] = {}
    for path, placements in by_module.items():
        module = plan.graph.model.get_submodule(path)
        try:
            tokens = plan.spec.tokens_per_step
            regions[path] = _built(module, placements, (forms, tokens), made, passes)
        except (NotTraceableError, NotAdditiveError, OpaqueWeightError) as error:
            code = _CODES[type(error)]
            # One line for all modules alike, not one for each layer.
            key = (code, placements[0].delta.name, f"{type(module).__name__}: {error}")
            failed.setdefault(key, []).append(placements[0])
        except Exception as error:
            foreign = [each for each in placements if each.registered.package != "deltac"]
            if not foreign:
                raise
            reason = f"{type(module).__name__}: {foreign[0].registered.fault(error)}"
            failed.setdefault(("DLT815", foreign[0].delta.name, reason), []).append(foreign[0])
    for path, around in around_stacks(plan).items():
        own = regions.get(path) or whole_region(plan.graph.model.get_submodule(path))
        regions[path] = replace(own, around=around)
    regions = with_rungs(plan, with_facts(plan, regions, slots_by_stack(plan)))
    for (code, _, reason), found in failed.items():
        paths = shown(placement.site.module for placement in found)
        message = f"{found[0].delta.operator} can't act on {paths}, a {reason}"
        problems.add(code, message, plan.target_span(found), fix="leave it out of the target")
    problems.raise_if_any()
    return Rewriting(regions, passes or {}, sources(plan))


def _built(
    module: nn.Module,
    placements: list[Placement],
    choice: tuple[Forms, int],
    made: dict[Hashable, Region],
    passes: dict[Region, tuple[tuple[str, str], ...]] | None,
) -> Region:
    """The region of a module; modules that are alike share the work, and a plan has few that differ."""
    key = alike(module, placements)
    if key is not None and key in made:
        return made[key]
    texts: list[tuple[str, str]] = []

    def passed(name: str, graph: fx.Graph) -> None:
        if passes is None:
            return
        source = source_of(graph, "forward")
        helpers = [v.source.text for _, v in source.names if isinstance(v, WeightFunction)]
        texts.append((name, "\n".join([*helpers, source.text])))

    region = build_region(module, placements, choice, passed)
    if passes is not None:
        passes.setdefault(region, tuple(texts))
    if key is not None:
        made[key] = region
    return region
