"""The graph of a forward while it is recorded: which node stands for which value."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import fx
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis
from transformers.utils import ModelOutput

from deltac.rewrite.interior_entry import Entry, Number, Path, is_plain
from deltac.rewrite.interior_objects import parts


class InteriorError(Exception):
    """The forward does something that a graph with guards at entry can't hold; the message says what."""


class Nodes:
    """The graph so far.

    Attributes:
        graph: its nodes.
        entry: what is known at entry, with the guards.
        paused: whether calls run without being recorded, inside a leaf.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.graph, self.entry = fx.Graph(), Entry()
        self.paused = False
        self._inputs = {name: self.graph.placeholder(name) for name in names}
        self.graph._graph_namespace.create_name("self", None)  # a submodule may have that name
        self._marker = self.graph.call_function(_marker)
        self._nodes: dict[int, fx.Node] = {}
        self._keep: list[Any] = []  # an id is only unique while its object lives
        self._late: dict[Any, tuple[fx.Node, int]] = {}
        self._at: dict[Any, fx.Node] = {}
        self._state: dict[int, str] = {}
        self._changed: set[str] = set()

    def add_state(self, tensors: dict[str, torch.Tensor], modules: dict[str, Any]) -> None:
        """Tells the names of parameters, buffers and modules; `""` is the module itself."""
        self._state = {id(value): name for name, value in {**modules, **tensors}.items()}

    @contextmanager
    def pause(self) -> Any:
        """Inside, nothing is recorded."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def _tensor(self, sizes: list[Number], like: torch.Tensor) -> torch.Tensor:
        with self.pause():
            return torch.empty(sizes, dtype=like.dtype, device=like.device)

    def _late_tensor(self, value: torch.Tensor) -> torch.Tensor:
        return self._tensor([self.entry.unknown(int(size)) for size in value.shape], value)

    def finish(self, out: Any) -> fx.Graph:
        """Ends the graph with what the forward returned."""
        self.graph.output(self.argument(out))
        self.graph.erase_node(self._marker)
        unused = (operator.getitem, getattr)
        for node in reversed(self.graph.nodes):
            if not node.users and (node.op == "get_attr" or node.target in unused):
                self.graph.erase_node(node)
        self.graph.lint()
        return self.graph

    def argument(self, value: Any) -> Any:
        """A value as an argument of a node."""
        if isinstance(value, torch.Tensor) or id(value) in self._state:
            node = self._nodes.get(id(value))
            if node is None:
                name = self._state.get(id(value))
                if name is None:
                    raise InteriorError(
                        "it uses a tensor that was made outside of the recorded calls"
                    )
                node = self._nodes[id(value)] = self.graph.get_attr(name or "delta_self")
            return node
        found = parts(value)
        if found is not None:
            return found[3] if found[3] is not None else self._path_node(found[1])
        if isinstance(value, (torch.SymInt, torch.SymFloat)):
            return self._number(value)
        if isinstance(value, torch.SymBool):
            return bool(value)
        if isinstance(value, slice):
            return slice(*(self.argument(part) for part in (value.start, value.stop, value.step)))
        if isinstance(value, ModelOutput):
            items = {key: self.argument(item) for key, item in value.items()}
            return self.graph.call_function(type(value), (), items)
        if (
            type(value) in (tuple, list, torch.Size)
            or type(value).__module__ == "torch.return_types"
        ):
            items = [self.argument(item) for item in value]
            return items if type(value) is list else tuple(items)
        if type(value) is dict:
            return {key: self.argument(item) for key, item in value.items()}
        if isinstance(value, (torch.memory_format, torch.layout, type(...))) or is_plain(value):
            return value
        if isinstance(value, torch.nn.Module) or callable(value) or not is_plain(value):
            raise InteriorError(f"a {type(value).__name__} is passed on")
        return value

    def _bind(self, out: Any, node: fx.Node) -> Any:
        """Remembers which node made a value."""
        if isinstance(out, torch.Tensor):
            self._nodes[id(out)] = node
            self._keep.append(out)
            for dim, size in enumerate(out.shape):
                if isinstance(size, torch.SymInt) and not self.entry.known(size):
                    self._late.setdefault(size.node.expr, (node, dim))
        elif isinstance(out, (tuple, list)):
            for index, item in enumerate(out):
                if isinstance(item, (torch.Tensor, tuple, list)):
                    self._bind(item, self.graph.call_function(operator.getitem, (node, index)))
        return out

    def _number(self, number: torch.SymInt | torch.SymFloat) -> Any:
        expression = number.node.expr
        if expression.is_number:
            return int(expression) if isinstance(number, torch.SymInt) else float(expression)
        if expression not in self._at:
            with self._at_top() if self.entry.known(number) else nullcontext():
                tracer = fx.proxy.GraphAppendingTracer(self.graph)
                symbols = sorted(expression.free_symbols, key=str)
                env = {symbol: fx.Proxy(self._symbol(symbol), tracer) for symbol in symbols}
                self._at[expression] = sympy_interp(PythonReferenceAnalysis, env, expression).node
        return self._at[expression]

    def _symbol(self, symbol: Any) -> fx.Node:
        if symbol in self.entry.paths:
            return self._path_node(self.entry.paths[symbol], early=True)
        if symbol not in self._late:
            raise InteriorError("it uses a number that a call computed")
        if symbol not in self._at:
            self._at[symbol] = self.graph.call_method("size", self._late[symbol])
        return self._at[symbol]

    def _path_node(self, path: Path, *, early: bool = False) -> fx.Node:
        """The node of a value that is read from an argument, at entry where nothing was changed before."""
        if not path.steps:
            return self._inputs[path.root]
        text = self.entry.text(path)
        late = self._stale(text) and not early
        key = (text, late)
        if key not in self._at:
            with nullcontext() if late else self._at_top():
                *_, (kind, name, *rest) = path.steps
                parent = self._path_node(Path(path.root, path.steps[:-1]), early=early)
                if kind == "attr":
                    node = self.graph.call_function(getattr, (parent, name))
                elif kind == "item":
                    node = self.graph.call_function(operator.getitem, (parent, name))
                else:
                    own, named = self.argument(rest[0]), self.argument(rest[1])
                    node = self.graph.call_method(name, (parent, *own), named)
                self._at[key] = node
        return self._at[key]

    def _at_top(self) -> Any:
        return self.graph.inserting_before(self._marker)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies a function to every leaf of nested tuples, lists, dicts and slices."""
    if isinstance(value, tuple):
        return tuple(map_leaves(function, item) for item in value)
    if type(value) is list:
        return [map_leaves(function, item) for item in value]
    if type(value) is dict:
        return {key: map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(
            *(map_leaves(function, part) for part in (value.start, value.stop, value.step))
        )
    return function(value)


def leaves_of(value: Any) -> list[Any]:
    found: list[Any] = []
    map_leaves(found.append, value)
    return found


def _marker() -> None:
    """Stands where what is read at entry ends, while a graph is made."""
