"""The products of the run with a weight: linears of any class, and matrices that belong to no linear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx

from deltac.model.attention import PRODUCTS, name_of

if TYPE_CHECKING:
    from deltac.model.graph import ModelGraph

#: What shows a weight in another form: transposed, cast, its experts chosen.
_FORMS = {
    "t", "T", "__get__", "transpose", "permute", "to", "type", "type_as", "float", "view", "reshape", "contiguous",
    "__getitem__", "index_select", "unsqueeze", "squeeze", "expand", "flatten", "_item", "chunk", "split", "unbind",
    "swapaxes", "movedim",
}  # fmt: skip
#: Those that exchange the last two dimensions.
_FLIPS = {"t", "T", "__get__", "transpose", "swapaxes", "permute", "movedim"}
_LINEAR = {"linear", "addmm"}
_GROUPED = {"_grouped_mm", "grouped_mm", "_grouped_linear", "grouped_mm_fallback"}


@dataclass(frozen=True)
class Projection:
    """One product with a weight.

    Attributes:
        node: the product.
        input: the value that is multiplied, None where it is a weight, too.
        module: path of the module that owns the weight.
        name: what a role is given to: the module, or the weight's full name where the module holds more than one.
        experts: whether the weight holds the matrices of several experts.
        transposed: whether the weight stands as [in, out], going by the forms on its way into the product.
        axis: the dimension of the features in the product and in what is multiplied.
    """

    node: fx.Node
    input: fx.Node | None
    module: str
    name: str
    experts: bool = False
    transposed: bool = False
    axis: int = -1


def find_projections(graph: ModelGraph) -> dict[fx.Node, Projection]:
    """Every product with a weight, by its node, in the order of the run."""
    found: dict[fx.Node, Projection] = {}
    for node in graph.trace.graph.nodes:
        if node.op != "call_function":
            continue
        name = name_of(node)
        if name in PRODUCTS | _LINEAR | _GROUPED or name == "conv1d":
            made = _projection(graph, node, name)
            if made is not None:
                found[node] = made
    return found


def _projection(graph: ModelGraph, node: fx.Node, name: str) -> Projection | None:
    operands = {operand: weight_of(operand) for operand in node.all_input_nodes}
    own = {operand: weight for operand, weight in operands.items() if weight in graph.parameters}
    weight = next((w for w in own.values() if len(graph.parameters[w].shape) >= 2), None)
    if weight is None and name in _LINEAR:
        weight = _only_matrix(graph, node.meta["scope"])
    if weight is None:
        return None
    weight = _in_scope(graph, weight, node.meta["scope"])
    shape = graph.parameters[graph.tied.get(weight, weight)].shape
    if name == "conv1d" and shape[2:] != (1,):
        return None  # it mixes neighbours
    data = next((x for x in node.all_input_nodes if x not in own), None)
    module, _, _ = weight.rpartition(".")
    info = graph.modules[module]
    matrices = [each for each in info.parameters.values() if len(each.shape) >= 2]
    alone = len(matrices) == 1
    experts = len(shape) == 3 and name not in ("einsum", "conv1d")
    name = module if alone and not experts else weight
    if not experts:
        return Projection(node, data, module, name)
    operand = next(x for x in node.all_input_nodes if x in own)
    left = name_of(node) in PRODUCTS and node.args[0] is operand
    untransposed = left or name_of(node) in _LINEAR
    return Projection(
        node,
        data,
        module,
        name,
        experts=True,
        transposed=_flips(operand) == untransposed,
        axis=-2 if left else -1,
    )


def _flips(node: fx.Node) -> bool:
    """Whether the last two dimensions of a weight have changed places in this form of it."""
    flipped = False
    while node.op != "get_attr":
        flipped ^= name_of(node) in _FLIPS
        node = node.all_input_nodes[0]
    return flipped


def weight_of(node: fx.Node) -> str | None:
    """The weight that a value is a form of."""
    while node.op != "get_attr":
        inputs = node.all_input_nodes
        if not inputs or name_of(node) not in _FORMS:
            return None
        node = inputs[0]
    return str(node.target)


def _in_scope(graph: ModelGraph, weight: str, scope: str) -> str:
    """The name that a tied weight has in the module that is running."""
    own = graph.modules[scope].parameters if scope in graph.modules else {}
    names = (f"{scope}.{name}" for name in own)
    return next((name for name in names if graph.tied.get(name) == weight), weight)


def _only_matrix(graph: ModelGraph, scope: str) -> str | None:
    """The one matrix of the module that is running: of a linear whose weight was changed on the way, as by rounding."""
    own = graph.modules[scope].parameters if scope in graph.modules else {}
    matrices = [name for name, info in own.items() if len(info.shape) == 2]
    return f"{scope}.{matrices[0]}" if len(matrices) == 1 else None


def depends_on_input(graph: ModelGraph) -> Mapping[fx.Node, bool]:
    """Whether a value of the run follows from the model's inputs, or from its weights and constants alone."""
    found: dict[fx.Node, bool] = {}
    for node in graph.trace.graph.nodes:
        found[node] = node.op == "placeholder" or any(found[x] for x in node.all_input_nodes)
    return found
