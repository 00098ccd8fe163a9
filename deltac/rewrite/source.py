"""Generated Python: the text of a torch.fx graph with what it needs to run, picklable and comparable."""

from __future__ import annotations

import functools
import hashlib
import importlib
import linecache
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from torch import fx

# fx ends each line by dropping values that are not used again; in functions this short that only costs readability.
_DROPS = re.compile(r";  [\w = ]+ = None")


@dataclass(frozen=True)
class Module:
    """A module among the global names of a source; a module itself can't be pickled."""

    name: str


@dataclass(frozen=True)
class Source:
    """A generated function.

    Attributes:
        text: its Python text.
        names: the global names that the text uses, with their values, sorted by name.
        entry: the name of the function.
    """

    text: str
    names: tuple[tuple[str, Any], ...] = field(repr=False)
    entry: str

    @functools.cached_property
    def function(self) -> Callable[..., Any]:
        """The function itself. Tracebacks and debuggers see its text."""
        file = f"<deltac {self.entry} {hashlib.sha256(self.text.encode()).hexdigest()[:12]}>"
        linecache.cache[file] = (len(self.text), None, self.text.splitlines(keepends=True), file)
        namespace = {
            name: importlib.import_module(value.name) if isinstance(value, Module) else value
            for name, value in self.names
        }
        exec(compile(self.text, file, "exec"), namespace)
        return namespace[self.entry]

    def __getstate__(self) -> dict[str, Any]:
        # The compiled function is made again where it is needed.
        return {"text": self.text, "names": self.names, "entry": self.entry}


def source_of(graph: fx.Graph, entry: str, root: str | None = "self", prologue: str = "") -> Source:
    """The source of a graph as the function `entry`.

    Args:
        graph: the graph.
        entry: name of the function.
        root: name of the argument that holds modules and parameters; None for a function without it.
        prologue: statements to put first, not indented.
    """
    code = graph.python_code(root or "self")
    text = _DROPS.sub("", code.src).strip()
    text = re.sub(
        r"^def forward\(self(, )?",
        f"def {entry}({f'{root}' if root else ''}" + (r"\1" if root else ""),
        text,
    )
    head, body = text.split("\n", 1)
    lines = [line.rstrip() for line in body.split("\n") if line.strip()]
    lines = [f"    {line}" for line in prologue.splitlines()] + lines
    used = set(re.findall(r"\w+", text))
    names = tuple(
        (name, Module(value.__name__) if isinstance(value, ModuleType) else value)
        for name, value in sorted(code.globals.items(), key=lambda item: item[0])
        if name in used
    )
    return Source("\n".join([head, *lines]) + "\n", names, entry)


def drop_unused(graph: fx.Graph) -> None:
    """Removes nodes whose value nobody reads; inputs, the output and module calls stay."""
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output", "call_module"))
