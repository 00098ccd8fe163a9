"""Roles read off the dataflow: which linear makes queries, which one stands before the activation, and so on.

No table per architecture: an attention call tells its projections, and what is left in a block is its MLP.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import fx

from deltac.model.attention import AttentionCall, attention_calls, name_of

if TYPE_CHECKING:
    from deltac.model.graph import ModelGraph

_ACTIVATIONS = {
    "gelu", "relu", "relu_", "silu", "silu_", "tanh", "sigmoid", "relu6", "leaky_relu", "hardswish", "mish",
    "softplus", "elu", "celu", "selu", "quick_gelu", "erf", "hardtanh", "square", "pow",
}  # fmt: skip
_PRODUCTS = {"matmul", "__matmul__", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention"}


@dataclass
class Roles:
    """The roles of a model.

    Attributes:
        of: module path → its roles, sorted.
        why: module path → sentences of evidence from the dataflow.
    """

    of: dict[str, list[str]] = field(default_factory=dict)
    why: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, role: str, reason: str) -> None:
        """Gives a module a role."""
        roles = self.of.setdefault(path, [])
        if role not in roles:
            roles.append(role)
            roles.sort()
        if reason not in self.why.setdefault(path, []):
            self.why[path].append(reason)

    def paths(self, role: str) -> list[str]:
        """The modules that have a role, in the model's order."""
        return [path for path, roles in self.of.items() if role in roles]


def infer_roles(graph: ModelGraph) -> Roles:
    """The roles of every module, from one traced run."""
    roles = Roles()
    linears = _linear_nodes(graph)
    attentions = attention_calls(graph.trace.graph)
    projections: set[str] = set()
    for call in attentions:
        projections |= _attention_roles(graph, roles, linears, call)
    _mlp_roles(graph, roles, linears, projections)
    _other_roles(graph, roles, linears)
    ordered = {path: roles.of[path] for path in graph.modules if path in roles.of}
    return Roles(ordered, roles.why)


def _linear_nodes(graph: ModelGraph) -> dict[fx.Node, str]:
    """The node of each linear module's product → the module's path. A Conv1D's `addmm` counts."""
    found = {}
    for node in graph.trace.graph.nodes:
        scope = node.meta.get("scope")
        info = graph.modules.get(scope) if scope else None
        if info is not None and info.layout == "linear" and name_of(node) in ("linear", "addmm"):
            found[node] = scope
    return found


def _attention_roles(
    graph: ModelGraph, roles: Roles, linears: Mapping[fx.Node, str], call: AttentionCall
) -> set[str]:
    parts = {
        part: _nearest(graph, getattr(call, part), linears, call.scope)
        for part in ("query", "key", "value")
    }
    output = _first_after(call.output, linears)
    prefix = "cross-attention" if _is_cross(graph, parts) else "attention"
    used: set[str] = set()
    for part, nodes in parts.items():
        for node in nodes:
            path = linears[node]
            shared = [other for other, found in parts.items() if node in found]
            if len(shared) > 1:
                role = "qkv" if len(shared) == 3 else "kv" if "query" not in shared else "qk"
                reason = (
                    f"its output becomes {' and '.join(shared)} of the attention in {call.scope}"
                )
                roles.add(path, f"{prefix}.{role}", reason)
            else:
                reason = f"its output becomes the {part} of the attention in {call.scope}"
                roles.add(path, f"{prefix}.{part}", reason)
            used.add(path)
    if output is not None:
        path = linears[output]
        roles.add(path, f"{prefix}.output", f"it reads the output of the attention in {call.scope}")
        used.add(path)
    if used:
        whole = _common_module([call.scope, *used])
        roles.add(whole, prefix, f"it holds the attention call and its projections ({call.scope})")
    return used


def _nearest(
    graph: ModelGraph, start: fx.Node, linears: Mapping[fx.Node, str], scope: str
) -> list[fx.Node]:
    """The linears that a value comes from, without passing through another linear or another product."""
    found, stack, seen = [], [start], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in linears:
            found.append(node)
        elif name_of(node) not in _PRODUCTS:
            stack += node.all_input_nodes
    stack_of = graph.modules[scope].stack if scope in graph.modules else None
    near = [node for node in found if graph.modules[linears[node]].stack == stack_of]
    return sorted(near or found, key=lambda node: linears[node])


def _first_after(start: fx.Node, linears: Mapping[fx.Node, str]) -> fx.Node | None:
    """The first linear that reads a value, through anything but another product."""
    frontier, seen = [start], {start}
    while frontier:
        node = frontier.pop(0)
        for user in node.users:
            if user in linears:
                return user
            if user not in seen and name_of(user) not in _PRODUCTS:
                seen.add(user)
                frontier.append(user)
    return None


