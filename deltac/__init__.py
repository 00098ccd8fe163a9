"""deltac: a compiler for delta-tuning. Names are loaded on first use, so that `import deltac` is light."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltac.api import compile, load, plan
    from deltac.compiled import Compiled
    from deltac.diagnostics import DeltacError, DeltacWarning
    from deltac.partial import merge_partly
    from deltac.projection import project
    from deltac.spec import validate
    from deltac.trainer import DeltaTrainer

__version__ = "0.1.0"

#: Public name → the module that holds it.
_PUBLIC = {
    "Compiled": "deltac.compiled",
    "DeltaTrainer": "deltac.trainer",
    "DeltacError": "deltac.diagnostics",
    "DeltacWarning": "deltac.diagnostics",
    "compile": "deltac.api",
    "load": "deltac.api",
    "merge_partly": "deltac.partial",
    "plan": "deltac.api",
    "project": "deltac.projection",
    "validate": "deltac.spec",
}

__all__ = [
    "Compiled",
    "DeltaTrainer",
    "DeltacError",
    "DeltacWarning",
    "compile",
    "load",
    "merge_partly",
    "plan",
    "project",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'deltac' has no attribute '{name}'")
    try:
        module = importlib.import_module(_PUBLIC[name])
    except ModuleNotFoundError as error:
        library = (error.name or "deltac").split(".")[0]
        if library == "deltac":
            raise
        from deltac.diagnostics import DeltacError

        message = f"deltac.{name} needs {library}, which is not installed"
        raise DeltacError.of("DLT801", message, fix="pip install 'deltac[model]'") from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
