"""LoRA: a low-rank change of a weight."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import KaimingUniform, Normal, Zeros
from deltac.operators._low_rank import LowRankOperator
from deltac.operators._product_init import Orthogonal
from deltac.operators._weight_init import LeadingQR, Principal


@dataclass(frozen=True)
class Lora(LowRankOperator, AdditiveOperator):
    """W' = W + s B A with B: [out, rank] and A: [rank, in], s = alpha / rank.

    B starts at zero, so the model starts as the base. `scaling: rank-stabilized` takes s = alpha / sqrt(rank)
    (Kalajdzievski, 2023). On an embedding, W is [rows, width], A is [rank, width], and `in` below is the width; the
    authors' code and PEFT draw that A from a normal with std 1.

    With `init: pissa` s B A starts as the best approximation of W of that rank (Meng et al., 2024), with `init: olora`
    B and A start as the first columns and rows of its QR decomposition (Büyükakyüz, 2024). Both compute
    W' = W + s (B A − B0 A0), where B0 and A0 are fixed copies of the initial B and A: the base keeps its values.
    """

    init: Literal["kaiming", "gaussian", "orthogonal", "pissa", "olora"] = option(
        "kaiming",
        "Initial A, with B zero: uniform on ±1/sqrt(in) (kaiming) or normal with std 1/rank (gaussian). Initial A and "
        "B: random with B A = 0 (orthogonal), from the SVD of W (pissa) or from its QR (olora).",
        effect="start",
    )

    name: ClassVar = "lora"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    paper: ClassVar = Paper(
        "LoRA: Low-Rank Adaptation of Large Language Models",
        "Hu et al.",
        2022,
        "https://arxiv.org/abs/2106.09685",
    )

    @property
    def identity(self) -> str:
        """Exact where B is zero; else up to the rounding of B A, or of its difference from B0 A0."""
        return "exact" if self.init in ("kaiming", "gaussian") else "near"

    @property
    def subtracts(self) -> bool:
        """Whether the initial product is subtracted."""
        return self.init in ("pissa", "olora")

    def parameters(self, site):
        """A: [rank, in] and B: [out, rank]; A0 and B0, fixed, where the initial product is subtracted."""
        out, inner = self.sizes(site)
        left, right = {
            "kaiming": (Zeros(), KaimingUniform()),
            "gaussian": (Zeros(), Normal(1.0 / self.rank)),
            "orthogonal": (Orthogonal("left", 0.1), Orthogonal("right", 0.1)),
            "pissa": (Principal("left", self.scale), Principal("right", self.scale)),
            "olora": (LeadingQR("left"), LeadingQR("right")),
        }[self.init]
        new = {
            "A": NewParameter((self.rank, inner), right),
            "B": NewParameter((out, self.rank), left),
        }
        for name, copied in [*new.items()] if self.subtracts else ():
            new[f"{name}0"] = NewParameter(copied.shape, copied.init, trainable=False)
        return new

    def weight(self, w, p):
        """W + s B A, or W + s (B A − B0 A0)."""
        change = p.B @ p.A - p.B0 @ p.A0 if self.subtracts else p.B @ p.A
        return w + self.scale * change
