"""Places in a source text."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from functools import cached_property

# YAML 1.2 and editors agree on these three line breaks.
_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Source:
    """A named text: the content of a file, or a text that has none.

    Attributes:
        name: what a message calls it: the path as the caller gave it, `<text>` or `<dict>`.
        text: the whole content.
    """

    name: str
    text: str = field(repr=False)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in _BREAK.finditer(self.text))]

    def position(self, offset: int) -> Position:
        """The line and column of an offset into the text; offsets outside are clamped."""
        offset = min(max(offset, 0), len(self.text))
        line = bisect.bisect_right(self._line_starts, offset)
        return Position(line, offset - self._line_starts[line - 1] + 1, offset)

    def line(self, number: int) -> str:
        """The text of a line (the first is 1), without its line break."""
        starts = self._line_starts
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")

    def span(self, start: int, end: int) -> Span:
        """The span from one offset to another."""
        return Span(self, self.position(start), self.position(max(start, end)))


@dataclass(frozen=True, order=True)
class Position:
    """A place in a text: line and column count from 1, in characters; the offset counts from 0."""

    line: int
    column: int
    offset: int


@dataclass(frozen=True)
class Span:
    """A stretch of a source.

    Attributes:
        source: the text.
        start: the place of its first character.
        end: the place after its last character.
        notes: how the value there came about, where the text does not show that; diagnostics that
            point here repeat them.
    """

    source: Source
    start: Position
    end: Position
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        """The characters that the span covers."""
        return self.source.text[self.start.offset : self.end.offset]

    @property
    def line_text(self) -> str:
        """The whole first line of the span, without its line break."""
        return self.source.line(self.start.line)

    def __str__(self) -> str:
        return f"{self.source.name}:{self.start.line}:{self.start.column}"

    def __repr__(self) -> str:
        return f"Span({self})"
