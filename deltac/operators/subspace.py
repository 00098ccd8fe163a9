"""Subspace: all weights move in one random subspace of few dimensions."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper, Refusal
from deltac.operators._fastfood import Permutation, Signs, fastfood, power_of_two
from deltac.operators._fields import option
from deltac.operators._init import Constant, Normal, Zeros


@dataclass(frozen=True)
class Subspace(AdditiveOperator):
    """W' = W + λ P z with one z: [dimension] for all weights, a fixed random projection P for each, and its factor λ.

    z starts at zero and λ at one. This is SAID; the paper has a λ for each layer, here each weight has its own. Without
    `structure_aware` there is no λ, which is DID (Li et al., 2018). P is a Fastfood transform: it is never formed, and
    what it is made of is saved, twelve bytes for each element of W, their number rounded up to a power of two.
    """

    dimension: int = option(
        200, "Number d of trained values that all weights share.", minimum=1, maximum=16777216
    )
    structure_aware: bool = option(True, "Train a factor λ for each weight (SAID), or none (DID).")

    name: ClassVar = "subspace"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning",
        "Aghajanyan et al.",
        2021,
        "https://arxiv.org/abs/2012.13255",
    )

    def parameters(self, site):
        """Fixed: signs: [d], permutation and gaussian: [n], n the power of two that W and z fit in. λ: [1]."""
        length = power_of_two(max(prod(site.shape), self.dimension))
        factor = {"scale": NewParameter((1,), Constant(1.0))} if self.structure_aware else {}
        return {
            "signs": NewParameter((self.dimension,), Signs(), trainable=False),
            "permutation": NewParameter((length,), Permutation(), trainable=False, dtype="int64"),
            "gaussian": NewParameter((length,), Normal(1.0), trainable=False),
            **factor,
        }

    def shared(self, sites):
        """z: [dimension]."""
        size = sum(prod(site.shape) for site in sites)
        if self.dimension > size:
            message = (
                f"the subspace has {self.dimension} dimensions, the weights in it {size} elements"
            )
            raise Refusal(message, f"give at most {size}, or widen the target", "dimension")
        return {"z": NewParameter((self.dimension,), Zeros())}

    def weight(self, w, p):
        """W + λ P z."""
        change = fastfood(p.z, p.signs, p.permutation, p.gaussian, prod(w.shape)).reshape(w.shape)
        return w + (p.scale * change if self.structure_aware else change)
