"""Mixtures of experts: the linear that chooses among them, and the whole as the MLP of its block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import fx

from deltac.model.attention import PRODUCTS, name_of
from deltac.model.projections import Projection
from deltac.model.qkv import common_module, give

if TYPE_CHECKING:
    from deltac.model.graph import ModelGraph
    from deltac.model.roles import Roles

_CHOICE = {"topk", "argmax", "sort", "argsort"}


def router_roles(
    graph: ModelGraph,
    roles: Roles,
    own: Mapping[fx.Node, Projection],
    part: Callable[[fx.Node], str],
) -> dict[str, str]:
    """Gives routers their role: a linear whose output chooses among experts. Returns name → path of the mixture."""
    found: dict[str, str] = {}
    experts = [each.module for each in own.values() if each.experts]
    lists = [
        path
        for path, info in graph.modules.items()
        if info.class_name in ("ModuleList", "ModuleDict") or "Experts" in info.class_name
    ]
    for node in graph.trace.graph.nodes:
        if name_of(node) not in _CHOICE:
            continue
        stack, seen = [node], set()
        while stack:
            each = stack.pop()
            if each in seen:
                continue
            seen.add(each)
            if each in own:
                projection = own[each]
                child = part(each)
                inside = [m for m in [*experts, *lists] if m.startswith(f"{child}.")]
                block = child.rpartition(".")[0]
                beside = [m for m in experts if m.startswith(f"{block}.")]
                if inside or beside:
                    reason = f"its output chooses the experts ({node.meta['scope']})"
                    give(graph, roles, projection.name, "moe.router", reason)
                    whole = common_module([projection.module, *(inside or beside)])
                    found[projection.name] = whole
            elif each not in graph.projections and name_of(each) not in PRODUCTS:
                stack += each.all_input_nodes
    return found


def is_expert(projection: Projection, routers: Mapping[str, str]) -> bool:
    """Whether a linear belongs to one expert of several: its weight holds many, or a list below the router's module."""
    if projection.experts:
        return True
    for whole in routers.values():
        if projection.module.startswith(f"{whole}."):
            rest = projection.module.removeprefix(f"{whole}.").split(".")
            if any(part.isdigit() or part.startswith("expert_") for part in rest):
                return True
    return False


def mixture_roles(graph: ModelGraph, roles: Roles, routers: Mapping[str, str]) -> None:
    """A router with its experts is the block's MLP; a shared expert inside is a part of it."""
    for name, whole in routers.items():
        place = graph.stack_at(whole)
        if place is None or whole == ".".join(map(str, place)):
            continue
        roles.add(whole, "mlp", f"it holds the experts and their router {name}")
    wholes = set(routers.values())
    for path in roles.paths("mlp"):
        parts = path.split(".")
        above = {".".join(parts[:count]) for count in range(1, len(parts))}
        if above & wholes:
            roles.of[path].remove("mlp")
