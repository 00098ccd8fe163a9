"""Pass `fuse`: one call in the place of two, where it computes the same and moves or keeps less.

y + s · linear(h, B)       → add_product(y, h, B, s), one addmm
linear(dropout(x), A)      → dropped_linear(x, A)
"""

from __future__ import annotations

import torch
from torch import fx
from torch.nn import functional as F

from deltac.rewrite.fused import add_product, dropped_linear
from deltac.rewrite.source import drop_unused


def fuse(graph: fx.Graph) -> None:
    """Applies both rules to what the delta added; the base's own calls stay as they are."""
    for node in list(graph.nodes):
        if "deltac" not in node.meta:
            continue
        with graph.inserting_before(node):
            made = _product(graph, node) or _dropped(graph, node)
        if made is not None:
            made.meta["deltac"] = node.meta["deltac"]
            node.replace_all_uses_with(made)
            graph.erase_node(node)
    drop_unused(graph)


def _product(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    if node.target is not torch.add or len(node.args) != 2:
        return None
    y, added = node.args
    if not _own_linear(added) or len(added.users) != 1:
        return None
    h, matrix = added.args
    return graph.call_function(add_product, (y, h, matrix, node.kwargs.get("alpha", 1.0)))


def _dropped(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    if not _own_linear(node):
        return None
    x, matrix = node.args
    if x.target is not F.dropout or len(x.users) != _readers(x):
        return None
    for user in list(x.users):
        if user is not node:  # a request for its dtype, which is the input's
            user.replace_input_with(x, x.args[0])
    return graph.call_function(dropped_linear, (x.args[0], matrix, *x.args[1:]))


def _readers(dropped: fx.Node) -> int:
    """How many users a dropped input may have: the call itself, and requests for its dtype."""
    return 1 + sum(user.target is getattr for user in dropped.users)


def _own_linear(node: fx.Node) -> bool:
    """Whether a node is a linear map without bias that a delta added."""
    return (
        isinstance(node, fx.Node)
        and node.target is F.linear
        and len(node.args) == 2
        and "deltac" in node.meta
    )
