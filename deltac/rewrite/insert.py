"""Pass `insert`: splices the operators of a plan into a region's graph, in the order of the spec. Always correct."""

from __future__ import annotations

from types import SimpleNamespace

from torch import fx
from transformers.pytorch_utils import Conv1D

from deltac.planning import Placement
from deltac.rewrite.weight_function import trace_weight, weight_function


def orient(graph: fx.Graph, placement: Placement) -> fx.Node:
    """The node of the parameter in the shape that operators see; a Conv1D's [in, out] is transposed, and back."""
    node = next(
        n for n in graph.nodes if n.op == "get_attr" and n.target == placement.site.parameter
    )
    if placement.site.module_class != Conv1D.__name__:
        return node
    readers = list(node.users)
    with graph.inserting_after(node):
        oriented = graph.call_method("t", (node,))
    with graph.inserting_after(oriented):
        back = graph.call_method("t", (oriented,))
    for reader in readers:
        reader.replace_input_with(node, back)
    return oriented


def insert_weight(graph: fx.Graph, placement: Placement, value: fx.Node) -> fx.Node:
    """Puts W' = op(W) between `value`, the node of W, and all that reads it. Returns the node of W'."""
    function = weight_function(
        f"{placement.delta.name}_weight", trace_weight(placement.operator, placement.new)
    )
    readers = list(value.users)
    with graph.inserting_after(value):
        parameters = [graph.get_attr(placement.own_name(name)) for name in reversed(placement.new)][
            ::-1
        ]
    with graph.inserting_after(max([value, *parameters], key=list(graph.nodes).index)):
        changed = graph.call_function(function, (value, *parameters))
    changed.meta["deltac"] = placement
    for reader in readers:
        reader.replace_input_with(value, changed)
    return changed


def insert_output(graph: fx.Graph, placement: Placement, x: fx.Node, y: fx.Node) -> fx.Node:
    """Adds `operator.output(x, y, p)` and returns the node of the new y. Parameters are cast to the dtype of y."""
    before = len(graph.nodes)
    tracer = fx.proxy.GraphAppendingTracer(graph)
    wrapped = fx.Proxy(y, tracer)
    dtype = wrapped.dtype
    p = SimpleNamespace(
        **{
            name: fx.Proxy(graph.get_attr(placement.own_name(name)), tracer).to(dtype)
            for name in placement.new
        }
    )
    result = placement.operator.output(fx.Proxy(x, tracer), wrapped, p).node
    for node in list(graph.nodes)[before:]:
        node.meta["deltac"] = placement
    return result
