"""Roles read off the dataflow, held against the names that each architecture gives its modules."""

import pytest
import torch
import transformers

from deltac.model.fold import fold
from deltac.model.graph import graph_from_config

SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "vocab_size": 60,
}
SEQ2SEQ = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "d_model": 32,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "vocab_size": 60,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "decoder_start_token_id": 2,
}

#: Class, config, and what the names say: role → folded paths.
MODELS = {
    "llama": (
        "LlamaForCausalLM",
        transformers.LlamaConfig(**SMALL, num_key_value_heads=2),
        {
            "attention": ["model.layers.{0-1}.self_attn"],
            "attention.query": ["model.layers.{0-1}.self_attn.q_proj"],
            "attention.key": ["model.layers.{0-1}.self_attn.k_proj"],
            "attention.value": ["model.layers.{0-1}.self_attn.v_proj"],
            "attention.output": ["model.layers.{0-1}.self_attn.o_proj"],
            "mlp": ["model.layers.{0-1}.mlp"],
            "mlp.gate": ["model.layers.{0-1}.mlp.gate_proj"],
            "mlp.up": ["model.layers.{0-1}.mlp.up_proj"],
            "mlp.down": ["model.layers.{0-1}.mlp.down_proj"],
            "block": ["model.layers.{0-1}"],
            "head": ["lm_head"],
        },
    ),
    "bert": (
        "BertForMaskedLM",
        transformers.BertConfig(**SMALL),
        {
            "attention": ["bert.encoder.layer.{0-1}.attention"],
            "attention.query": ["bert.encoder.layer.{0-1}.attention.self.query"],
            "attention.key": ["bert.encoder.layer.{0-1}.attention.self.key"],
            "attention.value": ["bert.encoder.layer.{0-1}.attention.self.value"],
            "attention.output": ["bert.encoder.layer.{0-1}.attention.output.dense"],
            "mlp.up": ["bert.encoder.layer.{0-1}.intermediate.dense"],
            "mlp.down": ["bert.encoder.layer.{0-1}.output.dense"],
            "mlp": [],  # the two linears lie in the block itself
        },
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        transformers.GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=60),
        {
            "attention.qkv": ["transformer.h.{0-1}.attn.c_attn"],
            "attention.output": ["transformer.h.{0-1}.attn.c_proj"],
            "mlp.up": ["transformer.h.{0-1}.mlp.c_fc"],
            "mlp.down": ["transformer.h.{0-1}.mlp.c_proj"],
        },
    ),
    "gpt-neox": (
        "GPTNeoXForCausalLM",
        transformers.GPTNeoXConfig(**SMALL),
        {
            "attention.qkv": ["gpt_neox.layers.{0-1}.attention.query_key_value"],
            "attention.output": ["gpt_neox.layers.{0-1}.attention.dense"],
            "mlp.up": ["gpt_neox.layers.{0-1}.mlp.dense_h_to_4h"],
            "mlp.down": ["gpt_neox.layers.{0-1}.mlp.dense_4h_to_h"],
        },
    ),
    "bloom, its attention written out": (
        "BloomForCausalLM",
        transformers.BloomConfig(n_layer=2, hidden_size=32, n_head=4, vocab_size=60),
        {
            "attention.qkv": ["transformer.h.{0-1}.self_attention.query_key_value"],
            "attention.output": ["transformer.h.{0-1}.self_attention.dense"],
            "mlp.down": ["transformer.h.{0-1}.mlp.dense_4h_to_h"],
        },
    ),
    "phi-3, gate and up fused": (
        "Phi3ForCausalLM",
        transformers.Phi3Config(**SMALL, pad_token_id=0, bos_token_id=1, eos_token_id=2),
        {
            "attention.qkv": ["model.layers.{0-1}.self_attn.qkv_proj"],
            "mlp.gate-up": ["model.layers.{0-1}.mlp.gate_up_proj"],
            "mlp.down": ["model.layers.{0-1}.mlp.down_proj"],
        },
    ),
    "t5, with cross-attention": (
        "T5ForConditionalGeneration",
        transformers.T5Config(
            num_layers=2, d_model=32, d_ff=48, d_kv=8, num_heads=4, vocab_size=60
        ),
        {
            "attention.query": [
                "encoder.block.{0-1}.layer.0.SelfAttention.q",
                "decoder.block.{0-1}.layer.0.SelfAttention.q",
            ],
            "cross-attention": ["decoder.block.{0-1}.layer.1.EncDecAttention"],
            "cross-attention.query": ["decoder.block.{0-1}.layer.1.EncDecAttention.q"],
            "cross-attention.key": ["decoder.block.{0-1}.layer.1.EncDecAttention.k"],
            "cross-attention.value": ["decoder.block.{0-1}.layer.1.EncDecAttention.v"],
            "cross-attention.output": ["decoder.block.{0-1}.layer.1.EncDecAttention.o"],
            "mlp.down": [
                "encoder.block.{0-1}.layer.1.DenseReluDense.wo",
                "decoder.block.{0-1}.layer.2.DenseReluDense.wo",
            ],
        },
    ),
    "bart": (
        "BartForConditionalGeneration",
        transformers.BartConfig(**SEQ2SEQ),
        {
            "attention.value": [
                "model.encoder.layers.{0-1}.self_attn.v_proj",
                "model.decoder.layers.{0-1}.self_attn.v_proj",
            ],
            "cross-attention.value": ["model.decoder.layers.{0-1}.encoder_attn.v_proj"],
            "mlp.up": ["model.encoder.layers.{0-1}.fc1", "model.decoder.layers.{0-1}.fc1"],
        },
    ),
    "vit": (
        "ViTForImageClassification",
        transformers.ViTConfig(
            **{key: value for key, value in SMALL.items() if key != "vocab_size"}, image_size=32
        ),
        {
            "attention.query": ["vit.layers.{0-1}.attention.q_proj"],
            "attention.output": ["vit.layers.{0-1}.attention.o_proj"],
            "mlp.up": ["vit.layers.{0-1}.mlp.fc1"],
            "mlp.down": ["vit.layers.{0-1}.mlp.fc2"],
        },
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_dataflow_says_what_the_names_say(name):
    cls, config, expected = MODELS[name]
    config.dtype = torch.float32
    roles = graph_from_config(getattr(transformers, cls), config).roles
    for role, paths in expected.items():
        assert sorted(fold(roles.paths(role))) == sorted(paths), role


def test_every_linear_of_a_block_and_no_other_is_a_linear():
    cls, config, _ = MODELS["llama"]
    config.dtype = torch.float32
    graph = graph_from_config(getattr(transformers, cls), config)
    inside = [path for path, info in graph.modules.items() if info.class_name == "Linear"]
    assert graph.roles.paths("linear") == [path for path in inside if path != "lm_head"]
    assert len(graph.roles.paths("linear")) == 14


def test_each_role_has_its_evidence():
    cls, config, _ = MODELS["gpt2"]
    config.dtype = torch.float32
    roles = graph_from_config(getattr(transformers, cls), config).roles
    (reason, *_) = roles.why["transformer.h.0.attn.c_attn"]
    assert reason.startswith("its output becomes query and key and value of the attention in")
    assert all(roles.why[path] for path in roles.of)
