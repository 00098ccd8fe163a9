"""OFT: a rotation of the input, block by block."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._checks import check_divides
from deltac.operators._contract import NewParameter, Operator, Paper
from deltac.operators._fields import option
from deltac.operators._init import Zeros
from deltac.operators._low_rank import matrix_shape
from deltac.operators._orthogonal import cayley, cayley_neumann, skew
from deltac.operators._structured import block_diagonal


@dataclass(frozen=True)
class Oft(Operator):
    """W' = W R with R block-diagonal, each block (I + Q)(I - Q)⁻¹ for a skew-symmetric Q: a rotation (Cayley).

    Lengths of the rows of W and angles between them stay as they were. Q is kept as its entries above the diagonal,
    block_size (block_size - 1) / 2 for each block; it starts at zero, so the model starts as the base. OFTv2 (Qiu et
    al., 2025) takes (I + Q)(I + Q + … + Qᵏ) in the place of the inverse: `neumann_terms` is k.
    """

    block_size: int = option(
        32,
        "Rows of a block of R; it divides the input size.",
        minimum=2,
        maximum=65536,
        trials=(3,),
    )
    share: bool = option(False, "One block for all, repeated, in the place of one for each.")
    neumann_terms: int = option(
        0,
        "Highest power k of Q in the series that stands for the inverse; 0 for the inverse itself.",
        minimum=0,
        maximum=64,
        trials=(0, 3),
    )

    name: ClassVar = "oft"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Controlling Text-to-Image Diffusion by Orthogonal Finetuning",
        "Qiu et al.",
        2023,
        "https://arxiv.org/abs/2306.07280",
    )

    def parameters(self, site):
        """Q: [blocks, block_size (block_size - 1) / 2]."""
        _, inner = matrix_shape(site)
        check_divides("block_size", self.block_size, "the input size", inner)
        blocks = 1 if self.share else inner // self.block_size
        return {"Q": NewParameter((blocks, self.block_size * (self.block_size - 1) // 2), Zeros())}

    def weight(self, w, p):
        """W R."""
        q = skew(p.Q)
        r = cayley_neumann(q, self.neumann_terms) if self.neumann_terms else cayley(q)
        if self.share:
            r = r.expand(w.shape[1] // self.block_size, -1, -1)
        return w @ block_diagonal(r)
