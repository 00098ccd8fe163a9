"""HRA: a product of reflections of the input."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._checks import check_at_most
from deltac.operators._contract import NewParameter, Operator, Paper, Refusal
from deltac.operators._fields import option
from deltac.operators._init import Paired
from deltac.operators._low_rank import matrix_shape
from deltac.operators._matrices import householder


@dataclass(frozen=True)
class Hra(Operator):
    """W' = W H₁ H₂ … H_rank with reflections H_i = I - 2 v_i v_iᵀ / ‖v_i‖², v: [rank, in].

    The vectors start in pairs of equal ones, v₁ = v₂, v₃ = v₄ …, whose reflections cancel: the model starts as the base
    up to rounding. That needs an even rank. They are drawn as in the authors' code, uniform on ±sqrt(2 / rank). Their
    lengths mean nothing to H, but a step of the optimizer turns a longer one less.
    """

    rank: int = option(
        8, "Number of reflections; an even one.", minimum=2, maximum=65536, trials=(4,)
    )

    name: ClassVar = "hra"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "near"
    paper: ClassVar = Paper(
        "Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation",
        "Yuan et al.",
        2024,
        "https://arxiv.org/abs/2405.17484",
    )

    def parameters(self, site):
        """v: [rank, in]."""
        _, inner = matrix_shape(site)
        if self.rank % 2:
            raise Refusal(
                f"an odd number of reflections, {self.rank}, can't start as the base",
                fix=f"give a rank of {self.rank - 1} or {self.rank + 1}",
                option="rank",
            )
        check_at_most("rank", self.rank, "the input size", inner)
        return {"v": NewParameter((self.rank, inner), Paired())}

    def weight(self, w, p):
        """W H₁ H₂ … H_rank."""
        return w @ householder(p.v)
