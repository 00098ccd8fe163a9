"""The plan: who changes what, with every name, shape and count, before anything is rewritten."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from deltac.diagnostics import Diagnostic, Span
from deltac.model.graph import ModelGraph
from deltac.model.select import Selection
from deltac.operators import NewParameter, Operator, Registered
from deltac.sites import ParameterInfo, Shape, Site
from deltac.spec import DeltaSpec, Spec

ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "int64": 8,
    "uint8": 1,
    "bool": 1,
}


@dataclass(frozen=True)
class Placement:
    """One operator at one site.

    Attributes:
        delta: the entry of the spec that asks for it.
        operator: the operator with its options, overrides applied.
        registered: where the operator comes from.
        site: the place.
        new: the parameters that it adds at the site, by their own name.
        dtype: the dtype of the added parameters.
        tunes: whether the parameter at the site is tuned in place.
        span: the part of the spec that put it here: the delta's, or an override's.
        selected: the name that the target selects, which may be a module above the site.
        shared: the parameters that it shares with the delta's other sites; they live at the root of the model.
        home: path of the module that owns its own parameters, where that is another reader of the same tensor.
    """

    delta: DeltaSpec
    operator: Operator
    registered: Registered
    site: Site
    new: dict[str, NewParameter]
    dtype: str
    tunes: bool
    span: Span
    selected: str
    shared: Mapping[str, NewParameter] = field(default_factory=dict)
    home: str | None = None

    @property
    def every(self) -> dict[str, NewParameter]:
        """All parameters that its operator reads, by their own name: the site's, then the shared ones."""
        return {**self.new, **self.shared}

    def full_name(self, parameter: str) -> str:
        """The name of an added parameter in the model, `<module path>.<delta>_<parameter>`; a shared has no path."""
        own = self.own_name(parameter)
        module = self.site.module if self.home is None else self.home
        return own if parameter in self.shared or not module else f"{module}.{own}"

    def own_name(self, parameter: str) -> str:
        """The name of an added parameter in the module that owns it: `<delta>_<parameter>`, or
        `<delta>_<part>_<parameter>` where the site is another parameter than `weight`, or a part of a fused weight."""
        site, parts = self.site, []
        if parameter not in self.shared:
            other = site.kind == "weight" and site.parameter != "weight"
            parts = [part for part in (site.parameter if other else "", site.part) if part]
        return "_".join([self.delta.name, *parts, parameter])

    def seen_shape(self, parameter: str) -> Shape:
        """The shape of a parameter as its operator sees it: at experts, that of one expert's."""
        each = self.site.experts is not None and parameter in self.new
        return self.every[parameter].shape[1:] if each else self.every[parameter].shape

    def dtype_of(self, new: NewParameter) -> str:
        """The dtype of an added parameter."""
        return new.dtype or self.dtype


#: An added parameter: full name, the (first) placement that adds it, its own name at the operator, its declaration.
Added = tuple[str, Placement, str, NewParameter]


def added_by(placements: Iterable[Placement]) -> Iterator[Added]:
    """Every parameter that these placements add, a shared one once."""
    seen: set[str] = set()
    for placement in placements:
        for name, new in placement.every.items():
            full = placement.full_name(name)
            if full not in seen:
                seen.add(full)
                yield full, placement, name, new


def trained_by(placements: Sequence[Placement]) -> int:
    """How many elements these placements train, added or in place."""
    number = sum(prod(new.shape) for *_, new in added_by(placements) if new.trainable)
    return number + sum(prod(placement.site.shape) for placement in placements if placement.tunes)


