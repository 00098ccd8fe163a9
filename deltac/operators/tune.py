"""Tune: train existing parameters in place."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators._contract import Operator, Paper


@dataclass(frozen=True)
class Tune(Operator):
    """w' = w + Δw for every parameter below the target, whole: norms, last layers, chosen modules.

    The heuristic specification methods of Ding et al. (2023), such as training only the last quarter of the layers
    (Lee et al., 2019).
    """

    name: ClassVar = "tune"
    family: ClassVar = "specification"
    site: ClassVar = "parameter"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Parameter-efficient fine-tuning of large-scale pre-trained language models",
        "Ding et al.",
        2023,
        "https://doi.org/10.1038/s42256-023-00626-4",
    )

    def tunes(self, site):
        """Always: the target alone decides."""
        return True
