"""What to say of an entry of a target that matches nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deltac.diagnostics import Problems
from deltac.model.entries import Entry, modules_of
from deltac.model.fold import counted, shown
from deltac.model.graph import ModelGraph
from deltac.model.nearby import endings, nearest_role, other_key, role_known_as, weights_of
from deltac.spec import Spec
from deltac.spec.regex import UnsupportedError, compile_bounded


def no_match(
    graph: ModelGraph,
    spec: Spec,
    entry: Entry,
    kept: list[Entry],
    names: Sequence[str],
    kind: str,
    whole: str,
    problems: Problems,
) -> None:
    """Reports DLT201, with what the other entries match and what is near; DLT303 for modules without a parameter,
    or without tokens for an operator on sequences.

    Args:
        graph: the model.
        spec: where the target stands.
        entry: the entry that matches nothing.
        kept: every entry of the target.
        names: what there was to select from.
        kind: the kind of the operator's sites.
        whole: how a message calls what is selected from; the model without it.
        problems: where the diagnostic goes.
    """
    notes = [
        f"{other} matches {counted(other.matched, names)}"
        for other in kept
        if other.key == entry.key != "stack" and other.matched
    ]
    span = spec.span(entry.path)
    modules = modules_of(graph, entry.key, entry.text, kind)
    if modules and not whole:
        lacks, fix = "no parameter lies there", "remove the entry"
        if kind == "key-value":
            lacks, fix = "no attention is called there", "write 'role: attention'"
        elif kind == "sequence":
            lacks = "no tokens enter a stack of blocks there"
            notes.append(f"embeddings through which tokens enter: {shown(graph.token_stacks)}")
            fix = "write 'role: embedding'" if graph.token_stacks else fix
        message = f"{entry} matches {counted(modules, list(graph.modules))}; {lacks}"
        problems.add("DLT303", message, span, notes, fix)
        return
    # A role that the model has, and this target leaves out, needs no other name.
    known = entry.key == "role" and bool(modules)
    fix, more = (None, []) if known else _fix(graph, entry, names, bool(whole))
    notes += more
    if not fix and whole:
        notes.append(f"{whole} selects {counted(names, names)}")
    elif not fix and entry.key in ("module", "parameter"):
        notes.append(f"modules with a weight: {shown(weights_of(graph))}")
        fix = "see all paths with: deltac inspect MODEL"
    where = f"of what {whole} selects" if whole else f"in {graph.class_name}"
    problems.add("DLT201", f"{entry} matches nothing {where}", span, notes, fix)


def _fix(
    graph: ModelGraph, entry: Entry, names: Sequence[str], narrowed: bool
) -> tuple[str | None, list[str]]:
    """What to write instead, and notes on what there is; `narrowed` where `names` is not the whole model."""
    if entry.key == "role":
        if any(entry.text in roles for roles in graph.roles.parameters.values()):
            return "these lie in one tensor: take an operator on weights, such as lora", []
        return nearest_role(graph, entry.text)
    if entry.key == "stack":
        return None, [f"stacks in this model: {_stacks(graph)}"]
    if entry.key == "class":
        classes = sorted({info.class_name for path, info in graph.modules.items() if path})
        fix = endings(entry.text, classes, paths_shown=False)
        return fix, [] if fix else [f"classes in this model: {', '.join(classes)}"]
    if entry.text.startswith("re:"):
        candidates = [n for n in names if entry.key == "module" or "." in n]
        return _regex_fix(entry.text, candidates), []
    candidates = [n for n in names if (n in graph.modules) == (entry.key == "module")]
    if entry.key == "module" and not candidates:
        candidates = [path for path in graph.modules if path]
    fix = other_key(graph, entry.key, entry.text)
    if entry.key == "module" and not narrowed:
        fix = fix or role_known_as(graph, entry.text)
    return fix or endings(entry.text, candidates), []


def _stacks(graph: ModelGraph) -> str:
    """The stacks with their words, such as `vit.layers (encoder, vision)`."""
    named = [
        f"{path} ({', '.join(words)})" if words else path
        for path, words in graph.stack_words.items()
    ]
    return ", ".join(named) or "none"


def _regex_fix(text: str, names: Sequence[str]) -> str:
    expression = text.removeprefix("re:")
    mended = f"re:.*({expression})" if "|" in expression else f"re:.*{expression}"
    try:
        # Never by `re` itself: it may take for ever for a stranger's expression.
        search, end = compile_bounded(f".*(?:{expression}).*"), compile_bounded(mended[3:])
    except (re.error, UnsupportedError):
        inside = []  # flags must stand first
    else:
        inside = [name for name in names if search.fullmatch(name)]
    if not inside:
        return "a regular expression must match the whole path, as in 're:.*\\.q_proj'"
    whole = [name for name in inside if end.fullmatch(name)]
    if all(name[-1].isdigit() for name in whole):
        return (
            "a regular expression must match the whole path; blocks are chosen with 'layers: ...'"
        )
    return f"a regular expression must match the whole path: write '{mended}'"
