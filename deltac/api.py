"""compile, plan, load: values in, values and diagnostics out. Prints nothing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from deltac.artifact.base import check_base
from deltac.artifact.code import code_files
from deltac.artifact.folder import read_manifest
from deltac.artifact.manifest import make_manifest
from deltac.artifact.spec import made_from, recorded_files, spec_files
from deltac.artifact.tensors import check_tensors, read_tensors, tensor_files
from deltac.compiled import Compiled, content_of
from deltac.diagnostics import DeltacWarning
from deltac.ejection import SavedForm, ejections_of
from deltac.loaded import Artifacts
from deltac.model.hooks import hooks_aside
from deltac.model.quantization import check_gradients, keep_differentiable
from deltac.model.weights import content_hash, fresh_values, load_base
from deltac.operators._init import initial_value
from deltac.penalty import check_penalties, penalty_terms
from deltac.planning import Plan
from deltac.prepare import Prepared, SpecLike, base_names, prepare, prepare_artifact
from deltac.rewrite.apply import apply, class_restorer, value_restorer
from deltac.rewrite.fold import fold_of
from deltac.rewrite.orient import oriented
from deltac.rewrite.sequence_build import prompted_stacks
from deltac.rewrite.verify import verify_gradients, verify_structure
from deltac.root import root_class, seal_inner_models
from deltac.spec.load import validate
from deltac.state import DeltaState

__all__ = ["compile", "load", "plan", "validate"]


def plan(
    spec: SpecLike,
    model: PreTrainedModel | None = None,
    *,
    trust_remote_code: bool = False,
    variables: Mapping[str, Any] | None = None,
    root: Path | None = None,
) -> Plan:
    """What compiling would do: sites, names, shapes, counts. Reads no weights.

    Args:
        spec: a path, YAML text, or a dict.
        model: the base, if it is at hand; else the spec's `model` section names it.
        trust_remote_code: whether code from the hub may run; never unless asked.
        variables: values of the spec's variables, over those of its `vars`.
        root: the folder that bases and files of the model must lie in; None for the spec's repository, or else its
            own folder.

    Raises:
        DeltacError: every problem found, with its code, file, line and column.
    """
    with hooks_aside(model):
        return prepare(
            spec, model, trust_remote_code=trust_remote_code, variables=variables, root=root
        ).plan


def compile(
    spec: SpecLike,
    model: PreTrainedModel | None = None,
    *,
    trust_remote_code: bool = False,
    variables: Mapping[str, Any] | None = None,
    root: Path | None = None,
) -> Compiled:
    """Rewrites a model as a spec says: frozen, with the delta in place and trainable.

    Args:
        spec: a path, YAML text, or a dict.
        model: the base to rewrite in place; None loads the one that the spec names. No value of it changes, and after
            an error it is as before.
        trust_remote_code: whether code from the hub may run; never unless asked.
        variables: values of the spec's variables, over those of its `vars`.
        root: the folder that bases and files of the model must lie in; None for the spec's repository, or else its
            own folder.

    Returns:
        The compiled model, in the training mode that the base was in.

    Warns:
        DeltacWarning: each warning of the plan that no comment in the spec silences.

    Raises:
        DeltacError: every problem found, with its code, file, line and column.
    """
    with torch.inference_mode(False), hooks_aside(model):
        prepared = prepare(
            spec, model, trust_remote_code=trust_remote_code, variables=variables, root=root
        )
        for each in prepared.plan.warnings:
            warnings.warn(str(each), DeltacWarning, stacklevel=2)
        return compile_prepared(prepared, model)


def load(
    folder: str | Path, model: PreTrainedModel | None = None, *, trust_remote_code: bool = False
) -> Compiled:
    """Loads an artifact onto its base.

    Args:
        folder: what `deltac compile` or `Compiled.save` wrote.
        model: the base, if it is at hand; it is rewritten in place. None loads the one that the artifact names; a
            relative folder starts from the artifact.
        trust_remote_code: whether code from the hub may run; never unless asked.

    Raises:
        DeltacError: DLT70x (the files), DLT71x (another base), DLT72x (other tensors); the model is as before then.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    with torch.inference_mode(False), hooks_aside(model):
        prepared = prepare_artifact(folder, manifest, model, trust_remote_code)
        values = read_tensors(folder, manifest)
        check_tensors(make_manifest(prepared.plan, prepared.origin)["tensors"], values)
        compiled = compile_prepared(prepared, model, values, manifest)
    _keep_spec(compiled.model.delta_state, folder, manifest)
    return compiled


