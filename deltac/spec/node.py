"""A YAML value with its place, and the signal that a text could not be read on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """A value with its place.

    Attributes:
        data: the plain Python value.
        start: offset of its first character.
        end: offset after its last character.
        keys: for a mapping, the start and end of each key.
        children: for a mapping by key, for a list by index.
        size: how many values it holds with aliases expanded, itself included.
        height: how deep its children nest.
        closed: False while its children are being read.
    """

    data: object
    start: int
    end: int
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    children: dict = field(default_factory=dict)
    size: int = 1
    height: int = 0
    closed: bool = True


class Stop(Exception):  # noqa: N818 - a signal between two files, never seen outside
    """Reading can't go on at this offset. `problem` and `began` are the YAML reader's words."""

    def __init__(self, offset: int, in_flow: bool, problem: str = "", began: int = -1) -> None:
        super().__init__(problem)
        self.offset = offset
        self.in_flow = in_flow
        self.problem = problem
        self.began = began
