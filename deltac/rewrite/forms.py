"""How a linear map x ↦ x Mᵀ can be computed from the expression of its matrix: the algebra of the pass `factor`.

    A + B             → both maps, added               s · A   → the map, scaled
    d[:, None] · A    → the map, its output scaled     A · d   → the map on a scaled input
    B @ A             → one map after the other        a structured matrix → its own product

Each rule gives a form with its cost; the cheapest form is taken. Nothing here emits code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from torch import fx

from deltac.operators import Structured
from deltac.rewrite.expression import Expression
from deltac.rewrite.rows import spread_rows
from deltac.rewrite.weight_function import ancestors, name_of, terms_of

#: What reading or writing one element costs, in multiplications and additions: about as many as a machine does in the
#: time that four bytes take.
ELEMENT = 16
#: Functions that compute nothing: they show a tensor in another way.
VIEWS = frozenset(
    {"getitem", "t", "transpose", "unsqueeze", "squeeze", "view", "reshape", "flatten", "detach"}
)


@dataclass(frozen=True)
class Form:
    """One way to compute x Mᵀ.

    Attributes:
        kind: `base` (M is W: the base's own call), `dense` (M is computed first), `sum`, `rows` (its output scaled by
            a vector), `columns` (its input scaled by one), `product` (the second part, then the first), `structured`,
            `spread` (rows of a larger matrix, zeros around them), or `beside` (on an input after dropout, or with a
            gate).
        node: the node of M: [rows, columns].
        cost: operations of a training step, forward and backward.
        reads_weight: whether M depends on W.
        parts: the maps that it is made of.
        factors: for `sum`, the factor of each part.
        vector: the node of the vector that scales.
        divides: whether it divides by the vector.
    """

    kind: str
    node: fx.Node
    cost: float
    reads_weight: bool
    parts: tuple[Form, ...] = ()
    factors: tuple[float, ...] = ()
    vector: fx.Node | None = None
    divides: bool = False


@dataclass(frozen=True)
class Algebra:
    """The choice of forms for one expression.

    Attributes:
        expression: the expression.
        rules: the names of the rules that the call that reads the weight allows.
        accepts: whether that call can run a form.
        tokens: rows of x in a step.
        looks_up: whether the call takes rows of M, as an embedding does, instead of multiplying with it.
        factored: whether a form other than the dense one is taken wherever there is one, whatever it costs.
        keep_apart: whether what is added to W must not be rounded to W's dtype, which is narrower than the delta's.
    """

    expression: Expression
    rules: Collection[str]
    accepts: Callable[[Form], bool]
    tokens: int
    keep_apart: bool
    looks_up: bool = False
    factored: bool = False

    def best(self, node: fx.Node) -> Form:
        """The cheapest form of a node."""
        if node is self.expression.subject:
            return Form("base", node, 4.0 * self._one_way(node), reads_weight=True)
        forms = [self._dense(node)]
        for name in self.rules:
            forms += filter(self.accepts, RULES[name](self, node))
        others = [form for form in forms[1:] if form.cost < math.inf]
        return min((self.factored and others) or forms, key=lambda form: form.cost)

    def reads_weight(self, node: fx.Node) -> bool:
        """Whether a node depends on W."""
        return self.expression.subject in ancestors(node)

    def _one_way(self, node: fx.Node) -> float:
        """Half of the operations of the call itself, forward."""
        rows, columns = _shape(node)
        return self.tokens * columns * (ELEMENT if self.looks_up else rows)

    def _dense(self, node: fx.Node) -> Form:
        computed = {each for each in ancestors(node) if not is_view(each)}
        cost = 6.0 * self._one_way(node)
        if computed:
            cost += 3 * sum(map(_cost_of, computed)) + 2 * ELEMENT * math.prod(_shape(node))
        reads = self.reads_weight(node)
        if ancestors(node) & self.expression.besides.keys():
            cost = math.inf  # dropout acts on the input, so this can't be one matrix
        elif reads and self.keep_apart:
            cost *= 1e6
        return Form("dense", node, cost, reads)


def is_view(node: fx.Node) -> bool:
    """Whether a node costs nothing: a parameter, or another view of one."""
    return node.op == "placeholder" or name_of(node) in VIEWS


def stripped(vector: fx.Node) -> fx.Node:
    """The one-dimensional node that a vector is a view of; the node itself where there is none."""
    node = vector
    while is_view(node) and node.op != "placeholder" and node.meta["value"].ndim > 1:
        node = node.args[0]
    same = node.meta["value"].numel() == vector.meta["value"].numel()
    return node if same and node.meta["value"].ndim == 1 else vector


def _sum(algebra: Algebra, node: fx.Node) -> Iterator[Form]:
    terms = terms_of(node)
    if [each for _, each in terms] == [node]:
        return
    if any(_shape(each) != _shape(node) for _, each in terms):
        return
    parts = [algebra.best(each) for _, each in terms]
    if sum(part.reads_weight for part in parts) > 1:
        return
    added = (len(parts) - 1) * 2 * ELEMENT * algebra.tokens * _shape(node)[0]
    # W first: what is added to the base's call must leave it as it is.
    order = sorted(range(len(parts)), key=lambda index: not parts[index].reads_weight)
    yield Form(
        "sum",
        node,
        sum(part.cost for part in parts) + added,
        any(part.reads_weight for part in parts),
        tuple(parts[index] for index in order),
        tuple(terms[index][0] for index in order),
    )


def _scaled(kind: str, side: int) -> Callable[[Algebra, fx.Node], Iterator[Form]]:
    def rule(algebra: Algebra, node: fx.Node) -> Iterator[Form]:
        divides = name_of(node) in ("truediv", "div")
        if not divides and name_of(node) not in ("mul", "multiply"):
            return
        if not all(isinstance(arg, fx.Node) for arg in node.args) or node.kwargs:
            return
        orders = [node.args] if divides else [node.args, node.args[::-1]]
        for inner, vector in orders:
            if _shape(inner) == _shape(node) and _scales(vector, node, side):
                part = algebra.best(inner)
                if algebra.reads_weight(vector) and algebra.expression.besides.keys() & ancestors(
                    vector
                ):
                    continue
                scaling = 4 * ELEMENT * algebra.tokens * _shape(node)[side]
                yield Form(
                    kind,
                    node,
                    part.cost + scaling + 3 * sum(map(_cost_of, ancestors(vector))),
                    part.reads_weight,
                    (part,),
                    vector=vector,
                    divides=divides,
                )

    return rule


def _scales(vector: fx.Node, node: fx.Node, side: int) -> bool:
    """Whether a tensor is broadcast along the other side of a matrix."""
    shape = tuple(vector.meta["value"].shape)
    size = _shape(node)[side]
    return shape == (size, 1) if side == 0 else shape in ((size,), (1, size))


def _product(algebra: Algebra, node: fx.Node) -> Iterator[Form]:
    if name_of(node) not in ("matmul", "mm") or len(node.args) != 2:
        return
    if any(each.meta["value"].ndim != 2 for each in node.args):
        return
    outer, inner = (algebra.best(each) for each in node.args)
    if outer.reads_weight and inner.reads_weight:
        return
    yield Form(
        "product",
        node,
        outer.cost + inner.cost,
        outer.reads_weight or inner.reads_weight,
        (outer, inner),
    )


def _structured(algebra: Algebra, node: fx.Node) -> Iterator[Form]:
    if isinstance(node.target, Structured) and not algebra.reads_weight(node):
        shapes = [
            tuple(each.meta["value"].shape) if isinstance(each, fx.Node) else each
            for each in node.args
        ]
        inputs = {each for arg in node.all_input_nodes for each in ancestors(arg)}
        cost = 3.0 * (algebra.tokens * node.target.cost(*shapes) + sum(map(_cost_of, inputs)))
        moved = 3 * ELEMENT * algebra.tokens * sum(_shape(node))
        yield Form("structured", node, cost + moved, reads_weight=False)


def _beside(algebra: Algebra, node: fx.Node) -> Iterator[Form]:
    if node in algebra.expression.besides:
        part = algebra.best(node.args[0])
        yield Form("beside", node, part.cost, part.reads_weight, (part,))


def _spread(algebra: Algebra, node: fx.Node) -> Iterator[Form]:
    if node.target is spread_rows:
        part = algebra.best(node.args[0])
        moved = 4 * ELEMENT * algebra.tokens * _shape(node)[0]
        yield Form("spread", node, part.cost + moved, part.reads_weight, (part,))


RULES: dict[str, Callable[[Algebra, fx.Node], Iterator[Form]]] = {
    "sum": _sum,
    "rows": _scaled("rows", 0),
    "columns": _scaled("columns", 1),
    "product": _product,
    "structured": _structured,
    "spread": _spread,
    "beside": _beside,
}


def _shape(node: fx.Node) -> tuple[int, int]:
    return tuple(node.meta["value"].shape)


def _cost_of(node: fx.Node) -> float:
    """Operations that one node takes."""
    if is_view(node):
        return 0.0
    value = node.meta["value"]
    elements = value.numel() if hasattr(value, "numel") else 0
    if name_of(node) in ("matmul", "mm", "bmm"):
        return 2.0 * elements * node.args[0].meta["value"].shape[-1]
    return float(ELEMENT * elements)
