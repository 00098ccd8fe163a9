"""5xx: the model's graph can't be rewritten as asked."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = ()
