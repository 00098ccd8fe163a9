"""YAML 1.2 text becomes plain data in which every key and value keeps its place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from deltac.diagnostics import Problems, Source, Span
from deltac.spec import phrases
from deltac.spec.compose import Composer
from deltac.spec.dump import dump
from deltac.spec.mends import Mends
from deltac.spec.node import Node, Stop
from deltac.spec.scalars import Scalar
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
        root: the same with places.
        files: of a spec that extends others, all files by their path from the root folder, its own
            first; else empty.
        variables: the value of each of its variables.
    """

    def __init__(
        self,
        source: Source,
        root: Node,
        files: Mapping[str, Source] | None = None,
        variables: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.source = source
        self.data = root.data
        self.root = root
        self.files = files or {}
        self.variables = variables or {}

    def span(self, path: Path = ()) -> Span:
        """The place of the value at a path of keys and indices, or of its nearest parent."""
        node = self.root
        for part in path:
            child = node.children.get(part)
            if child is None:
                break
            node = child
        return node.span

    def key_span(self, path: Path) -> Span:
        """The place of the key at a path; of the value, where the path ends in an index."""
        node = self.root
        for part in path[:-1]:
            child = node.children.get(part)
            if child is None:
                return node.span
            node = child
        if path and path[-1] in node.keys:
            return node.keys[path[-1]].span
        return self.span(path)

    def where(self, span: Span) -> str:
        """Line and column of a place, after its file where that is a base of the spec."""
        start = span.start
        others = list(self.files.items())[1:]
        files = [path for path, source in others if source is span.source]
        return ":".join([*files, str(start.line), str(start.column)])

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
        message = f"the text is larger than 1 MiB ({MAX_BYTES:,} bytes)"
        fix = "a spec is a page of text: is this the right file?"
        problems.add("DLT004", message, source.span(0, 0), fix=fix)
        return None, problems
    if match := _FORBIDDEN.search(source.text):
        message = f"found the character U+{ord(match[0]):04X}, which YAML forbids"
        problems.add("DLT003", message, source.span(match.start(), match.end()))
        return None, problems
    return _read_mending(source, problems), problems


def read_bytes(content: bytes, name: str) -> tuple[Document | None, Problems]:
    """The document of a file's content, as far as it can be read, and the problems."""
    try:
        return read(content.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        problems = Problems()
        if len(content) > MAX_BYTES:
            # The reading may have stopped inside a character.
            return read(content.decode("utf-8", "replace"), name)
        shown = Source(name, content.decode("utf-8", "replace"))
        offset = len(content[: error.start].decode("utf-8"))
        message = f"the byte 0x{content[error.start]:02X} is not UTF-8"
        problems.add("DLT002", message, shown.span(offset, offset + 1), fix="save it as UTF-8")
        return None, problems


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
    return Document(source, root) if root is not None else None
