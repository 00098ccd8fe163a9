"""Tiny models of the architectures on which operators must run as their base does: generation, padding, checkpoints."""

from __future__ import annotations

from typing import Any

import tiny
import torch
import transformers
from torch import nn

_DECODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    **tiny.TOKENS,
}
_PAIR = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    **tiny.TOKENS,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}

#: Name → class, config.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (
        "AutoModelForCausalLM",
        {"model_type": "llama", **_DECODER, "num_key_value_heads": 2},
    ),
    "mistral": (
        "AutoModelForCausalLM",
        {"model_type": "mistral", **_DECODER, "num_key_value_heads": 2, "sliding_window": 4},
    ),
    "gemma": (
        "AutoModelForCausalLM",
        {"model_type": "gemma", **_DECODER, "num_key_value_heads": 1, "head_dim": 8},
    ),
    "gpt2": ("AutoModelForCausalLM", tiny.ARCHITECTURES["gpt2"]["config"]),
    "t5": ("AutoModelForSeq2SeqLM", tiny.ARCHITECTURES["t5"]["config"]),
    "bart": (
        "AutoModelForSeq2SeqLM",
        {"model_type": "bart", **_PAIR, "max_position_embeddings": 64},
    ),
    "whisper": (
        "AutoModelForSpeechSeq2Seq",
        {
            "model_type": "whisper",
            **_PAIR,
            "num_mel_bins": 8,
            "max_source_positions": 20,
            "max_target_positions": 64,
            "begin_suppress_tokens": None,
        },
    ),
    "bert": ("AutoModelForMaskedLM", {"model_type": "bert", **_DECODER}),
    "roberta": (
        "AutoModelForMaskedLM",
        {"model_type": "roberta", **_DECODER, "type_vocab_size": 1},
    ),
}
#: Those that generate from tokens on their own, and those with an encoder before.
CAUSAL = ("llama", "mistral", "gemma", "gpt2")
PAIRS = ("t5", "bart", "whisper")


def section(name: str) -> dict[str, Any]:
    """The `model` section of a spec."""
    cls, config = MODELS[name]
    return {"class": cls, "config": config}


def base(name: str, dtype: torch.dtype = torch.float32, **changes: Any) -> nn.Module:
    """The model with random weights, the same each time, in eval mode."""
    cls, config = MODELS[name]
    made = transformers.AutoConfig.for_model(**{**config, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, cls).from_config(made).eval()
    if getattr(model, "generation_config", None) is not None:
        # Whisper's own settings are those of its tokenizer.
        model.generation_config.suppress_tokens = model.generation_config.begin_suppress_tokens = (
            None
        )
    return tiny.randomize(model).to(dtype)


def inputs(model: nn.Module, rows: int = 3, length: int = 9) -> dict[str, torch.Tensor]:
    """Inputs for generation without padding: tokens, or sounds for Whisper."""
    generator = torch.Generator().manual_seed(7)
    if model.config.model_type == "whisper":
        shape = (rows, model.config.num_mel_bins, 2 * model.config.max_source_positions)
        features = torch.randn(shape, generator=generator).to(model.dtype)
        return {"input_features": features}
    tokens = torch.randint(3, model.config.vocab_size, (rows, length), generator=generator)
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def forward_inputs(model: nn.Module, rows: int = 3, length: int = 9) -> dict[str, torch.Tensor]:
    """Inputs for one forward pass without padding."""
    given = inputs(model, rows, length)
    if model.config.is_encoder_decoder:
        generator = torch.Generator().manual_seed(8)
        shape = (rows, 6)
        tokens = torch.randint(3, model.config.vocab_size, shape, generator=generator)
        given["decoder_input_ids"] = tokens
    return given


def padded(
    given: dict[str, torch.Tensor], left: int = 0, right: int = 0
) -> dict[str, torch.Tensor]:
    """The same texts with padding that the mask hides; other tensors as they are."""
    sizes = (left, right)
    pad = nn.functional.pad
    return given | {
        "input_ids": pad(given["input_ids"], sizes, value=0),
        "attention_mask": pad(given["attention_mask"], sizes, value=0),
    }


@torch.no_grad()
def logits(model: nn.Module, given: dict[str, Any] | None = None, **more: Any) -> torch.Tensor:
    """The logits of one forward pass."""
    return model(**(forward_inputs(model) if given is None else given), **more).logits


@torch.no_grad()
def generated(model: nn.Module, given: dict[str, Any] | None = None, **more: Any) -> Any:
    """Six tokens for each text, with the logits of each step."""
    options = {
        "max_new_tokens": 6,
        "min_new_tokens": 6,
        "do_sample": False,
        "pad_token_id": 0,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    if model.config.model_type == "t5":
        options["decoder_start_token_id"] = 0
    return model.generate(**(inputs(model) if given is None else given), **options | more)
