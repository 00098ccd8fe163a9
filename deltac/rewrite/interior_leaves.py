"""Functions that stay one node of an interior graph: attention, kernels; what else is called while a graph is made."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import nn
from transformers.integrations import hub_kernels
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from deltac.rewrite.interior_nodes import InteriorError
from deltac.rewrite.interior_trace import Recorder


@dataclass(frozen=True)
class Attention:
    """A call at transformers' attention interface: the implementation is looked up when it runs.

    Attributes:
        default: the model's own eager attention.
        weights: whether the implementation that was traced returns its weights.
    """

    default: Callable
    weights: bool

    @property
    def __name__(self) -> str:
        # torch.fx names a call's function in the generated code by this.
        return "attention"

    def __call__(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any]:
        """Runs it: output [batch, query length, heads, head width], and the weights or None."""
        name = module.config._attn_implementation
        function = ALL_ATTENTION_FUNCTIONS.get_interface(name, self.default)
        output, weights = function(module, *args, **kwargs)
        if (weights is not None) != self.weights:
            raise RuntimeError(f"the attention '{name}' returns its weights in some calls only")
        return output, weights

    def shapes(
        self, module: nn.Module, query: Any, key: Any, value: Any, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, Any]:
        """Tensors of the shapes that it returns."""
        batch, heads, length, _ = query.shape
        output = query.new_empty((batch, length, heads, value.shape[-1]))
        return output, query.new_empty(
            (batch, heads, length, key.shape[-2])
        ) if self.weights else None


@contextmanager
def leaf_calls(recorder: Recorder, modules: Sequence[nn.Module]) -> Iterator[None]:
    """While it is open, attention functions and kernels are leaves, in this thread only.

    Args:
        recorder: the running trace.
        modules: those whose forwards are traced; the kernels that their source files name are found there.
    """
    thread = threading.get_ident()
    get_interface = AttentionInterface.get_interface
    apply = vars(torch.autograd.Function)["apply"]

    def leaf_interface(self: AttentionInterface, name: str, default: Callable) -> Callable:
        found = get_interface(self, name, default)
        if threading.get_ident() != thread or self is not ALL_ATTENTION_FUNCTIONS:
            return found
        function = Attention(default, found is default)
        return recorder.leaf_function(function, like=function.shapes)

    def refused_apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread and not recorder.paused:
            # Its forward would be recorded, and its own backward lost.
            raise InteriorError(f"it calls the autograd function {cls.__name__}")
        return apply.__get__(None, cls)(*args, **kwargs)

    kernels = [*_kernels(modules)]
    AttentionInterface.get_interface = leaf_interface
    torch.autograd.Function.apply = classmethod(refused_apply)
    for names, name, function in kernels:
        names[name] = _in_thread(thread, function, recorder.leaf_function(function))
    try:
        yield
    finally:
        AttentionInterface.get_interface = get_interface
        torch.autograd.Function.apply = apply
        for names, name, function in kernels:
            names[name] = function


def _kernels(modules: Sequence[nn.Module]) -> Iterator[tuple[dict[str, Any], str, Callable]]:
    """The functions of the modules' source files that transformers may replace by a kernel from the hub."""
    for name in sorted({type(module).__module__ for module in modules}):
        names = vars(sys.modules[name])
        for key, value in list(names.items()):
            code = getattr(value, "__code__", None)
            own = isinstance(value, FunctionType) and value.__module__ == name
            if own and code.co_filename == hub_kernels.__file__:
                yield names, key, value


def _in_thread(thread: int, function: Callable, leaf: Callable) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        return (leaf if threading.get_ident() == thread else function)(*args, **kwargs)

    return call
