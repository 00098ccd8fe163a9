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
)
