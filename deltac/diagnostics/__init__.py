"""Problems as values: coded, placed in their source, rendered for people and for programs."""

from deltac.diagnostics.catalogue import CODES, Code
from deltac.diagnostics.diagnostic import Diagnostic
from deltac.diagnostics.error import DeltacError, DeltacWarning, Problems
from deltac.diagnostics.nearest import did_you_mean, nearest
from deltac.diagnostics.span import Position, Source, Span

__all__ = [
    "CODES",
    "Code",
    "DeltacError",
    "DeltacWarning",
    "Diagnostic",
    "Position",
    "Problems",
    "Source",
    "Span",
    "did_you_mean",
    "nearest",
]
