"""A spec that was planned and rewritten on shapes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from transformers import PreTrainedConfig, PreTrainedModel

from deltac.model.opaque import opaque_paths
from deltac.model.source import Origin
from deltac.planning import Plan
from deltac.planning.ejected import ejected
from deltac.rewrite.pipeline import Rewriting, rewrite


@dataclass(frozen=True)
class Prepared:
    """A spec that was planned and rewritten on shapes, before any weight is read.

    Attributes:
        plan: the plan.
        rewriting: its code.
        origin: where the base comes from.
        cls: the base's class.
        config: the base's config.
        saved: the plan as it is saved for use, with its code, where that is another.
    """

    plan: Plan
    rewriting: Rewriting
    origin: Origin
    cls: type[PreTrainedModel]
    config: PreTrainedConfig
    saved: tuple[Plan, Rewriting] | None = None

    def ejected(self, deltas: Collection[str]) -> Prepared:
        """The same with these deltas as they are saved for use."""
        return prepared_plan(ejected(self.plan, deltas), self.origin, self.cls, self.config)

    @property
    def quantized(self) -> list[str]:
        """Paths of the base's quantized linears."""
        return opaque_paths(self.plan.graph.model)


def prepared_plan(
    planned: Plan, origin: Origin, cls: type[PreTrainedModel], config: PreTrainedConfig
) -> Prepared:
    """A plan with its code. The plan's skeleton must not be rewritten yet."""
    flat = ejected(planned)
    saved = None if flat is planned else (flat, rewrite(flat))
    return Prepared(planned, rewrite(planned), origin, cls, config, saved)
