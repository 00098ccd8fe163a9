"""Spec × model × operators → plan. Reports every problem of the spec at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from deltac.diagnostics import Problems, Span
from deltac.model.entries import owners
from deltac.model.fold import shown
from deltac.model.graph import ModelGraph
from deltac.model.select import Selection, select
from deltac.operators import Operator, Refusal, get
from deltac.planning.budget import check_budget
from deltac.planning.calls import check_tokens
from deltac.planning.counts import count
from deltac.planning.coverage import check_coverage, matched
from deltac.planning.experts import check_operator, for_each_expert, narrowed
from deltac.planning.heads import resolve_heads
from deltac.planning.overlap import check_overlap
from deltac.planning.plan import HeadParameter, Matched, Placement, Plan
from deltac.planning.position import place
from deltac.planning.refused import RefusedError
from deltac.planning.runs import check_runs
from deltac.planning.sites import candidates, check_candidate, choices, with_part
from deltac.planning.texts import Tokenize, with_text
from deltac.planning.ties import with_ties
from deltac.planning.yields import check_yields
from deltac.spec import DeltaSpec, OverrideSpec, Spec

#: An override with the operator that has its options, and the names that it holds for.
Override = tuple[OverrideSpec, Operator, frozenset[str]]


def make_plan(
    spec: Spec, graph: ModelGraph, fresh: Collection[str], tokenize: Tokenize | None = None
) -> Plan:
    """Plans a spec on a model.

    Args:
        spec: a spec that passed the schema.
        graph: the model on shapes.
        fresh: names of the parameters that the base checkpoint lacks.
        tokenize: makes the ids of a text that a delta starts from; None where its values are known already.

    Raises:
        DeltacError: all problems of selection (2xx), shapes (3xx), composition (4xx) and position (5xx).
    """
    problems = Problems()
    heads = resolve_heads(spec, graph, fresh, problems)
    placements: list[Placement] = []
    found_by: dict[str, Matched] = {}
    selections: dict[str, Selection] = {}
    for delta in spec.deltas:
        found, selection = _place_delta(spec, graph, delta, heads, problems, tokenize)
        placements += found
        selections[delta.name] = selection
        found_by[delta.name] = matched(graph, delta, selection, found)
    check_overlap(spec, graph, placements, selections, problems)
    counts = count(graph, placements, heads)
    if not any(problem.severity == "error" for problem in problems):
        check_budget(spec, counts, placements, problems)
        if not spec.deltas and not heads:
            message = f"nothing of {graph.class_name} is trained: there are no deltas and no heads"
            fix = "list deltas, or name under `heads` what is trained whole"
            problems.add("DLT212", message, spec.span(("deltas",)), fix=fix)
        for delta in spec.deltas:
            check_coverage(spec, graph, delta, found_by[delta.name], problems)
    problems.raise_if_any()
    return Plan(spec, graph, tuple(placements), tuple(heads), counts, found_by, tuple(problems))


def _place_delta(
    spec: Spec,
    graph: ModelGraph,
    delta: DeltaSpec,
    heads: list[HeadParameter],
    problems: Problems,
    tokenize: Tokenize | None,
) -> tuple[list[Placement], Selection]:
    registered = get(delta.operator)
    operator = registered.operator(**delta.options)
    before = len(problems)
    places, below = choices(graph, operator, delta.target)
    selection = select(graph, spec, delta.target, places, problems, kind=operator.site, below=below)
    if len(problems) > before:
        return [], selection
    overrides = _overrides(spec, graph, delta, selection, registered.operator, below, problems)
    placements: list[Placement] = []
    refused: dict[tuple, list[tuple[str, str]]] = {}
    names = {head.name for head in heads}
    for name, kind, module, parameter in candidates(graph, operator, selection, names):
        own, override = _options_at(name, operator, overrides)
        try:
            site = with_part(graph, check_candidate(graph, kind, module, parameter, names), name)
            if kind not in (operator.site, "weight") and not own.parameters(site):
                continue  # a place that it passes over on its way down, not one it acts on
            site = narrowed(place(graph, own, site, delta.target.role), delta.target.experts)
            check_operator(own, site)
            if own.reads_call:
                check_tokens(graph, site.module)
            site = with_text(own, site, tokenize)
            new = for_each_expert({**own.parameters(site), **own.gating(site)}, site)
            tunes = site.kind == "parameter" and own.tunes(site)
        except RefusedError as error:
            span = _experts_span(spec, delta, error)
            if error.code == "DLT817":
                span = _option_span(spec, delta, override, "text")
            key = (error.code, str(error), span)
            refused.setdefault(key, []).append((name, error.fix or ""))
        except Refusal as refusal:
            key = ("DLT301", str(refusal), _option_span(spec, delta, override, refusal.option))
            refused.setdefault(key, []).append((name, refusal.fix))
        except Exception as error:
            if registered.package == "deltac":
                raise
            refused.setdefault(("DLT815", registered.fault(error), None), []).append((name, ""))
        else:
            if new or tunes or own.shares_all or (kind == operator.site == "weight"):
                dtype = "float32" if delta.dtype == "float32" else site.dtype
                span = spec.span(override.path if override else delta.path)
                made = Placement(delta, own, registered, site, new, dtype, tunes, span, name)
                placements.append(made)
    for (code, reason, span), found in refused.items():
        paths = [name for name, _ in found]
        fix = next((fix for _, fix in found if fix), None)
        span = span or selection.span(spec, delta.target, paths)
        message = f"{delta.operator} can't act on {shown(paths)}: {reason}"
        problems.add(code, message, span, fix=fix)
    if not refused:
        check_yields(spec, graph, delta, operator, selection, placements, names, problems)
    placements = check_runs(spec, graph, delta, selection, placements, problems)
    placements = with_ties(spec, graph, delta, placements, problems)
    return _with_shared(spec, delta, placements, problems), selection


def _with_shared(
    spec: Spec, delta: DeltaSpec, placements: list[Placement], problems: Problems
) -> list[Placement]:
    """The placements of a delta with the parameters that they share."""
    adding = [placement for placement in placements if placement.new or not placement.tunes]
    operators = list(dict.fromkeys(placement.operator for placement in adding))
    try:
        shared = [each.shared([p.site for p in adding if p.operator == each]) for each in operators]
    except Refusal as refusal:
        span = _option_span(spec, delta, None, refusal.option) or spec.span(delta.path)
        problems.add("DLT301", f"{delta.operator}: {refusal}", span, fix=refusal.fix)
        return placements
    if not any(shared):
        return placements
    if len(operators) > 1:
        override = spec.span(delta.overrides[0].path)
        message = f"the sites of {delta.operator} share tensors, so all must have the same options"
        fix = "leave out the overrides, or write two deltas"
        problems.add("DLT301", message, override, fix=fix)
        return placements
    return [
        replace(each, shared=dict(shared[0])) if each in adding else each for each in placements
    ]


def _overrides(
    spec: Spec,
    graph: ModelGraph,
    delta: DeltaSpec,
    selection: Selection,
    cls: type[Operator],
    below: bool,
    problems: Problems,
) -> list[Override]:
    found: list[Override] = []
    for override in delta.overrides:
        before = len(problems)
        whole = f"the target of '{delta.name}'"
        names, target = selection.names, override.target
        narrowed = select(
            graph, spec, target, names, problems, kind=cls.site, below=below, whole=whole
        )
        if len(problems) > before:
            continue
        for other, _, taken in found:
            both = [name for name in narrowed.names if name in taken]
            if both:
                message = f"two overrides of '{delta.name}' apply to {shown(both)}"
                notes = [f"the other one is at {spec.span(other.path)}"]
                fix = "narrow one of them, with 'layers' or 'exclude'"
                problems.add("DLT402", message, spec.span(override.path), notes=notes, fix=fix)
        own = cls(**{**delta.options, **override.options})
        found.append((override, own, frozenset(narrowed.names)))
    return found


def _options_at(
    name: str, operator: Operator, overrides: list[Override]
) -> tuple[Operator, OverrideSpec | None]:
    names = {name, *owners(name)}
    for override, own, selected in overrides:
        if selected & names:
            return own, override
    return operator, None


def _option_span(
    spec: Spec, delta: DeltaSpec, override: OverrideSpec | None, option: str
) -> Span | None:
    """Where the option that an operator refuses is written; the override where it is not; else None."""
    for where in (override, delta):
        if where is not None and option in where.options:
            return spec.span((*where.path, option))
    return spec.span(override.path) if override is not None else None


def _experts_span(spec: Spec, delta: DeltaSpec, error: RefusedError) -> Span | None:
    """Where `experts` stands, for a refusal that is about it."""
    return spec.span((*delta.target.path, "experts")) if error.code == "DLT210" else None
