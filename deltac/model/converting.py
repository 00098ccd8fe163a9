"""Lets a forward convert a module (`self.router.to(float32)`), which torch refuses on fake parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import nn


@contextlib.contextmanager
def convertible(
    model: nn.Module, replaced: Callable[[nn.Parameter, nn.Parameter], None]
) -> Iterator[None]:
    """Inside, modules convert by taking new parameters; after it the model has its own again.

    Args:
        model: a model on fake tensors.
        replaced: told each parameter and the one that stands for it.
    """
    undo: list[tuple[nn.Module, str, nn.Parameter]] = []

    def converter(module: nn.Module) -> Callable:
        def apply(convert: Callable, recurse: bool = True) -> nn.Module:
            for child in module.children() if recurse else ():
                child._apply(convert)
            for name, old in module._parameters.items():
                new = convert(old) if old is not None else old
                if new is not old:
                    undo.append((module, name, old))
                    module._parameters[name] = nn.Parameter(new, requires_grad=old.requires_grad)
                    replaced(old, module._parameters[name])
            return module

        return apply

    modules = list(model.modules())
    for module in modules:
        module.__dict__["_apply"] = converter(module)
    try:
        yield
    finally:
        for module, name, old in reversed(undo):
            module._parameters[name] = old
        for module in modules:
            del module.__dict__["_apply"]
