"""SHiRA: a sparse change of a weight, of any rank."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._entries import LargestEntries, RandomEntries
from deltac.operators._fields import option
from deltac.operators._init import Zeros
from deltac.operators._low_rank import matrix_shape
from deltac.operators._sparse import sparse


@dataclass(frozen=True)
class Shira(AdditiveOperator):
    """W' = W + S, S zero but at a fixed share of the entries, whose values are trained.

    The entries are drawn at random, or are those where the base's weight is largest in size; they are saved with the
    delta. S starts at zero, so the model starts as the base.
    """

    density: float = option(
        0.01, "Share of the weight's entries that S changes.", above=0, maximum=0.5, trials=(0.1,)
    )
    mask: Literal["random", "magnitude"] = option(
        "random", "Which entries: random ones, or those with the largest |W|.", effect="start"
    )

    name: ClassVar = "shira"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Sparse High Rank Adapters",
        "Bhardwaj et al.",
        2024,
        "https://arxiv.org/abs/2406.13175",
    )

    def parameters(self, site):
        """values: [n]; entries: [n], fixed, row · in + column of each, in rising order."""
        out, inner = matrix_shape(site)
        count = max(1, round(self.density * out * inner))
        entries = RandomEntries(out * inner) if self.mask == "random" else LargestEntries()
        return {
            "values": NewParameter((count,), Zeros()),
            "entries": NewParameter((count,), entries, trainable=False, dtype="int64"),
        }

    def weight(self, w, p):
        """W + S."""
        return w + sparse(p.values, p.entries, *w.shape)
