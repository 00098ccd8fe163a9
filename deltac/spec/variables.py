"""`${name}` in a value becomes what `vars` or the caller says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

from deltac.diagnostics import DeltacError, Problems, Span, did_you_mean
from deltac.spec import phrases, scalars
from deltac.spec.node import Node
from deltac.spec.scalars import Scalar

#: `$${` stands for `${`; a `${` without a name behind it is a slip.
_USE = re.compile(r"\$\$\{|\$\{([A-Za-z][A-Za-z0-9_]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")
#: Most characters that variables may add up to.
_MOST_TEXT = 1 << 20


@dataclass(frozen=True)
class _Variable:
    """A variable: its value, how it is written inside of text, and the sentence that says so."""

    value: Scalar
    text: str
    note: str


class Variables:
    """Replaces the variables of one spec.

    Attributes:
        values: the value of each variable that has one.
        failed: the places whose variable has none: what is wrong with the rest of such a value
            can't be told.
    """

    def __init__(
        self, root: Node, given: Mapping[str, Scalar], mentioned: Set[str], problems: Problems
    ) -> None:
        """Replaces the variables of a spec.

        Args:
            root: the spec, its bases included.
            given: the caller's values.
            mentioned: what the files use, also where another file replaces that.
            problems: where faults go.
        """
        self.problems = problems
        self.failed: set[Span] = set()
        self._known: dict[str, _Variable | None] = {}
        self._slipped = False
        self._used: set[str] = set()
        self._done: dict[int, Node] = {}
        self._length = 0
        definitions, self._faulty = _definitions(root, problems)
        _check_given(given, list(definitions))
        for name, node in definitions.items():
            value, text = node.data, node.span.text
            if isinstance(value, str):
                text = value
            where = f"set at {node.span}"
            if name in given:
                value, where = given[name], "set by the caller"
                text = value if isinstance(value, str) else json.dumps(value)
            shown = phrases.short(json.dumps(value, ensure_ascii=False))
            note = f"`${{{name}}}` is {shown}, {where}"
            self._known[name] = None if value is None else _Variable(value, text, note)
        others = {key: child for key, child in root.children.items() if key != "vars"}
        self.root = self._replace(root.with_children(others))
        for name, node in definitions.items():
            self._report(name, node, root.children["vars"].keys[name], mentioned)
            if name in given and name not in self._used and name in mentioned:
                message = f"in the merged spec nothing is left that uses the variable `{name}`"
                raise DeltacError.of("DLT861", message, fix=f"leave out `--set {name}=...`")

    @property
    def values(self) -> dict[str, Scalar]:
        return {name: each.value for name, each in sorted(self._known.items()) if each}

    def _report(self, name: str, node: Node, key: Node, mentioned: Set[str]) -> None:
        if name not in self._used | mentioned and not self._slipped:
            fix = f"write `${{{name}}}` where it is meant, or remove it"
            self.problems.add("DLT126", f"nothing uses the variable `{name}`", key.span, fix=fix)
        elif name in self._used and self._known[name] is None:
            fix = f"set it: `--set {name}=...`"
            message = f"the variable `{name}` has no value: null means that it must be set"
            self.problems.add("DLT125", message, node.span, fix=fix)

    def _replace(self, node: Node) -> Node:
        if isinstance(node.data, str):
            return self._text(node, node.data) if "${" in node.data else node
        if not node.children:
            return node
        if id(node) not in self._done:  # an alias brings the same node again
            children = {key: self._replace(child) for key, child in node.children.items()}
            same = all(child is node.children[key] for key, child in children.items())
            self._done[id(node)] = node if same else node.with_children(children)
        return self._done[id(node)]

    def _text(self, node: Node, text: str) -> Node:
        notes, parts, last = {}, [], 0
        for use in _USE.finditer(text):
            variable = self._variable(use, node)
            parts += [text[last : use.start()], variable.text if variable else "${"]
            last = use.end()
            if variable is not None:
                notes[variable.note] = None
                if use[0] == text:
                    return replace(node, data=variable.value, notes=tuple(notes))
        data = "".join([*parts, text[last:]])
        self._length += len(data)
        if self._length > _MOST_TEXT:
            message = (
                f"with its variables replaced, the spec is longer than {_MOST_TEXT:,} characters"
            )
            raise DeltacError.of("DLT127", message, node.span)
        return replace(node, data=data, notes=tuple(notes))

    def _variable(self, use: re.Match[str], node: Node) -> _Variable | None:
        """The variable of a use; None for an escaped one, and for one that has no value."""
        name, known = use[1], self._known
        if name in known:
            self._used.add(name)
            if known[name] is None:
                self.failed.add(node.span)
        elif name in self._faulty:
            self.failed.add(node.span)
        elif name is not None:
            notes = [f"variables: {', '.join(known)}"] if known else []
            fix = did_you_mean(name, known) or f"define it: `vars: {{{name}: ...}}`"
            message = f"there is no variable `{phrases.short(name)}`"
            self._fail("DLT123", message, node, notes, fix)
        elif use[0] == "${":
            message = "after `${` comes the name of a variable and `}`"
            fix = "write `$${` for the text `${`"
            self._slipped = True
            self._fail("DLT124", message, node, [], fix)
        return known.get(name)

    def _fail(self, code: str, message: str, node: Node, notes: list[str], fix: str) -> None:
        self.problems.add(code, message, node.span, notes, fix)
        self.failed.add(node.span)


def mentioned_in(root: Node) -> set[str]:
    """The variables that a file uses."""
    found: set[str] = set()
    seen: set[int] = set()
    stack = [child for key, child in root.children.items() if key != "vars"]
    while stack:
        node = stack.pop()
        if isinstance(node.data, str):
            found.update(use[1] for use in _USE.finditer(node.data) if use[1])
        elif id(node) not in seen:
            seen.add(id(node))
            stack += node.children.values()
    return found


def parse_given(pairs: Iterator[str] | list[str]) -> dict[str, Scalar]:
    """Values of variables as the command line gives them: `rank=8`, a YAML scalar each.

    Raises:
        DeltacError: DLT861.
    """
    given: dict[str, Scalar] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            fix = "write `--set name=value`"
            raise DeltacError.of("DLT861", f"found `--set {phrases.short(pair)}`", fix=fix)
        if name in given:
            raise DeltacError.of("DLT861", f"`--set` gives `{phrases.short(name)}` twice")
        value = scalars.resolve(text)
        if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
            value = text[1:-1]
        given[name] = value
    return given


def _definitions(root: Node, problems: Problems) -> tuple[dict[str, Node], set[str]]:
    """The entries of `vars` that can be used, and the names of the others, which are reported."""
    node = root.children.get("vars")
    if node is None:
        return {}, set()
    if not isinstance(node.data, dict) or not node.data:
        message = f"`vars`: found {phrases.value(node.data)}; expected names with their values"
        problems.add("DLT103", message, node.span, fix="write `vars: {rank: 8}`, for instance")
        return {}, set()
    found = {}
    for name, child in node.children.items():
        key = node.keys.get(name, child)
        if not _NAME.fullmatch(name):
            message = f"`{phrases.short(name)}` can't be the name of a variable"
            notes = ["letters, digits and `_`, a letter first, at most 50"]
            problems.add("DLT124", message, key.span, notes)
        elif isinstance(child.data, dict | list):
            message = f"`{name}`: found {phrases.value(child.data)}; expected a single value"
            fix = "for a list or a mapping use an anchor: `x-name: &name ...`, then `*name`"
            problems.add("DLT103", message, child.span, fix=fix)
        elif isinstance(child.data, str) and "${" in child.data:
            message = f"the value of `{name}` holds `${{`: a variable is not made of others"
            problems.add("DLT124", message, child.span)
        else:
            found[name] = child
    return found, node.children.keys() - found.keys()


def _check_given(given: Mapping[str, Scalar], known: list[str]) -> None:
    for name, value in given.items():
        if name not in known:
            notes = [f"its variables: {', '.join(known)}"] if known else ["it has no `vars`"]
            message = f"the spec has no variable `{phrases.short(str(name))}`"
            raise DeltacError.of("DLT861", message, None, notes, did_you_mean(str(name), known))
        if not isinstance(value, str | int | float | bool | None):
            message = f"the variable `{name}` is a {type(value).__name__}, expected a single value"
            raise DeltacError.of("DLT861", message)
