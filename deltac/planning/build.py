"""Spec × model × operators → plan. Reports every problem of the spec at once."""

from __future__ import annotations

from collections.abc import Collection

from deltac.diagnostics import Problems
from deltac.model.fold import fold
from deltac.model.graph import ModelGraph
from deltac.model.select import Selection, select
from deltac.operators import Operator, Refusal, get
from deltac.planning.budget import check_budget
from deltac.planning.counts import count
from deltac.planning.heads import resolve_heads
from deltac.planning.overlap import check_overlap
from deltac.planning.plan import HeadParameter, Matched, Placement, Plan
from deltac.planning.position import place
from deltac.planning.refused import RefusedError
from deltac.planning.runs import check_runs
from deltac.planning.sites import candidates, check_candidate
from deltac.spec import DeltaSpec, OverrideSpec, Spec


def make_plan(spec: Spec, graph: ModelGraph, fresh: Collection[str]) -> Plan:
    """Plans a spec on a model.

    Args:
        spec: a spec that passed the schema.
        graph: the model on shapes.
        fresh: names of the parameters that the base checkpoint lacks.

    Raises:
        DeltacError: all problems of selection (2xx), shapes (3xx), composition (4xx) and position (5xx).
    """
    problems = Problems()
    heads = resolve_heads(spec, graph, fresh, problems)
    placements: list[Placement] = []
    matched: dict[str, Matched] = {}
    for delta in spec.deltas:
        found, entries = _place_delta(spec, graph, delta, heads, problems)
        placements += found
        matched[delta.name] = _matched(graph, found, entries)
    check_overlap(spec, graph, placements, heads, problems)
    counts = count(graph, placements, heads)
    if not any(problem.severity == "error" for problem in problems):
        check_budget(spec, counts, placements, problems)
    problems.raise_if_any()
    return Plan(spec, graph, tuple(placements), tuple(heads), counts, matched, tuple(problems))


def _place_delta(
    spec: Spec, graph: ModelGraph, delta: DeltaSpec, heads: list[HeadParameter], problems: Problems
) -> tuple[list[Placement], dict[str, int]]:
    registered = get(delta.operator)
    operator = registered.operator(**delta.options)
    before = len(problems)
    selection = select(graph, spec, delta.target, problems)
    if len(problems) > before:
        return [], selection.by_entry
    overrides = _overrides(spec, graph, delta, selection, registered.operator, problems)
    placements: list[Placement] = []
    refused: dict[tuple[str, str, str | None], list[str]] = {}
    names = {head.name for head in heads}
    for kind, module, parameter in candidates(graph, operator, selection, names):
        path = ".".join(part for part in (module, parameter) if part)
        own, options_path = _options_at(path, operator, overrides, delta)
        try:
            site = check_candidate(graph, kind, module, parameter, names)
            if kind not in (operator.site, "weight") and not own.parameters(site):
                continue  # a place that it passes over on its way down, not one it acts on
            site = place(graph, own, site)
            new = dict(own.parameters(site))
            tunes = site.kind == "parameter" and own.tunes(site)
        except RefusedError as error:
            refused.setdefault((error.code, str(error), error.fix), []).append(path)
        except Refusal as refusal:
            refused.setdefault(("DLT301", str(refusal), refusal.fix or None), []).append(path)
        else:
            if new or tunes:
                dtype = "float32" if delta.dtype == "float32" else site.dtype
                span = spec.span(options_path)
                placements.append(Placement(delta, own, registered, site, new, dtype, tunes, span))
    for (code, reason, fix), paths in refused.items():
        message = f"{delta.operator} can't act on {', '.join(fold(paths)[:6])}: {reason}"
        problems.add(code, message, spec.span((*delta.path, "target")), fix=fix)
    placements = check_runs(spec, graph, delta, placements, problems)
    if not placements and len(problems) == before:
        message = f"{delta.operator} finds nothing to act on at this target"
        notes = [
            f"the target selects {len(selection.names)} places; none has what {delta.operator} tunes or adds to"
        ]
        fix = (
            "set 'add: true' to add biases to linears without one"
            if hasattr(operator, "add")
            else None
        )
        problems.add("DLT303", message, spec.span((*delta.path, "target")), notes=notes, fix=fix)
    return placements, selection.by_entry


def _overrides(
    spec: Spec,
    graph: ModelGraph,
    delta: DeltaSpec,
    selection: Selection,
    cls: type[Operator],
    problems: Problems,
) -> list[tuple[OverrideSpec, Operator, frozenset[str]]]:
    found: list[tuple[OverrideSpec, Operator, frozenset[str]]] = []
    for override in delta.overrides:
        before = len(problems)
        narrowed = select(graph, spec, override.target, problems, within=selection)
        if len(problems) > before:
            continue
        names = frozenset(narrowed.names)
        for other, _, taken in found:
            both = [name for name in narrowed.names if name in taken]
            if both:
                message = f"two overrides of '{delta.name}' apply to {both[0]}"
                note = f"the other one is at {spec.span(other.path)}"
                problems.add(
                    "DLT402",
                    message,
                    spec.span(override.path),
                    notes=[note],
                    fix="narrow one of them",
                )
        found.append((override, cls(**{**delta.options, **override.options}), names))
    return found


def _options_at(
    path: str,
    operator: Operator,
    overrides: list[tuple[OverrideSpec, Operator, frozenset[str]]],
    delta: DeltaSpec,
) -> tuple[Operator, tuple]:
    names = {path, *_above(path)}
    for override, own, selected in overrides:
        if selected & names:
            return own, override.path
    return operator, delta.path


def _above(path: str) -> set[str]:
    parts = path.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def _matched(graph: ModelGraph, placements: list[Placement], entries: dict[str, int]) -> Matched:
    modules = {placement.site.path: placement.site.module for placement in placements}
    blocks: dict[str, dict[int, int]] = {}
    for module in modules.values():
        place = graph.modules[module].stack
        if place is not None:
            counts = blocks.setdefault(place[0], {})
            counts[place[1]] = counts.get(place[1], 0) + 1
    return Matched(
        entries,
        tuple(modules),
        {stack: dict(sorted(counts.items())) for stack, counts in blocks.items()},
    )
