"""AdaLoRA: a low-rank change of a weight in the form of a singular value decomposition."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import Normal, Zeros
from deltac.operators._low_rank import LowRankOperator


@dataclass(frozen=True)
class AdaLora(LowRankOperator, AdditiveOperator):
    """W' = W + s P diag(λ) Q with P: [out, rank], λ: [rank] and Q: [rank, in], s = alpha / rank.

    λ starts at zero, so the model starts as the base; P and Q start normal with std 0.02. The training loss gets
    γ (‖PᵀP − I‖² + ‖QQᵀ − I‖²) for each weight, which keeps the columns of P and the rows of Q orthonormal: the sum of
    squares of the paper's equation, where the authors' code and PEFT take γ times the mean of the norms. The rank stays
    as it is: no singular value is pruned yet.
    """

    rank: int = option(12, "Rank of the product P diag(λ) Q.", minimum=1, maximum=65536)
    penalty_weight: float = option(
        0.1, "The factor γ of the penalty in the training loss.", above=0, effect="training"
    )

    name: ClassVar = "adalora"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
        "Zhang et al.",
        2023,
        "https://arxiv.org/abs/2303.10512",
    )

    def parameters(self, site):
        """P: [out, rank], Lambda: [rank] and Q: [rank, in]."""
        out, inner = self.sizes(site)
        return {
            "P": NewParameter((out, self.rank), Normal(0.02)),
            "Lambda": NewParameter((self.rank,), Zeros()),
            "Q": NewParameter((self.rank, inner), Normal(0.02)),
        }

    def weight(self, w, p):
        """W + s P diag(λ) Q."""
        return w + self.scale * (p.P @ (p.Lambda[:, None] * p.Q))

    def penalty(self, p):
        """γ (‖PᵀP − I‖² + ‖QQᵀ − I‖²), in Frobenius norms."""
        grams = torch.stack([p.P.T @ p.P, p.Q @ p.Q.T])
        one = torch.eye(self.rank, dtype=grams.dtype, device=grams.device)
        return self.penalty_weight * (grams - one).square().sum()
