"""YAML 1.2 text becomes plain data in which every key and value keeps its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from deltac.diagnostics import Problems, Source, Span
from deltac.spec import phrases
from deltac.spec.compose import Composer
from deltac.spec.dump import dump
from deltac.spec.mends import Mends
from deltac.spec.node import Node, Stop
from deltac.spec.slips import Slip, slip_at
from deltac.spec.syntax import SLIPS, explain

MAX_BYTES = 1 << 20
_MAX_MENDS = 20
_LONGEST_FIX = 200
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)

Path = Sequence[str | int]


class Document:
    """The content of a spec file.

    Attributes:
        source: the name and the text.
        data: the plain Python value: mappings, lists, text, numbers, booleans, None.
    """

    def __init__(self, source: Source, root: Node, place: Callable[[int, int], Span]) -> None:
        self.source = source
        self.data = root.data
        self._root = root
        self._place = place

    def span(self, path: Path = ()) -> Span:
        """The place of the value at a path of keys and indices, or of its nearest parent."""
        node = self._root
        for part in path:
            child = node.children.get(part)
            if child is None:
                break
            node = child
        return self._place(node.start, node.end)

    def key_span(self, path: Path) -> Span:
        """The place of the key at a path; of the value, where the path ends in an index."""
        node = self._root
        for part in path[:-1]:
            child = node.children.get(part)
            if child is None:
                return self._place(node.start, node.end)
            node = child
        if path and path[-1] in node.keys:
            return self._place(*node.keys[path[-1]])
        return self.span(path)

    @classmethod
    def from_data(cls, data: Mapping, name: str = "<dict>") -> Document:
        """The document of a Python mapping: it is written as YAML, so that spans exist."""
        return parse(dump(data, name), name)


def parse(text: str, name: str) -> Document:
    """Reads a text.

    Raises:
        DeltacError: DLT001 to DLT017, all that one reading finds.
    """
    document, problems = read(text, name)
    problems.raise_if_any()
    assert document is not None
    return document


def read(text: str, name: str) -> tuple[Document | None, Problems]:
    """Reads a text as far as it can be read: the document, if there is one, and the problems."""
    source = Source(name, text.removeprefix("\ufeff"))
    problems = Problems()
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        problems.add("DLT004", f"the text is larger than 1 MiB ({MAX_BYTES:,} bytes)")
        return None, problems
    if match := _FORBIDDEN.search(source.text):
        message = f"found the character U+{ord(match[0]):04X}, which YAML forbids"
        problems.add("DLT003", message, source.span(match.start(), match.end()))
        return None, problems
    return _read_mending(source, problems), problems


def _read_mending(source: Source, problems: Problems) -> Document | None:
    """Reads; where a value lacks its quotes, notes it, puts them in and reads again."""
    mends = Mends(source.text)
    slips: list[Slip] = []

    def place(start: int, end: int) -> Span:
        return source.span(mends.original(start), mends.original(end))

    while True:
        text = mends.text
        found = Problems()
        try:
            root = Composer(text, place, found).compose()
            break
        except Stop as stop:
            slip = slip_at(text, stop.offset, stop.in_flow)
            if slip is None or len(slips) == _MAX_MENDS:
                found.extend([explain(stop, text, place)])
                root = None
                break
            slips.append(Slip(slip.code, mends.original(slip.start), mends.original(slip.end)))
            mends.quote(slips[-1])
    problems.extend(found)
    mended = Source(source.name, mends.text)
    for slip in slips:
        span = source.span(slip.start, slip.end)
        message, notes = SLIPS[slip.code]
        line = mended.line(span.start.line).strip()
        fix = f"write `{line}`" if len(line) <= _LONGEST_FIX else "put quotes around it"
        problems.add(slip.code, message.format(phrases.short(span.text)), span, notes, fix)
    if root is None and not problems:
        fix = "begin with `version: 1`"
        problems.add("DLT007", "the file holds no spec", source.span(0, 0), fix=fix)
    return Document(source, root, place) if root is not None else None