def _keep_spec(state: DeltaState, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Lets a loaded delta remember the files that its spec was made from, and the places in them."""
    if made_from(manifest):
        state.spec = recorded_files(folder, manifest)
        state.manifest["spec"] = manifest["spec"]
        spans = {row["name"]: row["span"] for row in manifest["tensors"] if "span" in row}
        for row in state.manifest["tensors"]:
            if row["name"] in spans:
                row["span"] = spans[row["name"]]


def initial_files(prepared: Prepared) -> dict[str, bytes]:
    """The artifact of a prepared spec, made on shapes: no weight of the base is read.

    Only for plans that need none (`Plan.needs_weights`).
    """
    planned = prepared.plan
    model = _verified_skeleton(prepared)
    model.delta_state = _state(prepared)
    values = _initial_values(planned, {}, model.delta_state.manifest)
    names = [head.name for head in planned.heads if head.fresh]
    values |= fresh_values(model, names, planned.spec.seed)
    model.delta_state.initial = content_of(tensor_files(model.delta_state.manifest, values))
    return Compiled(model).files(values, resumable=True)


def loaded_files(prepared: Prepared, *, progress: bool = False) -> dict[str, bytes]:
    """The artifact of a prepared spec whose initial values need the base's weights, which are read for it."""
    return compile_prepared(prepared, None, progress=progress).files(resumable=True)


def compile_prepared(
    prepared: Prepared,
    model: PreTrainedModel | None,
    values: Mapping[str, torch.Tensor] | None = None,
    recorded: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Compiled:
    """Applies a prepared spec to the real base; `values` and `recorded` are those of an artifact."""
    planned = prepared.plan
    _verified_skeleton(prepared)
    given = model is not None
    if model is None:
        model = load_base(
            prepared.cls,
            prepared.config,
            prepared.origin,
            seed=planned.spec.seed,
            progress=progress,
            quantization=planned.spec.model.quantization,
            skeleton=planned.graph.model,
        )
    check_gradients(model, prepared.quantized)
    heads = [head.name for head in planned.heads]
    state = _state(prepared)
    state.fold = fold_of(planned)
    weights = content_hash(model, base_names(planned.graph, heads))
    state.manifest["base"]["weights"] = weights
    checked: tuple[str, ...] = ()
    if recorded is not None:
        check_base(recorded["base"], state.manifest["base"])
        if "loaded" in recorded:
            state.manifest["loaded"] = recorded["loaded"]
        checked = (
            ("structure", "weights") if recorded["base"]["weights"] and weights else ("structure",)
        )
        state.initial = "" if recorded["state"] == "trained" else state.initial
    parameters = dict(model.named_parameters(remove_duplicate=False))
    state.originals = {name: parameters[name].detach().clone() for name in planned.tuned()}
    source = values if values is not None else _initial_values(planned, parameters, state.manifest)
    if values is None and not given and prepared.origin.kind != "config":
        values = fresh_values(
            model, [head.name for head in planned.heads if head.fresh], planned.spec.seed
        )
    with apply(planned, prepared.rewriting, model, source.__getitem__) as undo:
        verify_structure(planned, prepared.rewriting, model)
        for name in parameters.keys() & (values or {}).keys():
            undo.append(value_restorer(parameters[name]))
            with torch.no_grad():
                parameters[name].copy_(values[name])
        undo.append(class_restorer(model))
        asked = any(placement.operator.reads_call for placement in planned.placements)
        penalised, stacks = bool(state.penalties), prompted_stacks(planned)
        model.__class__ = root_class(type(model), penalised, stacks, asked)
        undo.append(lambda: vars(model).pop("delta_state", None) and None)
        model.delta_state = state
        undo += seal_inner_models(model)
        undo += keep_differentiable(model, prepared.quantized)
        compiled = Compiled(model, checked)
        if recorded is None or recorded["state"] == "initial":
            state.initial = content_of(tensor_files(state.manifest, compiled.tensors()))
    return compiled


def _verified_skeleton(prepared: Prepared) -> PreTrainedModel:
    """Rewrites the skeleton and runs it forward and backward on shapes, before the real model is touched."""
    planned = prepared.plan
    model = planned.graph.model
    with apply(planned, prepared.rewriting, model, _fake_values(planned).__getitem__):
        verify_structure(planned, prepared.rewriting, model)
        verify_gradients(planned, model, planned.graph.mode)
        check_penalties(planned, model)
    return model


def _state(prepared: Prepared) -> DeltaState:
    spec = prepared.plan.spec
    manifest = make_manifest(prepared.plan, prepared.origin)
    saved = None
    if prepared.saved is not None:
        flat, rewriting = prepared.saved
        ejections = ejections_of(prepared.plan, flat)
        saved = SavedForm(make_manifest(flat, prepared.origin), code_files(rewriting), ejections)
    return DeltaState(
        manifest,
        spec_files(spec),
        spec.description,
        code_files(prepared.rewriting),
        penalties=penalty_terms(prepared.plan),
        saved=saved,
    )


def _initial_values(
    planned: Plan, base: Mapping[str, torch.Tensor], manifest: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """The initial value of every added parameter; `base` holds the weights that some are made from.

    The manifest is told the artifacts that others were read from.
    """
    values = {}
    read, weight = None, None
    artifacts = Artifacts(planned, manifest["base"])
    for name, placement, _, new in planned.added():
        if getattr(new.init, "needs_artifact", False):
            value = artifacts.tensor(placement, new.init, tuple(new.shape))
            values[name] = value.to(getattr(torch, placement.dtype_of(new)))
            continue
        if not getattr(new.init, "needs_weight", False):
            read, weight = None, None
        elif read is not placement.site:
            # One tensor for all values of a site, so that an initialiser decomposes a weight once.
            read = placement.site
            weight = oriented(base[read.read].detach().double().cpu(), read)
        dtype = getattr(torch, placement.dtype_of(new))
        values[name] = initial_value(
            new.init, new.shape, seed=planned.spec.seed, name=name, dtype=dtype, weight=weight
        )
    if artifacts.read:
        manifest["loaded"] = artifacts.read
    return values


def _fake_values(planned: Plan) -> dict[str, torch.Tensor]:
    with planned.graph.mode:
        return {
            name: torch.empty(new.shape, dtype=getattr(torch, placement.dtype_of(new)))
            for name, placement, _, new in planned.added()
        }
