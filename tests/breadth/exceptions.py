"""What the common rule for tiny configs does not get right, by model type: settings that depend on each other."""

from typing import Any

_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_ssm": None}
_MAMBA_ATTENTION = ["linear_attention", "full_attention", "linear_attention", "full_attention"]
_GEMMA_ASSISTANT = {
    "text_config": {
        "model_type": "gemma4_text",
        "hidden_size_per_layer_input": 0,
        "vocab_size_per_layer_input": 0,
        "num_kv_shared_layers": 4,
    }
}
_SPARSE = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 8,
    "indexer_compress_ratio": 4,
}
_HYBRID = ["linear_attention", "hybrid", "linear_attention", "hybrid"]

EXCEPTIONS: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "dbrx": {"attn_config": {"rope_theta": 1e4, "clip_qkv": 8.0}},
    "dots1": {"n_shared_experts": 1},
    "dots3_note": {
        "vision_config": {"adapter_in_dim": 64, "adapter_out_dim": 64},
        "audio_config": {"adapter_input_size": 64, "adapter_output_size": 64},
    },
    "falcon_h1": _MAMBA,
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 16}},
    "gemma3": {"mm_tokens_per_image": 4, "vision_config": {"image_size": 56, "patch_size": 14}},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gemma4_assistant": _GEMMA_ASSISTANT,
    "gpt_neo": {
        "attention_types": [[["global", "local"], 2]],
        "attention_layers": ["global", "local"] * 2,
    },
    "granite_speech5_ctc": {"encoder_config": {"context_size": 32, "num_mel_bins": 20}},
    "granitemoehybrid": {"layer_types": _MAMBA_ATTENTION},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kyutai_speech_to_text": {"codec_config": {"upsample_groups": 64}},
    "layoutlmv3": {"coordinate_size": 11, "shape_size": 10, "input_size": 32},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "lilt": {"hidden_size": 96},
    "mamba2": {"num_heads": 8},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "moonshine": {"encoder_num_key_value_heads": 4, "decoder_num_key_value_heads": 4},
    "nemo_speechlm": {"diarization_config": {"head_config": {"audio_hidden_size": 64}}},
    "qwen4_exp_text": _SPARSE,
    "qwen4_exp": {"text_config": _SPARSE},
    "reformer": {"axial_pos_embds_dim": [32, 32], "axial_pos_shape": [8, 8]},
    "shieldgemma2": {
        "yes_token_index": 5,
        "no_token_index": 6,
        "mm_tokens_per_image": 4,
        "vision_config": {"image_size": 56, "patch_size": 14},
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": _HYBRID,
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
    },
    "zamba2": {"layers_block_type": _HYBRID},
}
