"""C³A: a change made of circulant blocks."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from deltac.operators._additive import AdditiveOperator
from deltac.operators._checks import check_divides
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import Normal, Uniform, Zeros
from deltac.operators._low_rank import matrix_shape
from deltac.operators._matrices import block_circulant


@dataclass(frozen=True)
class C3a(AdditiveOperator):
    """W' = W + C / in, C made of circulant blocks, each given by its first row: [block_size].

    A circulant block multiplies by a Fourier transform, and can have full rank. With the paper's initial values the
    model doesn't start as the base; with `init: zero` it does.
    """

    block_size: int = option(
        256,
        "Rows of a block; it divides the output and the input size.",
        minimum=1,
        maximum=65536,
        trials=(2, 3),
    )
    init: Literal["xavier", "kaiming", "gaussian", "zero"] = option(
        "xavier",
        "Initial first rows: uniform on ±sqrt(6 / (in + out)) (xavier) or on ±1/sqrt(in) (kaiming), normal with std 1 "
        "(gaussian), or zero.",
        effect="start",
    )

    name: ClassVar = "c3a"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    paper: ClassVar = Paper(
        "Parameter-Efficient Fine-Tuning via Circular Convolution",
        "Chen et al.",
        2025,
        "https://arxiv.org/abs/2407.19342",
    )

    @property
    def identity(self):
        """Exact where C starts at zero."""
        return "exact" if self.init == "zero" else "no"

    def parameters(self, site):
        """kernels: [out / block_size, in / block_size, block_size]."""
        out, inner = matrix_shape(site)
        check_divides("block_size", self.block_size, "the output size", out)
        check_divides("block_size", self.block_size, "the input size", inner)
        xavier, kaiming = math.sqrt(6 / (inner + out)), 1 / math.sqrt(inner)
        init = {
            "xavier": Uniform(-xavier, xavier),
            "kaiming": Uniform(-kaiming, kaiming),
            "gaussian": Normal(1.0),
            "zero": Zeros(),
        }[self.init]
        shape = (out // self.block_size, inner // self.block_size, self.block_size)
        return {"kernels": NewParameter(shape, init)}

    def weight(self, w, p):
        """W + C / in."""
        return w + block_circulant(p.kernels) / w.shape[1]
