"""RandLoRA: a full-rank change as a trained sum of random low-rank matrices."""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import ClassVar, Literal

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import Constant, Ternary, Uniform, Zeros
from deltac.operators._low_rank import check_rank


@dataclass(frozen=True)
class RandLora(AdditiveOperator):
    """W' = W + s Σⱼ Bⱼ diag(λⱼ) A diag(γⱼ) with Bⱼ: [out, rank] and A: [rank, in], fixed and random.

    Trained are λ: [terms, rank] and γ: [terms, in], for as many terms as W' needs to be of full rank; where out < in,
    the transpose of W is changed so. All sites of the delta share the Bⱼ and A, as in `vera`. λ starts at zero, so the
    model starts as the base, and γ at 1 / max(terms, min(out, in)).
    """

    rank: int = option(32, "Rank of each term.", minimum=1, maximum=65536)
    scale: float = option(20.0, "The factor s of the sum.", above=0)
    bases: Literal["uniform", "sparse", "very-sparse"] = option(
        "uniform",
        "Bⱼ and A, of variance 1: uniform, or of -c, 0 and c with one in 3 (sparse) or one in sqrt(min(out, in)) "
        "(very-sparse) not zero.",
        effect="start",
    )

    name: ClassVar = "randlora"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "RandLoRA: Full-rank parameter-efficient fine-tuning of large models",
        "Albert et al.",
        2025,
        "https://arxiv.org/abs/2502.00987",
    )

    def parameters(self, site):
        """Lambda: [terms, rank] and gamma: [terms, min(out, in)]."""
        small = min(check_rank(self.rank, site))
        terms = ceil(small / self.rank)
        return {
            "Lambda": NewParameter((terms, self.rank), Zeros()),
            "gamma": NewParameter((terms, small), Constant(1 / max(terms, small))),
        }

    def shared(self, sites):
        """A: [rank, largest min(out, in)] and B: [largest max(out, in), terms, rank], fixed."""
        small, large = max(min(s.shape) for s in sites), max(max(s.shape) for s in sites)
        sparsity = {"sparse": 3.0, "very-sparse": sqrt(small)}
        dense = self.bases == "uniform"
        init = Uniform(-sqrt(3), sqrt(3)) if dense else Ternary(sparsity[self.bases])
        return {
            "A": NewParameter((self.rank, small), init, trainable=False),
            "B": NewParameter((large, ceil(small / self.rank), self.rank), init, trainable=False),
        }

    def weight(self, w, p):
        """W + s Σⱼ Bⱼ diag(λⱼ) A diag(γⱼ), the sum as one product of [out, terms · rank] and [terms · rank, in]."""
        terms, small = p.gamma.shape
        b = p.B[: max(w.shape), :terms].flatten(1)
        a = (p.Lambda[:, :, None] * p.A[:, :small] * p.gamma[:, None]).flatten(0, 1)
        change = b @ a if w.shape[0] >= w.shape[1] else a.t() @ b.t()
        return w + self.scale * change
