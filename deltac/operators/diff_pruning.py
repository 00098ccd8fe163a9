"""Diff pruning: a dense change whose elements are gated, with a price on every open gate."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.overrides import handle_torch_function, has_torch_function

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._init import Constant, Zeros


def hard_concrete(alpha, stretch, training):
    """Gates in [0, 1], zero and one included (Louizos et al., 2018): random in training, fixed otherwise.

    s = σ(ln u − ln(1 − u) + α) for u uniform on (0, 1), or s = σ(α); z = s (2 stretch) − stretch, cut off at 0 and 1.
    """
    if has_torch_function((alpha,)):
        return handle_torch_function(hard_concrete, (alpha,), alpha, stretch, training)
    noise = torch.rand_like(alpha).clamp(1e-4, 1 - 1e-4).logit() if training else 0.0
    return (torch.sigmoid(alpha + noise) * 2 * stretch - stretch).clamp(0, 1)


@dataclass(frozen=True)
class DiffPruning(AdditiveOperator):
    """W' = W + z ⊙ D with a dense D, which starts at zero, and a gate z for each element.

    A gate is random in training, from a hard-concrete distribution with the location α; in evaluation it is fixed. The
    loss gets the penalty times the expected number of open gates, Σ σ(α). With `structured` each weight has one more
    gate g, as in the paper: W' = W + g z ⊙ D, and σ(α) σ(α_g) of an element are expected open.
    """

    penalty_weight: float = option(
        1.25e-7, "Price of an open gate in the training loss.", above=0, effect="training"
    )
    structured: bool = option(True, "Whether each weight has a gate for all its elements, too.")
    stretch: float = option(
        1.5, "The gates are cut from the interval ±stretch.", above=1, maximum=100
    )
    start: float = option(
        5.0, "Initial α; the larger, the fewer are closed.", minimum=-100, effect="start"
    )

    name: ClassVar = "diff-pruning"
    family: ClassVar = "specification"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Parameter-Efficient Transfer Learning with Diff Pruning",
        "Guo et al.",
        2021,
        "https://arxiv.org/abs/2012.07463",
    )

    def parameters(self, site):
        """D and alpha: the shape of W; with `structured`, alpha_group: [1]."""
        start = Constant(self.start)
        group = {"alpha_group": NewParameter((1,), start)} if self.structured else {}
        return {
            "D": NewParameter(site.shape, Zeros()),
            "alpha": NewParameter(site.shape, start),
            **group,
        }

    def weight(self, w, p):
        """W + z ⊙ D, or W + g z ⊙ D."""
        z = hard_concrete(p.alpha, self.stretch, p.training)
        if self.structured:
            z = z * hard_concrete(p.alpha_group, self.stretch, p.training)
        return w + z * p.D

    def penalty(self, p):
        """The price of the gates that are expected to be open."""
        share = torch.sigmoid(p.alpha_group).sum() if self.structured else 1.0
        return self.penalty_weight * share * torch.sigmoid(p.alpha).sum()
