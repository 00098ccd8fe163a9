"""HiRA: a weight times a low-rank pattern, element by element."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._contract import NewParameter, Operator, Paper
from deltac.operators._fields import option
from deltac.operators._init import KaimingUniform, Zeros
from deltac.operators._low_rank import check_rank


@dataclass(frozen=True)
class Hira(Operator):
    """W' = W ⊙ (1 + B A) with B: [out, rank] and A: [rank, in]; the change W ⊙ B A has a high rank where W has one.

    B starts at zero and A as in `lora`, so the model starts as the base. Where W is zero it stays zero.
    """

    rank: int = option(32, "Rank of the product B A.", minimum=1, maximum=65536)

    name: ClassVar = "hira"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models",
        "Huang et al.",
        2025,
        "https://openreview.net/forum?id=TwJrTz9cRS",
    )

    def parameters(self, site):
        """A: [rank, in] and B: [out, rank]."""
        out, inner = check_rank(self.rank, site)
        return {
            "A": NewParameter((self.rank, inner), KaimingUniform()),
            "B": NewParameter((out, self.rank), Zeros()),
        }

    def weight(self, w, p):
        """W ⊙ (1 + B A)."""
        return w * (1 + p.B @ p.A)
