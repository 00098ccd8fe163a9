"""MiSS: one shard, repeated over the columns of a weight."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._additive import AdditiveOperator
from deltac.operators._checks import check_at_most
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import Zeros
from deltac.operators._low_rank import matrix_shape
from deltac.operators._matrices import repeated


@dataclass(frozen=True)
class Miss(AdditiveOperator):
    """W' = W + [D D … D] with one shard D: [out, rank], repeated over the columns; the last one may be cut off.

    Folding x into pieces of `rank` inputs and adding those up computes the same with one thin product. D starts at
    zero, so the model starts as the base.
    """

    rank: int = option(64, "Columns of the shard D.", minimum=1, maximum=65536, trials=(3, 5))

    name: ClassVar = "miss"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "MiSS: Balancing LoRA Performance and Efficiency with Simple Shard Sharing",
        "Kang and Yin",
        2024,
        "https://arxiv.org/abs/2409.15371",
    )

    def parameters(self, site):
        """D: [out, rank]."""
        out, inner = matrix_shape(site)
        check_at_most("rank", self.rank, "the input size", inner)
        return {"D": NewParameter((out, self.rank), Zeros())}

    def weight(self, w, p):
        """W + [D D … D]."""
        return w + repeated(p.D, w.shape[1])
