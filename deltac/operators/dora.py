"""DoRA: the lengths of a weight's rows and their directions, trained apart."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._contract import NewParameter, Paper, Refusal
from deltac.operators._init import KaimingUniform, Zeros
from deltac.operators._low_rank import LowRankOperator
from deltac.operators._structured import row_norm
from deltac.operators._weight_init import Lengths


@dataclass(frozen=True)
class Dora(LowRankOperator):
    """W' = m ⊙ V / ‖V‖ with V = W + s B A, m: [out] and ‖V‖: [out] the lengths of the rows of V.

    m starts as the lengths of W's rows, B at zero and A as in `lora`, so the model starts as the base up to rounding.
    ‖V‖ counts as a constant in the gradient, as in section 4.3 of the paper. A row of length zero stays zero.
    """

    name: ClassVar = "dora"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "near"
    paper: ClassVar = Paper(
        "DoRA: Weight-Decomposed Low-Rank Adaptation",
        "Liu et al.",
        2024,
        "https://arxiv.org/abs/2402.09353",
    )

    def parameters(self, site):
        """A: [rank, in], B: [out, rank] and m: [out]."""
        out, inner = self.sizes(site)
        if site.layout == "embedding":
            message = (
                "its lengths are those of the outputs of a linear map, and this is an embedding"
            )
            raise Refusal(message, "use 'lora' there")
        return {
            "A": NewParameter((self.rank, inner), KaimingUniform()),
            "B": NewParameter((out, self.rank), Zeros()),
            "m": NewParameter((out,), Lengths("rows")),
        }

    def weight(self, w, p):
        """m ⊙ V / ‖V‖."""
        v = w + self.scale * (p.B @ p.A)
        length = row_norm(v.detach())
        # Nothing is divided by zero: a row of zeros has m = 0 and stays as it is.
        return (p.m / (length + (length == 0)))[:, None] * v
