"""The paper's counts: |Θ|, |ΔΘ| by family, heads apart."""

from __future__ import annotations

from math import prod

from deltac.model.graph import ModelGraph
from deltac.planning.plan import ITEM_BYTES, Counts, HeadParameter, Placement, added_by


def count(graph: ModelGraph, placements: list[Placement], heads: list[HeadParameter]) -> Counts:
    """Counts a plan. Tied and doubly selected parameters count once."""
    head_names = {head.name for head in heads}
    base = sum(info.numel for name, info in graph.parameters.items() if name not in head_names)
    added = factors = fixed = size = 0
    for _, placement, _, new in added_by(placements):
        number = prod(new.shape)
        size += number * ITEM_BYTES[placement.dtype_of(new)]
        if not new.trainable:
            fixed += number
        elif placement.site.kind == "weight":
            factors += number
        else:
            added += number
    names = {graph.tied.get(p.site.tensor, p.site.tensor) for p in placements if p.tunes}
    tuned = sum(graph.parameters[name].numel for name in names)
    size += sum(
        graph.parameters[name].numel * ITEM_BYTES[graph.parameters[name].dtype] for name in names
    )
    heads_size = sum(head.info.numel for head in heads)
    return Counts(base, added, tuned, factors, heads_size, size, fixed)
