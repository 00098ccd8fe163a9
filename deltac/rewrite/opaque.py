"""Regions around opaque weights: the base's own call stays whole, and what a delta adds is computed beside it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from deltac.planning import Placement
from deltac.rewrite.factor import LINEAR
from deltac.rewrite.insert import changes_bias
from deltac.rewrite.weight_function import additive_part, trace_weight


class OpaqueWeightError(Exception):
    """The operator needs the values of a weight that only its own module can read; the message says which."""


def check_additive(placements: Sequence[Placement], form: str) -> None:
    """Raises `OpaqueWeightError` for the first operator that does not just add to the weight."""
    for placement in placements:
        operator, name = placement.operator, placement.delta.operator
        if any(getattr(new.init, "needs_weight", False) for new in placement.every.values()):
            message = f"{name} starts from the values of its weight"
        elif additive_part(trace_weight(placement)) is None or changes_bias(operator):
            message = f"{name} does more than add to its weight"
        else:
            continue
        raise OpaqueWeightError(f"{message}, and this one is kept as {form}")


def keep_base_call(graph: fx.Graph, form: str) -> None:
    """Puts the base's own forward in the place of its call on the weight: y = base(x) + what the delta adds.

    Args:
        graph: the graph of a plain linear of the same sizes, its delta factored out of the weight.
        form: how the weight is kept.
    """
    weight = next(n for n in graph.nodes if n.op == "get_attr" and n.target == "weight")
    calls = list(weight.users)
    if [call.target in LINEAR and call.args[0].op == "placeholder" for call in calls] != [True]:
        raise OpaqueWeightError(f"what is added needs its weight, and this one is kept as {form}")
    with graph.inserting_before(calls[0]):
        base = graph.call_module("delta_base", ((calls[0].args[0],), {}))
    calls[0].replace_all_uses_with(base)
    graph.erase_node(calls[0])
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
