"""4xx: several deltas together."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = ()
