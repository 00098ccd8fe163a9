"""A spec and its base, planned and rewritten on shapes: all that comes before a weight is read."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from deltac.artifact.base import check_base
from deltac.artifact.folder import read_manifest
from deltac.artifact.manifest import describe_base, ejected_deltas, fresh_heads
from deltac.diagnostics import DeltacError, Diagnostic, Problems
from deltac.model.classes import model_class, own_config
from deltac.model.config import check_read_back, read_config, reads_back
from deltac.model.given import given_inputs
from deltac.model.graph import ModelGraph, graph_from_config, graph_from_model
from deltac.model.hooks import offloading
from deltac.model.quantization import check_quantizable, described, with_quantization
from deltac.model.source import Origin, resolve
from deltac.model.tokenizer import token_ids
from deltac.model.weights import content_hash, fresh_parameters
from deltac.operators import fragment, get
from deltac.planning import Plan, make_plan
from deltac.planning.ejected import ejected
from deltac.planning.opaque import check_opaque
from deltac.prepared import Prepared, prepared_plan
from deltac.spec import ModelSpec, Spec, load_spec
from deltac.spec.ignores import WITH_MODEL, silence

SpecLike = str | Path | Mapping[str, Any]


def prepare(
    spec: SpecLike | Spec,
    model: PreTrainedModel | None = None,
    *,
    base: Path | None = None,
    trust_remote_code: bool = False,
    variables: Mapping[str, Any] | None = None,
    root: Path | None = None,
    offline: bool = False,
) -> Prepared:
    """Validates, traces, plans and generates the code of a spec, all on shapes.

    Args:
        spec: a path, YAML text, a dict, or a spec that was read already.
        model: the base, if it is at hand.
        base: the folder that the spec's relative paths start from, where that is not the folder of its file.
        trust_remote_code: whether code from the hub may run.
        variables: values of the spec's variables, over those that it gives itself.
        root: the folder that bases and files of the model must lie in.
        offline: whether only what lies on this machine is read; with a `config_file` no source is needed then.

    Raises:
        DeltacError: every problem found, but the warnings that a comment silences.
    """
    checked = spec if isinstance(spec, Spec) else _load_spec(spec, variables=variables, root=root)
    if base is None:
        is_path = isinstance(spec, (str, Path)) and "\n" not in str(spec)
        base = Path(spec).parent if is_path else Path()
    document = checked.document
    try:
        origin, cls, config, graph = _open(checked, model, base, trust_remote_code, offline=offline)
        planned = make_plan(
            checked,
            graph,
            fresh_parameters(cls, config, origin, graph),
            functools.partial(token_ids, origin=origin, offline=offline),
        )
        check_opaque(planned, given=model is not None)
        prepared = prepared_plan(planned, origin, cls, config)
    except DeltacError as error:
        # The work stopped half-way: that a comment silences nothing can't be told.
        kept = silence(document, error.diagnostics, WITH_MODEL, complete=False)
        raise DeltacError(kept) from error.__cause__
    planned = replace(planned, warnings=tuple(silence(document, planned.warnings, WITH_MODEL)))
    return replace(prepared, plan=planned)


def plan_of_artifact(folder: Path, *, trust_remote_code: bool = False) -> Plan:
    """The plan that an artifact was made from, on the base that it names. Reads no weights. Raises as `load` does."""
    return prepare_artifact(folder, read_manifest(folder), None, trust_remote_code).plan


def open_source(
    source: str, class_name: str | None = None, *, trust_remote_code: bool = False
) -> ModelGraph:
    """A model on shapes, from a hub id, a folder or a package path."""
    # A spec without a delta that matters: its model section is all that is used.
    model = {"source": source, **({"class": class_name} if class_name else {})}
    spec = _load_spec(
        {
            "version": 1,
            "model": model,
            "deltas": [{"operator": "tune", "target": {"parameter": "**"}}],
        }
    )
    return _open(spec, None, Path(), trust_remote_code)[3]


def prepare_artifact(
    folder: Path, manifest: Mapping[str, Any], model: PreTrainedModel | None, remote_code: bool
) -> Prepared:
    """Plans an artifact's spec again, once the base has proved to be the recorded one.

    A relative source starts from the artifact's folder, wherever the call is made.
    """
    text = (folder / manifest["spec"]["file"]).read_text(encoding="utf-8")
    spec = replace(_load_spec(text + "\n" * ("\n" not in text)), name=manifest["name"])
    _check_operators(manifest)
    origin, cls, config, graph = _open(spec, model, folder, remote_code, manifest)
    heads = manifest["sets"]["heads"]
    found = describe_base(graph, origin, heads)
    if model is not None and manifest["base"]["weights"]:
        found["weights"] = content_hash(model, base_names(graph, heads))
    check_base(manifest["base"], found)
    planned = make_plan(spec, graph, fresh_heads(manifest))
    check_opaque(planned, given=model is not None)
    planned = ejected(planned, ejected_deltas(manifest))
    return prepared_plan(planned, origin, cls, config)


def _open(
    spec: Spec,
    model: PreTrainedModel | None,
    base: Path,
    remote_code: bool,
    manifest: Mapping[str, Any] | None = None,
    *,
    offline: bool = False,
) -> tuple[Origin, type[PreTrainedModel], PreTrainedConfig, ModelGraph]:
    """The base of a spec: where it comes from, its class, its config and its shapes."""
    if model is not None:
        return _open_given(spec, model, strict=manifest is None)
    if spec.model is None:
        message = "the spec has no 'model' section, and no model was given"
        raise DeltacError(
            [Diagnostic("DLT258", message, spec.span(()), fix="write 'model: {source: ...}'")]
        )
    try:
        origin = _origin(spec, spec.model, base, offline)
    except DeltacError as error:
        if manifest is None:
            raise
        # The spec's own folder is not known any more.
        fix = "folders start from the artifact: load the base yourself and give it, load(ARTIFACT, model=...)"
        raise DeltacError(
            [
                replace(each, fix=fix if each.code == "DLT804" else each.fix or fix)
                for each in error.diagnostics
            ]
        ) from None
    instead = _recorded_config(manifest["base"]) if manifest else None
    config = read_config(
        spec, origin, base, remote_code=remote_code, instead=instead, offline=offline
    )
    cls = model_class(spec, config, origin)
    config = with_quantization(spec, own_config(cls, config))
    inputs = given_inputs(spec, cls)
    try:
        graph = graph_from_config(cls, config, inputs)
    except DeltacError as error:
        if inputs is None:
            raise
        span = spec.span((*spec.model.path, "inputs"))
        raise DeltacError([replace(each, span=span) for each in error.diagnostics]) from error
    check_quantizable(spec, graph.model)
    problems = Problems()
    for key, value in spec.model.config.items():
        if key != "model_type":
            check_read_back(problems, spec, key, value, getattr(graph.config, key, None))
    problems.raise_if_any()
    return origin, cls, config, graph


def _recorded_config(base: Mapping[str, Any]) -> dict[str, Any]:
    """The config of an artifact's base, with what only a `config_file` may have told: the class and the labels."""
    told = {"architectures": [base["class"]], "num_labels": base.get("num_labels", 2)}
    return dict(base["config"]) | told


