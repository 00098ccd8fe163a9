"""LoRA-FA: a low-rank change of a weight whose inner factor is fixed."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import KaimingUniform, Normal, Zeros
from deltac.operators._low_rank import LowRankOperator


@dataclass(frozen=True)
class LoraFA(LowRankOperator, AdditiveOperator):
    """W' = W + s B A as in LoRA, with a random A: [rank, in] that is never trained, and B: [out, rank].

    B starts at zero. Only x Aᵀ, [tokens, rank], has to be kept for the gradient. A is saved by value.
    """

    init: Literal["kaiming", "gaussian"] = option(
        "kaiming",
        "The fixed A: uniform on ±1/sqrt(in) (kaiming), or normal with std 1/rank (gaussian).",
        effect="start",
    )

    name: ClassVar = "lora-fa"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "LoRA-FA: Memory-efficient Low-rank Adaptation for Large Language Models Fine-tuning",
        "Zhang et al.",
        2023,
        "https://arxiv.org/abs/2308.03303",
    )

    def parameters(self, site):
        """A: [rank, in], fixed, and B: [out, rank]."""
        out, inner = self.sizes(site)
        init = KaimingUniform() if self.init == "kaiming" else Normal(1.0 / self.rank)
        return {
            "A": NewParameter((self.rank, inner), init, trainable=False),
            "B": NewParameter((out, self.rank), Zeros()),
        }

    def weight(self, w, p):
        """W + s B A."""
        return w + self.scale * (p.B @ p.A)
