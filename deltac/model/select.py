"""Which modules and parameters of a model a target selects. Every entry of every list must select something."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from deltac.diagnostics import Problems
from deltac.model.fold import fold, ranges
from deltac.model.graph import ModelGraph
from deltac.spec import LayerRange, OutOfRangeError, Pattern, Spec, TargetSpec

_SHOWN = 6


@dataclass(frozen=True)
class Selection:
    """What a target selects: paths of modules, or full names of parameters where the target has `parameter`.

    Attributes:
        names: in the model's own order.
        by_entry: for each entry of the lists `module`, `class` and `parameter`, how many names it selects.
        are_parameters: whether the names are parameters.
    """

    names: tuple[str, ...]
    by_entry: dict[str, int]
    are_parameters: bool


def select(
    graph: ModelGraph,
    spec: Spec,
    target: TargetSpec,
    problems: Problems,
    within: Selection | None = None,
) -> Selection:
    """Applies a target to a model: keys narrow each other, entries of a list add up, `exclude` comes last.

    Args:
        graph: the model.
        spec: where the target stands, for spans.
        target: the target.
        problems: collects DLT201 to DLT204 and DLT208.
        within: for an override, the selection that it narrows.
    """
    before = len(problems)
    use_parameters = bool(target.parameter) or (within is not None and within.are_parameters)
    names = list(within.names) if within else _names(graph, use_parameters)
    kept: list[tuple[str, str, int, set[str]]] = []
    for key, entries in (
        ("module", target.module),
        ("class", target.class_name),
        ("parameter", target.parameter),
    ):
        for index, entry in enumerate(entries):
            kept.append((key, entry, index, _matches(graph, key, entry, names, use_parameters)))
    selected = [name for name in names if _in_all_keys(name, kept)]
    layers = _layers(graph, spec, target, selected, problems)
    if layers is not None:
        selected = [name for name in selected if _place(graph, name, use_parameters) in layers]
    by_entry = {}
    for key, entry, index, matched in kept:
        by_entry[f"{key}: {entry}"] = len(matched & set(selected))
        if not matched:
            _no_match(graph, spec, target, key, entry, index, kept, names, problems)
        elif not matched & set(selected) and len(problems) == before:
            span = spec.span((*target.path, key, index))
            message = f"'{entry}' matches {len(matched)} places, but the target's other keys leave none of them"
            problems.add("DLT208", message, span, notes=[f"it matches: {_some(matched, names)}"])
    if not kept and not selected and len(problems) == before:
        problems.add("DLT208", "this target selects nothing", spec.span(target.path))
    selected = _without_excluded(graph, spec, target, selected, use_parameters, problems)
    if not selected and len(problems) == before:
        problems.add(
            "DLT208",
            "'exclude' leaves nothing of this target",
            spec.span((*target.path, "exclude")),
        )
    if target.expect is not None and len(selected) != target.expect and len(problems) == before:
        message = f"the target selects {len(selected)} places, expected {target.expect}"
        problems.add(
            "DLT204",
            message,
            spec.span((*target.path, "expect")),
            notes=[f"it selects: {_some(set(selected), names)}"],
        )
    return Selection(tuple(selected), by_entry, use_parameters)


def match_modules(graph: ModelGraph, pattern: str) -> list[str]:
    """The paths of the modules that a pattern matches; the root never."""
    parsed = Pattern.parse(pattern)
    return [path for path in graph.modules if path and parsed.matches(path)]


def nearest_paths(word: str, paths: list[str]) -> list[str]:
    """Folded paths whose last segments resemble the pattern's, nearest first."""
    wanted = word.removeprefix("re:").strip("/").split(".")
    endings: dict[str, list[str]] = {}
    for path in paths:
        segments = list(path.split("."))
        endings.setdefault(".".join(segments[-len(wanted) :]), []).append(path)
    close = difflib.get_close_matches(".".join(wanted), list(endings), n=3, cutoff=0.5)
    return [folded for ending in close for folded in fold(endings[ending])][:_SHOWN]


def _names(graph: ModelGraph, parameters: bool) -> list[str]:
    if parameters:
        return [*graph.parameters]
    return [path for path in graph.modules if path]


def _matches(
    graph: ModelGraph, key: str, entry: str, names: list[str], are_parameters: bool
) -> set[str]:
    if key == "parameter":
        pattern = Pattern.parse(entry)
        aliases = [alias for alias in graph.tied if pattern.matches(alias)]
        return {name for name in names if pattern.matches(name)} | {
            graph.tied[alias] for alias in aliases
        } & set(names)
    if key == "class":
        modules = {
            path for path, info in graph.modules.items() if path and entry in info.class_names
        }
    else:
        modules = set(match_modules(graph, entry))
    if are_parameters:
        return {
            name
            for name in names
            if any(_is_below(name, module) for module in _owners(name) & modules)
        }
    return modules & set(names)


