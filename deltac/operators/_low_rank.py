"""What operators with low-rank factors share: rank and scale, and the check that the site is a matrix of that rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deltac.operators._checks import check_at_most
from deltac.operators._contract import Operator, Refusal
from deltac.operators._fields import option
from deltac.sites import Site


def matrix_shape(site: Site) -> tuple[int, int]:
    """The sizes [out, in] of the weight at a site. Raises `Refusal` where it is no matrix."""
    if len(site.shape) != 2:
        message = f"it needs a matrix, this has the shape {list(site.shape)}"
        raise Refusal(message, "leave it out of the target")
    out, inner = site.shape
    return out, inner


def check_rank(rank: int, site: Site) -> tuple[int, int]:
    """The sizes [out, in] of a weight that can have a change of that rank. Raises `Refusal` for a smaller one."""
    out, inner = matrix_shape(site)
    check_at_most("rank", rank, "min(out, in)", min(out, inner))
    return out, inner


@dataclass(frozen=True, kw_only=True)
class LowRankOperator(Operator):
    """An operator with a product of two thin matrices, scaled by s."""

    rank: int = option(8, "Rank of the product B A.", minimum=1, maximum=65536)
    alpha: float | None = option(
        None, "Numerator of the scale s. Without it s = 1, at any rank.", above=0
    )
    scaling: Literal["standard", "rank-stabilized"] = option(
        "standard", "s = alpha / rank (standard) or alpha / sqrt(rank) (rank-stabilized)."
    )

    @property
    def scale(self) -> float:
        """The factor s of the product."""
        if self.alpha is None:
            return 1.0
        return self.alpha / (self.rank if self.scaling == "standard" else self.rank**0.5)

    def sizes(self, site: Site) -> tuple[int, int]:
        """The sizes [out, in] of the weight at a site. Raises `Refusal` where the options don't fit it."""
        shape = check_rank(self.rank, site)
        if self.alpha is None and self.scaling != "standard":
            raise Refusal("without 'alpha' it has no effect", "give 'alpha'", option="scaling")
        return shape
