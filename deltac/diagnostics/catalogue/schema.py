"""1xx: the spec is YAML, but its keys or values are not those of the language."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = ()
