"""A YAML value with its place, and the signal that a text could not be read on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from deltac.diagnostics import Span


@dataclass(slots=True)
class Node:
    """A value with its place.

    Attributes:
        data: the plain Python value.
        start: offset of its first character.
        end: offset after its last character.
        place: gives the span of two offsets, in the file that the value comes from.
        keys: for a mapping, the node of each key.
        children: for a mapping by key, for a list by index.
        size: how many values it holds with aliases expanded, itself included.
        height: how deep its children nest.
        closed: False while its children are being read.
        aliased: whether an alias refers to it.
        notes: how it came by its value, where the text does not show that.
    """

    data: object
    start: int
    end: int
    place: Callable[[int, int], Span]
    keys: dict[str, Node] = field(default_factory=dict)
    children: dict = field(default_factory=dict)
    size: int = 1
    height: int = 0
    closed: bool = True
    aliased: bool = False
    notes: tuple[str, ...] = ()

    @property
    def span(self) -> Span:
        """Its place, with its notes."""
        span = self.place(self.start, self.end)
        return replace(span, notes=self.notes) if self.notes else span

    def with_children(self, children: Mapping, keys: Mapping[str, Node] | None = None) -> Node:
        """The same collection with other children, numbered from 0 for a list."""
        children = dict(children)
        data: object = {key: child.data for key, child in children.items()}
        if isinstance(self.data, list):
            data = [child.data for child in children.values()]
            children = dict(enumerate(children.values()))
        known = self.keys if keys is None else keys
        kept = {key: node for key, node in known.items() if key in children}
        return replace(self, data=data, children=children, keys=kept)


class Stop(Exception):  # noqa: N818 - a signal between two files, never seen outside
    """Reading can't go on at this offset. `problem` and `began` are the YAML reader's words."""

    def __init__(self, offset: int, in_flow: bool, problem: str = "", began: int = -1) -> None:
        super().__init__(problem)
        self.offset = offset
        self.in_flow = in_flow
        self.problem = problem
        self.began = began
