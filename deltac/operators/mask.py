"""Mask: keep some elements of a weight, and drop the others."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._contract import NewParameter, Operator, Paper, Refusal
from deltac.operators._fields import option
from deltac.operators._init import Uniform


@dataclass(frozen=True)
class Mask(Operator):
    """W' = W ⊙ 1[M ≥ 0] with a trained M of the shape of W, in which only the signs count.

    The step function has no gradient, so M gets that of the binary mask (straight-through). M starts uniform, with the
    share `sparsity` of it negative. The paper's threshold τ is 0 here, for only M − τ matters; it masks the linears of
    the upper layers. `spread` is that of the authors' code for a sparsity of 5 %, where M − τ starts in [−0.03, 0.57];
    for another one it is 0.03 / sparsity there. Saved for use, M has one bit for each element of W.
    """

    sparsity: float = option(
        0.05,
        "Share of W that is masked at the start; 0 starts as the base.",
        minimum=0,
        below=1,
        effect="start",
    )
    spread: float = option(
        0.6, "Width of the interval that M starts in.", above=0, maximum=1000, effect="start"
    )

    name: ClassVar = "mask"
    family: ClassVar = "specification"
    site: ClassVar = "weight"
    paper: ClassVar = Paper(
        "Masking as an Efficient Alternative to Finetuning for Pretrained Language Models",
        "Zhao et al.",
        2020,
        "https://arxiv.org/abs/2004.12406",
    )

    @property
    def identity(self) -> str:
        """Exact with `sparsity: 0`; otherwise part of the weight is gone from the start."""
        return "no" if self.sparsity else "exact"

    def parameters(self, site):
        """M: the shape of W."""
        if len(site.shape) < 2:
            message = f"it needs a matrix, this has the shape {list(site.shape)}"
            raise Refusal(message, "leave it out of the target")
        start = Uniform(-self.sparsity * self.spread, (1 - self.sparsity) * self.spread)
        return {"M": NewParameter(site.shape, start)}

    def weight(self, w, p):
        """W ⊙ 1[M ≥ 0]."""
        kept = (p.M >= 0).to(w.dtype)
        # M − M is zero, and carries the gradient; in this order it rounds nothing.
        return w * (kept + (p.M - p.M.detach()))

    def ejected(self):
        """The same with one bit for each element of W."""
        from deltac.operators._stored_mask import StoredMask  # which is made from this class

        return StoredMask(**self.options())

    def eject(self, p):
        """The bits of 1[M ≥ 0]."""
        from deltac.operators._stored_mask import packed

        return {"bits": packed(p.M >= 0)}
