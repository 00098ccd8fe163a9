"""The laws that every operator obeys, for its author's own tests: `check_operator(MyOperator)`.

Each law is a function of its own; `LAWS` holds them all. A broken law raises `AssertionError` with what was found.
"""

from deltac.testing.cases import cases_of, check_operator, registered
from deltac.testing.declaration import check_declaration
from deltac.testing.laws import LAWS, Law
from deltac.testing.models import BASES, Case, LawsConfig, LawsModel

__all__ = [
    "BASES",
    "LAWS",
    "Case",
    "Law",
    "LawsConfig",
    "LawsModel",
    "cases_of",
    "check_declaration",
    "check_operator",
    "registered",
]
