"""2xx: what the targets, heads and the model section of a spec select."""

from deltac.diagnostics.catalogue.code import Code

CODES = (
    Code(
        "DLT201",
        "no-match",
        "An entry of a target matches nothing in this model. Every entry of every list must match: a misspelt target "
        "next to a right one would train less than the spec says.",
        wrong="target: {module: [query, valeu]}",
        right="target: {module: [query, value]}",
    ),
    Code(
        "DLT202",
        "layer-out-of-range",
        "`layers` names blocks that no stack of the model has. Blocks count from 0; -1 is the last.",
        wrong="target: {module: query, layers: 0-12}  # a model of 12 blocks",
        right="target: {module: query, layers: 0-11}",
    ),
    Code(
        "DLT203",
        "exclude-removes-nothing",
        "An entry of `exclude` removes nothing from the target that it belongs to.",
        wrong="target: {module: [query, value], exclude: key}",
        right="target: {module: [query, value]}",
    ),
    Code(
        "DLT204",
        "expect-differs",
        "`expect` states how many places the target selects, and it selects another number.",
        wrong="target: {module: query, expect: 24}  # a model of 12 blocks",
        right="target: {module: query, expect: 12}",
    ),
    Code(
        "DLT205",
        "never-runs",
        "A selected module or weight is not used in a forward pass of this model class. A delta there would never get "
        "a gradient.",
        wrong="target: {module: pooler.dense}  # in a class that does not call the pooler",
        right="target: {module: attention.output.dense}",
    ),
    Code(
        "DLT206",
        "runs-several-times",
        "A selected module runs more than once in a forward pass (its weights are shared by several layers). Its delta "
        "acts in each of these calls.",
        wrong="target: {module: query}  # ALBERT: its layers are one",
        right="target: {module: query}  # deltac: ignore[DLT206] ALBERT shares its layers",
        severity="warning",
    ),
    Code(
        "DLT207",
        "head-no-match",
        "An entry of `heads` matches no parameter of this model.",
        wrong="heads: [clasifier]",
        right="heads: [classifier]",
    ),
    Code(
        "DLT208",
        "nothing-left",
        "The keys of a target narrow each other (and): together they leave nothing, or nothing of one entry.",
        wrong="target: {module: encoder.layer.0.attention.self.query, layers: 3}",
        right="target: {module: attention.self.query, layers: 3}",
    ),
    Code(
        "DLT209",
        "unused-left-out",
        "A wide target of an operator that tunes existing parameters also selects some that no forward pass reads. "
        "They are left out.",
        wrong="target: {module: h.*}  # GPT-2 with cross-attention",
        right="target: {module: h.*, exclude: [crossattention, ln_cross_attn]}",
        severity="warning",
    ),
    Code(
        "DLT210",
        "no-such-experts",
        "`experts` narrows a target to some of the experts whose matrices share a tensor. The place has no experts, or "
        "has none of that number.",
        wrong="target: {role: moe.experts.down, experts: 0-8}  # a model of 8 experts",
        right="target: {role: moe.experts.down, experts: 0-7}",
    ),
    Code(
        "DLT211",
        "uneven-layers",
        "An entry of a target has sites in some layers of a stack and none in others. Hybrid models are made so; else "
        "a pattern misses layers that call the same thing differently. Entries that make up for each other are fine, "
        "and so is a target that names its layers.",
        wrong="target: {role: mlp.gate}  # the first layer of this mixture is dense",
        right="target: {role: mlp.gate, layers: 0}",
        severity="warning",
    ),
    Code(
        "DLT212",
        "nothing-trained",
        "The spec has no delta, and the model no head that is trained: nothing would learn.",
        wrong="deltas: []  # on a model whose checkpoint lacks nothing",
        right="deltas: [{operator: lora, target: {role: linear}}]",
        severity="warning",
    ),
    Code(
        "DLT251",
        "source-form",
        "`model.source` is no hub id, no folder and no package path.",
        wrong="source: 'my model'",
        right="source: ./my-model",
    ),
    Code(
        "DLT252",
        "unknown-setting",
        "`model.config` names a setting or a model type that the config class does not have.",
        wrong="config: {num_lables: 3}",
        right="config: {num_labels: 3}",
    ),
    Code(
        "DLT253",
        "bad-setting",
        "The config class refuses a value of `model.config`.",
        wrong="config: {hidden_size: wide}",
        right="config: {hidden_size: 768}",
    ),
    Code(
        "DLT254",
        "setting-without-effect",
        "The model ignores an override of `model.config`: it does not read back. T5, for example, ties its head "
        "whatever the config says.",
        wrong="config: {tie_word_embeddings: false}  # T5",
        right="config: {}",
    ),
    Code(
        "DLT255",
        "class-missing",
        "Neither the spec nor the base's config says which model class to use.",
        wrong="model: {config: {model_type: llama}}",
        right="model: {config: {model_type: llama}, class: AutoModelForCausalLM}",
    ),
    Code(
        "DLT256",
        "unknown-class",
        "transformers has no model class of that name.",
        wrong="class: AutoModelForSequenceClassifier",
        right="class: AutoModelForSequenceClassification",
    ),
    Code(
        "DLT257",
        "class-does-not-fit",
        "The model class does not go with the base's type.",
        wrong="class: LlamaForCausalLM  # the source is a BERT",
        right="class: AutoModelForSequenceClassification",
    ),
    Code(
        "DLT258",
        "model-missing",
        "The spec has no `model` section and no model was given: there is nothing to compile.",
        wrong="deltas: [{operator: lora, target: {module: query}}]  # and no `model`",
        right="model: {source: FacebookAI/roberta-base}",
    ),
    Code(
        "DLT259",
        "unknown-attention",
        "transformers has no attention implementation of that name. deltac takes no kernels from the hub.",
        wrong="attn_implementation: flash2",
        right="attn_implementation: flash_attention_2",
    ),
    Code(
        "DLT260",
        "input-does-not-fit",
        "An entry of `model.inputs` names no argument of the model's forward, or can't be made: it holds too many "
        "numbers, its range runs backwards, or its dtype takes no range.",
        wrong="inputs: {pixels: {shape: [1, 3, 224, 224], dtype: float32}}",
        right="inputs: {pixel_values: {shape: [1, 3, 224, 224], dtype: float32}}",
    ),
    Code(
        "DLT261",
        "quantized-already",
        "`model.quantization` quantizes a base as it is loaded. The checkpoint that the source names is quantized, and "
        "is loaded as it is.",
        wrong="model: {source: someone/llama-awq, quantization: {method: torchao, bits: 8}}",
        right="model: {source: someone/llama-awq}",
    ),
    Code(
        "DLT262",
        "not-quantizable",
        "`model.quantization` can't do what it says to this model: it has no linear that the library quantizes "
        "(torchao passes over GPT-2's Conv1D), or one whose width the type doesn't take.",
        wrong="quantization: {method: torchao, bits: 8}  # GPT-2",
        right="quantization: {method: bitsandbytes, bits: 8}",
    ),
)
