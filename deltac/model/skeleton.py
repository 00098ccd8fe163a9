"""The model without its memory: every parameter is a fake tensor that has a shape and a dtype only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from deltac.diagnostics import DeltacError, Diagnostic
from deltac.model.opaque import as_plain, opaque_form
from deltac.model.quantization import described, to_be_quantized


def build_skeleton(
    cls: type[PreTrainedModel], config: PreTrainedConfig
) -> tuple[PreTrainedModel, FakeTensorMode]:
    """The model that `cls` builds from `config`, on fake tensors, in eval mode.

    Raises:
        DeltacError: DLT807 where the class can't be built from the config.
    """
    try:
        # On the meta device first, as from_pretrained does: some classes ask for a value while they are built.
        with torch.device("meta"):
            model = cls._from_config(for_shapes(config), dtype=config.dtype)
        for path, module in list(to_be_quantized(model, config)):
            with torch.device("meta"):
                plain = as_plain(module, config.dtype) if isinstance(module, Conv1D) else module
            plain.delta_opaque = described(config)["method"]
            model.set_submodule(path, plain)
        if hasattr(config, "quantization_config"):
            model.config.quantization_config = config.quantization_config
    except (ValueError, TypeError, AttributeError, RuntimeError, KeyError, ImportError) as error:
        message = (
            f"{cls.__name__} can't be built from this config: {' '.join(str(error).split())[:300]}"
        )
        raise DeltacError([Diagnostic("DLT807", message)]) from error
    return skeleton_of(model)


def skeleton_of(model: nn.Module) -> tuple[nn.Module, FakeTensorMode]:
    """A copy of a real model on fake tensors, in eval mode. Reads no value and takes no memory for weights."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        with mode:
            fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        if isinstance(tensor, nn.Parameter):
            fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = fake
    for tensor in computed(model):
        with mode:
            memo[id(tensor)] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    # deepcopy looks each tensor up in the memo, so it copies the structure and takes the fakes for the values.
    skeleton = copy.deepcopy(model, memo).eval()
    for path, module in model.named_modules():
        if form := opaque_form(module):
            with mode:
                plain = as_plain(module, model.dtype)
            plain.delta_opaque = form
            skeleton.set_submodule(path, plain.eval())
    if isinstance(skeleton, PreTrainedModel) and skeleton._can_set_experts_implementation():
        # The grouped product of mixtures of experts asks for values; the batched one runs on shapes.
        skeleton.set_experts_implementation("batched_mm")
    return skeleton, mode


def computed(model: nn.Module) -> Iterator[torch.Tensor]:
    """The tensors that modules keep of a computation, as `torch.nn.utils.weight_norm` does; deepcopy refuses them."""
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                yield value


def for_shapes(config: PreTrainedConfig) -> PreTrainedConfig:
    """A copy of a config with the default attention: its kernel need not be installed where only shapes count."""
    own = copy.deepcopy(config)
    own._attn_implementation = None
    if hasattr(own, "quantization_config"):
        del own.quantization_config  # its library need not be installed
    return own
