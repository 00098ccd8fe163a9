"""The attention calls of a traced run: which nodes are query, key and value, fused kernel or written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import fx

#: Products of two values of the run.
PRODUCTS = {"matmul", "__matmul__", "__rmatmul__", "bmm", "baddbmm", "einsum", "mm", "bmm_"}
_SOFTMAX = {"softmax", "_softmax"}
#: What may stand between the scores and the softmax, and between the softmax and the product with the values.
_BETWEEN = {
    "mul", "mul_", "div", "div_", "truediv", "__truediv__", "add", "add_", "sub", "where", "masked_fill",
    "masked_fill_", "to", "type_as", "float", "dropout", "view", "reshape", "contiguous", "tanh", "clamp", "max",
    "__getitem__", "_item", "cat", "nan_to_num", "transpose", "permute", "unsqueeze", "squeeze", "expand",
    "__setitem__", "_written", "pad", "flatten", "bfloat16", "half", "type", "__add__", "__mul__",
    "stack", "gather", "scatter", "select", "narrow", "as_strided", "chunk", "split", "_constant", "sigmoid",
}  # fmt: skip


@dataclass(frozen=True)
class AttentionCall:
    """One attention of the run.

    Attributes:
        query: the node that goes in as query; likewise `key` and `value`.
        output: the node that comes out.
        scope: path of the module in whose forward it was called.
        weights: where the call makes the projections itself, the nodes of their weights by part.
    """

    query: fx.Node
    key: fx.Node
    value: fx.Node
    output: fx.Node
    scope: str
    weights: Mapping[str, fx.Node] = field(default_factory=dict)


def attention_calls(graph: fx.Graph) -> list[AttentionCall]:
    """Every attention in the order of the run: `scaled_dot_product_attention`, or softmax(q kᵀ) v written out."""
    return [*_calls(graph)]


def name_of(node: fx.Node) -> str:
    """The name of the function that a node calls."""
    return getattr(node.target, "__name__", str(node.target))


def _calls(graph: fx.Graph) -> Iterator[AttentionCall]:
    for node in graph.nodes:
        name = name_of(node)
        if name == "scaled_dot_product_attention":
            query, key, value = _arguments(node)
            yield AttentionCall(query, key, value, node, node.meta["scope"])
        elif name == "multi_head_attention_forward":
            query, key, value = _arguments(node)
            yield AttentionCall(query, key, value, node, node.meta["scope"], _weights(node))
        elif (name in _SOFTMAX or _is_softmax(node)) and node.all_input_nodes:
            scores = _product_before(node)
            mixed = _product_after(node)
            if scores is not None and mixed is not None:
                # baddbmm's first operand is what is added to the product (a bias for the positions).
                query, key = scores.all_input_nodes[-2:]
                weights = _on_path(mixed, node)
                value = next((x for x in mixed.all_input_nodes if x is not weights), None)
                if value is not None:
                    yield AttentionCall(query, key, value, mixed, node.meta["scope"])


def _is_softmax(node: fx.Node) -> bool:
    """Whether it is exp(x - logsumexp(x)): a softmax written out."""
    if name_of(node) != "exp":
        return False
    (difference,) = node.all_input_nodes[:1] or (node,)
    names = {name_of(each) for each in difference.all_input_nodes}
    return name_of(difference) in ("sub", "__sub__") and "logsumexp" in names


def _weights(node: fx.Node) -> dict[str, fx.Node]:
    """The weights that torch's own attention function was given."""
    named = {"output": node.kwargs.get("out_proj_weight", node.args[11:12] and node.args[11])}
    for part in ("query", "key", "value"):
        named[part] = node.kwargs.get(f"{part[0]}_proj_weight") or node.args[5]
    return {part: each for part, each in named.items() if isinstance(each, fx.Node)}


def _arguments(node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node]:
    named = [node.kwargs.get(name) for name in ("query", "key", "value")]
    found = [*node.args[:3], *[x for x in named if x is not None]]
    return found[0], found[1], found[2]


def _product_before(softmax: fx.Node) -> fx.Node | None:
    """The product q kᵀ that the scores come from."""
    start = softmax.all_input_nodes[0]
    frontier, seen = [start], set()
    while frontier:
        node = frontier.pop(0)
        if node in seen:
            continue
        seen.add(node)
        if name_of(node) in PRODUCTS and len(node.all_input_nodes) >= 2:
            return node
        if name_of(node) in _BETWEEN:
            frontier += node.all_input_nodes
    return None


def _product_after(softmax: fx.Node) -> fx.Node | None:
    """The product of the attention weights with the values."""
    frontier, seen = [*softmax.users], set()
    while frontier:
        node = frontier.pop(0)
        if node in seen:
            continue
        seen.add(node)
        if name_of(node) in PRODUCTS:
            return node
        if name_of(node) in _BETWEEN:
            frontier += node.users
    return None


def _on_path(product: fx.Node, softmax: fx.Node) -> fx.Node | None:
    """The operand of the product that comes from the softmax."""
    for operand in product.all_input_nodes:
        frontier, seen = [operand], set()
        while frontier:
            node = frontier.pop()
            if node is softmax:
                return operand
            if node not in seen and name_of(node) in _BETWEEN:
                seen.add(node)
                frontier += node.all_input_nodes
    return None
