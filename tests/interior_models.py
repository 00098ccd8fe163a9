"""Tiny models of the architectures that interior regions are tested on, with random weights."""

from __future__ import annotations

import re
from typing import Any

import tiny
import torch
import transformers
from torch import nn

_BASIC = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    **tiny.TOKENS,
}
_GROUPED = {**_BASIC, "num_key_value_heads": 2}
_SLIDING = {**_GROUPED, "head_dim": 8, "sliding_window": 6}
_GEMMA = {**_SLIDING, "query_pre_attn_scalar": 8}
_BART = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    **tiny.TOKENS,
}
_CAUSAL, _MASKED = "AutoModelForCausalLM", "AutoModelForMaskedLM"
_OWN_NAMES = {
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64, **tiny.TOKENS},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "deberta": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "max_relative_positions": 16,
    },
    "t5": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 1,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "decoder_start_token_id": 0,
        **tiny.TOKENS,
    },
    "whisper": {
        "num_mel_bins": 8,
        "max_source_positions": 12,
        "max_target_positions": 32,
        "decoder_start_token_id": 1,
    },
    "mamba": {
        "hidden_size": 32,
        "state_size": 4,
        "num_hidden_layers": 1,
        "time_step_rank": 4,
        **tiny.TOKENS,
    },
}
#: Model type → class and config.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (_CAUSAL, _GROUPED),
    "qwen2": (_CAUSAL, _GROUPED),
    "qwen3": (_CAUSAL, {**_GROUPED, "head_dim": 8}),
    "mistral": (_CAUSAL, _SLIDING),
    "gemma2": (_CAUSAL, _GEMMA),
    "gemma3_text": (
        _CAUSAL,
        {**_GEMMA, "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gpt2": (_CAUSAL, _OWN_NAMES["gpt2"]),
    "gpt_neox": (_CAUSAL, _BASIC),
    "opt": (_CAUSAL, {**_BASIC, **_OWN_NAMES["opt"]}),
    "bert": (_MASKED, _BASIC),
    "roberta": (_MASKED, _BASIC),
    "deberta-v2": (_MASKED, {**_BASIC, **_OWN_NAMES["deberta"]}),
    "t5": ("AutoModelForSeq2SeqLM", _OWN_NAMES["t5"]),
    "bart": (
        "AutoModelForSeq2SeqLM",
        {**_BART, "max_position_embeddings": 64, "decoder_start_token_id": 2},
    ),
    "vit": (
        "AutoModelForImageClassification",
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 16,
            "patch_size": 4,
            "num_labels": 3,
        },
    ),
    "whisper": ("AutoModelForSpeechSeq2Seq", {**_BART, **_OWN_NAMES["whisper"]}),
    "mixtral": (_CAUSAL, {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": (
        _CAUSAL,
        {
            **_GROUPED,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
        },
    ),
    "mamba": (_CAUSAL, _OWN_NAMES["mamba"]),
}
#: The modules whose forwards are traced, by the end of their class's name.
KINDS = {
    "attention": re.compile(r"(Attention|Mixer)$"),
    "mlp": re.compile(r"(MLP|DenseActDense|MoeBlock|LayerFF|Intermediate|Output)$"),
    "layer": re.compile(r"(Layer|Block)$"),
}


def build(name: str, **changes: Any) -> nn.Module:
    """A model in eval mode; every parameter is random, biases and norms included."""
    cls, config = MODELS[name]
    made = transformers.AutoConfig.for_model(name, **{**config, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, cls).from_config(made).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.05)
    return model


def inputs(model: nn.Module, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Inputs of a size; the last tokens of longer texts are masked in the last one."""
    generator = torch.Generator().manual_seed(7)
    if model.config.model_type == "vit":
        return {"pixel_values": torch.randn(batch, 3, 16, 16, generator=generator)}
    tokens = torch.randint(3, 67, (batch, length), generator=generator)
    if model.config.model_type == "whisper":
        sound = torch.randn(batch, 8, 24, generator=generator)
        return {"input_features": sound, "decoder_input_ids": tokens}
    mask = torch.ones_like(tokens)
    if length > 3:
        mask[-1, -2:] = 0
    made = {"input_ids": tokens, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        made["decoder_input_ids"] = tokens[:, : max(1, length - 3)]
    return made


def plain(model: nn.Module, name: str, batch: int, length: int) -> dict[str, Any]:
    """Inputs of a size, and no cache."""
    cached = name not in ("bert", "roberta", "deberta-v2", "vit")
    return inputs(model, batch, length) | ({"use_cache": False} if cached else {})


def prompt(model: nn.Module) -> dict[str, torch.Tensor]:
    """What the model continues from, padded on the left in one text."""
    made = inputs(model, 2, 5)
    made.pop("decoder_input_ids", None)
    if "attention_mask" in made:
        made["attention_mask"] = made["attention_mask"].flip(1)
    return made
