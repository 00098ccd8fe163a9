"""RoAd: rotations of pairs of outputs, and their scaling."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from deltac.operators._checks import check_divides
from deltac.operators._contract import NewParameter, Operator, Paper, Refusal
from deltac.operators._fields import option
from deltac.operators._init import Constant, Zeros
from deltac.operators._low_rank import matrix_shape
from deltac.operators._matrices import pair_rotation


@dataclass(frozen=True)
class Road(Operator):
    """W' = R W and b' = R b, where R rotates each pair of outputs by an angle θ and scales it by α.

    The two halves of a group of outputs make its pairs (y, y'), which become α (y cos θ - y' sin θ) and
    α (y sin θ + y' cos θ). `variant: 1` has one θ and one α for a pair, `2` one of each for each output, `4` one of
    each for each entry of the pair's 2 x 2 matrix. θ starts at zero and α at one, so the model starts as the base.
    """

    variant: Literal[1, 2, 4] = option(
        1,
        "Angles, and factors, for one pair: 1, 2 or 4.",
    )
    group_size: int = option(
        64,
        "Outputs in a group, an even number; it divides the output size.",
        minimum=2,
        maximum=65536,
        trials=(4,),
    )

    name: ClassVar = "road"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and Composability",
        "Liao and Monz",
        2024,
        "https://arxiv.org/abs/2409.00119",
    )

    def parameters(self, site):
        """theta and alpha: [groups, k, group_size / 2], k being 1, 2 or 4."""
        out, _ = matrix_shape(site)
        if site.layout == "embedding":
            raise Refusal("an embedding has no outputs to rotate", "leave it out of the target")
        if self.group_size % 2:
            message = f"a group of {self.group_size} outputs doesn't fall into pairs"
            raise Refusal(message, "give an even group_size", option="group_size")
        check_divides("group_size", self.group_size, "the output size", out)
        shape = (out // self.group_size, self.variant, self.group_size // 2)
        return {"theta": NewParameter(shape, Zeros()), "alpha": NewParameter(shape, Constant(1.0))}

    def weight(self, w, p):
        """R W."""
        return self._rotation(p) @ w

    def bias(self, b, p):
        """R b."""
        return self._rotation(p) @ b

    def _rotation(self, p):
        own, other = p.alpha * p.theta.cos(), p.alpha * p.theta.sin()
        if self.variant == 4:
            own, other = own[:, :2], other[:, 2:]
        shape = (p.theta.shape[0], 2, p.theta.shape[2])
        return pair_rotation(own.expand(shape), other.expand(shape))
