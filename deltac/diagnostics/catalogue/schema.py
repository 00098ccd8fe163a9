"""1xx: the spec is YAML, but its keys or values are not those of the language."""

from deltac.diagnostics.catalogue.code import Code

_LORA = "version: 1\ndeltas:\n  - {operator: lora, target: {module: q_proj}}\n"


def _lora(options: str) -> str:
    return _LORA.replace("q_proj}}", "q_proj}, " + options + "}")


CODES: tuple[Code, ...] = (
    Code(
        "DLT101",
        "unknown-key",
        "A key that this place of a spec does not have. No key is ignored: a misspelt option would "
        "leave its default in force.",
        _lora("rnak: 8"),
        _lora("rank: 8"),
    ),
    Code(
        "DLT102",
        "foreign-key",
        "A key of PEFT, axolotl or LLaMA-Factory. The message names the key of deltac that says "
        "the same.",
        _lora("r: 8"),
        _lora("rank: 8"),
    ),
    Code(
        "DLT103",
        "wrong-type",
        "A value of another type than the key takes. Nothing is converted: `true` and `2.0` are no "
        'integers, and `"8"` is text.',
        _lora('rank: "8"'),
        _lora("rank: 8"),
    ),
    Code(
        "DLT104",
        "out-of-bounds",
        "A number outside the bounds of its key.",
        _lora("rank: 0"),
        _lora("rank: 8"),
    ),
    Code(
        "DLT105",
        "not-one-of",
        "A value that is not among those which the key takes.",
        _lora("dtype: bfloat16"),
        _lora("dtype: base"),
    ),
    Code(
        "DLT106",
        "missing-key",
        "A key that must be there is not.",
        "version: 1\ndeltas:\n  - {operator: lora}\n",
        _LORA,
    ),
    Code(
        "DLT107",
        "unknown-operator",
        "No operator of that name is built in or installed. `deltac operators` lists them.",
        _LORA.replace("lora", "lroa"),
        _LORA,
    ),
    Code(
        "DLT108",
        "not-finite",
        "Not a number, or infinite: `.nan`, `.inf`, or a number too large to represent.",
        _lora("alpha: .inf"),
        _lora("alpha: 16"),
    ),
    Code(
        "DLT109",
        "unknown-version",
        "The version of the spec language is one that this deltac does not read.",
        _LORA.replace("version: 1", "version: 2"),
        _LORA,
    ),
    Code(
        "DLT110",
        "bad-name",
        "The name of a delta is lower-case letters and digits, a letter first: it becomes part of "
        "parameter names. The name of a spec also becomes the name of a folder: letters, digits, "
        "`.`, `_` and `-`.",
        _lora("name: my_lora"),
        _lora("name: mylora"),
    ),
    Code(
        "DLT111",
        "duplicate-delta",
        "Two deltas have the same name, which parameters are named after. Without `name`, a delta "
        "is named after its operator.",
        _LORA + "  - {operator: lora, target: {module: v_proj}}\n",
        _LORA + "  - {name: values, operator: lora, target: {module: v_proj}}\n",
    ),
    Code(
        "DLT112",
        "bad-pattern",
        "A pattern of module paths that can't be read. A pattern is whole segments between dots; "
        "`*` is one segment or a part of one, `**` any number; `/` anchors at the root; `re:` "
        "marks a regular expression.",
        _LORA.replace("q_proj", "q_proj|v_proj"),
        _LORA.replace("q_proj", "[q_proj, v_proj]"),
    ),
    Code(
        "DLT113",
        "bad-regex",
        "What follows `re:` is not a regular expression of Python.",
        _LORA.replace("q_proj", '"re:(q|v_proj"'),
        _LORA.replace("q_proj", '"re:.*(q|v)_proj"'),
    ),
    Code(
        "DLT114",
        "bad-layers",
        "Layers are `3`, `-1` for the last, `0-5` with both ends, `first 4`, `last 2`, `first 25%` "
        "or `last 25%`, or a list of these.",
        _LORA.replace("q_proj", "q_proj, layers: 0..5"),
        _LORA.replace("q_proj", "q_proj, layers: 0-5"),
    ),
    Code(
        "DLT115",
        "bad-budget",
        "A budget is a count, a percentage of the parameters, or a size in bytes with its unit.",
        _LORA + "budget: {trainable: a lot}\n",
        _LORA + "budget: {trainable: 2%}\n",
    ),
    Code(
        "DLT116",
        "empty-target",
        "A target needs `module`, `class` or `parameter`; the other keys only narrow. To mean "
        'every module, say so: `module: "**"`.',
        _LORA.replace("{module: q_proj}", "{layers: 0-5}"),
        _LORA.replace("{module: q_proj}", '{module: "**", layers: 0-5}'),
    ),
    Code(
        "DLT117",
        "empty-value",
        "A list, mapping or text that holds nothing where something is needed.",
        _LORA.replace("q_proj", "[]"),
        _LORA,
    ),
    Code(
        "DLT118",
        "repeated-entry",
        "A list names the same thing twice. One of the two is a slip.",
        _LORA.replace("q_proj", "[q_proj, q_proj]"),
        _LORA.replace("q_proj", "[q_proj, v_proj]"),
    ),
    Code(
        "DLT119",
        "idle-override",
        "An override that narrows the target without changing an option, or changes options "
        "without narrowing the target.",
        _lora("overrides: [{rank: 4}]"),
        _lora("overrides: [{layers: last 2, rank: 4}]"),
    ),
    Code(
        "DLT120",
        "incomplete-model",
        "A model needs a `source`, or else a whole `config` with its `model_type`, here or in "
        "`config_file`.",
        _LORA + "model: {config: {num_labels: 3}}\n",
        _LORA + "model: {config: {model_type: bert, num_labels: 3}}\n",
    ),
    Code(
        "DLT121",
        "bad-value",
        "A value of the right type that does not have the form its key asks for.",
        _lora("bottleneck: d:16").replace("lora", "adapter"),
        _lora("bottleneck: d/16").replace("lora", "adapter"),
    ),
    Code(
        "DLT122",
        "unused-anchors",
        "A top-level key that begins with `x-` is a place for anchors. What stands under this one, "
        "no alias uses, so it would be ignored.",
        "version: 1\nx-rank: 8\n" + _LORA.removeprefix("version: 1\n"),
        "version: 1\nx-rank: &rank 8\n" + _lora("rank: *rank").removeprefix("version: 1\n"),
    ),
    Code(
        "DLT123",
        "unknown-variable",
        "`${name}` stands for a variable, and the spec's `vars` have none of that name.",
        _lora('rank: "${rank}"'),
        _lora('rank: "${rank}"') + "vars: {rank: 8}\n",
    ),
    Code(
        "DLT124",
        "bad-variable",
        "A variable that can't be read: its name is letters, digits and `_`, a letter first; its "
        "value holds no other variable. `$${` stands for the text `${`.",
        _LORA + 'description: "costs ${5}"\n',
        _LORA + 'description: "costs $${5}"\n',
    ),
    Code(
        "DLT125",
        "variable-not-set",
        "A variable of the spec is null, which means that whoever uses the spec must set it: "
        "`--set name=value`, or `vars` in a spec that extends this one.",
        _lora('rank: "${rank}"') + "vars: {rank: null}\n",
        _lora('rank: "${rank}"') + "vars: {rank: 8}\n",
    ),
    Code(
        "DLT126",
        "unused-variable",
        "Nothing uses a variable of the spec, so setting it would change nothing.",
        _lora("rank: 8") + "vars: {rank: 8}\n",
        _lora('rank: "${rank}"') + "vars: {rank: 8}\n",
    ),
    Code(
        "DLT127",
        "replaced-too-long",
        "With its variables and aliases replaced, the spec is longer than any spec needs to be.",
    ),
    Code(
        "DLT131",
        "extends-path",
        "A base is named by a path relative to the file that extends it: no absolute path, no "
        "address, no variable; `/` between folders.",
    ),
    Code(
        "DLT132",
        "extends-outside",
        "A base lies outside the root folder of the spec, which is the repository that the spec "
        "lies in, or else its own folder. Links are followed before this is decided.",
    ),
    Code(
        "DLT133",
        "extends-unreadable",
        "A base does not exist or can't be read.",
    ),
    Code(
        "DLT134",
        "extends-circle",
        "A file extends itself, by way of its bases.",
    ),
    Code(
        "DLT135",
        "extends-too-much",
        "A spec extends at most 15 files, 8 deep, and all of them together hold at most 1 MiB.",
    ),
    Code(
        "DLT136",
        "nothing-to-remove",
        "`remove: true` stands alone with the `name` of a delta of a base; no base has one of that "
        "name, or there is no base.",
        "version: 1\ndeltas:\n  - {name: lora, remove: true}\n",
        "version: 1\ndeltas: []\n",
    ),
    Code(
        "DLT137",
        "extends-without-file",
        "A spec that is given as text or as a dict can't extend a file: a path would be relative "
        "to nothing.",
        "extends: base.yaml\n" + _LORA,
        _LORA,
    ),
    Code(
        "DLT138",
        "path-outside",
        "`config_file`, or a `source` that begins with `.`, leads out of the root folder of the "
        "spec, which is the repository that the spec lies in, or else its own folder. Links are "
        "followed before this is decided.",
        _LORA + "model: {config_file: /etc/config.json}\n",
        _LORA + "model: {config_file: config.json}\n",
    ),
    Code(
        "DLT151",
        "ignore-form",
        "A comment that silences a warning names its codes and says why: "
        "`# deltac: ignore[CODE] reason`, at the end of the line or on a line above it.",
        _LORA + "# deltac: ignore[DLT206]\nseed: 1\n",
        _LORA + "seed: 1\n",
    ),
    Code(
        "DLT152",
        "ignore-unknown-code",
        "A comment silences a code that deltac does not have.",
        _LORA + "seed: 1  # deltac: ignore[DLT999] shared on purpose\n",
        _LORA + "seed: 1\n",
    ),
    Code(
        "DLT153",
        "ignore-of-error",
        "A comment silences the code of an error. Only warnings can be silenced.",
        _LORA + "sede: 1  # deltac: ignore[DLT101] never mind\n",
        _LORA + "seed: 1\n",
    ),
    Code(
        "DLT154",
        "ignore-unused",
        "A comment silences a warning that its line does not raise. What the model says is told only where it was "
        "looked at.",
        _LORA + "seed: 1  # deltac: ignore[ignore-unused] no such warning here\n",
        _LORA + "seed: 1\n",
        severity="warning",
    ),
)
