"""GraLoRA: a low-rank change for each block of a weight."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._additive import AdditiveOperator
from deltac.operators._checks import check_at_most, check_divides
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import KaimingUniform, Zeros
from deltac.operators._low_rank import check_rank
from deltac.operators._structured import block_diagonal
from deltac.operators._woven import woven_blocks


@dataclass(frozen=True)
class GraLora(AdditiveOperator):
    """W' = W + s D, D in blocks × blocks blocks, each a product of rank rank / blocks of its own, s = alpha / rank.

    With as many parameters as LoRA of the same rank, D can have `blocks` times that rank. `hybrid_rank` adds a LoRA of
    that rank on the whole weight; then s = alpha / (rank + hybrid_rank). All B start at zero, so the model starts as
    the base; the A of a block is uniform on ±1/sqrt(its inputs).
    """

    rank: int = option(32, "Sum of the ranks of the blocks in a row.", minimum=1, maximum=65536)
    alpha: float | None = option(
        None, "Numerator of the scale s. Without it s = 1, at any rank.", above=0
    )
    blocks: int = option(
        2, "How many blocks the rows and the columns are cut into.", minimum=1, maximum=4096
    )
    hybrid_rank: int = option(
        0, "Rank of the LoRA on the whole weight; 0 for none.", minimum=0, maximum=65536
    )

    name: ClassVar = "gralora"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning",
        "Jung et al.",
        2025,
        "https://arxiv.org/abs/2505.20355",
    )

    def parameters(self, site):
        """A: [blocks, rank, in / blocks] and B: [blocks, out / blocks, rank]; the same of the whole weight."""
        out, inner = check_rank(self.rank, site)
        check_at_most("hybrid_rank", self.hybrid_rank, "min(out, in)", min(out, inner))
        for size, name in ((out, "out"), (inner, "in"), (self.rank, "the rank")):
            check_divides("blocks", self.blocks, name, size)
        n, whole = self.blocks, self.hybrid_rank
        new = {
            "A": NewParameter((n, self.rank, inner // n), KaimingUniform()),
            "B": NewParameter((n, out // n, self.rank), Zeros()),
        }
        if whole:
            new["A_whole"] = NewParameter((whole, inner), KaimingUniform())
            new["B_whole"] = NewParameter((out, whole), Zeros())
        return new

    def weight(self, w, p):
        """W + s D."""
        scale = 1.0 if self.alpha is None else self.alpha / (self.rank + self.hybrid_rank)
        changed = w + scale * (block_diagonal(p.B) @ woven_blocks(p.A))
        return changed + scale * (p.B_whole @ p.A_whole) if self.hybrid_rank else changed
