"""Linear calls that read a weight, and how each runs a form in the place of its own matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import fx
from torch.nn import functional as F

from deltac.planning import Placement
from deltac.rewrite.expression import Expression, key
from deltac.rewrite.forms import Form, stripped
from deltac.rewrite.rows import add_features, spread_features
from deltac.rewrite.values import Values
from deltac.rewrite.weight_function import name_of


@dataclass
class Linear:
    """y = x Wᵀ + b.

    Attributes:
        call: the node that computes it.
        weight: the node of W, in the shape that operators see.
        expression: the expression of W'.
        values: makes the nodes of parameters.
        inputs: what was made of an input: its dtype, and what each delta's dropout leaves of it.
    """

    call: fx.Node
    weight: fx.Node
    expression: Expression
    values: Values
    inputs: dict[tuple[str, fx.Node], fx.Node] = field(default_factory=dict)

    #: The rules that may be used on its weight.
    rules: ClassVar = ("sum", "rows", "columns", "product", "structured", "spread", "beside")

    @property
    def graph(self) -> fx.Graph:
        """The region's graph."""
        return self.call.graph

    def accepts(self, form: Form) -> bool:
        """Whether it can run a form."""
        return True

    def x(self) -> fx.Node:
        """Its input."""
        return self.call.args[0]

    def run(self, form: Form, x: fx.Node, bias: fx.Node | None = None) -> fx.Node:
        """The node of x Mᵀ + b for the matrix M of a form; `bias` is a node of the bias's expression."""
        return getattr(self, f"_{form.kind}")(form, x, bias)

    def original(self, x: fx.Node, bias: fx.Node | None, weight: fx.Node) -> fx.Node:
        """The base's own call, with these arguments in the place of its own."""
        own = None if bias is None else self.values.of(bias)
        return self.graph.call_function(F.linear, (x, weight, own))

    def dense(self, x: fx.Node, matrix: fx.Node) -> fx.Node:
        """x Mᵀ for a matrix that was computed."""
        return self.graph.call_function(F.linear, (x, matrix))

    def dtype(self, x: fx.Node) -> fx.Node:
        """The dtype of x, for the small factors: they are cast, never x."""
        return self._once(".dtype", x, lambda: self.graph.call_function(getattr, (x, "dtype")))

    def matrix_dtype(self) -> fx.Node:
        """The dtype that matrices are cast to: the input's. Under autocast the calls that read them cast them again."""
        return self.dtype(self.x())

    def vector(self, node: fx.Node, y: fx.Node) -> fx.Node:
        """A vector that scales the last dimension of y."""
        flat = stripped(node)
        value = self.values.of(flat, self.dtype(y))
        if flat.meta["value"].ndim > 1:
            value = self.graph.call_method("flatten", (value,))
        return value

    def _base(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        return self.original(x, bias, self.weight)

    def _dense(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        if form.reads_weight:
            own = self.graph.call_function(getattr, (self.weight, "dtype"))
            return self.original(x, bias, self.values.of(form.node, own))
        return self._with_bias(self.dense(x, self.values.of(form.node, self.matrix_dtype())), bias)

    def _sum(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        total = None
        for part, factor in zip(form.parts, form.factors, strict=True):
            if total is None:
                kept = bias if factor == 1.0 and part.reads_weight else None
                total = self.run(part, x, kept)
                if factor != 1.0:
                    total = self.graph.call_function(torch.mul, (total, factor))
                rest = None if kept is bias else bias
            elif part.kind == "spread":
                added = self.run(part.parts[0], x)
                arguments = (total, added, factor, *part.node.args[1:])
                total = self.graph.call_function(add_features, arguments)
            else:
                scaling = {} if factor == 1.0 else {"alpha": factor}
                added = self.run(part, x)
                total = self.graph.call_function(torch.add, (total, added), scaling)
        return self._with_bias(total, rest)

    def _rows(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        inner = None if form.divides else self._inner_bias(bias, "mul", stripped(form.vector))
        y = self.run(form.parts[0], x, bias if inner is None else inner)
        scaling = torch.div if form.divides else torch.mul
        vector = self.row_vector(form.vector, y)
        scaled = self.graph.call_function(scaling, (y, vector))
        if bias is None or inner is not None:
            return scaled
        own = self._addend(self.values.of(bias), y)
        return self._without(scaled, own, self.graph.call_function(scaling, (own, vector)))

    def row_vector(self, node: fx.Node, y: fx.Node) -> fx.Node:
        """A vector with one number for each row of the matrix, shaped to scale y."""
        return self.vector(node, y)

    def _columns(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        scaled = self.graph.call_function(torch.mul, (x, self.vector(form.vector, x)))
        return self.run(form.parts[0], scaled, bias)

    def _product(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        outer, inner = form.parts
        if outer.reads_weight:
            return self.run(outer, self.run(inner, x), bias)
        if not inner.reads_weight:
            return self._with_bias(self.run(outer, self.run(inner, x)), bias)
        found = self._inner_bias(bias, "matmul", outer.node)
        y = self.run(inner, x, bias if found is None else found)
        product = self.run(outer, y)
        if bias is None or found is not None:
            return product
        own = self._addend(self.values.of(bias), y)
        return self._without(product, own, self.run(outer, own))

    def _structured(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        dtype = self.dtype(x)
        values = [
            self.values.of(each, dtype) if isinstance(each, fx.Node) else each
            for each in form.node.args
        ]
        return self.graph.call_function(form.node.target.product, (x, *values))

    def _spread(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        arguments = (self.run(form.parts[0], x), *form.node.args[1:])
        return self._with_bias(self.graph.call_function(spread_features, arguments), bias)

    def _beside(self, form: Form, x: fx.Node, bias: fx.Node | None) -> fx.Node:
        placement = self.expression.besides[form.node]
        y = self.run(form.parts[0], self._dropped(x, placement))
        return self._gated(y, x, placement) if placement.operator.gate else y

    def _dropped(self, x: fx.Node, placement: Placement) -> fx.Node:
        """The input after dropout: one mask for each delta, whatever it adds."""
        probability = placement.operator.input_dropout
        if not probability:
            return x

        def drop() -> fx.Node:
            training = self.graph.get_attr("training")
            return self.graph.call_function(F.dropout, (x, probability, training))

        return self._once(placement.delta.name, x, drop)

    def _once(self, label: str, x: fx.Node, make: Callable[[], fx.Node]) -> fx.Node:
        """A node that belongs to an input and is made once."""
        if (label, x) not in self.inputs:
            self.inputs[label, x] = make()
        return self.inputs[label, x]

    def _gated(self, y: fx.Node, x: fx.Node, placement: Placement) -> fx.Node:
        """σ(x gᵀ + c) · y."""
        graph, dtype = self.graph, self.dtype(x)
        weight, shift = (
            graph.call_method("to", (graph.get_attr(placement.own_name(name)), dtype))
            for name in ("gate", "gate_bias")
        )
        row = graph.call_method("unsqueeze", (weight, 0))
        gate = graph.call_function(torch.sigmoid, (graph.call_function(F.linear, (x, row, shift)),))
        return graph.call_function(torch.mul, (y, gate))

    def _inner_bias(self, bias: fx.Node | None, name: str, factor: fx.Node) -> fx.Node | None:
        """The b of a new bias that is factor · b or factor @ b: then the factor may act on W and b together."""
        if name_of(bias) != name and not (name == "matmul" and name_of(bias) == "mv"):
            return None
        first, second = bias.args
        if name == "mul" and key(second) == key(factor):
            return first
        return second if key(first) == key(factor) else None

    def _without(self, y: fx.Node, bias: fx.Node, changed: fx.Node) -> fx.Node:
        """y with the bias in the place of the changed one that is in it.

        The base's call keeps its bias, and where nothing is changed this adds exact zeros.
        """
        rest = self.graph.call_function(torch.sub, (bias, changed))
        return self.graph.call_function(torch.add, (y, rest))

    def _with_bias(self, y: fx.Node, bias: fx.Node | None) -> fx.Node:
        if bias is None:
            return y
        value = self.values.of(bias)
        return self.graph.call_function(torch.add, (y, self._addend(value, y)))

    def _addend(self, value: fx.Node, y: fx.Node) -> fx.Node:
        """A bias, to be added to y."""
        return self.graph.call_method("to", (value, self.dtype(y)))


class Addmm(Linear):
    """y = b + x V with V = Wᵀ, as transformers' Conv1D has it."""

    def x(self) -> fx.Node:
        """Its input."""
        return self.call.args[1]

    def original(self, x: fx.Node, bias: fx.Node | None, weight: fx.Node) -> fx.Node:
        """The base's own call, with these arguments in the place of its own."""
        flipped = self.graph.call_method("t", (weight,))
        if bias is None:
            return self.graph.call_function(torch.mm, (x, flipped))
        return self.graph.call_function(torch.addmm, (self.values.of(bias), x, flipped))
