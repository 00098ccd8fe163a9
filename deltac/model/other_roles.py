"""The roles that need no dataflow: blocks, linears, norms, embeddings, the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltac.model.graph import ModelGraph
    from deltac.model.roles import Roles


def other_roles(graph: ModelGraph, roles: Roles) -> None:
    """Gives blocks, their linears, norms, embeddings and the head their roles."""
    for path, info in graph.modules.items():
        if info.stack is not None and path == f"{info.stack[0]}.{info.stack[1]}":
            roles.add(path, "block", f"it is number {info.stack[1]} of {info.stack[0]}")
        router = "moe.router" in roles.of.get(path, ())
        if info.layout == "linear" and info.stack is not None and not router:
            roles.add(path, "linear", "it is a linear inside a block")
        if info.layout == "norm":
            roles.add(path, "norm", f"its class is {info.class_name}")
        if info.layout == "embedding":
            roles.add(path, "embedding", f"its class is {info.class_name}")
    output = graph.model.get_output_embeddings()
    for path, module in graph.model.named_modules():
        if output is not None and module is output:
            roles.add(path, "head", "it is the model's output embedding")
