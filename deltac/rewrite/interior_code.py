"""The Python of interior regions: a function that runs a graph, and one that says whether a call is one of its kind."""

from __future__ import annotations

from dataclasses import dataclass

from deltac.rewrite.interior import InteriorGraph
from deltac.rewrite.source import Module, Source, source_of


@dataclass(frozen=True)
class Variant:
    """The code for one way of calling a module.

    Attributes:
        accepts: `accepts(self, *arguments)`: whether a call is of this kind.
        run: `run(self, *arguments)`: what it does.
    """

    accepts: Source
    run: Source


def variant(interior: InteriorGraph) -> Variant:
    """The code of a graph, as it was traced or with nodes inserted."""
    arguments = ", ".join(("self", *interior.names))
    lines = [f"def accepts({arguments}):", "    return ("]
    lines += [
        f"        {'and ' if index else ''}{condition}"
        for index, condition in enumerate(interior.conditions)
    ]
    text = "\n".join([*lines, "    )", ""])
    accepts = Source(text, (("torch", Module("torch")),), "accepts")
    run = source_of(interior.graph, "run")
    # The module itself, as an argument of the attention call: fx has no node for it.
    return Variant(accepts, Source(run.text.replace("self.delta_self", "self"), run.names, "run"))
