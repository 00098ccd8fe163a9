"""What a spec says on top of its base: mappings merge, all else is replaced, deltas go by name."""

from __future__ import annotations

from deltac.diagnostics import Problems, did_you_mean
from deltac.spec import phrases
from deltac.spec.node import Node
from deltac.spec.spec import default_delta_name

Path = tuple[str | int, ...]

#: Mappings in which null is a value; elsewhere it removes the base's key.
_NULL_IS_A_VALUE = (("vars",), ("model", "config"))


def merge(base: Node, over: Node, problems: Problems, path: Path = ()) -> Node:
    """The value of `over` on top of `base`; both stay as they are.

    Mappings merge by key, and a null in `over` removes the key. The entries of `deltas` merge by
    name. Everything else is replaced.
    """
    if isinstance(base.data, list) and isinstance(over.data, list) and path == ("deltas",):
        return _merge_deltas(base, over, problems)
    if not isinstance(base.data, dict) or not isinstance(over.data, dict):
        return over
    children, keys = dict(base.children), base.keys | over.keys
    nullable = any(path[: len(each)] == each for each in _NULL_IS_A_VALUE)
    for key, child in over.children.items():
        if key not in children:
            children[key] = child
        elif child.data is None and not nullable:
            del children[key]
        else:
            children[key] = merge(children[key], child, problems, (*path, key))
    return over.with_children(children, keys)


def _merge_deltas(base: Node, over: Node, problems: Problems) -> Node:
    found: dict[str | None, Node] = {}
    rest: list[Node] = []  # what no entry of `over` can speak of
    order: list[Node] = []
    for entry in base.children.values():
        name = _name(entry)
        order.append(entry)
        if name is None or name in found:
            rest.append(entry)
        else:
            found[name] = entry
    for entry in over.children.values():
        name = _name(entry)
        # Two entries of one file never merge with each other: that is a repeated name.
        target = found.pop(name, None) if name is not None else None
        if _removes(entry):
            if target is None:
                _nothing_to_remove(entry, [n for n in found if n], problems)
            else:
                del order[_index(order, target)]
        elif target is None:
            order.append(entry)
        else:
            order[_index(order, target)] = _merge_delta(target, entry, problems)
    return over.with_children(dict(enumerate(order)))


def _index(nodes: list[Node], wanted: Node) -> int:
    return next(at for at, node in enumerate(nodes) if node is wanted)


def _merge_delta(base: Node, over: Node, problems: Problems) -> Node:
    """Another operator has other options: then the whole entry is replaced."""
    if over.data.get("operator", base.data.get("operator")) != base.data.get("operator"):
        return over
    return merge(base, over, problems, ("deltas", 0))


def _name(entry: Node) -> str | None:
    if not isinstance(entry.data, dict):
        return None
    name, operator = entry.data.get("name"), entry.data.get("operator")
    if isinstance(name, str):
        return name
    return default_delta_name(operator) if isinstance(operator, str) else None


def _removes(entry: Node) -> bool:
    return isinstance(entry.data, dict) and entry.data.get("remove") is True


def leftover_removals(root: Node, problems: Problems) -> Node:
    """The spec without entries that remove a delta of a base where there is none; reports them."""
    deltas = root.children.get("deltas")
    if deltas is None or not isinstance(deltas.data, list):
        return root
    kept = {}
    for at, entry in deltas.children.items():
        if _removes(entry):
            _nothing_to_remove(entry, [], problems)
        else:
            kept[at] = entry
    if len(kept) == len(deltas.children):
        return root
    return root.with_children(root.children | {"deltas": deltas.with_children(kept)})


def _nothing_to_remove(entry: Node, known: list[str], problems: Problems) -> None:
    name = _name(entry)
    if name is None:
        message, fix = "`remove` needs the `name` of a delta", "write `{name: ..., remove: true}`"
    else:
        message = f"no base has a delta `{phrases.short(name)}` that this could remove"
        fix = did_you_mean(name, known)
    notes = [f"deltas of the bases: {', '.join(known)}"] if known else []
    problems.add("DLT136", message, entry.span, notes, fix)