def _origin(spec: Spec, model: ModelSpec, base: Path, offline: bool) -> Origin:
    """Where the base comes from; offline, a folder or package that is not here matters only without a `config_file`."""
    try:
        return resolve(model.source, model.revision, base, spec.span((*model.path, "source")))
    except DeltacError as error:
        absent = {each.code for each in error.diagnostics} <= {"DLT802", "DLT804"}
        if not (offline and model.config_file is not None and absent):
            raise
        return Origin("absent", label=str(model.source))


def _open_given(
    spec: Spec, model: PreTrainedModel, *, strict: bool
) -> tuple[Origin, type[PreTrainedModel], PreTrainedConfig, ModelGraph]:
    """The base that the caller gives. `strict` compares it with the spec; an artifact is compared by its manifest."""
    problems = Problems()
    if not isinstance(model, PreTrainedModel):
        problems.add(
            "DLT814", f"found {type(model).__name__}, expected a transformers PreTrainedModel"
        )
        problems.raise_if_any()
    if hasattr(model, "delta_state"):
        problems.add(
            "DLT505",
            "this model already carries a delta",
            fix="compile one spec with both deltas on a fresh base",
        )
        problems.raise_if_any()
    if made := next((n for n, p in model.named_parameters() if p.is_inference()), None):
        message = f"{made} was made in torch.inference_mode: no gradient can be computed with it"
        raise DeltacError.of("DLT820", message, fix="load the model outside of that block")
    hooked = offloading(model)
    if hooked is not None:
        message = f"accelerate has put its hooks on {hooked or 'the model'}, to offload it"
        problems.add("DLT504", message, fix="compile first, then offload or dispatch the model")
        problems.raise_if_any()
    origin = Origin("config")
    if spec.model is not None:
        if spec.model.source is not None:
            origin = Origin("given", label=spec.model.source, revision=spec.model.revision)
        if strict:
            _check_given(spec, spec.model, model, problems)
        problems.raise_if_any()
    graph = graph_from_model(model, given_inputs(spec, type(model)))
    return origin, type(model), model.config, graph


