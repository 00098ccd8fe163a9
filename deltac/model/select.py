"""Which modules and parameters of a model a target selects. Every entry of every list must select something."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from deltac.diagnostics import Problems, Span
from deltac.model.entries import Entry, Path, entries_of, owners, whole_of
from deltac.model.fold import counted, joined
from deltac.model.graph import ModelGraph
from deltac.model.layers import blocks_of
from deltac.model.nearby import endings
from deltac.model.unmatched import no_match
from deltac.spec import Pattern, Spec, TargetSpec


@dataclass(frozen=True)
class Selection:
    """What a target selects: paths of modules, full names of parameters, or both.

    Attributes:
        names: in the model's own order.
        entries: place in the document of each entry of `role`, `module`, `class`, `parameter` and `stack` → what of
            `names` it matches.
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


def select(
    graph: ModelGraph,
    spec: Spec,
    target: TargetSpec,
    names: Sequence[str],
    problems: Problems,
    *,
    kind: str,
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
        kind: the kind of the operator's sites: what a role means depends on it.
        below: whether an entry of `role`, `module` or `class` stands for everything below the modules that it matches.
        whole: how a message calls what is selected from; the model without it.
    """
    before = len(problems)
    kept = entries_of(graph, target, names, kind, below=below)
    for entry in kept:
        if not entry.matched:
            no_match(graph, spec, entry, kept, names, kind, whole, problems)
    selected = [name for name in names if _in_all_keys(name, kept)]
    # A list that names a fused module and a part of it adds up to the module.
    selected = [
        name for name in selected if whole_of(name) == name or whole_of(name) not in selected
    ]
    if kept and not selected and len(problems) == before:
        notes = [f"{entry} matches {counted(entry.matched, names)}" for entry in kept]
        message = "the keys of this target narrow each other, and no place fits them all"
        problems.add("DLT208", message, spec.span(target.path), notes=notes)
    layers = blocks_of(graph, spec, target, selected, problems)
    if layers is not None:
        selected = [name for name in selected if graph.block_of(name) in layers]
    sound = len(problems) == before
    selected = _without_excluded(graph, spec, target, selected, problems, sound=sound)
    if len(problems) == before:
        _check_left(spec, target, kept, selected, names, problems)
    left = {entry.path: _left_of(entry, selected) for entry in kept}
    return Selection(tuple(selected), left)


def _left_of(entry: Entry, selected: Collection[str]) -> frozenset[str]:
    """What of an entry's matches a target ends with; a part counts as its module where that is selected."""
    wholes = {whole_of(name) for name in entry.matched}
    return frozenset(name for name in selected if name in entry.matched or name in wholes)


def _in_all_keys(name: str, kept: list[Entry]) -> bool:
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
    kept: list[Entry],
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
        if not _left_of(entry, selected):
            others = [f"'{key}'" for key in sorted(keys - {entry.key})]
            others += [f"'{key}'" for key in ("layers", "exclude") if getattr(target, key)]
            message = f"{entry} adds nothing: {joined(others)} leave{'s' * (len(others) == 1)} none of its places"
            notes = [f"without that it matches {counted(entry.matched, names)}"]
            fix = "remove the entry, or write another delta for it"
            problems.add("DLT208", message, spec.span(entry.path), notes=notes, fix=fix)
