"""Pass `fold`: gathers what depends on parameters alone, so that it can be computed once where nothing is trained.

The values become a method of the region, `delta_constants`. While a model generates, each region keeps the method's
result (see `region.py`). Values as large as the weight itself are left where they are: `merged()` is the way to keep
those.
"""

from __future__ import annotations

import operator

from torch import fx

from deltac.rewrite.weight_function import ancestors


def hoist(graph: fx.Graph) -> fx.Graph | None:
    """Moves the marked values of a region's graph into a graph of their own, in the order of their use."""
    marked = [node for node in graph.nodes if node.meta.get("constant")]
    if not marked:
        return None
    constants = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    needed = set().union(*map(ancestors, marked))
    for node in graph.nodes:
        if node in needed:
            copies[node] = constants.node_copy(node, copies.__getitem__)
    constants.output(tuple(copies[node] for node in marked))
    with graph.inserting_before(marked[0]):
        values = graph.call_module("delta_constants")
    for index, node in enumerate(marked):
        with graph.inserting_before(node):
            value = graph.call_function(operator.getitem, (values, index))
        node.replace_all_uses_with(value)
        graph.erase_node(node)
    return constants


def mark_constant(node: fx.Node, elements: int, weight: fx.Node | None) -> None:
    """Marks a value to be hoisted, if it depends on parameters alone and is small beside the weight.

    Args:
        node: its node in the region's graph.
        elements: how many it has.
        weight: the placeholder of W in the expression, which knows its size.
    """
    inputs = ancestors(node)
    drawn = any(each.op == "get_attr" and each.target == "training" for each in inputs)
    reads_input = any(each.op == "placeholder" for each in inputs)
    small = weight is not None and 4 * elements <= weight.meta["value"].numel()
    if small and not drawn and not reads_input:
        node.meta["constant"] = True
