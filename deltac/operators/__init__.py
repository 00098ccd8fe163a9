"""The operator contract and the operators, one file each."""

from deltac.operators._additive import AdditiveOperator
from deltac.operators._contract import NewParameter, Operator, Paper, Refusal
from deltac.operators._fields import effects, fragment, option
from deltac.operators._init import Constant, KaimingUniform, Normal, Uniform, Zeros
from deltac.operators._registry import Registered, builtin, fragments, get, names
from deltac.operators._structured import Structured, block_diagonal, row_norm, structured

__all__ = [
    "AdditiveOperator",
    "Constant",
    "KaimingUniform",
    "NewParameter",
    "Normal",
    "Operator",
    "Paper",
    "Refusal",
    "Registered",
    "Structured",
    "Uniform",
    "Zeros",
    "block_diagonal",
    "builtin",
    "effects",
    "fragment",
    "fragments",
    "get",
    "names",
    "option",
    "row_norm",
    "structured",
]
