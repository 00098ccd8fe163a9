"""Weight operators on the experts of a mixture: one matrix each, in one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deltac.operators import NewParameter, Operator
from deltac.operators._init import ForEach
from deltac.planning.refused import RefusedError
from deltac.sites import Site
from deltac.spec import LayerRange, OutOfRangeError


def narrowed(site: Site, entries: Sequence[str | int]) -> Site:
    """The site with the experts that `experts` of a target names; as it is where the target doesn't say.

    Raises:
        RefusedError: DLT210, the site has no such experts.
    """
    if not entries:
        return site
    if site.experts is None:
        fix = "take 'experts' away, or write a role of experts, such as 'role: moe.experts.down'"
        message = (
            "'experts' narrows tensors that hold the matrices of several experts; this is none"
        )
        raise RefusedError("DLT210", message, fix)
    count = site.experts.count
    chosen: set[int] = set()
    for entry in entries:
        try:
            chosen.update(LayerRange.parse(entry).indices(count))
        except OutOfRangeError as error:
            message = f"'experts: {entry}' is out of range: it has {count} experts (0-{count - 1})"
            fix = "experts count from 0; -1 is the last"
            raise RefusedError("DLT210", message, fix) from error
    return replace(site, experts=replace(site.experts, chosen=tuple(sorted(chosen))))


def check_operator(operator: Operator, site: Site) -> None:
    """Refuses what has no meaning where the forward of the experts is the base's own and only W' is given to it.

    Raises:
        RefusedError: DLT511.
    """
    if site.experts is None:
        return
    kind = type(operator)
    asked = ""
    if operator.input_dropout:
        asked = "dropout on its input"
    elif operator.gate:
        asked = "a gate on its input"
    elif kind.penalty is not Operator.penalty:
        asked = "a penalty"
    elif kind.bias is not Operator.bias and any("bias" in name for name in site.parameters):
        asked = "a change of the bias"
    if asked:
        message = f"experts in one tensor take a new weight, and it needs {asked} too"
        raise RefusedError("DLT511", message, "leave that option out, or the experts")


def for_each_expert(new: Mapping[str, NewParameter], site: Site) -> dict[str, NewParameter]:
    """The parameters that an operator adds at a site; over experts, each of them [experts, *shape]."""
    if site.experts is None:
        return dict(new)
    count = len(site.experts.chosen)
    return {
        name: replace(each, shape=(count, *each.shape), init=ForEach(each.init))
        for name, each in new.items()
    }
