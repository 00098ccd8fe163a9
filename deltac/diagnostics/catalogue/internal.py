"""9xx: faults of deltac itself. Exit code 3."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = (
    Code(
        "DLT901",
        "internal-error",
        "deltac failed in a way that its authors did not foresee. The spec is not to blame. "
        "Please report it, with the spec and the traceback that DELTAC_DEBUG=1 prints.",
        exit=3,
    ),
    Code(
        "DLT902",
        "rewriting-not-verified",
        "The rewritten model is not what the plan says. deltac, or an operator of another package, is at fault. The "
        "model was left as it was.",
        exit=3,
    ),
)
