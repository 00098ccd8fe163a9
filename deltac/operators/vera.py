"""VeRA: vectors that scale random matrices which all sites share."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import Constant, KaimingUniform, Zeros
from deltac.operators._low_rank import matrix_shape


@dataclass(frozen=True)
class Vera(AdditiveOperator):
    """W' = W + diag(b) B diag(d) A with b: [out] and d: [rank]; B: [out, rank] and A: [rank, in] are fixed and random.

    All sites of the delta share B and A, which live once at the root of the model, as large as the largest site needs;
    a smaller one takes their first rows and columns. They are saved by value, not as a seed. A is uniform on
    ±sqrt(6 / in) and B on ±sqrt(6 / rank), as Kaiming's for a ReLU. b starts at zero, so the model starts as the base.
    """

    rank: int = option(
        256, "Rank of the product B A; it may exceed the sizes of W.", minimum=1, maximum=65536
    )
    d_initial: float = option(0.1, "Initial value of d.", above=0, effect="start")

    name: ClassVar = "vera"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "VeRA: Vector-based Random Matrix Adaptation",
        "Kopiczko et al.",
        2024,
        "https://arxiv.org/abs/2310.11454",
    )

    def parameters(self, site):
        """b: [out] and d: [rank]."""
        out, _ = matrix_shape(site)
        return {
            "b": NewParameter((out,), Zeros()),
            "d": NewParameter((self.rank,), Constant(self.d_initial)),
        }

    def shared(self, sites):
        """B: [largest out, rank] and A: [rank, largest in], fixed."""
        shapes = [matrix_shape(site) for site in sites]
        out, inner = max(out for out, _ in shapes), max(inner for _, inner in shapes)
        init = KaimingUniform(a=0.0)
        return {
            "B": NewParameter((out, self.rank), init, trainable=False),
            "A": NewParameter((self.rank, inner), init, trainable=False),
        }

    def weight(self, w, p):
        """W + diag(b) B diag(d) A."""
        out, inner = w.shape
        return w + (p.b[:, None] * p.B[:out]) @ (p.d[:, None] * p.A[:, :inner])
