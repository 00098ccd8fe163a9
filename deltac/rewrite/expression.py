"""A new weight as one expression: the functions of all operators at a parameter, composed in the order of the spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from deltac.planning import Placement
from deltac.rewrite.rows import spread_rows
from deltac.rewrite.weight_function import additive_part, trace_bias, trace_weight, value_of


class NotAdditiveError(Exception):
    """A property of additive deltas (dropout, a gate) is asked of one that isn't; the message says which."""


@dataclass(frozen=True)
class Expression:
    """W' (or b') of one parameter.

    Attributes:
        subject: the placeholder of W (or b).
        result: the node of the new value. Each node carries its shape, as a meta tensor in `meta["value"]`.
        besides: node → placement, for the terms that a placement's dropout or gate acts on.
    """

    subject: fx.Node
    result: fx.Node
    besides: dict[fx.Node, Placement]


def beside(term: torch.Tensor) -> torch.Tensor:
    """Marks a term that reads its own version of the input, after dropout or with a gate."""
    return term


def weight_expression(placements: Sequence[Placement]) -> Expression:
    """W' of the parameter that all these placements act on.

    Raises:
        NotAdditiveError: an operator with dropout or a gate doesn't compute w + D.
    """
    return _composed(placements, trace_weight)


def bias_expression(placements: Sequence[Placement]) -> Expression:
    """b' of the bias beside that parameter."""
    return _composed(placements, trace_bias)


def key(node: Any) -> Any:
    """A value that is equal for nodes that compute the same from the same parameters."""
    if not isinstance(node, fx.Node):
        return repr(node)
    if node.op == "placeholder":
        return str(node.target)
    return (str(node.target), *map(key, node.args), *map(repr, node.kwargs.items()))


def _composed(
    placements: Sequence[Placement], trace: Callable[[Placement], fx.Graph]
) -> Expression:
    graph = fx.Graph()
    inputs: dict[str, fx.Node] = {}
    besides: dict[fx.Node, Placement] = {}
    current = subject = graph.node_copy(next(iter(trace(placements[0]).nodes)))
    for placement in placements:
        traced = trace(placement)
        first, *nodes, output = traced.nodes
        copies = {first: current}
        for node in nodes:
            name = str(node.target)
            if node.op == "placeholder" and name in inputs:
                copies[node] = inputs[name]
                continue
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if node.op == "placeholder":
                inputs[name] = copies[node]
        operator = placement.operator
        if trace is trace_weight and (operator.input_dropout or operator.gate):
            current = _marked(graph, placement, traced, copies, besides)
        else:
            current = copies[output.args[0]]
    return Expression(subject, current, besides)


def _marked(
    graph: fx.Graph,
    placement: Placement,
    traced: fx.Graph,
    copies: dict[fx.Node, fx.Node],
    besides: dict[fx.Node, Placement],
) -> fx.Node:
    """The sum w + D again, with each term of D marked."""
    terms = additive_part(traced)
    if terms is None:
        message = f"{placement.delta.operator} changes the weight in a way that is no sum"
        raise NotAdditiveError(message)

    def add(target: Any, *args: Any) -> fx.Node:
        node = graph.call_function(target, args)
        node.meta["value"] = value_of(node)
        return node

    total = copies[next(iter(traced.nodes))]
    for factor, term in terms:
        rows = copies[term].args if term.target is spread_rows else (copies[term],)
        mark = added = add(beside, rows[0])
        besides[mark] = placement
        if term.target is spread_rows:
            added = add(spread_rows, mark, *rows[1:])
        total = add(torch.add, total, added if factor == 1.0 else add(torch.mul, added, factor))
    return total
