"""LoKr: a Kronecker product, one factor of it of low rank."""

import math
from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._additive import AdditiveOperator
from deltac.operators._checks import check_at_most, check_divides
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import KaimingUniform, Zeros
from deltac.operators._low_rank import matrix_shape
from deltac.operators._matrices import kronecker


@dataclass(frozen=True)
class Lokr(AdditiveOperator):
    """W' = W + s C ⊗ (B A) with C: [o, i], B: [out / o, rank] and A: [rank, in / i], s = alpha / rank.

    The change has a rank of up to rank · min(o, i). C starts at zero, so the model starts as the base; B is uniform on
    ±1/sqrt(rank) and A on ±1/sqrt(in / i). o and i are `factor`; without it the largest divisors of out and of in that
    are no larger than their square roots.
    """

    rank: int = option(8, "Rank of B A.", minimum=1, maximum=65536)
    alpha: float | None = option(
        None, "Numerator of the scale s. Without it s = 1, at any rank.", above=0
    )
    factor: int | None = option(
        None,
        "Rows and columns of C; it divides out and in. Without it C is about as large as the other factor.",
        minimum=1,
        maximum=65536,
        trials=(2,),
    )

    name: ClassVar = "lokr"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
        "Yeh et al.",
        2024,
        "https://arxiv.org/abs/2309.14859",
    )

    def parameters(self, site):
        """C: [o, i], B: [out / o, rank] and A: [rank, in / i]."""
        out, inner = matrix_shape(site)
        if self.factor is not None:
            check_divides("factor", self.factor, "the output size", out)
            check_divides("factor", self.factor, "the input size", inner)
        o, i = (self.factor or _near_root(size) for size in (out, inner))
        check_at_most("rank", self.rank, "min(out / o, in / i)", min(out // o, inner // i))
        return {
            "C": NewParameter((o, i), Zeros()),
            "B": NewParameter((out // o, self.rank), KaimingUniform()),
            "A": NewParameter((self.rank, inner // i), KaimingUniform()),
        }

    def weight(self, w, p):
        """W + s C ⊗ (B A)."""
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        return w + scale * kronecker(p.C, p.B @ p.A)


def _near_root(size):
    return next(number for number in range(math.isqrt(size), 0, -1) if size % number == 0)
