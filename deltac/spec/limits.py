"""What a project's settings ask of every spec, as far as that shows without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deltac.diagnostics import Problems
from deltac.spec.schema import Schema
from deltac.spec.settings import Settings
from deltac.spec.spec import DeltaSpec, Spec

_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_limits(spec: Spec, settings: Settings, schema: Schema, problems: Problems) -> None:
    """Reports DLT141 (operators), DLT142 (ranks) and DLT143 (revisions)."""
    limits = settings.limits
    for delta in spec.deltas:
        if limits.operators is not None and delta.operator not in limits.operators:
            allowed = ", ".join(limits.operators) or "none"
            message = f"this project does not allow the operator `{delta.operator}`"
            span = spec.span((*delta.path, "operator"))
            problems.add("DLT141", message, span, [f"{settings.key('operators')}: {allowed}"])
        if limits.max_rank is not None:
            for path, rank in _ranks(delta, schema):
                if rank > limits.max_rank:
                    message = f"the rank {rank} is above {limits.max_rank}, the most here"
                    notes = [f"{settings.key('max-rank')}: {limits.max_rank}"]
                    fix = f"write `rank: {limits.max_rank}`, or less"
                    problems.add("DLT142", message, spec.span(path), notes, fix)
    if limits.pinned_revisions:
        _check_revision(spec, settings, problems)


def _ranks(delta: DeltaSpec, schema: Schema) -> Iterator[tuple[tuple, int]]:
    """Each rank of a delta with its place; a default stands where the operator does."""
    options: list[tuple[tuple, Mapping[str, Any]]] = [(delta.path, delta.options)]
    options += [(override.path, override.options) for override in delta.overrides]
    for path, values in options:
        if isinstance(values.get("rank"), int):
            yield (*path, "rank"), values["rank"]
    properties = schema["definitions"].get(delta.operator, {}).get("properties", {})
    default = properties.get("rank", {}).get("default")
    if "rank" not in delta.options and isinstance(default, int):
        yield (*delta.path, "operator"), default


def _check_revision(spec: Spec, settings: Settings, problems: Problems) -> None:
    model = spec.model
    if model is None or model.source is None:
        return
    if model.source.startswith((".", "/", "~", "package:")):
        return
    if model.revision is None or not _COMMIT.fullmatch(model.revision):
        path = ("model", "source" if model.revision is None else "revision")
        message = "this project wants models of the hub pinned to a commit"
        notes = [f"{settings.key('pinned-revisions')}: true"]
        fix = "write `revision:` with the 40 digits of a commit; a branch or tag may move"
        problems.add("DLT143", message, spec.span(path), notes, fix)
