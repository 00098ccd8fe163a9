"""Pass `factor`: takes an added term out of a weight and computes it beside the base's own call.

    linear(x, W + s·D)      → linear(x, W) + s·linear(x, D)
    linear(x, B @ A)        → linear(linear(x, A), B)
    embedding(i, W + s·D)   → embedding(i, W) + s·embedding(i, D)
    embedding(i, B @ A)     → embedding(i, B) @ A
    linear(x, rows of D)    → those features of linear(x, D)

The base's call, bias included, stays a node, so an added term that is zero changes no bit. A product of two matrices is
never formed: its gradient alone would cost more than the two thin products, at any number of tokens.
"""

from __future__ import annotations

import torch
from torch import fx
from torch.nn import functional as F

from deltac.planning import Placement
from deltac.rewrite.rows import add_features, spread_rows
from deltac.rewrite.source import drop_unused
from deltac.rewrite.weight_function import (
    WeightFunction,
    additive_part,
    low_rank,
    subfunction,
    trace_weight,
    weight_function,
    whole_shape,
)

_LINEAR = {F.linear, torch._C._nn.linear}


class NotAdditiveError(Exception):
    """A property of additive deltas (dropout) is asked of one that isn't; the message says which."""


def factor(graph: fx.Graph) -> None:
    """Applies the rules to every operator that stands before a linear map or an embedding, the last one first.

    Raises:
        NotAdditiveError: a delta with dropout that can't be taken out of the weight.
    """
    for node in reversed(list(graph.nodes)):
        placement = node.meta.get("deltac")
        if not isinstance(node.target, WeightFunction) or placement is None:
            continue
        terms = _whole_terms(placement)
        readers = [(reader, _input_of(reader, node)) for reader in list(node.users)]
        if terms is None or not all(found is not None for _, found in readers):
            if placement.operator.input_dropout:
                raise NotAdditiveError(
                    f"{placement.delta.operator} changes the weight in a way that is no sum"
                )
            continue
        for consumer, x in [_consumer(reader, x) for reader, x in readers]:
            _split(graph, consumer, x, placement, terms)
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)
    _drop_double_transposes(graph)
    drop_unused(graph)


def _whole_terms(placement: Placement) -> list[tuple[float, fx.Node]] | None:
    """The added terms, each with its factor; None where there are none or one is broadcast over the weight."""
    terms = additive_part(trace_weight(placement))
    whole = tuple(whole_shape(placement.site))
    return terms if all(tuple(t.meta["value"].shape) == whole for _, t in terms or ()) else None


def _input_of(reader: fx.Node, weight: fx.Node) -> fx.Node | None:
    """What a linear consumer of a weight reads beside it: its x, or its indices. None for any other consumer."""
    if reader.target in _LINEAR and reader.args[1] is weight:
        return reader.args[0]
    if (
        reader.target is F.embedding
        and reader.args[1] is weight
        and not reader.kwargs.get("max_norm")
    ):
        return reader.args[0]
    if reader.op == "call_method" and reader.target == "t" and len(reader.users) == 1:
        consumer = next(iter(reader.users))
        if consumer.target is torch.addmm and consumer.args[2] is reader:
            return consumer.args[1]
    return None


def _consumer(reader: fx.Node, x: fx.Node | None) -> tuple[fx.Node, fx.Node]:
    assert x is not None
    return (next(iter(reader.users)) if reader.target == "t" else reader), x


def _split(
    graph: fx.Graph,
    consumer: fx.Node,
    x: fx.Node,
    placement: Placement,
    terms: list[tuple[float, fx.Node]],
) -> None:
    """Replaces the consumer's result y by y + Σ factor · term(x)."""
    users = list(consumer.users)
    with graph.inserting_after(consumer):
        anchor = graph.call_function(_anchor, (consumer,))
    with graph.inserting_before(anchor):
        before = set(graph.nodes)
        total = consumer
        dtype = graph.call_function(
            getattr, (consumer if consumer.target is F.embedding else x, "dtype")
        )
        if placement.operator.input_dropout:
            if consumer.target is F.embedding:
                raise NotAdditiveError("an embedding has no input that dropout could act on")
            training = graph.get_attr("training")
            x = graph.call_function(F.dropout, (x, placement.operator.input_dropout, training))
        for number, (scale, term) in enumerate(terms):
            if term.target is spread_rows:
                part = _apply(graph, consumer, x, dtype, placement, term.args[0], number)
                total = graph.call_function(add_features, (total, part, scale, *term.args[1:]))
                continue
            part = _apply(graph, consumer, x, dtype, placement, term, number)
            scaling = {} if scale == 1.0 else {"alpha": scale}
            total = graph.call_function(torch.add, (total, part), scaling)
        for node in graph.nodes:
            if node not in before:
                node.meta["deltac"] = placement
    for user in users:
        user.replace_input_with(consumer, total)
    graph.erase_node(anchor)


def _apply(
    graph: fx.Graph,
    consumer: fx.Node,
    x: fx.Node,
    dtype: fx.Node,
    placement: Placement,
    term: fx.Node,
    number: int,
) -> fx.Node:
    """What the consumer does with one term D in the place of W."""
    factors = low_rank(term)
    is_embedding = consumer.target is F.embedding
    if factors is None:
        part, names = subfunction(term.graph, term)
        function = weight_function(f"{placement.delta.name}_term_{number}", part)
        value = graph.call_function(function, tuple(map(graph.get_attr, names)))
        if is_embedding:
            return _to(
                graph, graph.call_function(F.embedding, (x, value), dict(consumer.kwargs)), dtype
            )
        return graph.call_function(F.linear, (x, _to(graph, value, dtype)))
    b, a = (graph.get_attr(str(node.target)) for node in factors)
    if is_embedding:
        rows = _to(graph, graph.call_function(F.embedding, (x, b), dict(consumer.kwargs)), dtype)
        return graph.call_function(torch.matmul, (rows, _to(graph, a, dtype)))
    thin = graph.call_function(F.linear, (x, _to(graph, a, dtype)))
    return graph.call_function(F.linear, (thin, _to(graph, b, dtype)))


def _to(graph: fx.Graph, node: fx.Node, dtype: fx.Node) -> fx.Node:
    """The node cast to the activations' dtype: the small factor is cast, never x."""
    return graph.call_method("to", (node, dtype))


def _anchor(value: torch.Tensor) -> torch.Tensor:
    """Marks the place of new nodes while they are made."""
    return value


def _drop_double_transposes(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        inner = node.args[0] if node.op == "call_method" and node.target == "t" else None
        if isinstance(inner, fx.Node) and inner.op == "call_method" and inner.target == "t":
            node.replace_all_uses_with(inner.args[0])
            graph.erase_node(node)
