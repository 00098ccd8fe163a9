"""Some deltas of a compiled model switched off: the code of its modules without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn
from transformers import PreTrainedModel

from deltac.artifact.manifest import added_names, ejected_deltas, fresh_heads
from deltac.diagnostics import DeltacError, Diagnostic
from deltac.diagnostics.nearest import did_you_mean
from deltac.model.given import given_inputs
from deltac.model.graph import graph_from_model
from deltac.model.skeleton import skeleton_of
from deltac.operators import fragment, get
from deltac.planning import Plan, make_plan
from deltac.planning.ejected import ejected
from deltac.rewrite.pipeline import rewrite
from deltac.rewrite.plain import base_class, strip
from deltac.rewrite.region import Region, region_class
from deltac.spec import load_spec


def check_names(model: PreTrainedModel, deltas: frozenset[str]) -> None:
    """Raises DLT737 where the model has no delta of a name."""
    known = [delta["name"] for delta in model.delta_state.manifest["deltas"]]
    for name in sorted(deltas - set(known)):
        message = f"this model has no delta '{name}'; it has {', '.join(known) or 'none'}"
        raise DeltacError([Diagnostic("DLT737", message, fix=did_you_mean(name, known))])


def regions_without(model: PreTrainedModel, deltas: frozenset[str]) -> Mapping[str, Region]:
    """The code of every module that is still rewritten when these deltas are left out, by path.

    The spec is planned again on a skeleton of the model, once for each set of names.
    """
    cached = model.delta_state.without
    if deltas not in cached:
        plan = _plan_again(model)
        kept = tuple(each for each in plan.placements if each.delta.name not in deltas)
        cached[deltas] = rewrite(replace(plan, placements=kept)).regions
    return cached[deltas]


def check_swappable(model: nn.Module) -> None:
    """Raises DLT707 where another library has given a rewritten module its own class or forward, as FSDP does."""
    for path, module in model.named_modules():
        own = vars(type(module))
        foreign = "delta_region" not in own and "delta_root" not in own
        if hasattr(type(module), "delta_region") and (foreign or "forward" in vars(module)):
            message = f"{path or 'the model'} was wrapped after it was compiled"
            fix = "switch single deltas off before offloading or sharding; disabled() switches all off"
            raise DeltacError([Diagnostic("DLT707", message, fix=fix)])


def give_code(module: nn.Module, region: Region) -> None:
    """Gives a rewritten module the code of a region."""
    cls = type(module)
    borrowed = tuple(vars(module).get("delta_owners", ()))
    made = region_class(replace(region, base=base_class(cls)), borrowed)
    module.__class__ = cls.delta_root(made) if "delta_root" in vars(cls) else made


def _plan_again(model: PreTrainedModel) -> Plan:
    """The plan of a compiled model, which has none with it: it would weigh more than the delta."""
    state = vars(model).pop("delta_state")
    try:
        skeleton, _ = skeleton_of(model)
    finally:
        model.delta_state = state
    added = added_names(state.manifest)
    for path, module in skeleton.named_modules():
        strip(module, path, added)
    text = state.spec[state.manifest["spec"]["file"]].decode()
    spec = load_spec(text + "\n", extra_fragment=lambda name: fragment(get(name).operator))
    graph = graph_from_model(skeleton, given_inputs(spec, type(skeleton)))
    planned = make_plan(spec, graph, fresh_heads(state.manifest))
    return ejected(planned, ejected_deltas(state.manifest))
