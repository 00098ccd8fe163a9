"""Operators that each break one law."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators import NewParameter, Normal, Operator, Paper, Refusal, Zeros, option

PAPER = Paper("A paper", "Some Body", 2020, "https://example.org/paper")


class _Base:
    name: ClassVar = "broken"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = PAPER


@dataclass(frozen=True)
class Moves(_Base, Operator):
    """W + d, said to start as the base, though d does not start at zero."""

    def parameters(self, site):
        """`d`: [in]."""
        return {"d": NewParameter(site.shape[-1:], Normal(0.1))}

    def weight(self, w, p):
        """W + d."""
        return w + p.d


@dataclass(frozen=True)
class Idle(_Base, Operator):
    """W + 0 · d: nothing that is trained has an effect."""

    def parameters(self, site):
        """`d`: [in]."""
        return {"d": NewParameter(site.shape[-1:], Zeros())}

    def weight(self, w, p):
        """W + 0 · d."""
        return w + 0.0 * p.d


@dataclass(frozen=True)
class Picky(_Base, Operator):
    """Accepts nothing."""

    def parameters(self, site):
        """Refuses."""
        raise Refusal("not here")


@dataclass(frozen=True)
class Unbounded(_Base, Operator):
    """W + d with a number that has no bound."""

    size: int = option(1, "How many.")
