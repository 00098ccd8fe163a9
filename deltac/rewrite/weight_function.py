"""An operator's `weight(w, p)`, traced: what the passes read, and what runs where nothing cheaper holds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import fx, nn

from deltac.operators import Operator
from deltac.rewrite.source import Source, drop_unused, source_of
from deltac.sites import Shape


@dataclass(frozen=True)
class WeightFunction:
    """W' computed from W and the delta's parameters: the inserted form, always right.

    It runs with autocast off and in the widest dtype of its arguments; W' has the dtype of W.

    Attributes:
        name: the name it is called by in generated code.
        source: its Python text.
    """

    name: str
    source: Source

    @property
    def __name__(self) -> str:
        # torch.fx names a call's function in the generated code by this.
        return self.name

    def __call__(self, w: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        """W' for these values."""
        dtype = functools.reduce(torch.promote_types, (p.dtype for p in parameters), w.dtype)
        with torch.autocast(w.device.type, enabled=False):
            wide = [p.to(dtype) for p in parameters]
            return self.source.function(w.to(dtype), *wide).to(w.dtype)


def trace_weight(operator: Operator, names: Iterable[str]) -> fx.Graph:
    """The graph of `operator.weight`: a placeholder for w, then one for each parameter, in order."""
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    w = fx.Proxy(graph.placeholder("w"), tracer)
    p = SimpleNamespace(**{name: fx.Proxy(graph.placeholder(name), tracer) for name in names})
    graph.output(_node(operator.weight(w, p)))
    drop_unused(graph)
    return graph


def weight_function(name: str, graph: fx.Graph) -> WeightFunction:
    """A callable of a traced weight function."""
    return WeightFunction(name, source_of(graph, "weight", root=None))


def _node(value: Any) -> fx.Node:
    if not isinstance(value, fx.Proxy):
        raise TypeError(f"weight() returned {type(value).__name__}, not a tensor made from w")
    return value.node


def additive_part(graph: fx.Graph) -> list[tuple[float, fx.Node]] | None:
    """The terms D of a function that reads W + D, each with its factor; None where the function has another form.

    A term doesn't depend on W. `w + s * (B @ A)` gives `[(s, B @ A)]`.
    """
    w = next(iter(graph.nodes))
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    terms = [(factor, node) for factor, node in _terms(output, 1.0)]
    own = [(factor, node) for factor, node in terms if node is w]
    rest = [(factor, node) for factor, node in terms if node is not w]
    if own != [(1.0, w)] or any(_depends_on(node, w) for _, node in rest):
        return None
    return rest


def _terms(node: Any, factor: float) -> list[tuple[float, fx.Node]]:
    """A sum as its terms, numbers multiplied out."""
    name, args = _name(node), getattr(node, "args", ())
    if (
        name in ("add", "sub")
        and len(args) == 2
        and all(isinstance(arg, fx.Node) for arg in args)
        and not node.kwargs
    ):
        sign = -1.0 if name == "sub" else 1.0
        return _terms(args[0], factor) + _terms(args[1], sign * factor)
    if name == "mul" and len(args) == 2:
        numbers = [arg for arg in args if isinstance(arg, (int, float))]
        nodes = [arg for arg in args if isinstance(arg, fx.Node)]
        if len(numbers) == len(nodes) == 1:
            return _terms(nodes[0], factor * numbers[0])
    if name == "truediv" and isinstance(args[1], (int, float)) and isinstance(args[0], fx.Node):
        return _terms(args[0], factor / args[1])
    if name == "neg":
        return _terms(args[0], -factor)
    return [(factor, node)]


def _name(node: Any) -> str:
    if not isinstance(node, fx.Node) or node.op not in ("call_function", "call_method"):
        return ""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def shapes_of(graph: fx.Graph, inputs: Iterable[Shape]) -> dict[fx.Node, Shape]:
    """The shape of every node of a traced weight function, for inputs of these shapes; nothing is computed."""
    shapes: dict[fx.Node, Shape] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            shapes[n] = tuple(getattr(value, "shape", ()))
            return value

    Recorder(fx.GraphModule(nn.Module(), graph)).run(
        *(torch.empty(s, device="meta") for s in inputs)
    )
    return shapes


def low_rank(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The factors (B, A) of a term that is the product of two parameters."""
    if _name(node) in ("matmul", "mm") and all(
        isinstance(arg, fx.Node) and arg.op == "placeholder" for arg in node.args
    ):
        return node.args[0], node.args[1]
    return None


def _depends_on(node: fx.Node, w: fx.Node) -> bool:
    return node is w or any(_depends_on(parent, w) for parent in node.all_input_nodes)


def subfunction(graph: fx.Graph, node: fx.Node) -> tuple[fx.Graph, list[str]]:
    """The part of a traced function that computes one node, with the names of the parameters that it needs."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    needed: Callable[[fx.Node], bool] = _ancestors(node).__contains__
    names = []
    for old in graph.nodes:
        if needed(old):
            copies[old] = part.node_copy(old, copies.__getitem__)
            if old.op == "placeholder":
                names.append(str(old.target))
    part.output(copies[node])
    return part, names


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found, stack = {node}, [node]
    while stack:
        for parent in stack.pop().all_input_nodes:
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    return found
