"""What every additive weight delta has besides its own options: dropout and a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deltac.operators._contract import NewParameter, Operator, Refusal
from deltac.operators._fields import option
from deltac.operators._init import Zeros
from deltac.sites import Site


@dataclass(frozen=True, kw_only=True)
class AdditiveOperator(Operator):
    """An operator whose `weight(w, p)` is w + D with a D that doesn't depend on w.

    With dropout and gate it computes y = linear(x, W, b) + σ(x gᵀ + c) · linear(drop(x), D): one mask for each delta
    and input, one gate value for each token (Mao et al., 2022, gate their LoRA so).
    """

    dropout: float = option(
        0.0,
        "Probability of dropout on the input of the delta.",
        minimum=0,
        below=1,
        effect="training",
    )
    gate: bool = option(
        False,
        "Multiply what is added by a learned gate, the sigmoid of a linear function of the input.",
    )

    @property
    def input_dropout(self) -> float:
        """Probability of dropout on the input of the delta."""
        return self.dropout

    def gating(self, site: Site) -> Mapping[str, NewParameter]:
        """gate: [in] and gate_bias: [1], where there is a gate; it starts at one half."""
        asked = [name for name in ("gate", "dropout") if getattr(self, name)]
        if asked and len(site.shape) != 2:
            message = f"it needs a matrix for '{asked[0]}', this has the shape {list(site.shape)}"
            raise Refusal(message, f"leave '{asked[0]}' out, or narrow the target", asked[0])
        if not self.gate:
            return {}
        return {
            "gate": NewParameter(site.shape[1:], Zeros()),
            "gate_bias": NewParameter((1,), Zeros()),
        }
