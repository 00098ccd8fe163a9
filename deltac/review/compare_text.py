"""What differs in the deltas of two specs by their texts alone, where a model can't be reached."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from typing import Any

from deltac.review.difference import CHECKPOINT, MATH, META, SITES, Difference, changed
from deltac.spec import DeltaSpec, Spec, TargetSpec

#: Without shapes, an option may change tensors or the mathematics: both are said, so that nothing is missed.
_ANY = (CHECKPOINT, MATH)


def compare_delta_texts(before: Spec, after: Spec) -> list[Difference]:
    """Compares deltas as written. Order of keys and of entries does not count; defaults are not known here."""
    old = {delta.name: delta for delta in before.deltas}
    new = {delta.name: delta for delta in after.deltas}
    gone = {name: delta for name, delta in old.items() if name not in new}
    rows: list[Difference] = []
    pairs: list[tuple[DeltaSpec, DeltaSpec]] = []
    for name, delta in new.items():
        same = [each for each in gone.values() if _places(each) == _places(delta)]
        if name in old:
            pairs.append((old[name], delta))
        elif same:
            pairs.append((gone.pop(same[0].name), delta))
            rows.append(Difference(f"delta {name}", "name", same[0].name, name, (CHECKPOINT,)))
        else:
            rows.append(
                Difference(f"delta {name}", "delta", None, delta.operator, (CHECKPOINT, SITES))
            )
    for delta in gone.values():
        row = Difference(f"delta {delta.name}", "delta", delta.operator, None, (CHECKPOINT, SITES))
        rows.append(row)
    for was, now in pairs:
        rows += _delta(was, now)
    order = [delta.name for delta in before.deltas]
    for (was_first, first), (was_second, second) in combinations(pairs, 2):
        if order.index(was_first.name) > order.index(was_second.name):
            names = (f"after {second.name}", f"before {second.name}")
            rows.append(Difference(f"delta {first.name}", "order", *names, (MATH,)))
    return rows


def _delta(old: DeltaSpec, new: DeltaSpec) -> list[Difference]:
    subject = f"delta {new.name}"
    rows = [
        Difference(subject, key, was, now, classes)
        for key, was, now, classes in (
            ("operator", old.operator, new.operator, _ANY),
            ("dtype", old.dtype, new.dtype, (CHECKPOINT,)),
            ("overlap", old.overlap, new.overlap, (META,)),
            ("tied", old.tied, new.tied, (MATH,)),
        )
        if was != now
    ]
    rows += [
        Difference(
            subject, f"target {key}", was, now, (META,) if key == "expect" else (CHECKPOINT, SITES)
        )
        for key, was, now in changed(_target(old.target), _target(new.target))
    ]
    rows += [
        Difference(subject, key, was, now, _ANY)
        for key, was, now in changed(old.options, new.options)
    ]
    overrides = [_overrides(delta) for delta in (old, new)]
    if overrides[0] != overrides[1]:
        rows.append(Difference(subject, "overrides", *overrides, _ANY))
    return rows  # fmt: skip


def _target(target: TargetSpec) -> dict[str, Any]:
    values = {
        ("class" if key == "class_name" else key): value for key, value in asdict(target).items()
    }
    values.pop("path")
    shown = {
        key: ", ".join(sorted(map(str, value))) if isinstance(value, (tuple, list)) else value
        for key, value in values.items()
    }
    return {key: value for key, value in shown.items() if value not in (None, "")}


def _overrides(delta: DeltaSpec) -> str | None:
    rows = [
        "; ".join(
            f"{key}: {value}" for key, value in {**_target(each.target), **each.options}.items()
        )
        for each in delta.overrides
    ]
    return " | ".join(sorted(rows)) or None


def _places(delta: DeltaSpec) -> tuple[str, dict[str, Any]]:
    return delta.operator, _target(delta.target)
