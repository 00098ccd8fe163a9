"""LoHa: the elementwise product of two low-rank matrices."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import KaimingUniform, Zeros
from deltac.operators._low_rank import check_rank


@dataclass(frozen=True)
class Loha(AdditiveOperator):
    """W' = W + s (B₁ A₁) ⊙ (B₂ A₂) with B: [out, rank] and A: [rank, in], s = alpha / rank.

    The product has a rank of up to rank². A₂ starts at zero, so the model starts as the base; A₁ is uniform on
    ±1/sqrt(in), B₁ and B₂ on ±1/sqrt(rank). No cheaper way is known to compute it than with the whole matrix.
    """

    rank: int = option(8, "Rank of B₁ A₁ and of B₂ A₂.", minimum=1, maximum=65536)
    alpha: float | None = option(
        None, "Numerator of the scale s. Without it s = 1, at any rank.", above=0
    )

    name: ClassVar = "loha"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "FedPara: Low-rank Hadamard Product for Communication-Efficient Federated Learning",
        "Hyeon-Woo et al.",
        2022,
        "https://arxiv.org/abs/2108.06098",
    )

    def parameters(self, site):
        """A1 and A2: [rank, in], B1 and B2: [out, rank]."""
        out, inner = check_rank(self.rank, site)
        drawn = KaimingUniform()
        return {
            "A1": NewParameter((self.rank, inner), drawn),
            "B1": NewParameter((out, self.rank), drawn),
            "A2": NewParameter((self.rank, inner), Zeros()),
            "B2": NewParameter((out, self.rank), drawn),
        }

    def weight(self, w, p):
        """W + s (B₁ A₁) ⊙ (B₂ A₂)."""
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        return w + scale * ((p.B1 @ p.A1) * (p.B2 @ p.A2))
