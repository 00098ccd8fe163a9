"""BOFT: a rotation of the input made of sparse factors, as in a fast Fourier transform."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._checks import check_divides
from deltac.operators._contract import NewParameter, Operator, Paper, Refusal
from deltac.operators._fields import option
from deltac.operators._init import Constant, Zeros
from deltac.operators._low_rank import matrix_shape
from deltac.operators._matrices import butterfly
from deltac.operators._orthogonal import cayley, skew


@dataclass(frozen=True)
class Boft(Operator):
    """W' = diag(s) W G₀ G₁ … with `factors` orthogonal butterfly factors G.

    G_i joins half blocks of inputs that lie 2^i half blocks apart: each of its blocks, (I + Q)(I - Q)⁻¹ for a
    skew-symmetric Q, rotates two of them. With one factor and no s it is OFT. Q starts at zero and s at one, so the
    model starts as the base.
    """

    block_size: int = option(
        8,
        "Rows of a block; block_size · 2^(factors - 1) divides the input size.",
        minimum=2,
        maximum=65536,
        trials=(2, 6),
    )
    factors: int = option(2, "Number of butterfly factors.", minimum=1, maximum=16, trials=(2, 1))
    scale: bool = option(True, "Train a factor s for each output, too.")

    name: ClassVar = "boft"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization",
        "Liu et al.",
        2024,
        "https://arxiv.org/abs/2311.06243",
    )

    def parameters(self, site):
        """Q: [factors, blocks, block_size (block_size - 1) / 2] and s: [out]."""
        out, inner = matrix_shape(site)
        if self.factors > 1 and self.block_size % 2:
            message = f"blocks of {self.block_size} have no halves to join"
            raise Refusal(message, "give an even block_size, or one factor", option="block_size")
        check_divides("block_size", self.block_size, "the input size", inner)
        blocks, joined = inner // self.block_size, 2 ** (self.factors - 1)
        if blocks % joined:
            raise Refusal(
                f"{self.factors} factors join {joined} blocks at a time, and there are {blocks}",
                "give fewer factors or a smaller block_size",
                option="factors",
            )
        size = self.block_size * (self.block_size - 1) // 2
        scale = {"s": NewParameter((out,), Constant(1.0))} if self.scale else {}
        return {"Q": NewParameter((self.factors, blocks, size), Zeros()), **scale}

    def weight(self, w, p):
        """diag(s) W G₀ G₁ …"""
        blocks = cayley(skew(p.Q.flatten(0, 1))).unflatten(0, p.Q.shape[:2])
        rotated = w @ butterfly(blocks)
        return p.s[:, None] * rotated if self.scale else rotated
