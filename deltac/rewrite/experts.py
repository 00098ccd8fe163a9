"""Regions around experts that lie in one tensor: the base's own forward, and W' under the names that it reads.

No graph holds that forward: which experts run depends on values, and transformers has several ways of running them. So
the tensor's name becomes a property, which gives W' while the forward runs and the parameter itself at any other time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from deltac.planning import Placement
from deltac.rewrite.edge import first_input, first_output
from deltac.rewrite.source import source_of
from deltac.rewrite.weight_function import WeightFunction, trace_weight
from deltac.sites import Experts


@dataclass(frozen=True)
class ExpertFunction(WeightFunction):
    """A weight function of one expert's matrix, over all experts that the operator acts on.

    Attributes:
        experts: which they are, and how the tensor holds them.
        stacked: for each argument after W, whether it has a first dimension over these experts.
    """

    experts: Experts | None = None
    stacked: tuple[bool, ...] = ()

    @property
    def __name__(self) -> str:
        return self.name

    def compute(self, w: torch.Tensor, *values: Any) -> torch.Tensor:
        """W': [experts, …] in the form of w, with a new matrix for each of these experts."""
        seen = w.mT if self.experts.transposed else w
        numbers = torch.tensor(self.experts.chosen, device=w.device)
        own = seen if self.experts.all else seen.index_select(0, numbers)
        dims = (0, *(0 if each else None for each in self.stacked))
        function = torch.vmap(self.source.function, in_dims=dims, randomness="different")
        made = function(own, *values)
        changed = made if self.experts.all else seen.index_copy(0, numbers, made)
        return changed.mT if self.experts.transposed else changed


def expert_function(
    placement: Placement, graph: fx.Graph, *, replaces_first: bool = False
) -> ExpertFunction:
    """The function of a placement over its experts; `graph` is its traced weight function."""
    names = [str(node.target) for node in graph.nodes if node.op == "placeholder"][1:]
    own = {placement.own_name(name) for name in placement.new}
    return ExpertFunction(
        f"{placement.delta.name}_experts",
        source_of(graph, "weight", root=None),
        replaces_first,
        placement.site.experts,
        tuple(name in own for name in names),
    )


def expert_graph(placements: list[Placement]) -> tuple[fx.Graph, fx.Node, fx.Node, fx.Node]:
    """A graph that calls the base's forward with each W' shown to it. Returns it with the nodes of the input x, the
    result and the output y."""
    graph = fx.Graph()
    args, kwargs = graph.placeholder("*args"), graph.placeholder("**kwargs")
    x = graph.call_function(first_input, (args, kwargs))
    shown = {}
    for placement in placements:
        parameter = placement.site.parameter
        value = shown.get(parameter) or graph.get_attr(parameter)
        function = trace_weight(placement)
        names = [str(node.target) for node in function.nodes if node.op == "placeholder"][1:]
        arguments = (value, *map(graph.get_attr, names))
        made = expert_function(placement, function, replaces_first=True)
        shown[parameter] = graph.call_function(made, arguments)
        shown[parameter].meta["deltac"] = placement
    # `self.delta_showing` runs the base class's own forward, see region.py.
    result = graph.call_module("delta_showing", (args, kwargs), shown)
    y = graph.call_function(first_output, (result,))
    return graph, x, result, y


def shown_parameters(placements: list[Placement]) -> tuple[str, ...]:
    """The names that become properties."""
    return tuple(dict.fromkeys(p.site.parameter for p in placements if p.site.experts))
