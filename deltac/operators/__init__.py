"""The operator contract and the operators, one file each."""

from deltac.operators._contract import NewParameter, Operator, Paper, Refusal
from deltac.operators._fields import effects, fragment, option
from deltac.operators._init import KaimingUniform, Normal, Zeros
from deltac.operators._registry import Registered, builtin, fragments, get, names

__all__ = [
    "KaimingUniform",
    "NewParameter",
    "Normal",
    "Operator",
    "Paper",
    "Refusal",
    "Registered",
    "Zeros",
    "builtin",
    "effects",
    "fragment",
    "fragments",
    "get",
    "names",
    "option",
]
