"""Top-level keys `x-…`: a place for anchors, and for nothing else."""

from __future__ import annotations

from deltac.diagnostics import Problems
from deltac.spec import phrases
from deltac.spec.node import Node

PREFIX = "x-"


def drop_anchors(root: Node, problems: Problems) -> Node:
    """The spec without its `x-` keys; one that no alias uses is reported."""
    dropped = [key for key in root.children if key.startswith(PREFIX)]
    for key in dropped:
        at = root.keys.get(key, root)
        if not _is_used(root.children[key], at.start):
            message = f"no alias uses what stands under `{phrases.short(key)}`"
            notes = ["keys that begin with `x-` hold anchors; deltac reads nothing else in them"]
            fix = "mark a value with `&name` and use it as `*name`, or make it a comment"
            problems.add("DLT122", message, at.span, notes, fix)
    kept = {key: child for key, child in root.children.items() if key not in dropped}
    return root.with_children(kept) if dropped else root


def _is_used(node: Node, start: int) -> bool:
    # An alias brings nodes that stand further up: they are no use of this key.
    if node.start < start:
        return False
    return node.aliased or any(_is_used(child, start) for child in node.children.values())
