"""The kinds of places where a delta operator can act, as plain data that both `model` and `operators` know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: What an operator sees and returns at a place (see docs/language.md).
KINDS = ("weight", "activation", "parameter")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ParameterInfo:
    """A parameter of the base: its name in the module that owns it, its shape, its dtype (`float32`, `bfloat16` …)."""

    name: str
    shape: Shape
    dtype: str

    @property
    def numel(self) -> int:
        """How many elements it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Site:
    """One place of a model where one operator acts.

    Attributes:
        kind: `weight`, `activation` or `parameter`.
        module: path of the module that owns the place, as in `named_modules()`.
        module_class: name of that module's class.
        layout: which kind of module it is for the operators: `linear` (also `Conv1D`, whose weight is seen
            transposed), `embedding`, `conv` (not grouped), `norm` or `other`.
        parameter: name of the parameter in its module, for the kinds `weight` and `parameter`.
        shape: for `weight`, the shape that the operator sees, [out, in] for linears and [out, in · kernel] for
            convolutions; for `parameter`, its own shape.
        width_in: size of the last dimension of the module's first tensor input x, for `activation` sites.
        width_out: size of the last dimension of the module's output y, for `activation` sites.
        dtype: the base's dtype at this place.
        parameters: all parameters that the module itself owns, by name.
    """

    kind: str
    module: str
    module_class: str
    layout: str = "other"
    parameter: str = ""
    shape: Shape = ()
    width_in: int | None = None
    width_out: int | None = None
    dtype: str = "float32"
    parameters: Mapping[str, ParameterInfo] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The full name: the module's path, and the parameter's name where the site is one."""
        return ".".join(part for part in (self.module, self.parameter) if part)
