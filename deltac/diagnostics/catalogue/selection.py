"""2xx: a target against the model: what matches, what does not."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = ()
