"""YAML events become nodes: plain values that remember their place. Nothing is constructed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import yaml

from deltac.diagnostics import Problems, Span
from deltac.spec import phrases, scalars
from deltac.spec.node import Node, Stop

MAX_DEPTH = 64
MAX_VALUES = 10_000

_WORD = re.compile(r"\S+")

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class _Open:
    """A collection that is being read; `key` is the key whose value comes next."""

    node: Node
    flow: bool
    key: Node | None = None
    refused: bool = False


class Composer:
    """Builds the one document of a text. Faults that don't end the reading go to `problems`.

    Attributes:
        text: what is read.
        place: gives the span of two offsets into the text.
        problems: where faults go.
    """

    def __init__(self, text: str, place: Callable[[int, int], Span], problems: Problems) -> None:
        self.text = text
        self.place = place
        self.problems = problems
        self.root: Node | None = None
        self.values = 0
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node] = {}

    def compose(self) -> Node | None:
        """The root node, or None when the text holds nothing or a limit ended the reading.

        Raises:
            Stop: where the text isn't YAML, or a value lacks its quotes.
        """
        documents = 0
        for event in self._events():
            start, end = event.start_mark.index, event.end_mark.index
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._add("DLT008", "found a second document, expected one spec", start, end)
                    return self.root
            elif isinstance(event, yaml.ScalarEvent):
                self._put(self._scalar(event, start, end), event)
            elif isinstance(event, yaml.AliasEvent):
                node = self._alias(event, start, end)
                if node is None:
                    return None
                self._put(node, None)
            elif isinstance(event, yaml.CollectionStartEvent):
                data: dict | list = {} if isinstance(event, yaml.MappingStartEvent) else []
                node = Node(data, start, end, self.place, closed=False)
                self._anchor(event, node)
                self.stack.append(_Open(node, bool(event.flow_style)))
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close(end)
            if not self._within_limits(start, end):
                return None
        return self.root

    def _events(self) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(self.text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            began = error.context_mark.index if error.context_mark else -1
            offset = mark.index if mark else 0
            raise Stop(offset, self._in_flow(), error.problem or "", began) from None

    def _in_flow(self) -> bool:
        return any(each.flow for each in self.stack)

    def _scalar(self, event: yaml.ScalarEvent, start: int, end: int) -> Node:
        plain = not event.style
        value = event.value
        if plain and self._in_flow() and value.startswith("re:") and _cut(value):
            raise Stop(start, True)
        data = scalars.resolve(value) if plain and event.tag is None else value
        if plain and not value and self.stack and self.stack[-1].key is not None:
            # A key without a value: the key is all there is to point at.
            start, end = self.stack[-1].key.start, self.stack[-1].key.end
        return Node(data, start, end, self.place)

    def _alias(self, event: yaml.AliasEvent, start: int, end: int) -> Node | None:
        node = self.anchors.get(event.anchor)
        if node is None:
            raise Stop(start, self._in_flow(), "undefined alias")
        if not node.closed:
            message = f"`*{event.anchor}` stands inside the value that it refers to"
            self._add("DLT013", message, start, end)
            return None
        node.aliased = True
        return node

    def _anchor(self, event: yaml.NodeEvent, node: Node) -> None:
        if event.tag is not None:
            # An anchor may stand before the tag.
            start = self.text.index("!", event.start_mark.index)
            match = _WORD.match(self.text, start)
            shown = match[0] if match else "!"
            self._add(
                "DLT012",
                f"found the tag `{shown}`, expected none",
                start,
                start + len(shown),
                fix="remove the tag; quote a value that is text",
            )
        if event.anchor is not None:
            self.anchors[event.anchor] = node

    def _put(self, node: Node, event: yaml.NodeEvent | None) -> None:
        """Puts a finished value where it belongs: at the root, into a list, or under its key."""
        if event is not None:
            self._anchor(event, node)
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if isinstance(top.node.data, list):
            index = len(top.node.data)
            top.node.data.append(node.data)
            self._adopt(top.node, index, node)
        elif top.key is None:
            top.key = node
            top.refused = not self._is_good_key(top.node, node)
        else:
            if not top.refused:
                top.node.data[top.key.data] = node.data
                top.node.keys[top.key.data] = top.key
                self._adopt(top.node, top.key.data, node)
            elif top.key.data == "<<" and isinstance(node.data, dict):
                for key, child in node.children.items():
                    top.node.data.setdefault(key, child.data)
                    top.node.children.setdefault(key, child)
            if top.refused:
                top.node.size += node.size
            top.node.end = max(top.node.end, node.end)
            top.key = None

    def _is_good_key(self, mapping: Node, key: Node) -> bool:
        span = self.place(key.start, key.end)
        if key.data == "<<":
            self.problems.add(
                "DLT011",
                "the merge key `<<` is not part of YAML 1.2",
                span,
                fix="repeat the keys here",
            )
            return False  # `_put` merges all the same: what is missing else would be reported too
        if not isinstance(key.data, str):
            kind = "collection" if isinstance(key.data, dict | list) else "value"
            message = f"found a {kind} as key, expected text"
            if kind == "value":
                message = f"found the key `{phrases.short(span.text)}`, which is not text"
            fix = f'write `"{span.text}"`, with quotes' if kind == "value" else None
            self.problems.add("DLT010", message, span, fix=fix)
            return False
        if key.data in mapping.keys:
            first = mapping.keys[key.data].span
            self.problems.add(
                "DLT009",
                f"the key `{phrases.short(key.data)}` is here twice",
                span,
                notes=[f"it was first set at {first}"],
                fix="keep one of the two",
            )
            return False
        return True

    def _adopt(self, parent: Node, key: str | int, node: Node) -> None:
        parent.children[key] = node
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        parent.end = max(parent.end, node.end)

    def _close(self, end: int) -> None:
        top = self.stack.pop()
        if top.flow:
            # A block collection ends where the next token starts; its last value is nearer.
            top.node.end = end
        top.node.closed = True
        self._put(top.node, None)

    def _within_limits(self, start: int, end: int) -> bool:
        pending = sum(each.node.size for each in self.stack)
        size = pending + (self.root.size if self.root else 0)
        height = max((at + each.node.height for at, each in enumerate(self.stack)), default=0)
        if max(height, len(self.stack)) > MAX_DEPTH:
            message = f"lists and mappings are nested more than {MAX_DEPTH} deep here"
            self._add("DLT005", message, start, end)
            return False
        if size > MAX_VALUES:
            notes = ["an alias counts as much as the value that it refers to"]
            message = f"the text holds more than {MAX_VALUES:,} values"
            self._add("DLT006", message, start, end, notes)
            return False
        return True

    def _add(
        self,
        code: str,
        message: str,
        start: int,
        end: int,
        notes: Iterable[str] = (),
        fix: str = "",
    ) -> None:
        self.problems.add(code, message, self.place(start, end), notes, fix or None)


def _cut(expression: str) -> bool:
    """Whether a bracket of a regular expression is still open: a comma in `[]` or `{}` cut it."""
    depth, skip = 0, False
    for char in expression:
        if skip:
            skip = False
        elif char == "\\":
            skip = True
        else:
            depth += (char in "([{") - (char in ")]}")
    return depth > 0
