"""8xx: the call or the environment is at fault, not the spec. Exit code 2."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = (
    Code(
        "DLT801",
        "file-not-found",
        "A path of the call does not exist or can't be read.",
        "deltac validate specs/lroa.delta.yaml",
        "deltac validate specs/lora.delta.yaml",
        exit=2,
    ),
    Code(
        "DLT802",
        "no-specs",
        "A folder of the call holds no file whose name ends in .delta.yaml.",
        "deltac validate docs",
        "deltac validate specs",
        exit=2,
    ),
    Code(
        "DLT803",
        "stale-schema",
        "A committed JSON Schema differs from the one generated from the operators. Run "
        "`deltac schema --write` and commit the result.",
        exit=1,
    ),
    Code(
        "DLT804",
        "no-schema",
        "The JSON Schema of specs, generated from the operators, is not where this installation "
        "of deltac keeps it; or `deltac schema --write` was called outside a checkout.",
        exit=2,
    ),
    Code(
        "DLT805",
        "broken-plugin",
        "An installed package registers an operator under the entry point `deltac.operators`, and "
        "loading it failed. Mend or remove that package.",
        exit=2,
    ),
)
