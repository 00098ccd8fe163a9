"""The cases of all built-in operators: each is planned to see whether it is one, so they are found once."""

from deltac.operators import builtin
from deltac.testing import cases_of

CASES = [case for entry in builtin().values() for case in cases_of(entry.operator)]
