"""Tensors that hold the matrices of several experts, as a mixture of experts keeps them."""

from __future__ import annotations

from dataclasses import replace

from deltac.model.graph import ModelGraph
from deltac.sites import Experts, Site


def with_experts(graph: ModelGraph, site: Site) -> Site:
    """The site of a weight as operators see it: one expert's matrix, [out, in], where its tensor holds several.

    Which way round each is kept follows from the sizes of what it multiplies; where it is square, from the product.
    """
    name = graph.tied.get(site.tensor, site.tensor)
    nodes = graph.products.get(name, ())
    own = [each for each in map(graph.projections.__getitem__, nodes) if each.experts]
    if site.kind != "weight" or not own or len(site.shape) != 3:
        return site
    first = own[0]
    count, rows, columns = site.shape
    shape = first.input.meta.get("shape", ()) if first.input is not None else ()
    inner = shape[first.axis] if len(shape) >= -first.axis else None
    out = first.node.meta["shape"][first.axis]
    fits = [(rows, columns) == (out, inner), (columns, rows) == (out, inner)]
    if not any(fits):
        return site
    transposed = first.transposed if all(fits) else fits[1]
    matrix = (columns, rows) if transposed else (rows, columns)
    return replace(site, shape=matrix, experts=Experts(count, tuple(range(count)), transposed))
