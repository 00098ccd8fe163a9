"""Keys of PEFT, axolotl and LLaMA-Factory, and how deltac says the same."""

from __future__ import annotations

import re
from collections.abc import Iterable

from deltac.diagnostics.nearest import nearest
from deltac.spec.presets import preset_names

_TARGET = "name the places under `target`, such as `target: {module: [q_proj, v_proj]}`"
_HEADS = "list modules that are trained whole under the top-level key `heads`"
_SOURCE = "write `model: {source: ...}` at the top level"
_OPERATOR = "write `operator: ...` in an entry of `deltas`; `deltac operators` lists the names"
_OVERRIDES = "list other options on narrower targets under `overrides` of the delta"
_TRAINING = "a spec describes the delta; such settings belong to the training script"
_REMOVE = "remove it: deltac reads it off the model"
_QUANTIZED = "write `model: {quantization: {method: bitsandbytes, bits: 4}}`, or `bits: 8`"

#: Options by the name that others give them: our name in an operator.
OPTIONS = {
    "r": "rank",
    "lora_r": "rank",
    "lora_rank": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "init_lora_weights": "init",
    "adapter_size": "bottleneck",
    "bottleneck_size": "bottleneck",
    "reduction_factor": "bottleneck",
    "non_linearity": "activation",
    "num_virtual_tokens": "length",
    "encoder_hidden_size": "hidden",
    "prompt_tuning_init_text": "text",
}

#: Other keys, with what to do instead.
ELSEWHERE = {
    "target_modules": _TARGET,
    "lora_target": _TARGET,
    "lora_target_modules": _TARGET,
    "lora_target_linear": "write `target: {class: Linear}`",
    "target_parameters": "write `target: {parameter: ...}`",
    "exclude_modules": "write `exclude` in `target`",
    "layers_to_transform": "write `layers` in `target`",
    "layers_pattern": "put the layers' path into the pattern of `module`",
    "modules_to_save": _HEADS,
    "additional_target": _HEADS,
    "lora_modules_to_save": _HEADS,
    "rank_pattern": _OVERRIDES,
    "alpha_pattern": _OVERRIDES,
    "use_rslora": "write `scaling: rank-stabilized` in the delta",
    "use_dora": "DoRA is an operator, not an option of `lora`; `deltac operators` lists them",
    "bias": "add a second delta with `operator: bitfit`",
    "lora_bias": "add a second delta with `operator: bitfit`",
    "feedforward_modules": "add a second delta on them, with `operator: ia3` and `side: input`",
    "prefix_projection": "write `hidden`, the width of the network that makes the prefix",
    "load_in_4bit": _QUANTIZED,
    "load_in_8bit": _QUANTIZED,
    "bnb_4bit_quant_type": _QUANTIZED,
    "quantization_config": _QUANTIZED,
    "quantization_bit": _QUANTIZED,
    "fan_in_fan_out": _REMOVE,
    "inference_mode": _REMOVE,
    "auto_mapping": _REMOVE,
    "task_type": "write `model: {class: ...}`, such as AutoModelForCausalLM",
    "peft_type": _OPERATOR,
    "adapter": _OPERATOR,
    "finetuning_type": _OPERATOR,
    "base_model": _SOURCE,
    "base_model_name_or_path": _SOURCE,
    "model_name_or_path": _SOURCE,
    "base_model_config": "write `model: {config_file: ...}` at the top level",
    "model_type": "write `model: {class: ...}`; a config's `model_type` stands in `model.config`",
    "torch_dtype": "write `model: {dtype: ...}`",
    "num_labels": "write `model: {config: {num_labels: ...}}`",
    "trust_remote_code": "no spec runs code from a model's repository",
    "learning_rate": _TRAINING,
    "num_epochs": _TRAINING,
    "num_train_epochs": _TRAINING,
    "micro_batch_size": _TRAINING,
    "per_device_train_batch_size": _TRAINING,
    "gradient_accumulation_steps": _TRAINING,
    "optimizer": _TRAINING,
    "lr_scheduler": _TRAINING,
    "datasets": _TRAINING,
    "dataset": _TRAINING,
    "sequence_len": _TRAINING,
    "output_dir": _TRAINING,
}

_FINE_TUNING = "write `operator: tune`, which trains what its target names in place"
_SUBSPACE = "write `operator: subspace`"

#: Names that others give to methods, in lower case and with hyphens: how deltac says it.
METHODS = {
    "prompt-tuning": "write `operator: prompt`",
    "soft-prompt": "write `operator: prompt`",
    "prefix-tuning": "write `operator: prefix`, or `extends: preset:prefix-tuning`",
    "qlora": "write `operator: lora`, and `quantization` under `model`",
    "qdora": "write `operator: dora`, and `quantization` under `model`",
    "rslora": "write `operator: lora` with `scaling: rank-stabilized`",
    "pissa": "write `operator: lora` with `init: pissa`",
    "olora": "write `operator: lora` with `init: olora`",
    "ln-tuning": "write `operator: norm`",
    "layernorm": "write `operator: norm`",
    "bias": "write `operator: bitfit`",
    "lst": "write `operator: ladder`",
    "side-tuning": "write `operator: ladder`",
    "said": _SUBSPACE,
    "intrinsic-said": _SUBSPACE,
    "loreft": "write `operator: reft`",
    "bone": "write `operator: miss`",
    "fine-tuning": _FINE_TUNING,
    "full-fine-tuning": _FINE_TUNING,
}

#: Values that others write, by key: ours.
VALUES = {
    "dtype": {
        "fp16": "float16",
        "half": "float16",
        "bf16": "bfloat16",
        "fp32": "float32",
        "float": "float32",
        "fp64": "float64",
        "double": "float64",
    },
}


def method(word: str) -> str | None:
    """How deltac says the name of a method that is no operator, where it is known."""
    name = re.sub("[^a-z0-9+]+", "-", word.lower()).strip("-")
    if name in preset_names() and name not in METHODS:
        return f"write `extends: preset:{name}` at the top level"
    return METHODS.get(name)


def is_foreign(key: str) -> bool:
    """Whether the key is one of another library."""
    return key in OPTIONS or key in ELSEWHERE


def stands_for(key: str, allowed: Iterable[str]) -> str | None:
    """The key of ours that an unknown one was most likely meant as, foreign or misspelt."""
    if is_foreign(key):
        return {_TARGET: "target", _OPERATOR: "operator"}.get(ELSEWHERE.get(key, ""))
    return nearest(key, allowed)