@dataclass(frozen=True)
class HeadParameter:
    """A parameter that is trained whole and saved, but is no part of the delta.

    Attributes:
        name: full name in the model.
        info: its shape and dtype.
        fresh: whether the base checkpoint lacks it, so that its initial value is drawn.
    """

    name: str
    info: ParameterInfo
    fresh: bool


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters (elements), and the bytes of the delta as saved.

    Attributes:
        base: |Θ|: every parameter of the base once, heads left out.
        added: parameters that addition methods add.
        tuned: parameters of the base that are tuned in place.
        factors: parameters that reparameterize base weights.
        heads: parameters of the heads; no part of the delta.
        bytes: bytes of the delta's tensors, fixed ones too.
        fixed: elements of fixed tensors, which the delta needs and does not train.
    """

    base: int
    added: int
    tuned: int
    factors: int
    heads: int
    bytes: int
    fixed: int

    @property
    def delta(self) -> int:
        """|ΔΘ|: all that the delta trains."""
        return self.added + self.tuned + self.factors

    @property
    def of_base(self) -> float:
        """|ΔΘ| / |Θ|."""
        return self.delta / self.base

    @property
    def of_total(self) -> float:
        """|ΔΘ| / (|Θ| + |added|), where added is every trained parameter that the base does not have."""
        return self.delta / (self.base + self.added + self.factors)


@dataclass(frozen=True)
class Matched:
    """How many sites a delta has for each entry of its target, and in which blocks.

    Attributes:
        entries: entry as written → number of places it selects.
        sites: paths of the sites, in the model's order.
        blocks: stack of blocks → number of each block with sites → how many it has.
        layers: entry as written → the same for the places that it selects.
        selection: what the target selects, for messages that point at one of its entries.
    """

    entries: dict[str, int]
    sites: tuple[str, ...]
    blocks: dict[str, dict[int, int]]
    layers: dict[str, dict[str, dict[int, int]]]
    selection: Selection


@dataclass(frozen=True)
class Plan:
    """Everything that compiling a spec on a model will do.

    Attributes:
        spec: the spec.
        graph: the model on shapes.
        placements: in the order of the spec, then of the model.
        heads: parameters trained whole.
        counts: the totals.
        matched: delta name → what its target selects.
        warnings: diagnostics that do not stop the build.
        ejected: names of the deltas that are planned as they are saved for use.
    """

    spec: Spec
    graph: ModelGraph
    placements: tuple[Placement, ...]
    heads: tuple[HeadParameter, ...]
    counts: Counts
    matched: dict[str, Matched]
    warnings: tuple[Diagnostic, ...] = field(default=())
    ejected: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """The report that `deltac plan` prints."""
        from deltac.planning.report import as_text, report  # which reads plans

        return as_text(report(self))

    def __repr__(self) -> str:
        numbers = f"delta={self.counts.delta:,}, heads={self.counts.heads:,}"
        return f"Plan({self.spec.name!r}, {self.graph.class_name}, {numbers})"

    def target_span(self, placements: Collection[Placement]) -> Span:
        """Where the spec selects these placements of one delta: an entry of its target, or all of it."""
        delta = next(iter(placements)).delta
        selection = self.matched[delta.name].selection
        return selection.span(self.spec, delta.target, [each.selected for each in placements])

    def added(self) -> Iterator[Added]:
        """Every added parameter, a shared one once."""
        return added_by(self.placements)

    def tuned(self) -> dict[str, Placement]:
        """Every parameter tuned in place, once, with the first placement that asks for it."""
        found: dict[str, Placement] = {}
        for placement in self.placements:
            if placement.tunes:
                found.setdefault(
                    self.graph.tied.get(placement.site.tensor, placement.site.tensor), placement
                )
        return found

    def needs_weights(self) -> list[str]:
        """Names of base parameters whose values the initial artifact needs: those tuned in place, heads that the
        checkpoint has, and weights that initial values are made from."""
        read = [
            placement.site.read
            for _, placement, _, new in self.added()
            if getattr(new.init, "needs_weight", False)
        ]
        heads = [head.name for head in self.heads if not head.fresh]
        return [*dict.fromkeys([*self.tuned(), *heads, *read])]
