"""The model class that a spec asks for, checked against the config."""

from __future__ import annotations

import re

import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from deltac.diagnostics import Problems, nearest
from deltac.model.source import Origin
from deltac.spec import Spec

#: How transformers names its model classes.
_MODEL_CLASS = re.compile(r"(Model|For[A-Z]\w*)$")


def model_class(
    spec: Spec, config: PreTrainedConfig, origin: Origin | None = None
) -> type[PreTrainedModel]:
    """The class named by `model.class`, else by the config's `architectures`.

    A config whose own code was allowed to run brings its model class with it.

    Raises:
        DeltacError: DLT255 (none given), DLT256 (unknown), DLT257 (it doesn't go with the config).
    """
    problems = Problems()
    model = spec.model
    span = spec.span((*model.path, "class"))
    name = model.class_name or next(iter(config.architectures or ()), None)
    if name is None:
        fix = f"write 'class: ...' in 'model'; {_classes_for(config)}"
        problems.add("DLT255", "neither the spec nor the config names a model class", span, fix=fix)
        problems.raise_if_any()
    own = (getattr(config, "auto_map", None) or {}).get(name)
    if own and origin and type(config).__module__.startswith("transformers_modules."):
        return get_class_from_dynamic_module(own, origin.name, revision=origin.revision)
    found = getattr(transformers, name, None)
    if isinstance(found, type) and issubclass(found, _BaseAutoModelClass):
        mapping = found._model_mapping
        if type(config) in mapping:
            choice = mapping[type(config)]
            return choice[0] if isinstance(choice, tuple) else choice
        message = f"{name} has no model for the type '{config.model_type}'"
        problems.add("DLT257", message, span, fix=_classes_for(config))
    elif isinstance(found, type) and issubclass(found, PreTrainedModel):
        if found.config_class is type(config):
            return found
        message = f"{name} takes {found.config_class.__name__}, this is a {type(config).__name__}"
        problems.add("DLT257", message, span, fix=_classes_for(config))
    else:
        close = nearest(name, [entry for entry in dir(transformers) if _MODEL_CLASS.search(entry)])
        fix = f"did you mean '{close}'?" if close else _classes_for(config)
        problems.add("DLT256", f"transformers has no model class '{name}'", span, fix=fix)
    problems.raise_if_any()
    raise AssertionError("unreachable")


def own_config(cls: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedConfig:
    """The part of a config that a class is built from: a text model takes the text's of one for text and images."""
    text = config.sub_configs.get("text_config")
    if text is not None and text is cls.config_class and type(config) is not text:
        part = config.get_text_config()
        part.dtype, part._attn_implementation = config.dtype, config._attn_implementation
        return part
    return config


def _classes_for(config: PreTrainedConfig) -> str:
    names = []
    for name in dir(transformers):
        found = getattr(transformers, name, None) if name.startswith("AutoModel") else None
        if (
            isinstance(found, type)
            and issubclass(found, _BaseAutoModelClass)
            and found._model_mapping is not None
        ) and type(config) in found._model_mapping:
            names.append(name)
    return f"classes for it: {', '.join(names) or 'none'}"
