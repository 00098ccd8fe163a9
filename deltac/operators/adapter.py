"""Adapter: a small bottleneck network on the output of a module."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.nn import functional as F

from deltac.operators._contract import NewParameter, Operator, Paper, Refusal
from deltac.operators._fields import option
from deltac.operators._init import Normal, Zeros

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}


@dataclass(frozen=True)
class Adapter(Operator):
    """y ← y + s (σ(z W_dᵀ + b_d) W_uᵀ + b_u), with z = y or, in parallel, the input x that y is made from.

    Sequential as Houlsby et al. (2019) have it, parallel as He et al. (2022, https://arxiv.org/abs/2110.04366).
    `init: zero` starts W_u at zero, so the model starts as the base; `init: houlsby` draws both from a normal with std
    0.01, cut at two standard deviations, and starts near it.
    """

    bottleneck: int | str = option(
        64,
        "Width m of the bottleneck: a number, or a share of the width d such as d/16.",
        minimum=1,
        maximum=65536,
        pattern="^d/[1-9][0-9]{0,4}$",
    )
    activation: Literal["relu", "gelu", "silu", "tanh"] = option("relu", "The non-linearity σ.")
    position: Literal["before-residual", "after-residual", "output"] = option(
        "before-residual",
        "On the output before the residual is added, on their sum, or on the output whatever follows.",
    )
    insertion: Literal["sequential", "parallel"] = option("sequential", "Whether it reads y or x.")
    scale: float = option(1.0, "Factor s.", above=0)
    init: Literal["houlsby", "zero"] = option(
        "houlsby", "Initial values of W_d and W_u.", effect="start"
    )

    name: ClassVar = "adapter"
    family: ClassVar = "addition"
    site: ClassVar = "activation"
    paper: ClassVar = Paper(
        "Parameter-Efficient Transfer Learning for NLP",
        "Houlsby et al.",
        2019,
        "https://arxiv.org/abs/1902.00751",
    )

    @property
    def identity(self) -> str:
        """Exact with `init: zero`, near otherwise."""
        return "exact" if self.init == "zero" else "near"

    def parameters(self, site):
        """W_d: [m, width of z], b_d: [m], W_u: [d, m], b_u: [d]."""
        if self.reads_input and self.position == "after-residual":
            raise Refusal("a parallel one goes into the residual", "leave it out", "position")
        d = site.width_out
        m = self.bottleneck if isinstance(self.bottleneck, int) else d // int(self.bottleneck[2:])
        if m < 1:
            message = f"a bottleneck of {self.bottleneck} is less than 1 where d = {d}"
            raise Refusal(message, f"write d/{d} or a larger share", "bottleneck")
        small = Normal(0.01, cut=2.0)
        return {
            "down": NewParameter((m, site.width_in if self.reads_input else d), small),
            "down_bias": NewParameter((m,), Zeros()),
            "up": NewParameter((d, m), small if self.init == "houlsby" else Zeros()),
            "up_bias": NewParameter((d,), Zeros()),
        }

    def output(self, x, y, p):
        """y + s (σ(z W_dᵀ + b_d) W_uᵀ + b_u); y: [..., d]."""
        z = x if self.reads_input else y
        h = ACTIVATIONS[self.activation](F.linear(z, p.down, p.down_bias))
        return torch.add(y, F.linear(h, p.up, p.up_bias), alpha=self.scale)
