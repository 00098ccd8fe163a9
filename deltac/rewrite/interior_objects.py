"""Stand-ins for what a forward is given beside tensors and constants: caches and their parts.

A stand-in is an instance of the object's own class, so that `isinstance` answers. What is read from it is a path known
at entry; what is done to it is a node of the graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deltac.rewrite.interior_entry import Path

if TYPE_CHECKING:
    from deltac.rewrite.interior_arguments import Arguments

#: Methods that only read, by the start of their name.
_READS = ("get", "is_", "has_", "keys", "values", "items", "__len__", "__contains__", "__getitem__")


def stand_in(recorder: Arguments, value: Any, path: Path, node: Any = None) -> Any:
    """The stand-in of an object.

    Args:
        recorder: the running trace.
        value: the object, a copy on fake tensors.
        path: where it is read.
        node: its node in the graph; None where the path gives it.
    """
    cls = _class(type(value))
    made = cls.__new__(cls)
    object.__setattr__(made, "_deltac", (recorder, path, value, node))
    return made


def parts(made: Any) -> tuple[Arguments, Path, Any, Any] | None:
    """What a stand-in was made of; None for any other value."""
    if getattr(type(made), "_deltac_stands_in", False):
        return object.__getattribute__(made, "_deltac")
    return None


def reads_only(name: str) -> bool:
    """Whether a method of this name changes nothing."""
    return name.startswith(_READS)


@functools.cache
def _class(cls: type) -> type:
    members: dict[str, Any] = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "_deltac_stands_in": True,
        "__getattribute__": _get_attribute,
        "__setattr__": _set_attribute,
        "__hash__": object.__hash__,
        "__eq__": object.__eq__,
        "__bool__": _truth,
    }
    for name in ("__len__", "__getitem__", "__contains__", "__setitem__", "__delitem__", "__iter__",
                 "__call__"):  # fmt: skip
        if hasattr(cls, name):
            members[name] = _special(name)
    return type(cls.__name__, (cls,), members)


def _get_attribute(made: Any, name: str) -> Any:
    if name in ("__class__", "_deltac"):
        return object.__getattribute__(made, name)
    recorder, path, value, _ = object.__getattribute__(made, "_deltac")
    found = getattr(value, name)
    if recorder.paused:
        return found
    if callable(found) and getattr(found, "__self__", None) is value:
        return functools.partial(recorder.method, made, name)
    return recorder.read(found, path.attr(name))


def _set_attribute(made: Any, name: str, value: Any) -> None:
    recorder, *_ = object.__getattribute__(made, "_deltac")
    recorder.set_attribute(made, name, value)


def _truth(made: Any) -> bool:
    recorder, _, value, _ = object.__getattribute__(made, "_deltac")
    return bool(value) if recorder.paused else recorder.truth(made)


def _special(name: str) -> Callable:
    def method(made: Any, *args: Any) -> Any:
        recorder, _, value, _ = object.__getattribute__(made, "_deltac")
        if recorder.paused:
            return getattr(value, name)(*args)
        return recorder.method(made, name, *args)

    return method
