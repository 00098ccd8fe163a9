"""What differs between two versions of a spec: by their plans where both are known, else by their texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deltac.review.compare_deltas import compare_deltas
from deltac.review.compare_model import compare_base, compare_model_text
from deltac.review.compare_text import compare_delta_texts
from deltac.review.difference import CHECKPOINT, MATH, META, Difference, changed
from deltac.review.facts import Facts
from deltac.spec import Budget


@dataclass(frozen=True)
class Comparison:
    """Two versions of a spec and all that differs.

    Attributes:
        before: the first side.
        after: the second side.
        differences: in the order of a spec: its own values, the model, the deltas, the heads.
        level: `plan`, or `text` where a model could not be reached.
        why: why it is not `plan`.
    """

    before: Facts
    after: Facts
    differences: tuple[Difference, ...]
    level: str
    why: str

    @property
    def counts(self) -> list[tuple[str, int, int]]:
        """Each count that differs, before and after; none at the level of the text."""
        if self.level == "text":
            return []
        sides = (side.manifest["counts"] for side in (self.before, self.after))
        rows = changed(*({k: v for k, v in each.items() if type(v) is int} for each in sides))
        return [(name, before or 0, after or 0) for name, before, after in rows]

    @property
    def classes(self) -> set[str]:
        """The classes of all differences."""
        return {name for each in self.differences for name in each.classes}

    def data(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {
            "before": self.before.label,
            "after": self.after.label,
            "level": self.level,
            "why": self.why,
            "differences": [each.data() for each in self.differences],
            "counts": {n: {"before": b, "after": a} for n, b, a in self.counts},
        }


def compare(before: Facts, after: Facts) -> Comparison:
    """Compares two versions of a spec."""
    why = before.why or after.why
    planned = before.manifest is not None and after.manifest is not None
    found = _values(before, after)
    if planned:
        found += compare_base(before, after)
        found += compare_deltas(before, after)
        found += _heads(before, after)
    else:
        found += compare_model_text(before.spec.model, after.spec.model)
        found += compare_delta_texts(before.spec, after.spec)
        if before.spec.heads != after.spec.heads:
            heads = (_shown(side.spec.heads) for side in (before, after))
            found.append(Difference("heads", "which", *heads, (CHECKPOINT,)))
    return Comparison(before, after, tuple(found), "plan" if planned else "text", why)


def _values(before: Facts, after: Facts) -> list[Difference]:
    """The spec's own values: name, description, budget, seed."""
    old, new = before.spec, after.spec
    rows = [
        Difference("spec", key, getattr(old, key) or None, getattr(new, key) or None, (META,))
        for key in ("name", "description")
        if getattr(old, key) != getattr(new, key)
    ]
    limits = (_limits(spec.budget) for spec in (old, new))
    rows += [Difference("spec", f"budget {key}", b, a, (META,)) for key, b, a in changed(*limits)]
    if old.seed != new.seed:
        rows.append(Difference("spec", "seed", old.seed, new.seed, _of_seed(before, after)))
    return rows


def _of_seed(before: Facts, after: Facts) -> tuple[str, ...]:
    """What a seed decides: the weights of a base without a source; fixed tensors; else only where training starts."""
    models = [side.spec.model for side in (before, after)]
    if any(model is None or model.source is None for model in models):
        return (CHECKPOINT,)
    sides = [side.manifest for side in (before, after)]
    # Tensors that are not trained are drawn again from the seed, wherever a delta is loaded.
    known = all(
        each is not None and all(row.get("trainable", True) for row in each["tensors"])
        for each in sides
    )
    return (META,) if known else (MATH,)


def _heads(before: Facts, after: Facts) -> list[Difference]:
    return [
        Difference("heads", name, old, new, (CHECKPOINT,))
        for name, old, new in changed(before.heads, after.heads)
    ]


def _limits(budget: Budget | None) -> dict[str, Any]:
    if budget is None:
        return {}
    percent = budget.trainable_percent
    share = f"{percent:g}%" if percent is not None else budget.trainable
    limits = {"trainable": share, "bytes": budget.bytes}
    return {key: value for key, value in limits.items() if value is not None}


def _shown(heads: Any) -> str:
    return heads if isinstance(heads, str) else ", ".join(heads)
