"""Opaque weights: quantized ones, which their own module alone can multiply with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel


def opaque_form(module: nn.Module) -> str:
    """How a linear's weight is kept where that is no plain matrix [out, in], such as `Int8Tensor`; else empty.

    Seen by the interface, not by the library: torchao keeps a tensor of a class of its own in an nn.Linear;
    bitsandbytes has linears of its own, whose weight is packed integers.
    """
    weight = module._parameters.get("weight")
    sizes = getattr(module, "out_features", None), getattr(module, "in_features", None)
    if weight is None or not all(isinstance(size, int) for size in sizes):
        return ""
    if not type(weight).__module__.startswith("torch."):
        return type(weight).__name__
    packed = not weight.is_floating_point() or tuple(weight.shape) != sizes
    return type(module).__name__ if packed else ""


def as_plain(module: nn.Module, dtype: torch.dtype) -> nn.Linear:
    """A linear of the same sizes on the current device, to stand for an opaque one where shapes are all that counts."""
    bias = module._parameters.get("bias") is not None
    made = nn.Linear(module.in_features, module.out_features, bias=bias, dtype=dtype)
    return made.requires_grad_(False).train(module.training)


def to_be_quantized(model: PreTrainedModel, config: PreTrainedConfig) -> Iterator[nn.Module]:
    """The linears that transformers will quantize when it loads this config: all but the output layer and those that
    the config names."""
    settings: Any = getattr(config, "quantization_config", None)
    if not settings:
        return
    values = settings if isinstance(settings, dict) else settings.to_dict()
    keys = ("llm_int8_skip_modules", "modules_to_not_convert")
    skipped = {name for key in keys for name in values.get(key) or ()}
    output = model.get_output_embeddings()
    for path, module in model.named_modules():
        parts = path.split(".")
        named = path in skipped or any(part in skipped for part in parts)
        if type(module) is nn.Linear and module is not output and not named:
            yield module


def quantization_of(config: PreTrainedConfig) -> str:
    """What a config says about its quantization, in a word: `bitsandbytes`, `torchao` …"""
    settings: Any = getattr(config, "quantization_config", None) or {}
    method = settings.get("quant_method") if isinstance(settings, dict) else settings.quant_method
    return str(getattr(method, "value", method) or "quantized")
