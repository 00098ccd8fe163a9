"""3xx: an operator's options against the shapes of its sites."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = ()
