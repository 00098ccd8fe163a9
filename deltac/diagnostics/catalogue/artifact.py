"""7xx: saved deltas: writing, reading, the base they belong to."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = ()
