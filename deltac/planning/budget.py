"""The budgets that a spec, and the settings of its project, set for its delta."""

from __future__ import annotations

from deltac.diagnostics import Problems
from deltac.planning.plan import Counts, Placement, trained_by
from deltac.spec import Budget, Spec


def check_budget(
    spec: Spec, counts: Counts, placements: list[Placement], problems: Problems
) -> None:
    """Reports DLT407 for each limit of the spec that the plan exceeds, DLT411 for the project's."""
    settings = spec.settings
    if spec.budget is not None:
        _check("DLT407", spec.budget, "the budget allows", spec, counts, placements, problems)
    if settings is not None and settings.limits.budget is not None:
        allowed = f"{settings.key('budget')} allows"
        _check("DLT411", settings.limits.budget, allowed, spec, counts, placements, problems)


def _check(
    code: str,
    budget: Budget,
    allows: str,
    spec: Spec,
    counts: Counts,
    placements: list[Placement],
    problems: Problems,
) -> None:
    by_delta: dict[str, list[Placement]] = {}
    for placement in placements:
        by_delta.setdefault(placement.delta.name, []).append(placement)
    shares = {name: trained_by(own) for name, own in by_delta.items()}
    notes = [", ".join(f"'{name}' has {number:,} parameters" for name, number in shares.items())]
    fix = "make the delta smaller, or raise the budget"
    percent = 100 * counts.of_total
    limits = [
        (
            "trainable",
            budget.trainable,
            counts.delta,
            f"{counts.delta:,} parameters",
            f"{budget.trainable or 0:,}",
        ),
        (
            "trainable",
            budget.trainable_percent,
            percent,
            f"{percent:.4g}% of base and added",
            f"{budget.trainable_percent or 0:g}%",
        ),
        ("bytes", budget.bytes, counts.bytes, f"{counts.bytes:,} bytes", f"{budget.bytes or 0:,}"),
    ]
    for key, limit, actual, found, allowed in limits:
        if limit is not None and actual > limit:
            message = f"the delta has {found}, {allows} {allowed}"
            path = ("budget", key) if spec.budget is not None else ("deltas",)
            problems.add(code, message, spec.span(path), notes=notes, fix=fix)
