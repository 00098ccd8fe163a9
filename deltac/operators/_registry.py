"""The operators that can be used: one per file of this folder, and those of installed packages (entry points)."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import deltac
from deltac.operators._contract import Operator
from deltac.operators._fields import fragment

GROUP = "deltac.operators"


@dataclass(frozen=True)
class Registered:
    """An operator with its origin: the distribution that brings it, its version and the hash of its source."""

    operator: type[Operator]
    package: str
    version: str
    source_sha256: str

    def fault(self, error: Exception) -> str:
        """What is wrong with an operator of another package whose own code raised this error."""
        kind, text = type(error).__name__, " ".join(str(error).split())[:200]
        return f"{self.package} {self.version} is at fault: {kind}: {text}"


@functools.cache
def builtin() -> dict[str, Registered]:
    """The operators of this folder, by name: each file whose name has no leading underscore holds one."""
    found = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.name.startswith("_"):
            operator = _operator_of(importlib.import_module(f"deltac.operators.{module.name}"))
            found[operator.name] = _registered(operator, "deltac", deltac.__version__)
    return dict(sorted(found.items()))


def names() -> list[str]:
    """Every operator's name, sorted; those of other packages are listed without importing them."""
    return sorted({*builtin(), *(point.name for point in _points())})


def get(name: str) -> Registered:
    """The operator of that name.

    Raises:
        KeyError: there is none.
        TypeError: its package breaks the contract.
    """
    if name in builtin():
        return builtin()[name]
    for point in _points():
        if point.name == name:
            return _load(point)
    raise KeyError(name)


def fragments() -> dict[str, dict[str, Any]]:
    """The schema fragment of each built-in operator, by name."""
    return {name: fragment(entry.operator) for name, entry in builtin().items()}


def _points() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def _load(point: EntryPoint) -> Registered:
    operator = point.load()
    if not (inspect.isclass(operator) and issubclass(operator, Operator)):
        raise TypeError(f"{point.value} is not a deltac operator class")
    if operator.name != point.name:
        raise TypeError(f"{point.value} is named '{operator.name}', its entry point '{point.name}'")
    assert point.dist is not None
    return _registered(operator, point.dist.name, point.dist.version)


def _operator_of(module: Any) -> type[Operator]:
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Operator)
        and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise TypeError(f"{module.__name__} must define one operator, found {len(own)}")
    return own[0]


def _registered(operator: type[Operator], package: str, version: str) -> Registered:
    source = Path(inspect.getfile(operator)).read_bytes()
    return Registered(operator, package, version, hashlib.sha256(source).hexdigest())
