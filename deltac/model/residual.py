"""Where the residual is added after a module's output, read off the traced run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from deltac.model.graph import ModelGraph

_ADD = {"add", "add_", "__add__", "__radd__", "__iadd__"}
_KEEPS_MEANING = {
    "dropout",
    "to",
    "float",
    "type_as",
    "contiguous",
    "view",
    "reshape",
    "clone",
    "_item",
    "mul",
    "__getitem__",
}

_CASTS = {"to", "float", "type_as"}


@dataclass(frozen=True)
class Residual:
    """The sum of a module's output and the residual stream.

    Attributes:
        modules: the modules whose output is that sum, innermost first; empty where it lies inside a forward method.
        scope: path of the module in whose forward the sum is made.
    """

    modules: tuple[str, ...]
    scope: str


def residual_after(graph: ModelGraph, path: str) -> Residual | None:
    """The sum into which the module's output goes, None where its output isn't added to a residual.

    A residual is a value that the module's own output was computed from: in `s = y + r`, r is an ancestor of y.
    """
    calls = graph.modules[path].calls
    if not calls or calls[0].output is None:
        return None
    total = sum_after(calls[0].output)
    if total is None:
        return None
    ends = [
        name
        for name, info in graph.modules.items()
        if any(call.output is total for call in info.calls)
    ]
    return Residual(tuple(reversed(ends)), total.meta["scope"])


def sum_after(
    output: fx.Node, *, passes: Callable[[fx.Node], bool] = lambda node: False, inside: bool = False
) -> fx.Node | None:
    """The sum of a value and a residual, None where there is none.

    Args:
        output: the node of the value.
        passes: which other nodes lead from the value to the sum, beside dropout and the like.
        inside: whether the graph is of one forward: there, what the forward is given counts as a residual too.
    """
    ancestors = _ancestors(output)
    frontier, seen = [output], {output}
    while frontier:
        node = frontier.pop(0)
        for user in node.users:
            if user in seen:
                continue
            name = _name(user)
            others = [operand for operand in user.all_input_nodes if operand not in seen]
            if name in _ADD and any(
                origin in ancestors or (inside and origin.op == "placeholder")
                for origin in map(_origin, others)
            ):
                return user
            # A sum with something else (a parallel branch) still leads to the residual; so does a change of dtype.
            if name in _ADD or (not others and (name in _KEEPS_MEANING or passes(user))):
                seen.add(user)
                frontier.append(user)
    return None


def _name(node: fx.Node) -> str:
    return node.target if node.op == "call_method" else getattr(node.target, "__name__", "")


def _origin(node: fx.Node) -> fx.Node:
    """What a value was before its dtype changed: a residual may be kept in float32."""
    while _name(node) in _CASTS:
        node = node.all_input_nodes[0]
    return node


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    stack = [node]
    while stack:
        for parent in stack.pop().all_input_nodes:
            if parent not in found and parent.op != "get_attr":
                found.add(parent)
                stack.append(parent)
    return found
