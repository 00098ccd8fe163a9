"""A plain copy of a rewritten model: the base's own classes and names, its values or new ones, nothing of deltac."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NoReturn

import torch
from torch import nn
from transformers import PreTrainedModel

from deltac.diagnostics import DeltacError, Diagnostic
from deltac.model.graph import graph_from_model
from deltac.model.skeleton import build_skeleton, computed

#: Marks of classes that deltac made, and what it keeps on the object of a module.
OWN_CLASSES = ("delta_region", "delta_root")
OWN_ATTRIBUTES = (
    "delta_state",
    "delta_disabled",
    "delta_owners",
    "delta_input",
    "delta_attended",
    "delta_call",
    "delta_prompt",
    "delta_source",
    "save_pretrained",
)


def plain_copy(
    model: PreTrainedModel,
    added: Collection[str],
    kept: Mapping[str, torch.Tensor],
    changed: Iterable[tuple[str, torch.Tensor]],
) -> tuple[PreTrainedModel, list[Diagnostic]]:
    """Copies a rewritten model without its delta. The model itself is left alone.

    Args:
        model: the rewritten model.
        added: full names of the parameters that the delta added.
        kept: values of base parameters to use instead of those that the model holds now.
        changed: full names with new values. A tensor with several names gets the value under this one alone.

    Returns:
        The copy, its parameters with `requires_grad` as after `from_pretrained`, and a note on each weight that is tied
        no more (DLT732).

    Raises:
        DeltacError: DLT733, the model's class ties what now differs.
    """
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in computed(model)}
    for name, parameter in model.named_parameters():
        if name in added:
            memo[id(parameter)] = None
        elif name in kept:
            memo[id(parameter)] = nn.Parameter(kept[name].detach().clone())
    copied = copy.deepcopy(model, memo)
    for path, module in copied.named_modules():
        strip(module, path, added)
    for parameter in copied.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    ties = tied_names(copied)
    new = dict(changed)
    made = {name: nn.Parameter(value) for name, value in new.items()}
    for names in ties:
        if _is_one(names, new):  # the delta changed the tensor under all of its names
            made |= dict.fromkeys(names, made[names[0]])
    for name, parameter in made.items():
        path, _, own = name.rpartition(".")
        copied.get_submodule(path)._parameters[own] = parameter
    untied = [
        names for names in ties if not new.keys().isdisjoint(names) and not _is_one(names, new)
    ]
    if untied:
        _untie(copied)
    return copied, [_note(names, new) for names in untied]


def _is_one(names: tuple[str, ...], new: Mapping[str, torch.Tensor]) -> bool:
    """Whether the names of a tensor have one new value."""
    values = [new.get(name) for name in names]
    first = values[0]
    return first is not None and all(v is not None and torch.equal(v, first) for v in values)


def tied_names(model: nn.Module) -> list[tuple[str, ...]]:
    """Each parameter of a model with all of its names; a module that stands at two places counts at the first."""
    names: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for own, parameter in module._parameters.items():
            if parameter is not None:
                names.setdefault(id(parameter), []).append(f"{path}.{own}" if path else own)
    return [tuple(found) for found in names.values()]


def base_class(cls: type[nn.Module]) -> type[nn.Module]:
    """The class that a class of deltac was made of."""
    while any(mark in vars(cls) for mark in OWN_CLASSES):
        cls = cls.__mro__[1]
    return cls


def strip(module: nn.Module, path: str, added: Collection[str]) -> None:
    """Makes a copied module what it was before it was rewritten."""
    module.__class__ = base_class(type(module))
    for name in added:
        where, _, own = name.rpartition(".")
        if where == path:
            module._parameters.pop(own, None)  # the plain form of an opaque linear has none
    for name in OWN_ATTRIBUTES:
        vars(module).pop(name, None)


def _untie(model: PreTrainedModel) -> None:
    """Makes the config say what now is, that nothing is tied, and the ties those of the config's own model."""
    parts = [(path, m) for path, m in model.named_modules() if isinstance(m, PreTrainedModel)]
    before = _calls(model)
    for _, part in parts:
        for config in (part.config, part.config.get_text_config()):
            if getattr(config, "tie_word_embeddings", False):
                config.tie_word_embeddings = False
    saved = json.loads(model.config.to_json_string(use_diff=False))
    if json.loads(type(model.config).from_dict(saved).to_json_string(use_diff=False)) != saved:
        _refuse(f"{type(model.config).__name__} can't be saved with tie_word_embeddings = false")
    if _calls(model) != before:
        _refuse(f"{type(model).__name__} computes something else where its config ties nothing")
    skeleton, _ = build_skeleton(type(model), model.config)
    for names in tied_names(skeleton):
        values = [model.get_parameter(name) for name in names]
        if any(value is not values[0] for value in values):
            _refuse(f"{type(model).__name__} ties {', '.join(names)} whatever its config says")
    single = {name for names in tied_names(skeleton) if len(names) == 1 for name in names}
    for names in tied_names(model):
        for name in names[1:]:
            if name in single:
                path, _, own = name.rpartition(".")
                value = model.get_parameter(name).detach().clone()
                model.get_submodule(path)._parameters[own] = nn.Parameter(value)
    for path, part in parts:
        part.all_tied_weights_keys = skeleton.get_submodule(path).all_tied_weights_keys


def _calls(model: PreTrainedModel) -> list[str]:
    """Every torch call of the model's forward, on shapes: what it computes, but for its values."""
    return [str(node.target) for node in graph_from_model(model).trace.graph.nodes]


def _refuse(message: str) -> NoReturn:
    fix = "leave this delta unmerged, beside its base, or narrow its target"
    raise DeltacError.of("DLT733", message, fix=fix)


def _note(names: tuple[str, ...], changed: Collection[str]) -> Diagnostic:
    own = [name for name in names if name in changed]
    message = f"{', '.join(names)} were one tensor; the delta changed {', '.join(own)}"
    notes = ("the merged model's config has tie_word_embeddings = false",)
    return Diagnostic("DLT732", f"{message}, so they are tied no more", notes=notes)
