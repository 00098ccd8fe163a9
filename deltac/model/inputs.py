"""Small fake inputs that a model can run on, made from its config."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import PreTrainedModel

#: Sequences in the batch and tokens in each. The sizes differ so that no dimension is mistaken for another.
BATCH, LENGTH = 2, 11


def example_inputs(model: PreTrainedModel) -> dict[str, Any]:
    """Keyword arguments for the model's forward: tokens, an image or sound, with what a decoder needs.

    Call it in the fake mode of the model.
    """
    config = model.config
    names = inspect.signature(model.forward).parameters
    main = model.main_input_name
    inputs: dict[str, Any] = {main: _main_input(model, main)}
    if "attention_mask" in names and main == "input_ids":
        inputs["attention_mask"] = torch.ones(BATCH, LENGTH, dtype=torch.long)
    if config.is_encoder_decoder and "decoder_input_ids" in names:
        inputs["decoder_input_ids"] = torch.ones(BATCH, LENGTH - 4, dtype=torch.long)
    if "pixel_values" in names and main == "input_ids":
        inputs["pixel_values"] = _image(config)
    return inputs


def _main_input(model: PreTrainedModel, name: str) -> torch.Tensor:
    config = model.config
    if name == "pixel_values":
        return _image(config)
    if name == "input_features":
        length = 2 * getattr(config, "max_source_positions", 50)
        return torch.zeros(BATCH, getattr(config, "num_mel_bins", 80), length)
    if name == "input_values":
        return torch.zeros(BATCH, 4000)
    return torch.ones(BATCH, LENGTH, dtype=torch.long)


def _image(config: Any) -> torch.Tensor:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", 32)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return torch.zeros(BATCH, getattr(vision, "num_channels", 3), height, width)