def _owners(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def _in_all_keys(name: str, kept: list[tuple[str, str, int, set[str]]]) -> bool:
    keys = {key for key, *_ in kept}
    return all(any(name in matched for k, _, _, matched in kept if k == key) for key in keys)


def _place(graph: ModelGraph, name: str, is_parameter: bool) -> tuple[str, int] | None:
    return graph.modules[name.rpartition(".")[0] if is_parameter else name].stack


def _layers(
    graph: ModelGraph, spec: Spec, target: TargetSpec, selected: list[str], problems: Problems
) -> set[tuple[str, int]] | None:
    """The blocks that `layers` names, as (stack, index); None where the target doesn't narrow by layers."""
    if not target.layers:
        return None
    is_parameter = bool(selected) and selected[0] not in graph.modules
    places = {_place(graph, name, is_parameter) for name in selected} - {None}
    stacks = {stack: graph.stacks[stack] for stack, _ in places} or dict(graph.stacks)
    blocks: set[tuple[str, int]] = set()
    for index, entry in enumerate(target.layers):
        found = {
            (stack, number) for stack, count in stacks.items() for number in _indices(entry, count)
        }
        if not found:
            counts = ", ".join(
                f"{stack} has {count} (0-{count - 1})" for stack, count in stacks.items()
            )
            message = (
                f"'layers: {entry}' is out of range: {counts or 'the model has no list of blocks'}"
            )
            problems.add("DLT202", message, spec.span((*target.path, "layers", index)))
        elif selected and not found & places:
            have = "; ".join(
                f"{stack}: {ranges(sorted(n for s, n in places if s == stack))}" for stack in stacks
            )
            message = f"'layers: {entry}' leaves nothing of this target, which lies in {have}"
            problems.add("DLT208", message, spec.span((*target.path, "layers", index)))
        blocks |= found
    return blocks


def _indices(entry: str | int, count: int) -> list[int]:
    try:
        return LayerRange.parse(entry).indices(count)
    except OutOfRangeError:
        return []  # another stack may be longer; the caller reports what no stack has


def _without_excluded(
    graph: ModelGraph,
    spec: Spec,
    target: TargetSpec,
    selected: list[str],
    are_parameters: bool,
    problems: Problems,
) -> list[str]:
    gone: set[str] = set()
    for index, entry in enumerate(target.exclude):
        pattern = Pattern.parse(entry)
        roots = {
            path for path in (*graph.modules, *graph.parameters) if path and pattern.matches(path)
        }
        hit = {name for name in selected if name in roots or _owners(name) & roots}
        if not hit:
            near = nearest_paths(entry, selected)
            notes = [f"the target selects: {_some(set(selected), selected)}"] if selected else []
            fix = f"did you mean {' or '.join(near)}?" if near and not roots else "remove the entry"
            problems.add(
                "DLT203",
                f"'exclude: {entry}' removes nothing from this target",
                spec.span((*target.path, "exclude", index)),
                notes=notes,
                fix=fix,
            )
        gone |= hit
    return [name for name in selected if name not in gone]


def _no_match(
    graph: ModelGraph,
    spec: Spec,
    target: TargetSpec,
    key: str,
    entry: str,
    index: int,
    kept: list[tuple[str, str, int, set[str]]],
    names: list[str],
    problems: Problems,
) -> None:
    notes = [
        f"'{other}' matches {len(matched)}: {_some(matched, names)}"
        for k, other, _, matched in kept
        if k == key and other != entry and matched
    ]
    if key == "class":
        classes = sorted({info.class_name for path, info in graph.modules.items() if path})
        near = difflib.get_close_matches(entry, classes, n=3, cutoff=0.5)
        if not near:
            notes.append(f"classes in this model: {', '.join(classes)}")
    else:
        near = nearest_paths(
            entry, names if key == "parameter" else [path for path in graph.modules if path]
        )
    fix = (
        f"did you mean {' or '.join(near)}?" if near else "see the paths with: deltac inspect MODEL"
    )
    message = f"'{key}: {entry}' matches nothing in {graph.class_name}"
    problems.add("DLT201", message, spec.span((*target.path, key, index)), notes=notes, fix=fix)


def _some(matched: set[str], order: list[str]) -> str:
    folded = fold(name for name in order if name in matched)
    more = f" and {len(folded) - _SHOWN} more" if len(folded) > _SHOWN else ""
    return ", ".join(folded[:_SHOWN]) + more


def _is_below(name: str, module: str) -> bool:
    return name.startswith(module + ".")