def _is_cross(graph: ModelGraph, parts: Mapping[str, Collection[fx.Node]]) -> bool:
    """Whether keys come from another stream than queries: nothing that enters the block feeds both."""
    queries = {root for node in parts["query"] for root in _entering(graph, node)}
    keys = {root for node in parts["key"] for root in _entering(graph, node)}
    return bool(queries and keys) and not queries & keys


def _entering(graph: ModelGraph, linear: fx.Node) -> set[fx.Node]:
    """The values from outside its block that a linear's input is computed from."""
    block = _block_of(graph, linear)
    found, stack, seen = set(), [_input(linear)], set()
    while stack:
        node = stack.pop()
        if node in seen or node.op == "get_attr":
            continue
        seen.add(node)
        if _block_of(graph, node) != block or not node.all_input_nodes:
            found.add(node)
        else:
            stack += node.all_input_nodes
    return found


def _block_of(graph: ModelGraph, node: fx.Node) -> tuple[str, int] | None:
    info = graph.modules.get(node.meta.get("scope") or "")
    return info.stack if info else None


def _input(node: fx.Node) -> fx.Node:
    """The x of a linear's node; weight and bias are `get_attr` nodes."""
    return next(x for x in node.all_input_nodes if x.op != "get_attr")


def _mlp_roles(
    graph: ModelGraph, roles: Roles, linears: Mapping[fx.Node, str], projections: Collection[str]
) -> None:
    own = {node: path for node, path in linears.items() if path not in projections}
    for node, path in own.items():
        place = graph.modules[path].stack
        if place is None:
            continue
        before = [
            n for n in _sources(node, linears) if n in own and graph.modules[own[n]].stack == place
        ]
        if not before or not any(_passes_activation(n, node, graph) for n in before):
            continue
        gates = [n for n in before if _passes_activation(n, node, graph)]
        names = [own[n] for n in before]
        roles.add(path, "mlp.down", f"it reads what {', '.join(names)} make, after an activation")
        for source in before:
            gated = len(before) > 1 and source in gates
            fused = len(before) == 1 and _is_halved(source, node)
            role = "gate" if gated else "gate-up" if fused else "up"
            what = "the activation" if source in gates else "the product with the gate"
            roles.add(own[source], f"mlp.{role}", f"its output goes through {what} into {path}")
        whole = _common_module([path, *names])
        # In BERT or OPT the two linears lie in the block itself: then no module is the MLP.
        if whole != ".".join(map(str, place)):
            roles.add(whole, "mlp", f"it holds {', '.join(sorted({path, *names}))}")


def _sources(linear: fx.Node, linears: Mapping[fx.Node, str]) -> list[fx.Node]:
    """The linears whose outputs reach a linear's input elementwise."""
    start = _input(linear)
    found, stack, seen = [], [start], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in linears:
            found.append(node)
        elif name_of(node) not in _PRODUCTS and name_of(node) not in ("add", "layer_norm", "rsqrt"):
            stack += node.all_input_nodes
    return found


def _is_halved(source: fx.Node, end: fx.Node) -> bool:
    """Whether a linear makes gate and up at once: twice as wide as what comes out of their product."""
    width = _input(end)
    return source.meta["shape"][-1] == 2 * width.meta["shape"][-1]


def _passes_activation(source: fx.Node, end: fx.Node, graph: ModelGraph) -> bool:
    """Whether an activation function stands on the way from one linear to the next."""
    stack, seen = [(source, False)], set()
    while stack:
        node, active = stack.pop()
        for user in node.users:
            if user is end:
                if active:
                    return True
                continue
            # The gate's product with another linear's output ends what is the gate's own.
            mark = active or name_of(user) in _ACTIVATIONS
            if (
                (user, mark) not in seen
                and name_of(user) not in _PRODUCTS
                and name_of(user) != "linear"
            ):
                seen.add((user, mark))
                stack.append((user, mark))
    return False


def _other_roles(graph: ModelGraph, roles: Roles, linears: Mapping[fx.Node, str]) -> None:
    for path, info in graph.modules.items():
        if info.stack is not None and path == f"{info.stack[0]}.{info.stack[1]}":
            roles.add(path, "block", f"it is number {info.stack[1]} of {info.stack[0]}")
        if info.layout == "linear" and info.stack is not None:
            roles.add(path, "linear", "it is a linear inside a block")
        if info.layout == "norm":
            roles.add(path, "norm", f"its class is {info.class_name}")
        if info.layout == "embedding":
            roles.add(path, "embedding", f"its class is {info.class_name}")
    output = graph.model.get_output_embeddings()
    for path, module in graph.model.named_modules():
        if output is not None and module is output:
            roles.add(path, "head", "it is the model's output embedding")


def _common_module(paths: Iterable[str]) -> str:
    """The smallest module that holds all of them; of a single linear, the module around it."""
    parts = [path.split(".") for path in dict.fromkeys(paths)]
    common = []
    for segments in zip(*parts, strict=False):
        if len(set(segments)) > 1:
            break
        common.append(segments[0])
    return ".".join(common)
