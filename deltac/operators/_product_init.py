"""Initial factors A: [rank, in] and B: [out, rank], random and not zero, whose product B A is zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from deltac.operators._init import Normal
from deltac.sites import Shape


@dataclass(frozen=True)
class Orthogonal:
    """Normal values with standard deviation `std`, projected so that the rows of B and the columns of A are orthogonal.

    Every other vector of an orthonormal basis of R^rank spans the columns of A, the rest the rows of B, after
    https://datta0.github.io/posts/rethink-lora-init/. The basis is that of the cosine transform, the same for both.
    """

    side: Literal["left", "right"]
    std: float
    name = "orthogonal"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """B for the left side, A for the right one."""
        rank = shape[1] if self.side == "left" else shape[0]
        if self.side == "left":
            half = cosines(rank)[1::2]
            return Normal(self.std)((shape[0], len(half)), generator) @ half
        half = cosines(rank)[0::2]
        return half.T @ Normal(self.std)((len(half), shape[1]), generator)


def cosines(n: int) -> torch.Tensor:
    """The orthonormal basis of the discrete cosine transform (DCT-II), one vector a row: [n, n]."""
    row, column = torch.meshgrid(
        torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64), indexing="ij"
    )
    basis = (math.pi / n * row * (column + 0.5)).cos() * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis
