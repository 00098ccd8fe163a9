"""Nodes for what depends on parameters alone, in the graph of a region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from deltac.planning import Placement
from deltac.rewrite.constants import mark_constant
from deltac.rewrite.forms import is_view
from deltac.rewrite.norms import with_cheap_norms
from deltac.rewrite.weight_function import ancestors, subfunction, weight_function


@dataclass(frozen=True)
class Values:
    """Makes such nodes from the nodes of an expression.

    Attributes:
        graph: the region's graph.
        known: placeholders of the expression that stand for a node of the region, such as W.
        owners: own name of a delta's parameter → the placement that adds it.
    """

    graph: fx.Graph
    known: Mapping[fx.Node, fx.Node]
    owners: Mapping[str, Placement]

    def of(self, node: fx.Node, dtype: fx.Node | None = None) -> fx.Node:
        """The value of a node of an expression, in that dtype; without one in its own."""
        if node in self.known:
            return self.known[node]
        if not node.meta["value"].is_floating_point():
            dtype = None  # indices stay what they are
        names = [str(n.target) for n in ancestors(node) if n.op == "placeholder"]
        if len(names) == 1 and all(map(is_view, ancestors(node))):
            return self._view(node, dtype)
        part, names = subfunction(node.graph, node)
        with_cheap_norms(part)
        inputs = {str(placeholder.target): own for placeholder, own in self.known.items()}
        own = [self.owners[name] for name in names if name in self.owners]
        # Of W alone: it belongs to any of them.
        placement = own[-1] if own else next(iter(self.owners.values()))
        function = weight_function(f"{placement.delta.name}_value", part)
        arguments = tuple(inputs.get(name) or self.graph.get_attr(name) for name in names)
        value = self.graph.call_function(function, arguments)
        subject = next(iter(node.graph.nodes))
        mark_constant(value, node.meta["value"].numel(), subject)
        return value if dtype is None else self.graph.call_method("to", (value, dtype))

    def _view(self, node: fx.Node, dtype: fx.Node | None) -> fx.Node:
        """A parameter, cast where it is used, seen in another way."""
        if node.op != "placeholder":
            copies = {each: self._view(each, dtype) for each in node.all_input_nodes}
            return self.graph.node_copy(node, copies.__getitem__)
        own = self.known.get(node) or self.graph.get_attr(str(node.target))
        return own if dtype is None else self.graph.call_method("to", (own, dtype))
