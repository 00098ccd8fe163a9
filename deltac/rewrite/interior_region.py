"""Runs an interior region: finds the code for a call, or makes it on the first call of its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from deltac.rewrite.interior import parameters_of, trace_interior
from deltac.rewrite.interior_code import variant
from deltac.rewrite.interior_insert import Insertion, insert
from deltac.rewrite.source import Source

#: A check of the arguments at entry, and the code for calls that pass it.
Pair = tuple[Callable[..., bool], Callable[..., Any]]


@dataclass(frozen=True)
class Interior:
    """What an interior region does to the forward of its class.

    Attributes:
        enter: paths of the submodules whose forwards become part of the graph, parents first.
        insertions: what is inserted, in order.
    """

    enter: tuple[str, ...] = ()
    insertions: tuple[Insertion, ...] = ()


def dispatcher(base: type[nn.Module]) -> Source:
    """The forward of an interior region: it takes what the base's takes, and runs the code for such a call."""
    names: dict[str, Any] = {"call": call}
    head, passed, values = ["self"], [], []
    star = False
    for each in parameters_of(base):
        values.append(each.name)
        if each.kind is each.VAR_POSITIONAL:
            head.append(f"*{each.name}")
            passed.append(f"*{each.name}")
            star = True
            continue
        if each.kind is each.VAR_KEYWORD:
            head.append(f"**{each.name}")
            passed.append(f"**{each.name}")
            continue
        if each.kind is each.KEYWORD_ONLY and not star:
            head.append("*")
            star = True
        text = each.name
        if each.default is not each.empty:
            names[f"default_{each.name}"] = each.default
            text += f"=default_{each.name}"
        head.append(text)
        only = each.kind is each.KEYWORD_ONLY
        passed.append(f"{each.name}={each.name}" if only else each.name)
    lines = [
        f"def forward({', '.join(head)}):",
        "    if self.delta_disabled:",
        f"        return base_forward({', '.join(['self', *passed])})",
        f"    return call({', '.join(['self', *values])})",
    ]
    return Source("\n".join(lines) + "\n", tuple(sorted(names.items())), "forward")


def call(self: nn.Module, *values: Any) -> Any:
    """Runs the code for a call of an interior region.

    Raises:
        DeltacError: DLT508, DLT509 where there is no code for such a call and none can be made.
    """
    for accepts, run in self.delta_variants:
        if accepts(self, *values):
            return run(self, *values)
    return add_variant(self, values)[1](self, *values)


def add_variant(module: nn.Module, values: tuple) -> Pair:
    """Makes the code for calls like this one, and keeps it with the class."""
    region = type(module).delta_region
    interior = region.interior
    found = trace_interior(module, values, base=region.base, enter=interior.enter)
    for insertion in interior.insertions:
        insert(found.graph, insertion)
    made = variant(found)
    pair = made.accepts.function, made.run.function
    module.delta_variants.append(pair)
    return pair
