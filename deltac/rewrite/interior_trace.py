"""The hint tracer: a module's forward as a torch.fx graph, recorded while it runs on fake tensors.

What the forward sees are real (fake) tensors and sizes that are symbols, so `shape`, `len`, unpacking, `isinstance` and
comparisons answer as always. Every torch call becomes a node. Submodules, attention functions, kernels, methods of
caches and experts are single nodes. Nothing is computed, and no random number is drawn.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from types import FunctionType
from typing import Any

import torch
from torch import fx
from torch.overrides import TorchFunctionMode
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis
from transformers.cache_utils import Cache

from deltac.rewrite.interior_entry import Entry, Number, Path, is_plain, literal, same
from deltac.rewrite.interior_fakes import fake_object
from deltac.rewrite.interior_objects import parts, reads_only, stand_in

#: Reading these would let the code depend on what no guard sees.
_REFUSED = {
    "item", "tolist", "numpy", "data_ptr", "stride", "storage_offset", "is_contiguous", "__bool__", "__int__",
    "__float__", "__index__", "untyped_storage", "storage", "backward", "register_hook",
}  # fmt: skip
_REFUSED_ATTRIBUTES = {"requires_grad", "grad", "grad_fn", "is_leaf", "_version"}


class InteriorError(Exception):
    """The forward does something that a graph with guards at entry can't hold; the message says what."""


