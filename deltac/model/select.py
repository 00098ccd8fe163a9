"""Which modules and parameters of a model a target selects. Every entry of every list must select something."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from deltac.diagnostics import Problems, Span
from deltac.model.fold import counted, joined, shown
from deltac.model.graph import ModelGraph
from deltac.model.layers import block_of, blocks_of
from deltac.model.nearby import endings, other_key, weights_of
from deltac.spec import Pattern, Spec, TargetSpec

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Selection:
    """What a target selects: paths of modules, full names of parameters, or both.

    Attributes:
        names: in the model's own order.
        entries: place in the document of each entry of `module`, `class` and `parameter` → what of `names` it matches.
    """

    names: tuple[str, ...] = ()
    entries: Mapping[Path, frozenset[str]] = field(default_factory=dict)

    def span(self, spec: Spec, target: TargetSpec, names: Collection[str]) -> Span:
        """The entry that selects all these names, where a list holds it beside others; else the whole target."""
        by_key: dict[str, list[Path]] = {}
        for path in self.entries:
            by_key.setdefault(str(path[-2]), []).append(path)
        for paths in by_key.values():
            alone = [path for path in paths if self.entries[path].issuperset(names)]
            if len(paths) > 1 and len(alone) == 1:
                return spec.span(alone[0])
        return spec.span(target.path)


@dataclass(frozen=True)
class _Entry:
    """One entry of `module`, `class` or `parameter`, with all that it matches."""

    key: str
    text: str
    path: Path
    matched: frozenset[str]

    def __str__(self) -> str:
        return f"'{self.key}: {self.text}'"


def select(
    graph: ModelGraph,
    spec: Spec,
    target: TargetSpec,
    names: Sequence[str],
    problems: Problems,
    *,
    below: bool,
    whole: str = "",
) -> Selection:
    """Applies a target to a model: keys narrow each other, entries of a list add up, `exclude` comes last.

    Args:
        graph: the model.
        spec: where the target stands, for spans.
        target: the target.
        names: what there is to select from: paths of modules, names of parameters.
        problems: collects DLT201 to DLT203, DLT208, and DLT303 for modules without a parameter.
        below: whether an entry of `module` or `class` stands for everything below the modules that it matches.
        whole: how a message calls what is selected from; the model without it.
    """
    before = len(problems)
    kept = _entries(graph, target, names, below)
    for entry in kept:
        if not entry.matched:
            _no_match(graph, spec, entry, kept, names, whole, problems)
    selected = [name for name in names if _in_all_keys(name, kept)]
    if kept and not selected and len(problems) == before:
        notes = [f"{entry} matches {counted(entry.matched, names)}" for entry in kept]
        message = "the keys of this target narrow each other, and no place fits them all"
        problems.add("DLT208", message, spec.span(target.path), notes=notes)
    layers = blocks_of(graph, spec, target, selected, problems)
    if layers is not None:
        selected = [name for name in selected if block_of(graph, name) in layers]
    sound = len(problems) == before
    selected = _without_excluded(graph, spec, target, selected, problems, sound=sound)
    if len(problems) == before:
        _check_left(spec, target, kept, selected, names, problems)
    left = {entry.path: entry.matched.intersection(selected) for entry in kept}
    return Selection(tuple(selected), left)


def match_modules(graph: ModelGraph, pattern: str) -> list[str]:
    """The paths of the modules that a pattern matches; the root never."""
    parsed = Pattern.parse(pattern)
    return [path for path in graph.modules if path and parsed.matches(path)]


def owners(name: str) -> set[str]:
    """The paths of everything that a module or parameter lies in.

    >>> sorted(owners("h.0.attn"))
    ['h', 'h.0']
    """
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def _entries(
    graph: ModelGraph, target: TargetSpec, names: Sequence[str], below: bool
) -> list[_Entry]:
    found = []
    for key, texts in (
        ("module", target.module),
        ("class", target.class_name),
        ("parameter", target.parameter),
    ):
        for index, text in enumerate(texts):
            matched = _matches(graph, key, text, names, below)
            found.append(_Entry(key, text, (*target.path, key, index), matched))
    return found


def _matches(
    graph: ModelGraph, key: str, text: str, names: Sequence[str], below: bool
) -> frozenset[str]:
    if key == "parameter":
        pattern = Pattern.parse(text)
        return frozenset(n for n in names if n not in graph.modules and pattern.matches(n))
    modules = _modules(graph, key, text)
    return frozenset(n for n in names if n in modules or (below and owners(n) & modules))


def _modules(graph: ModelGraph, key: str, text: str) -> set[str]:
    if key == "parameter":
        return set()
    if key == "class":
        return {path for path, info in graph.modules.items() if path and text in info.class_names}
    return set(match_modules(graph, text))


def _in_all_keys(name: str, kept: list[_Entry]) -> bool:
    keys = {entry.key for entry in kept}
    return all(any(name in entry.matched for entry in kept if entry.key == key) for key in keys)


def _without_excluded(
    graph: ModelGraph,
    spec: Spec,
    target: TargetSpec,
    selected: list[str],
    problems: Problems,
    *,
    sound: bool,
) -> list[str]:
    """What `exclude` leaves: it takes whole subtrees, and a tied tensor under all its names."""
    gone: set[str] = set()
    everything = [*(path for path in graph.modules if path), *graph.parameters, *graph.tied]
    for index, entry in enumerate(target.exclude):
        pattern = Pattern.parse(entry)
        roots = {path for path in everything if pattern.matches(path)}
        hit = {name for name in selected if name in roots or owners(name) & roots}
        gone |= hit
        if hit or (roots and not sound):  # after another problem, nothing may be left to remove
            continue
        message = f"'exclude: {entry}' matches nothing in {graph.class_name}"
        if roots:
            message = f"'exclude: {entry}' removes nothing from this target; it matches {counted(roots, everything)}"
        notes = [f"the target selects {counted(selected, selected)}"] if selected else []
        fix = "remove the entry" if roots else endings(entry, selected) or "remove the entry"
        span = spec.span((*target.path, "exclude", index))
        problems.add("DLT203", message, span, notes=notes, fix=fix)
    tensors = {graph.tied.get(name, name) for name in gone}
    return [name for name in selected if graph.tied.get(name, name) not in tensors]


def _check_left(
    spec: Spec,
    target: TargetSpec,
    kept: list[_Entry],
    selected: list[str],
    names: Sequence[str],
    problems: Problems,
) -> None:
    """Reports DLT208 where a target, or one entry of it, ends with nothing."""
    if not selected:
        whole = [name for name in names if _in_all_keys(name, kept)]
        span = spec.span((*target.path, "exclude"))
        message = "'exclude' removes all that this target selects"
        notes = [f"without it the target selects {counted(whole, names)}"]
        problems.add("DLT208", message, span, notes, "narrow 'exclude', or remove the delta")
        return
    keys = {entry.key for entry in kept}
    for entry in kept:
        if not entry.matched.intersection(selected):
            others = [f"'{key}'" for key in sorted(keys - {entry.key})]
            others += [f"'{key}'" for key in ("layers", "exclude") if getattr(target, key)]
            message = f"{entry} adds nothing: {joined(others)} leave{'s' * (len(others) == 1)} none of its places"
            notes = [f"without that it matches {counted(entry.matched, names)}"]
            fix = "remove the entry, or write another delta for it"
            problems.add("DLT208", message, spec.span(entry.path), notes=notes, fix=fix)


def _no_match(
    graph: ModelGraph,
    spec: Spec,
    entry: _Entry,
    kept: list[_Entry],
    names: Sequence[str],
    whole: str,
    problems: Problems,
) -> None:
    notes = [
        f"{other} matches {counted(other.matched, names)}"
        for other in kept
        if other.key == entry.key and other.matched
    ]
    span = spec.span(entry.path)
    modules = _modules(graph, entry.key, entry.text)
    if modules and not whole:
        message = (
            f"{entry} matches {counted(modules, list(graph.modules))}; no parameter lies there"
        )
        problems.add("DLT303", message, span, notes, "remove the entry")
        return
    if entry.key == "class":
        classes = sorted({info.class_name for path, info in graph.modules.items() if path})
        fix = endings(entry.text, classes, paths_shown=False)
        if not fix:
            notes.append(f"classes in this model: {', '.join(classes)}")
    elif entry.text.startswith("re:"):
        fix = _regex_fix(entry.text, [n for n in names if entry.key == "module" or "." in n])
    else:
        candidates = [n for n in names if (n in graph.modules) == (entry.key == "module")]
        if entry.key == "module" and not candidates:
            candidates = [path for path in graph.modules if path]
        fix = other_key(graph, entry.key, entry.text) or endings(entry.text, candidates)
    if not fix and whole:
        notes.append(f"{whole} selects {counted(names, names)}")
    elif not fix and entry.key != "class":
        notes.append(f"modules with a weight: {shown(weights_of(graph))}")
        fix = "see all paths with: deltac inspect MODEL"
    where = f"of what {whole} selects" if whole else f"in {graph.class_name}"
    problems.add("DLT201", f"{entry} matches nothing {where}", span, notes, fix)


def _regex_fix(text: str, names: Sequence[str]) -> str:
    expression = text.removeprefix("re:")
    inside = [name for name in names if re.search(expression, name)]
    if not inside:
        return "a regular expression must match the whole path, as in 're:.*\\.q_proj'"
    mended = f"re:.*({expression})" if "|" in expression else f"re:.*{expression}"
    whole = [name for name in inside if re.fullmatch(mended[3:], name)]
    if all(name[-1].isdigit() for name in whole):
        return (
            "a regular expression must match the whole path; blocks are chosen with 'layers: ...'"
        )
    return f"a regular expression must match the whole path: write '{mended}'"