def _check_given(spec: Spec, wanted: ModelSpec, model: PreTrainedModel, problems: Problems) -> None:
    """Reports DLT507 for what the spec's `model` section says and the model given is not."""
    if wanted.class_name is not None and model_class(spec, model.config) is not type(model):
        name = model_class(spec, model.config).__name__
        message = f"the spec asks for a {name}, the model given is a {type(model).__name__}"
        problems.add("DLT507", message, spec.span((*wanted.path, "class")))
    values = {("config", key): value for key, value in wanted.config.items()}
    found = {path: getattr(model.config, path[1], None) for path in values}
    if wanted.dtype is not None:
        values["dtype",], found["dtype",] = wanted.dtype, str(model.dtype).removeprefix("torch.")
    if wanted.attn_implementation is not None:
        values["attn_implementation",] = wanted.attn_implementation
        found["attn_implementation",] = model.config._attn_implementation
    if wanted.quantization is not None:
        values["quantization",] = asdict(wanted.quantization)
        found["quantization",] = described(model.config)
    for path, value in values.items():
        if not reads_back(value, found[path]):
            message = f"the spec has '{path[-1]}: {value}', the model given has {found[path]}"
            problems.add("DLT507", message, spec.span((*wanted.path, *path)))


def base_names(graph: ModelGraph, heads: list[str]) -> list[str]:
    return [name for name in graph.parameters if name not in heads]


def _load_spec(source: SpecLike, **given: Any) -> Spec:
    return load_spec(source, extra_fragment=lambda name: fragment(get(name).operator), **given)


def _check_operators(manifest: Mapping[str, Any]) -> None:
    """An operator of another package must be the one that the delta was made with."""
    problems = Problems()
    for name, entry in manifest["operators"].items():
        if entry["package"] == "deltac":
            continue
        try:
            found = get(name)
        except KeyError:
            fix = f"install it: pip install {entry['package']}=={entry['version']}"
            problems.add("DLT723", f"no installed package brings the operator '{name}'", fix=fix)
            continue
        if found.source_sha256 != entry["source_sha256"]:
            message = f"operator '{name}' was made with {entry['package']} {entry['version']}; this is {found.version}"
            problems.add(
                "DLT723",
                f"{message}, with another source",
                fix=f"pip install {entry['package']}=={entry['version']}",
            )
    problems.raise_if_any()
