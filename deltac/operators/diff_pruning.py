"""Diff pruning: a dense change whose elements are gated, with a price on every open gate."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Paper
from deltac.operators._fields import option
from deltac.operators._gates import SURE, hard_concrete
from deltac.operators._init import Constant, Zeros


@dataclass(frozen=True)
class DiffPruning(AdditiveOperator):
    """W' = W + z ⊙ D with a dense D, which starts at zero, and a gate z for each element.

    A gate is random in training, from a hard-concrete distribution with the location α; in evaluation it is fixed. The
    noise lies in ±9.2, and `start` in it: further out a gate never moves. The loss gets the penalty times the expected
    number of open gates, Σ σ(α). With `structured` each weight has one more gate g: W' = W + g z ⊙ D, and σ(α) σ(α_g)
    of an element are expected open. `deltac.project` keeps the largest changes, as many as a budget allows.
    """

    penalty_weight: float = option(
        1.25e-7, "Price of an open gate in the training loss.", above=0, effect="training"
    )
    structured: bool = option(True, "Whether each weight has a gate for all its elements, too.")
    stretch: float = option(
        1.5, "The gates are cut from the interval ±stretch.", above=1, maximum=100
    )
    start: float = option(
        5.0, "Initial α; the larger, the fewer are closed.", minimum=-9, maximum=9, effect="start"
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
        return w + self.gates(p, p.training) * p.D

    def gates(self, p, training):
        """z, or g z: the shape of W."""
        z = hard_concrete(p.alpha, self.stretch, training)
        return z * hard_concrete(p.alpha_group, self.stretch, training) if self.structured else z

    def magnitudes(self, p):
        """|z ⊙ D|, or |g z ⊙ D|."""
        return (self.gates(p, False) * p.D).abs()

    def closed(self, p, kept):
        """D as the gates leave it, and gates that are sure: open where `kept` is True, else closed."""
        sure = torch.full_like(p.alpha, SURE)
        group = {"alpha_group": torch.full_like(p.alpha_group, SURE)} if self.structured else {}
        change = self.gates(p, False) * p.D * kept
        return {"D": change, "alpha": torch.where(kept, sure, -sure), **group}

    def penalty(self, p):
        """The price of the gates that are expected to be open."""
        share = torch.sigmoid(p.alpha_group).sum() if self.structured else 1.0
        return self.penalty_weight * share * torch.sigmoid(p.alpha).sum()
