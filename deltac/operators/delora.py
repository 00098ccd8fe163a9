"""DeLoRA: a low-rank change whose directions and strength are trained apart."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import Constant, KaimingUniform, Zeros
from deltac.operators._low_rank import check_rank
from deltac.operators._weight_init import Lengths

#: A shorter vector is divided by this, as in the authors' code: B starts at zero.
SHORTEST = 1e-4


@dataclass(frozen=True)
class Delora(AdditiveOperator):
    """W' = W + (λ / rank) U V diag(n): U: [out, rank] is B with columns of length 1, V: [rank, in] is A with such rows.

    The strength λ: [1] is trained; n: [in], fixed, holds the lengths of the columns of W. Each of the `rank` terms has
    the same bound, however long the columns of B and the rows of A become. B starts at zero and A as in `lora`,
    so the model starts as the base.
    """

    rank: int = option(8, "How many terms there are.", minimum=1, maximum=65536)
    strength: float = option(15.0, "Initial value of λ.", above=0, effect="start")

    name: ClassVar = "delora"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Decoupling Angles and Strength in Low-rank Adaptation",
        "Bini et al.",
        2025,
        "https://arxiv.org/abs/2503.18225",
    )

    def parameters(self, site):
        """A: [rank, in], B: [out, rank], strength: [1] and, fixed, lengths: [in]."""
        out, inner = check_rank(self.rank, site)
        return {
            "A": NewParameter((self.rank, inner), KaimingUniform()),
            "B": NewParameter((out, self.rank), Zeros()),
            "strength": NewParameter((1,), Constant(self.strength)),
            "lengths": NewParameter((inner,), Lengths("columns"), trainable=False),
        }

    def weight(self, w, p):
        """W + (λ / rank) U V diag(n)."""
        v = p.A / torch.linalg.vector_norm(p.A, dim=1).clamp(min=SHORTEST)[:, None]
        u = p.B / torch.linalg.vector_norm(p.B, dim=0).clamp(min=SHORTEST)
        return w + (p.strength / self.rank * u) @ (v * p.lengths)
