"""From placements inside a forward to an interior region."""

from __future__ import annotations

from types import SimpleNamespace

from torch import fx, nn

from deltac.planning import Placement
from deltac.rewrite.interior_insert import Insertion, OutputFunction
from deltac.rewrite.interior_region import Interior, constants_of, dispatcher
from deltac.rewrite.leaf import NotTraceableError
from deltac.rewrite.region import Region
from deltac.rewrite.source import Source, drop_unused, source_of
from deltac.sites import Inside

#: The module's own input and output.
_EDGE = Inside(before="", after="", summed=False)


def interior_region(module: nn.Module, placements: list[Placement]) -> Region:
    """The region of a module with operators inside its forward, and perhaps at its output.

    Raises:
        NotTraceableError: an operator acts on a weight of the same module, or ignores one of its own parameters.
    """
    if any(placement.site.kind == "weight" for placement in placements):
        raise NotTraceableError("deltas act on a weight of its own and inside its forward")
    insertions = tuple(_insertion(placement) for placement in placements)
    paths = {path for placement in placements for path in (placement.site.inside or _EDGE).enter}
    enter = tuple(sorted(paths))
    base = type(module)
    return Region(
        base,
        dispatcher(base),
        "",
        tuple(name for each in insertions for name in each.parameters),
        Interior(enter, insertions, constants_of(module, enter)),
    )


def _insertion(placement: Placement) -> Insertion:
    place = placement.site.inside or _EDGE
    own = tuple(placement.own_name(name) for name in placement.every)
    function = OutputFunction(f"{placement.delta.name}_output", output_source(placement))
    return Insertion(function, own, place.before, place.after, place.summed)


def output_source(placement: Placement) -> Source:
    """`output(x, y, *parameters)` of an operator, traced. Parameters are cast to the dtype of y."""
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    x, y = (fx.Proxy(graph.placeholder(name), tracer) for name in ("x", "y"))
    given = {name: graph.placeholder(name) for name in placement.every}
    dtype = y.dtype
    p = SimpleNamespace(**{n: fx.Proxy(node, tracer).to(dtype) for n, node in given.items()})
    graph.output(placement.operator.output(x, y, p).node)
    drop_unused(graph)
    for name, node in given.items():
        if not node.users:
            raise NotTraceableError(
                f"{placement.delta.operator} declares '{name}' and never uses it"
            )
    return source_of(graph, "output", root=None)
