"""BitFit: tune the biases, and nothing else."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._contract import NewParameter, Operator, Paper
from deltac.operators._fields import option
from deltac.operators._init import Zeros


@dataclass(frozen=True)
class Bitfit(Operator):
    """b' = b + Δb for every bias below the target: the linears' and the norms'.

    A bias is a vector whose own name is `bias` or ends in `_bias`. With `add: true` linears that have none get one,
    which starts at zero, so the model starts as the base.
    """

    add: bool = option(False, "Add a zero bias to each linear below the target that has none.")

    name: ClassVar = "bitfit"
    family: ClassVar = "specification"
    site: ClassVar = "parameter"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
        "Ben Zaken et al.",
        2022,
        "https://arxiv.org/abs/2106.10199",
    )

    @property
    def kinds(self):
        """Existing parameters; with `add`, also the outputs of linears."""
        return ("parameter", "activation") if self.add else ("parameter",)

    def tunes(self, site):
        """Whether the parameter is a bias."""
        name = site.parameter
        return len(site.shape) == 1 and (name == "bias" or name.endswith("_bias"))

    def parameters(self, site):
        """`bias`: [out], for a linear that has none."""
        if site.kind == "activation" and site.layout == "linear" and "bias" not in site.parameters:
            return {"bias": NewParameter((site.width_out,), Zeros())}
        return {}

    def output(self, x, y, p):
        """y + b; y: [..., out]."""
        return y + p.bias
