"""An operator whose change of the weight is no sum: it stays in the inserted form."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators import NewParameter, Operator, Paper, Zeros


@dataclass(frozen=True)
class Unfactored(Operator):
    """W' = W · (1 + d)."""

    name: ClassVar = "unfactored"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper("A paper", "Some Body", 2020, "https://example.org/paper")

    def parameters(self, site):
        """`d`: [in]."""
        return {"d": NewParameter(site.shape[-1:], Zeros())}

    def weight(self, w, p):
        """W · (1 + d)."""
        return w * (1.0 + p.d)
