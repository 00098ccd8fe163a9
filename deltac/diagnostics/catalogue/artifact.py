"""7xx: reading and writing artifacts."""

from deltac.diagnostics.catalogue.code import Code


def _code(code: str, name: str, meaning: str, **more: str) -> Code:
    return Code(code, name, meaning, exit=2, **more)


CODES = (
    _code(
        "DLT701",
        "not-an-artifact",
        "The folder is no artifact of deltac, or a file of it is missing or unreadable.",
    ),
    _code(
        "DLT702",
        "would-overwrite",
        "The output folder holds a trained delta. Choose another folder, or say --force (overwrite=True in Python).",
    ),
    _code(
        "DLT703",
        "foreign-folder",
        "The output folder is not empty, and it is neither an artifact nor a model to be replaced: deltac leaves it.",
    ),
    _code("DLT704", "unknown-format", "The manifest has a version that this deltac does not read."),
    _code(
        "DLT705",
        "file-damaged",
        "A file of the artifact is not the one that the manifest describes: it was changed, cut off or exchanged.",
    ),
    _code("DLT706", "not-a-compiled-model", "The model carries no delta of deltac."),
    _code(
        "DLT707",
        "values-offloaded",
        "The delta's values are not in the model: it was offloaded. Save or disable it before offloading.",
    ),
    _code(
        "DLT708",
        "other-spec",
        "The checkpoint was made from another spec than the model that it is loaded into.",
    ),
    _code(
        "DLT709",
        "not-written",
        "The artifact can't be written there: no permission, no space, or a file where a folder should be. What was "
        "there before is as it was.",
    ),
    _code(
        "DLT711",
        "base-class",
        "The base is another architecture than the one the delta was made for.",
    ),
    _code(
        "DLT712",
        "base-layers",
        "The base has another number of blocks than the one the delta was made for.",
    ),
    _code("DLT713", "base-shapes", "The base's parameters have other shapes."),
    _code(
        "DLT714",
        "base-config",
        "The base's config differs in a setting that changes what it computes.",
    ),
    _code("DLT715", "base-names", "The base's parameters have other names."),
    _code("DLT716", "base-weights", "The base has the right structure, but other weights."),
    _code("DLT717", "base-dtype", "The base's parameters have another dtype."),
    _code(
        "DLT718",
        "base-quantization",
        "The base is quantized in another way than the one the delta was made for, or one of the two is not quantized.",
    ),
    _code(
        "DLT721",
        "tensor-names",
        "The delta file lacks tensors that the spec asks for, or holds others.",
    ),
    _code("DLT722", "tensor-form", "A tensor of the delta file has another shape or dtype."),
    _code(
        "DLT723",
        "operator-changed",
        "An operator of another package has another version or source than the one the delta was made with.",
    ),
    _code(
        "DLT731",
        "not-mergeable",
        "A delta can't be merged into the base's weights: what it computes depends on more than parameters (it acts on "
        "activations, or has a gate), or the weight is quantized (dequantize the base before compiling). The others "
        "can: `deltac merge --partial`, in Python `deltac.merge_partly`.",
    ),
    _code(
        "DLT732",
        "untied",
        "A tensor had several names in the base (an embedding and an output layer, as a rule), and the merged delta "
        "changes one of them only. In the merged model they are separate tensors, and its config says that nothing is "
        "tied.",
        severity="warning",
    ),
    _code(
        "DLT733",
        "tied-for-good",
        "A merged model would need two tensors where the base has one under two names, and its class can't do that: it "
        "ties them whatever its config says, its config can't be saved so, or it computes something else then.",
    ),
    _code(
        "DLT734",
        "part-of-a-compiled-model",
        "`save_pretrained` was called on a model inside of a compiled one. It would write the delta's tensors into a "
        "file that loads without them. Save the whole (`compiled.save`), or merge it first.",
    ),
    _code(
        "DLT735",
        "output-not-empty",
        "The folder for a merged model is not empty. --force replaces it, where it holds a model (a config.json).",
    ),
    _code(
        "DLT736",
        "output-needed",
        "The folder for a merged model is the base's own or the artifact's, or holds one of them. Writing there would "
        "destroy what is read. --force doesn't change that.",
    ),
    _code(
        "DLT737",
        "unknown-delta",
        "The compiled model has no delta of the name that was given.",
    ),
    _code(
        "DLT738",
        "unknown-task",
        "`set_task` was given a task that a delta with tasks doesn't have, or no delta of the model has tasks.",
    ),
    _code(
        "DLT739",
        "nothing-to-project",
        "`deltac.project` closes the smaller elements of what diff pruning changes. The model has no such delta, "
        "nothing of it has been trained, or the budget is no count and no percentage.",
    ),
    _code(
        "DLT740",
        "no-such-trained-delta",
        "A delta starts from trained ones, and an artifact that the spec names for them has none for a site, has "
        "several, was made with other options, or was trained on other weights.",
    ),
    _code(
        "DLT741",
        "base-changed",
        "A matrix of the base has another shape than when the model was compiled, as after `resize_token_embeddings`, "
        "or modules were replaced. The artifact would load onto the base without that change, which is not in it.",
    ),
    _code(
        "DLT742",
        "base-unfrozen",
        "Parameters of the base require gradients, though neither a delta nor a head names them. What they learn is in "
        "no file: a loaded artifact would compute something else.",
        severity="warning",
    ),
    _code(
        "DLT743",
        "cast-after-compiling",
        "The delta is saved in another dtype than the model has by now, as after `model.half()`. It is saved in that "
        "of the plan, for it loads onto the base as it was compiled; there it may compute slightly different values.",
        severity="warning",
    ),
    _code(
        "DLT744",
        "nothing-pushed",
        "`save_pretrained` of a compiled model was asked to push to the hub, too. It writes the artifact alone.",
    ),
)
