"""FourierFT: a change that has few frequencies."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from deltac.operators._additive import AdditiveOperator
from deltac.operators._checks import check_at_most
from deltac.operators._contract import NewParameter, Paper, Refusal
from deltac.operators._entries import RandomEntries
from deltac.operators._fields import option
from deltac.operators._init import Normal, Zeros
from deltac.operators._low_rank import matrix_shape
from deltac.operators._matrices import from_frequencies


@dataclass(frozen=True)
class FourierFt(AdditiveOperator):
    """W' = W + s Re(F⁻¹(E)), F the 2-D Fourier transform and E: [out, in] zero but for n trained coefficients.

    They stand at random frequencies. All sites of the delta share those, as in the paper, so their weights have one
    shape. With the paper's initial values the model doesn't start as the base; with `init: zero` it does.
    """

    frequencies: int = option(
        1000, "Number n of coefficients.", minimum=1, maximum=16777216, trials=(5,)
    )
    scale: float = option(150.0, "Factor s.", above=0)
    init: Literal["gaussian", "zero"] = option(
        "gaussian", "Initial coefficients: normal with std 1 (gaussian), or zero.", effect="start"
    )

    name: ClassVar = "fourierft"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    paper: ClassVar = Paper(
        "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform",
        "Gao et al.",
        2024,
        "https://arxiv.org/abs/2405.03003",
    )

    @property
    def identity(self):
        """Exact where the coefficients start at zero."""
        return "exact" if self.init == "zero" else "no"

    def parameters(self, site):
        """c: [n]."""
        out, inner = matrix_shape(site)
        check_at_most("frequencies", self.frequencies, "out · in", out * inner)
        init = Normal(1.0) if self.init == "gaussian" else Zeros()
        return {"c": NewParameter((self.frequencies,), init)}

    def shared(self, sites):
        """entries: [n], fixed, row · in + column of each frequency."""
        shapes = sorted({matrix_shape(site) for site in sites})
        if len(shapes) > 1:
            listed = " and ".join(str(list(shape)) for shape in shapes)
            fix = "write one delta for each shape"
            raise Refusal(f"its sites share frequencies, and have the shapes {listed}", fix)
        entries = RandomEntries(shapes[0][0] * shapes[0][1])
        return {
            "entries": NewParameter((self.frequencies,), entries, trainable=False, dtype="int64")
        }

    def weight(self, w, p):
        """W + s Re(F⁻¹(E))."""
        return w + self.scale * from_frequencies(p.c, p.entries, *w.shape)
