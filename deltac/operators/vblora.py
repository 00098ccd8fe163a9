"""VB-LoRA: low-rank factors put together from a bank of vectors which all sites share."""

from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional as F

from deltac.operators._additive import AdditiveOperator
from deltac.operators._checks import check_divides
from deltac.operators._contract import NewParameter, Paper, Refusal
from deltac.operators._fields import option
from deltac.operators._init import Normal, Uniform
from deltac.operators._low_rank import check_rank


@dataclass(frozen=True)
class VBLora(AdditiveOperator):
    """W' = W + B A with B: [out, rank] and A: [rank, in] cut into vectors that are mixtures of those in a bank.

    Each vector of A and B has a logit for each vector of the bank; the `top` largest, through a softmax, are the
    weights of the mixture. Trained are the logits of each site and the bank, which all sites of the delta share. The
    bank starts uniform on ±0.02 and the logits normal with std 0.1, so the model starts near the base.
    """

    rank: int = option(4, "Rank of the product B A.", minimum=1, maximum=65536)
    bank: int = option(256, "How many vectors the bank holds.", minimum=1, maximum=1048576)
    length: int = option(256, "Length of a vector of the bank.", minimum=1, maximum=65536)
    top: int = option(2, "How many vectors are mixed.", minimum=1, maximum=65536)

    name: ClassVar = "vblora"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "near"
    paper: ClassVar = Paper(
        "VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks",
        "Li et al.",
        2024,
        "https://arxiv.org/abs/2405.15179",
    )

    def parameters(self, site):
        """logits_A: [rank, in / length, bank] and logits_B: [rank, out / length, bank]."""
        out, inner = check_rank(self.rank, site)
        for name, size in (("out", out), ("in", inner)):
            check_divides("length", self.length, name, size)
        if self.top > self.bank:
            message = f"the bank holds {self.bank} vectors, {self.top} can't be chosen"
            raise Refusal(message, f"give at most {self.bank}", option="top")
        sizes = {"logits_A": inner // self.length, "logits_B": out // self.length}
        return {
            name: NewParameter((self.rank, size, self.bank), Normal(0.1))
            for name, size in sizes.items()
        }

    def shared(self, sites):
        """bank: [bank, length]."""
        return {"bank": NewParameter((self.bank, self.length), Uniform(-0.02, 0.02))}

    def mixed(self, logits, bank):
        """The rows of a factor, [rank, in or out]; logits: [rank, parts, bank]."""
        best = logits.topk(self.top, dim=-1)
        return (best[0].softmax(-1)[..., None] * F.embedding(best[1], bank)).sum(-2).flatten(1)

    def weight(self, w, p):
        """W + B A."""
        return w + self.mixed(p.logits_B, p.bank).t() @ self.mixed(p.logits_A, p.bank)
