"""LoRA: a low-rank change of a weight."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper, Refusal
from deltac.operators._fields import option
from deltac.operators._init import KaimingUniform, Normal, Zeros


@dataclass(frozen=True)
class Lora(AdditiveOperator):
    """W' = W + s B A with B: [out, rank] and A: [rank, in], s = alpha / rank.

    B starts at zero, so the model starts as the base. `scaling: rank-stabilized` takes s = alpha / sqrt(rank)
    (Kalajdzievski, 2023). On an embedding, W is [rows, width] and A is [rank, width].
    """

    rank: int = option(8, "Rank of the product B A.", minimum=1, maximum=65536)
    alpha: float | None = option(
        None, "Numerator of the scale s. Without it s = 1, at any rank.", above=0
    )
    scaling: Literal["standard", "rank-stabilized"] = option(
        "standard", "s = alpha / rank (standard) or alpha / sqrt(rank) (rank-stabilized)."
    )
    init: Literal["kaiming", "gaussian"] = option(
        "kaiming",
        "Initial A: uniform on ±1/sqrt(in) (kaiming), or normal with std 1/rank (gaussian).",
        effect="start",
    )

    name: ClassVar = "lora"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "LoRA: Low-Rank Adaptation of Large Language Models",
        "Hu et al.",
        2022,
        "https://arxiv.org/abs/2106.09685",
    )

    @property
    def scale(self) -> float:
        """The factor s of the product B A."""
        if self.alpha is None:
            return 1.0
        return self.alpha / (self.rank if self.scaling == "standard" else self.rank**0.5)

    def parameters(self, site):
        """A: [rank, in] and B: [out, rank]."""
        if len(site.shape) != 2:
            message = f"it needs a matrix, this has the shape {list(site.shape)}"
            raise Refusal(message, "leave it out of the target")
        if self.alpha is None and self.scaling != "standard":
            raise Refusal("without 'alpha' it has no effect", "give 'alpha'", option="scaling")
        out, inner = site.shape
        if self.rank > min(out, inner):
            raise Refusal(
                f"rank {self.rank} is more than min(out, in) = {min(out, inner)}",
                fix=f"give a rank of at most {min(out, inner)}, or narrow the target",
                option="rank",
            )
        init = KaimingUniform() if self.init == "kaiming" else Normal(1.0 / self.rank)
        return {
            "A": NewParameter((self.rank, inner), init),
            "B": NewParameter((out, self.rank), Zeros()),
        }

    def weight(self, w, p):
        """W + s B A."""
        return w + self.scale * (p.B @ p.A)
