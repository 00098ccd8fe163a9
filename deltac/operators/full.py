"""Full: a dense change of a weight, the reference that cheaper ones are measured against."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._init import Zeros


@dataclass(frozen=True)
class Full(AdditiveOperator):
    """W' = W + D with a dense D of the shape of W, which starts at zero, so the model starts as the base.

    It reaches all that fine-tuning W reaches, while W itself stays as it is: `tune` trains W in place instead, with no
    second tensor. On an embedding D is [rows, width]; on a norm or a bias it is a vector.
    """

    name: ClassVar = "full"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Parameter-efficient fine-tuning of large-scale pre-trained language models",
        "Ding et al.",
        2023,
        "https://doi.org/10.1038/s42256-023-00626-4",
    )

    def parameters(self, site):
        """D: the shape of W."""
        return {"D": NewParameter(site.shape, Zeros())}

    def weight(self, w, p):
        """W + D."""
        return w + p.D
