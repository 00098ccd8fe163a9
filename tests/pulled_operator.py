"""Operators with a penalty: one as the contract asks, and some that break it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from deltac.operators import NewParameter, Operator, Paper, Zeros


@dataclass(frozen=True)
class Pulled(Operator):
    """W' = W + D, and Σ (D − 1)² / 2 in the loss: nothing of it is random."""

    name: ClassVar = "pulled"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper("A paper", "Some Body", 2020, "https://example.org/paper")

    def parameters(self, site):
        """`D`: the shape of W."""
        return {"D": NewParameter(site.shape, Zeros())}

    def weight(self, w, p):
        """W + D."""
        return w + p.D

    def penalty(self, p):
        """Σ (D − 1)² / 2."""
        return 0.5 * (p.D - 1).square().sum()


@dataclass(frozen=True)
class PulledVector(Pulled):
    """Its penalty is no scalar."""

    def penalty(self, p):
        """A vector."""
        return p.D.square().sum(0)


@dataclass(frozen=True)
class PulledByNothing(Pulled):
    """Its penalty depends on no parameter."""

    def penalty(self, p):
        """A constant."""
        return torch.ones(())


@dataclass(frozen=True)
class PulledByMistake(Pulled):
    """Its penalty fails."""

    def penalty(self, p):
        """Reads a parameter that isn't there."""
        return p.E.sum()
