"""1xx: the spec is YAML, but its keys or values are not those of the language."""

from deltac.diagnostics.catalogue import reuse
from deltac.diagnostics.catalogue.code import Code
from deltac.diagnostics.catalogue.reuse import LORA, lora

CODES: tuple[Code, ...] = (
    Code(
        "DLT101",
        "unknown-key",
        "A key that this place of a spec does not have. No key is ignored: a misspelt option would "
        "leave its default in force.",
        lora("rnak: 8"),
        lora("rank: 8"),
    ),
    Code(
        "DLT102",
        "foreign-key",
        "A key of PEFT, axolotl or LLaMA-Factory. The message names the key of deltac that says "
        "the same.",
        lora("r: 8"),
        lora("rank: 8"),
    ),
    Code(
        "DLT103",
        "wrong-type",
        "A value of another type than the key takes. Nothing is converted: `true` and `2.0` are no "
        'integers, and `"8"` is text.',
        lora('rank: "8"'),
        lora("rank: 8"),
    ),
    Code(
        "DLT104",
        "out-of-bounds",
        "A number outside the bounds of its key.",
        lora("rank: 0"),
        lora("rank: 8"),
    ),
    Code(
        "DLT105",
        "not-one-of",
        "A value that is not among those which the key takes.",
        lora("dtype: bfloat16"),
        lora("dtype: base"),
    ),
    Code(
        "DLT106",
        "missing-key",
        "A key that must be there is not.",
        "version: 1\ndeltas:\n  - {operator: lora}\n",
        LORA,
    ),
    Code(
        "DLT107",
        "unknown-operator",
        "No operator of that name is built in or installed. `deltac operators` lists them.",
        LORA.replace("lora", "lroa"),
        LORA,
    ),
    Code(
        "DLT108",
        "not-finite",
        "Not a number, or infinite: `.nan`, `.inf`, or a number too large to represent.",
        lora("alpha: .inf"),
        lora("alpha: 16"),
    ),
    Code(
        "DLT109",
        "unknown-version",
        "The version of the spec language is one that this deltac does not read.",
        LORA.replace("version: 1", "version: 2"),
        LORA,
    ),
    Code(
        "DLT110",
        "bad-name",
        "The name of a delta is lower-case letters and digits, a letter first: it becomes part of "
        "parameter names. The name of a spec also becomes the name of a folder: letters, digits, "
        "`.`, `_` and `-`.",
        lora("name: my_lora"),
        lora("name: mylora"),
    ),
    Code(
        "DLT111",
        "duplicate-delta",
        "Two deltas have the same name, which parameters are named after. Without `name`, a delta "
        "is named after its operator.",
        LORA + "  - {operator: lora, target: {module: v_proj}}\n",
        LORA + "  - {name: values, operator: lora, target: {module: v_proj}}\n",
    ),
    Code(
        "DLT112",
        "bad-pattern",
        "A pattern of module paths that can't be read. A pattern is whole segments between dots; "
        "`*` is one segment or a part of one, `**` any number; `/` anchors at the root; `re:` "
        "marks a regular expression.",
        LORA.replace("q_proj", "q_proj|v_proj"),
        LORA.replace("q_proj", "[q_proj, v_proj]"),
    ),
    Code(
        "DLT113",
        "bad-regex",
        "What follows `re:` is not a regular expression of Python.",
        LORA.replace("q_proj", '"re:(q|v_proj"'),
        LORA.replace("q_proj", '"re:.*(q|v)_proj"'),
    ),
    Code(
        "DLT114",
        "bad-layers",
        "Layers are `3`, `-1` for the last, `0-5` with both ends, `first 4`, `last 2`, `first 25%` "
        "or `last 25%`, or a list of these.",
        LORA.replace("q_proj", "q_proj, layers: 0..5"),
        LORA.replace("q_proj", "q_proj, layers: 0-5"),
    ),
    Code(
        "DLT115",
        "bad-budget",
        "A budget is a count, a percentage of the parameters, or a size in bytes with its unit.",
        LORA + "budget: {trainable: a lot}\n",
        LORA + "budget: {trainable: 2%}\n",
    ),
    Code(
        "DLT116",
        "empty-target",
        "A target needs `module`, `class` or `parameter`; the other keys only narrow. To mean "
        'every module, say so: `module: "**"`.',
        LORA.replace("{module: q_proj}", "{layers: 0-5}"),
        LORA.replace("{module: q_proj}", '{module: "**", layers: 0-5}'),
    ),
    Code(
        "DLT117",
        "empty-value",
        "A list, mapping or text that holds nothing where something is needed.",
        LORA.replace("q_proj", "[]"),
        LORA,
    ),
    Code(
        "DLT118",
        "repeated-entry",
        "A list names the same thing twice. One of the two is a slip.",
        LORA.replace("q_proj", "[q_proj, q_proj]"),
        LORA.replace("q_proj", "[q_proj, v_proj]"),
    ),
    Code(
        "DLT119",
        "idle-override",
        "An override that narrows the target without changing an option, or changes options "
        "without narrowing the target.",
        lora("overrides: [{rank: 4}]"),
        lora("overrides: [{layers: last 2, rank: 4}]"),
    ),
    Code(
        "DLT120",
        "incomplete-model",
        "A model needs a `source`, or else a whole `config` with its `model_type`, here or in "
        "`config_file`.",
        LORA + "model: {config: {num_labels: 3}}\n",
        LORA + "model: {config: {model_type: bert, num_labels: 3}}\n",
    ),
    Code(
        "DLT121",
        "bad-value",
        "A value of the right type that does not have the form its key asks for.",
        lora("bottleneck: d:16").replace("lora", "adapter"),
        lora("bottleneck: d/16").replace("lora", "adapter"),
    ),
    *reuse.CODES,
    Code(
        "DLT151",
        "ignore-form",
        "A comment that silences a warning names its codes and says why: "
        "`# deltac: ignore[CODE] reason`, at the end of the line or on a line above it.",
        LORA + "# deltac: ignore[DLT206]\nseed: 1\n",
        LORA + "seed: 1\n",
    ),
    Code(
        "DLT152",
        "ignore-unknown-code",
        "A comment silences a code that deltac does not have.",
        LORA + "seed: 1  # deltac: ignore[DLT999] shared on purpose\n",
        LORA + "seed: 1\n",
    ),
    Code(
        "DLT153",
        "ignore-of-error",
        "A comment silences the code of an error. Only warnings can be silenced.",
        LORA + "sede: 1  # deltac: ignore[DLT101] never mind\n",
        LORA + "seed: 1\n",
    ),
    Code(
        "DLT154",
        "ignore-unused",
        "A comment silences a warning that its line does not raise. What the model says is told only where it was "
        "looked at.",
        LORA + "seed: 1  # deltac: ignore[ignore-unused] no such warning here\n",
        LORA + "seed: 1\n",
        severity="warning",
    ),
)
