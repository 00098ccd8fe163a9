"""The base's configuration: read, overridden and checked, without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from deltac.diagnostics import Problems, nearest
from deltac.model.bounds import check_bounds
from deltac.model.hub import why_silent
from deltac.model.quiet import quiet
from deltac.model.settings_read import declared, read_by_models
from deltac.model.source import Origin
from deltac.spec import ModelSpec, Spec


def read_config(
    spec: Spec,
    origin: Origin,
    base: Path,
    *,
    remote_code: bool = False,
    instead: dict[str, Any] | None = None,
    offline: bool = False,
) -> PreTrainedConfig:
    """The config that the spec's `model` section describes, overrides applied.

    Args:
        spec: a spec with a `model` section.
        origin: its source, resolved.
        base: the folder that `config_file` is relative to.
        remote_code: whether code from the hub may run.
        instead: the config of an artifact, for a `config_file` that is not there any more.
        offline: whether of the hub only its cache on this machine is asked.

    Raises:
        DeltacError: DLT252 to DLT254 for the `config` section, DLT805 to DLT807 for a source that can't be read.
    """
    model = spec.model
    problems = Problems()
    raw = _raw_config(spec, model, origin, base, remote_code, instead, offline, problems)
    problems.raise_if_any()
    overrides = {key: value for key, value in model.config.items() if key != "model_type"}
    known = declared(raw)
    if overrides.keys() - known:
        known |= read_by_models(raw)
    for key in overrides:
        if key not in known:
            _unknown_key(problems, spec, model, key, known, raw)
    problems.raise_if_any()
    # Without a source the default config gives no values: some (a head's size) it computes from the others.
    alone = origin.kind == "config" and model.config_file is None
    start = {} if alone else raw.to_dict()
    try:
        config = type(raw).from_dict(start | _merged(raw, overrides, alone=alone))
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = _one_line(error)
        named = [key for key in overrides if f"'{key}'" in reason]
        span = spec.span((*model.path, "config", *(named if len(named) == 1 else ())))
        problems.add("DLT253", f"{type(raw).__name__} refuses this: {reason}", span)
        problems.raise_if_any()
    for key, value in overrides.items():
        check_read_back(problems, spec, key, value, getattr(config, key, None))
    check_bounds(spec, model, config, problems)
    problems.raise_if_any()
    if model.attn_implementation is not None:
        _check_attention(spec, model, problems)
        config._attn_implementation = model.attn_implementation
    config.dtype = dtype_of(model, config)
    return config


def dtype_of(model: ModelSpec | None, config: PreTrainedConfig) -> torch.dtype:
    """The dtype the base is loaded in: the spec's, else the config's, else float32."""
    named = model.dtype if model is not None and model.dtype is not None else config.dtype
    return getattr(torch, named) if isinstance(named, str) else named or torch.float32


def check_read_back(problems: Problems, spec: Spec, key: str, wanted: Any, found: Any) -> None:
    """Reports an override that the config or the model did not take over."""
    if isinstance(wanted, dict) and not isinstance(found, dict):
        for part, value in wanted.items():
            check_read_back(problems, spec, f"{key}.{part}", value, getattr(found, part, None))
    elif not reads_back(wanted, found):
        span = spec.span((*spec.model.path, "config", *key.split(".")))
        message = f"'{key}: {_yaml(wanted)}' has no effect: the model keeps {_yaml(found)}"
        fix = f"remove '{key}', or write what the model has"
        problems.add("DLT254", message, span, fix=fix)


def reads_back(wanted: Any, found: Any) -> bool:
    """Whether a setting has the value that a spec gives it; a map may hold more than the spec says.

    >>> reads_back({"rope_theta": 5.0}, {"rope_type": "default", "rope_theta": 5.0})
    True
    """
    if isinstance(wanted, dict):
        values = _plain(found if isinstance(found, dict) else getattr(found, "__dict__", {}))
        return all(
            str(key) in values and reads_back(value, values[str(key)])
            for key, value in wanted.items()
        )
    return _plain(found) == _plain(wanted)


def _raw_config(
    spec: Spec,
    model: ModelSpec,
    origin: Origin,
    base: Path,
    remote_code: bool,
    instead: dict[str, Any] | None,
    offline: bool,
    problems: Problems,
) -> PreTrainedConfig | None:
    if model.config_file is not None and instead is not None:
        return AutoConfig.for_model(**instead)
    if model.config_file is not None:
        return _from_file(
            base / model.config_file, spec.span((*model.path, "config_file")), problems
        )
    if origin.kind == "config":
        return _from_type(spec, model, problems)
    if origin.folder is not None and not (origin.folder / "config.json").is_file():
        span = spec.span((*model.path, "source"))
        fix = "give the folder that save_pretrained wrote, or a copy of the config: `config_file: PATH`"
        problems.add("DLT804", f"'{origin.label}' holds no config.json", span, fix=fix)
        return None
    return _from_transformers(spec, model, origin, remote_code, offline, problems)


def _from_file(path: Path, span: Any, problems: Problems) -> PreTrainedConfig | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return AutoConfig.for_model(**values)
    except OSError as error:
        fix = "give the path of a config.json, seen from the spec"
        problems.add("DLT804", f"can't read the config file: {_one_line(error)}", span, fix=fix)
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        problems.add(
            "DLT807",
            f"'{path.name}' is not a config that transformers can read: {_one_line(error)}",
            span,
        )
    return None


def _from_type(spec: Spec, model: ModelSpec, problems: Problems) -> PreTrainedConfig | None:
    name = model.config.get("model_type")
    span = spec.span((*model.path, "config", "model_type"))
    known = sorted(transformers.CONFIG_MAPPING.keys())
    if name in known:
        return AutoConfig.for_model(name)
    close = nearest(str(name), known)
    fix = (
        f"did you mean '{close}'?"
        if close
        else "give a model type of transformers, such as 'llama'"
    )
    found = (
        f"transformers knows no model type '{name}'"
        if name
        else "without a 'source', 'config' needs a 'model_type'"
    )
    problems.add("DLT252", found, span, fix=fix)
    return None


def _from_transformers(
    spec: Spec,
    model: ModelSpec,
    origin: Origin,
    remote_code: bool,
    offline: bool,
    problems: Problems,
) -> PreTrainedConfig | None:
    span = spec.span((*model.path, "source"))
    options: dict[str, Any] = {"revision": origin.revision} if origin.revision else {}
    silent = why_silent() if origin.kind == "hub" and not offline else None
    options["local_files_only"] = offline or silent is not None
    try:
        with quiet():
            values, _ = PreTrainedConfig.get_config_dict(origin.name, **options)
        known = values.get("model_type") in transformers.CONFIG_MAPPING
        if "auto_map" in values and not known and not remote_code:
            fix = "read its code; then allow it with --trust-remote-code, or trust_remote_code=True in Python"
            problems.add(
                "DLT806", f"the config of '{origin.label}' needs code from the hub", span, fix=fix
            )
            return None
        with quiet():
            return AutoConfig.from_pretrained(origin.name, trust_remote_code=remote_code, **options)
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        fix = "check the name and the network, or put a copy of its config.json beside the spec: 'config_file: PATH'"
        problems.add(
            "DLT805",
            f"can't read the config of '{origin.label}': {_why(error, silent)}",
            span,
            fix=fix,
        )
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        problems.add(
            "DLT807",
            f"transformers can't read the config of '{origin.label}': {_one_line(error)}",
            span,
        )
    return None


def _unknown_key(
    problems: Problems,
    spec: Spec,
    model: ModelSpec,
    key: str,
    known: set[str],
    raw: PreTrainedConfig,
) -> None:
    close = nearest(key, sorted(known))
    own = [name for name in vars(type(raw)).get("__annotations__", ()) if name in known]
    fix = f"did you mean '{close}'?" if close else f"its own settings: {', '.join(sorted(own))}"
    span = spec.key_span((*model.path, "config", key))
    problems.add("DLT252", f"{type(raw).__name__} has no setting '{key}'", span, fix=fix)


def _merged(raw: PreTrainedConfig, overrides: dict[str, Any], *, alone: bool) -> dict[str, Any]:
    """Overrides with those of sub-configs laid over the sub-config's other values, unless they stand alone."""
    merged = {}
    for key, value in overrides.items():
        current = getattr(raw, key, None)
        nested = isinstance(value, dict) and isinstance(current, PreTrainedConfig) and not alone
        merged[key] = current.to_dict() | value if nested else value
    if "num_labels" in overrides:
        # num_labels is a view of id2label: both in one dict would fight.
        merged["id2label"] = {index: f"LABEL_{index}" for index in range(overrides["num_labels"])}
        merged["label2id"] = {label: index for index, label in merged["id2label"].items()}
        del merged["num_labels"]
    return merged


def _check_attention(spec: Spec, model: ModelSpec, problems: Problems) -> None:
    # transformers would take a name with a slash for a kernel to fetch from the hub and run.
    name, known = model.attn_implementation, ["eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()]
    if name not in known:
        span = spec.span((*model.path, "attn_implementation"))
        close = nearest(name, known)
        fix = f"did you mean '{close}'?" if close else f"known: {', '.join(known)}"
        problems.add(
            "DLT259", f"transformers has no attention implementation '{name}'", span, fix=fix
        )
        problems.raise_if_any()


def _plain(value: Any) -> Any:
    """A value as YAML could write it: tuples as lists, dtypes as names, keys of maps as text."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def _yaml(value: Any) -> str:
    """A value as a spec writes it: `false`, not `False`."""
    return json.dumps(_plain(value), ensure_ascii=False, default=str)


def _why(error: Exception, silent: str | None) -> str:
    """Why a source can't be read; `silent`, why the hub was not asked."""
    if silent is None:
        return _one_line(error)
    return f"it is not in the hub's cache, and {constants.ENDPOINT} can't be asked: {silent}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
