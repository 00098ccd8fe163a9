"""Keys of PEFT, axolotl and LLaMA-Factory, and how deltac says the same."""

from __future__ import annotations

_TARGET = "name the places under `target`, such as `target: {module: [q_proj, v_proj]}`"
_HEADS = "list modules that are trained whole under the top-level key `heads`"
_SOURCE = "write `model: {source: ...}` at the top level"
_OPERATOR = "write `operator: ...` in an entry of `deltas`; `deltac operators` lists the names"
_OVERRIDES = "list other options on narrower targets under `overrides` of the delta"
_TRAINING = "a spec describes the delta; such settings belong to the training script"
_REMOVE = "remove it: deltac reads it off the model"

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


def is_foreign(key: str) -> bool:
    """Whether the key is one of another library."""
    return key in OPTIONS or key in ELSEWHERE
