"""Puts operators on activations into the graph of a forward, at places that are no module's output."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from deltac.rewrite.source import Source


@dataclass(frozen=True)
class Insertion:
    """An operator inside a forward.

    Attributes:
        function: `output(x, y, *parameters)` of the operator.
        parameters: own names of its parameters in the region's module.
        after: path of the submodule whose output y is, or leads to the sum that y is.
        summed: whether y is the sum of that output and the residual, not the output itself.
    """

    function: Source
    parameters: tuple[str, ...]
    after: str
    summed: bool


def insert(graph: fx.Graph, insertion: Insertion) -> None:
    raise NotImplementedError
