"""Initial values of index tensors: which entries of a matrix a delta acts on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deltac.sites import Shape


@dataclass(frozen=True)
class RandomEntries:
    """Different numbers below `below`, drawn at random, in rising order."""

    below: int
    name = "random-entries"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """int64 numbers of that shape, [n]."""
        (count,) = shape
        return torch.randperm(self.below, generator=generator, device="cpu")[:count].sort().values


@dataclass(frozen=True)
class LargestEntries:
    """The places, row · columns + column, of the weight's entries that are largest in size, in rising order."""

    name = "largest-entries"
    needs_weight = True

    def __call__(
        self, shape: Shape, generator: torch.Generator, weight: torch.Tensor
    ) -> torch.Tensor:
        """int64 numbers of that shape, [n]; equal sizes in the order of their places."""
        (count,) = shape
        order = weight.abs().flatten().sort(descending=True, stable=True).indices
        return order[:count].sort().values