class Recorder(TorchFunctionMode):
    """Records one run of a forward.

    Attributes:
        graph: the graph so far.
        entry: what is known at entry, with the guards.
        paused: whether calls run without being recorded, inside a leaf.
    """

    def __init__(self, names: list[str], device: torch.device) -> None:
        super().__init__()
        self.graph, self.entry, self.device = fx.Graph(), Entry(), device
        self.paused = self.running = False
        self._changed: set[str] = set()
        self._inputs = {name: self.graph.placeholder(name) for name in names}
        self.graph._graph_namespace.create_name("self", None)  # a submodule may have that name
        self._marker = self.graph.call_function(_marker)
        self._nodes: dict[int, fx.Node] = {}
        self._keep: list[Any] = []  # an id is only unique while its object lives
        self._late: dict[Any, tuple[fx.Node, int]] = {}
        self._at: dict[Any, fx.Node] = {}
        self._objects: dict[tuple, Any] = {}
        self._state: dict[int, str] = {}
        self._autocast = self._autocast_now()
        for name, value in zip(("is_autocast_enabled", "get_autocast_dtype"), self._autocast, strict=True):
            if name == "is_autocast_enabled" or self._autocast[0]:
                self.entry.guard(f"torch.{name}({device.type!r}) is {value}")

    def add_state(self, tensors: dict[str, torch.Tensor], modules: dict[str, Any]) -> None:
        """Tells the names of parameters, buffers and modules; `""` is the module itself."""
        self._state = {id(value): name for name, value in {**modules, **tensors}.items()}

    @property
    def recording(self) -> bool:
        """Whether the forward runs and is recorded."""
        return self.running and not self.paused

    def __enter__(self) -> Recorder:
        self.running = True
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        self.running = False
        super().__exit__(*exception)

    # --- arguments

    def adopt(self, value: Any, path: Path) -> Any:
        """What the forward is given for an argument: a tensor with symbols as sizes, a constant, or a stand-in."""
        text = self.entry.text(path)
        if isinstance(value, torch.nn.Module):
            raise InteriorError(f"a module is passed in as '{text}'")
        if type(value) in (tuple, list):
            name = type(value).__name__
            self.entry.guard(f"type({text}) is {name} and len({text}) == {len(value)}")
            return type(value)(self.adopt(item, path.item(i)) for i, item in enumerate(value))
        if type(value) is dict:
            self.entry.guard(f"list({text}) == {literal(list(value))}")
            return {key: self.adopt(item, path.item(key)) for key, item in value.items()}
        if not isinstance(value, torch.Tensor) and not is_plain(value):
            value = fake_object(value)
        return self.read(value, path)

    def read(self, value: Any, path: Path) -> Any:
        """A value that was read from an argument."""
        entry, text = self.entry, self.entry.text(path)
        stale = self._stale(text)
        if isinstance(value, torch.Tensor):
            return self._read_tensor(value, path, stale)
        if is_plain(value) and type(value) not in (list, dict):
            if stale:
                raise InteriorError(f"it reads {text} after it may have changed")
            if type(value) is int:
                return entry.integer(value, path)
            entry.guard(same(text, value))
            return value
        if isinstance(value, (type, FunctionType)):
            entry.guard(f"{text}.__qualname__ == {value.__qualname__!r}")
            return value
        if not stale:
            entry.guard(f"type({text}).__qualname__ == {type(value).__qualname__!r}")
        key = (text, stale)
        if key not in self._objects:
            try:
                self._objects[key] = stand_in(self, value, path)
            except TypeError as error:
                raise InteriorError(f"it reads {text}, a {type(value).__name__}") from error
        return self._objects[key]

    def _stale(self, text: str, *, inside: bool = False) -> bool:
        """Whether a value that is read from an argument may be another than at entry."""
        return any(
            text.startswith(changed) or (inside and changed.startswith(text))
            for changed in self._changed
        )

    def _read_tensor(self, value: torch.Tensor, path: Path, stale: bool) -> torch.Tensor:
        text = self.entry.text(path)
        key = (text, stale)
        if key not in self._objects:
            if stale:
                made = self._late_tensor(value)
            else:
                self.entry.guard(
                    f"isinstance({text}, torch.Tensor) and {text}.dtype is {value.dtype} and "
                    f"{text}.dim() == {value.dim()} and {text}.device == {literal(value.device)}"
                )
                sizes = enumerate(map(int, value.shape))
                sizes = [self.entry.size(size, path.call("size", dim)) for dim, size in sizes]
                made = self._tensor(sizes, value)
            self._objects[key] = self._bind(made, self._path_node(path))
        return self._objects[key]

    def _tensor(self, sizes: list[Number], like: torch.Tensor) -> torch.Tensor:
        with self.pause():
            return torch.empty(sizes, dtype=like.dtype, device=like.device)

    def _late_tensor(self, value: torch.Tensor) -> torch.Tensor:
        return self._tensor([self.entry.unknown(int(size)) for size in value.shape], value)

    # --- torch calls

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.paused or name.startswith("_set_") or name.endswith("_autocast"):
            return func(*args, **kwargs)
        if name in ("__get__", "__set__"):
            return self._attribute(func, name, args)
        if name in _REFUSED:
            raise InteriorError(f"it asks a tensor for '{name}'")
        if name in ("size", "dim", "numel", "ndimension", "__len__", "is_floating_point", "get_device"):
            return func(*args, **kwargs)
        self._check_modes(name)
        node = self._call(func, name, args, kwargs)
        return self._bind(self._run(func, args, kwargs), node)

    def _attribute(self, func: Any, kind: str, args: tuple) -> Any:
        name = func.__self__.__name__
        if name in _REFUSED_ATTRIBUTES and kind == "__get__":
            raise InteriorError(f"it asks a tensor for '{name}'")
        out = func(*args)
        if kind == "__set__":
            self.graph.call_function(setattr, (self.argument(args[0]), name, self.argument(args[1])))
        elif isinstance(out, torch.Tensor):
            self._bind(out, self.graph.call_function(getattr, (self.argument(args[0]), name)))
        return out

    def _call(self, func: Callable, name: str, args: tuple, kwargs: dict) -> fx.Node:
        own, named = self.argument(tuple(args)), self.argument(dict(kwargs))
        method = getattr(torch.Tensor, name, None)
        if args and isinstance(args[0], torch.Tensor) and func in (method, getattr(torch._C.TensorBase, name, ...)):
            return self.graph.call_method(name, own, named)
        return self.graph.call_function(func, own, named)

    def _run(self, func: Callable, args: tuple, kwargs: dict) -> Any:
        """The result of a call. Where sizes are not known at entry, those of the result aren't either."""
        leaves = [*_leaves(args), *_leaves(kwargs)]
        if all(self.entry.known(leaf) for leaf in leaves):
            return func(*args, **kwargs)
        return self._run_on_numbers(func, args, kwargs)

    def _run_on_numbers(self, func: Callable, args: tuple, kwargs: dict) -> Any:
        """Runs a call on fake tensors of the example's sizes; the sizes of what comes out are unknown."""
        originals: dict[int, torch.Tensor] = {}

        def number(leaf: Any) -> Any:
            if isinstance(leaf, torch.Tensor):
                plain = leaf
                if not all(isinstance(size, int) for size in leaf.shape):
                    plain = self._tensor([self.entry.value_of(size) for size in leaf.shape], leaf)
                originals[id(plain)] = leaf
                self._keep.append(plain)
                return plain
            found = parts(leaf)
            return found[2] if found else self.entry.value_of(leaf)

        with self.pause():
            out = func(*_map(number, args), **_map(number, kwargs))
        return self._unknown(out, originals)

    def _unknown(self, out: Any, originals: dict[int, torch.Tensor]) -> Any:
        def late(leaf: Any) -> Any:
            if isinstance(leaf, torch.Tensor):
                return originals.get(id(leaf), None) if id(leaf) in originals else self._late_tensor(leaf)
            if type(leaf) in (int, float, bool) or (leaf is not None and not is_plain(leaf)):
                raise InteriorError(f"a call gives a {type(leaf).__name__}")
            return leaf

        return _map(late, out)

    def _check_modes(self, name: str) -> None:
        if not torch.is_grad_enabled():
            raise InteriorError(f"'{name}' runs under no_grad")
        if self._autocast_now() != self._autocast:
            raise InteriorError(f"'{name}' runs under an autocast of the forward's own")

    def _autocast_now(self) -> tuple:
        kind = self.device.type
        return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    # --- leaves

    @contextmanager
    def pause(self) -> Any:
        """Inside, nothing is recorded."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def leaf_module(self, path: str, forward: Callable) -> Callable:
        """The forward of a submodule that stays one call."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.paused:
                return forward(*args, **kwargs)
            self._check_modes(path)
            node = self.graph.call_module(path, self.argument(args), self.argument(kwargs))
            return self._bind(self._run_leaf(forward, args, kwargs), node)

        return call

    def leaf_function(self, func: Callable, like: Callable | None = None) -> Callable:
        """A function that stays one call; `like` gives its result's shapes where `func` itself can't run on them."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.paused:
                return (like or func)(*args, **kwargs)
            self._check_modes(func.__name__)
            node = self.graph.call_function(func, self.argument(args), self.argument(kwargs))
            if like is not None:
                with self.pause():
                    return self._bind(like(*args, **kwargs), node)
            return self._bind(self._run_leaf(func, args, kwargs), node)

        return call

    def _run_leaf(self, func: Callable, args: tuple, kwargs: dict) -> Any:
        leaves = [*_leaves(args), *_leaves(kwargs)]
        if any(parts(leaf) for leaf in leaves):
            self._changed.add("")
        elif all(self.entry.known(leaf) for leaf in leaves):
            try:
                with self.pause():
                    return func(*args, **kwargs)
            except Exception:  # noqa: S110 - it decides by values that shapes don't tell; then by numbers
                pass
        return self._run_on_numbers(func, args, kwargs)

    def method(self, made: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """A method of a stand-in was called."""
        _, path, value, _ = parts(made)
        text = self.entry.text(path)
        stale = self._stale(text, inside=True)
        leaves = [*_leaves(args), *_leaves(kwargs)]
        if any(isinstance(leaf, torch.nn.Module) for leaf in leaves):
            raise InteriorError(f"a module is passed to {name}()")
        simple = all(
            type(leaf) in (int, str, torch.SymInt) and self.entry.known(leaf) for leaf in leaves
        )
        if reads_only(name) and simple and not stale:
            with self.pause():
                own, named = _map(self.entry.value_of, args), _map(self.entry.value_of, kwargs)
                found = getattr(value, name)(*own, **named)
            step = path.item(args[0]) if name == "__getitem__" else path.call(name, *args, **kwargs)
            return self.read(found, step)
        length = None if stale else self._kv_length(value, name, path, args)
        node = self.graph.call_method(
            name, (self.argument(made), *self.argument(args)), self.argument(kwargs)
        )
        self._changed.add(text if type(value) in (list, dict) else "")
        out = self._run_on_numbers(getattr(value, name), args, kwargs)
        if length is not None:
            out = tuple(
                self._tensor([*new.shape[:2], length, new.shape[3]], new) for new in args[:2]
            )
        return self._bind(out, node)

    def truth(self, made: Any) -> bool:
        """`bool()` of a stand-in."""
        _, path, value, _ = parts(made)
        text = self.entry.text(path)
        if self._stale(text, inside=True):
            raise InteriorError(f"it decides by {text} after it may have changed")
        self.entry.guard(f"bool({text}) is {bool(value)}")
        return bool(value)

    def _kv_length(self, value: Any, name: str, path: Path, args: tuple) -> Number | None:
        """The length of the keys that a cache's `update` returns: the cache tells it before, for the masks."""
        if not (isinstance(value, Cache) and name == "update") or len(args) < 3:
            return None
        with self.pause():
            length = value.get_mask_sizes(self.entry.value_of(args[0].shape[2]), args[2])[0]
        where = path.call("get_mask_sizes", args[0].shape[2], args[2]).item(0)
        return self.entry.integer(length, where) if type(length) is int else None

    def set_attribute(self, made: Any, name: str, value: Any) -> None:
        """An attribute of a stand-in is set."""
        raise InteriorError(f"it sets '{name}' of a {type(made).__name__}")

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

    # --- nodes

    def argument(self, value: Any) -> Any:
        """A value as an argument of a node."""
        if isinstance(value, torch.Tensor) or id(value) in self._state:
            node = self._nodes.get(id(value))
            if node is None:
                name = self._state.get(id(value))
                if name is None:
                    raise InteriorError("it uses a tensor that was made outside of the recorded calls")
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
        if isinstance(value, (tuple, list)):
            items = [self.argument(item) for item in value]
            return items if type(value) is list else tuple(items)
        if isinstance(value, dict):
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


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies a function to every leaf of nested tuples, lists, dicts and slices."""
    if isinstance(value, tuple):
        return tuple(_map(function, item) for item in value)
    if type(value) is list:
        return [_map(function, item) for item in value]
    if type(value) is dict:
        return {key: _map(function, item) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_map(function, part) for part in (value.start, value.stop, value.step)))
    return function(value)


def _leaves(value: Any) -> list[Any]:
    found: list[Any] = []
    _map(found.append, value)
    return found


def _marker() -> None:
    """Stands where what is read at entry ends, while a graph is made."""
