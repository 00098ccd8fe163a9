"""Quotes that deltac puts into a text so that it can read on after an unquoted value."""

from __future__ import annotations

from deltac.spec.slips import Slip


class Mends:
    """Insertions into a text, kept by their offset in the original."""

    def __init__(self, text: str) -> None:
        self.original_text = text
        self._insertions: dict[int, str] = {}

    def quote(self, slip: Slip) -> None:
        """Puts quotes around a slip, whose offsets are those of the original."""
        value = self.original_text[slip.start : slip.end]
        mark = "'" if '"' in value or "\\" in value else '"'
        self._insertions[slip.start] = self._insertions[slip.end] = mark
        if mark == "'":
            for at, char in enumerate(value, slip.start):
                if char == "'":
                    self._insertions[at] = "'"

    @property
    def text(self) -> str:
        """The text with its quotes."""
        parts, last = [], 0
        for at, inserted in sorted(self._insertions.items()):
            parts += [self.original_text[last:at], inserted]
            last = at
        return "".join([*parts, self.original_text[last:]])

    def original(self, offset: int) -> int:
        """The offset in the original of an offset in `text`."""
        shift = 0
        for at, inserted in sorted(self._insertions.items()):
            if at + shift >= offset:
                break
            shift += len(inserted)
        return offset - shift
