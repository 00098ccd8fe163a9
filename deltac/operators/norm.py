"""Norm: tune the scales and shifts of the norms, and nothing else."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from deltac.operators._contract import Operator, Paper
from deltac.operators._fields import option


@dataclass(frozen=True)
class Norm(Operator):
    """γ' = γ + Δγ and β' = β + Δβ for every norm below the target, in place: y = γ ⊙ (x − μ)/σ + β.

    A norm is a module whose class says so and whose `weight` is a vector: LayerNorm, RMSNorm, which has no β, and
    their kin.
    """

    parts: Literal["both", "scale", "shift"] = option(
        "both", "Which to train: the scales γ, the shifts β, or both."
    )

    name: ClassVar = "norm"
    family: ClassVar = "specification"
    site: ClassVar = "parameter"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning",
        "Zhao et al.",
        2023,
        "https://arxiv.org/abs/2312.11420",
    )

    def tunes(self, site):
        """Whether the parameter is a scale or a shift of a norm, as `parts` asks."""
        part = {"weight": "scale", "bias": "shift"}.get(site.parameter)
        return site.layout == "norm" and part is not None and self.parts in ("both", part)
