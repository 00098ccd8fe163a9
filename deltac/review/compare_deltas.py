"""What differs in the deltas of two plans, site by site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from deltac.review.difference import CHECKPOINT, MATH, META, SITES, Difference, changed, folded
from deltac.review.facts import DeltaFacts, Facts, Place
from deltac.review.installed import effects_of


def compare_deltas(before: Facts, after: Facts) -> list[Difference]:
    """Compares the deltas of two plans: gone and new ones, renamed ones, and what changed at each site."""
    pairs, gone, new = _pairs(before.deltas, after.deltas)
    rows: list[Difference] = []
    for old, now in pairs:
        rows += _renamed(old, now)
        if old.operator != now.operator:
            subject = f"delta {now.name}"
            rows.append(Difference(subject, "operator", old.operator, now.operator, (MATH,)))
        rows += _sites(now.name, old.places, now.places, after.tensors, before.tensors)
        rows += _tensors(old, now)
        if old.operator == now.operator:
            rows += _options(old, now)
    for delta in gone:
        classes = _with_tensors(delta.places.values(), after.tensors)
        subject, sites = f"delta {delta.name}", folded(delta.places)
        rows.append(Difference(subject, "delta", _summary(delta), None, classes, sites))
    for delta in new:
        classes = _with_tensors(delta.places.values(), before.tensors)
        subject, sites = f"delta {delta.name}", folded(delta.places)
        rows.append(Difference(subject, "delta", None, _summary(delta), classes, sites))
    return [*rows, *_order(pairs), *_sources(before, after)]


def _pairs(
    before: Mapping[str, DeltaFacts], after: Mapping[str, DeltaFacts]
) -> tuple[list[tuple[DeltaFacts, DeltaFacts]], list[DeltaFacts], list[DeltaFacts]]:
    """Deltas of the same name; then, of the rest, those with the same operator at the same sites."""
    gone = {name: delta for name, delta in before.items() if name not in after}
    pairs, new = [], []
    for name, delta in after.items():
        if name in before:
            pairs.append((before[name], delta))
            continue
        same = [
            other
            for other in gone.values()
            if other.operator == delta.operator and other.places.keys() == delta.places.keys()
        ]
        if same:
            pairs.append((gone.pop(same[0].name), delta))
        else:
            new.append(delta)
    return pairs, list(gone.values()), new


def _renamed(old: DeltaFacts, now: DeltaFacts) -> list[Difference]:
    """A delta's name is part of its tensors' names, but for parameters that are tuned in place."""
    if old.name == now.name:
        return []
    tensors = [
        {name for place in delta.places.values() for name in place.tensors} for delta in (old, now)
    ]
    of = META if tensors[0] == tensors[1] else CHECKPOINT
    return [Difference(f"delta {now.name}", "name", old.name, now.name, (of,))]


def _sites(
    delta: str,
    before: Mapping[str, Place],
    after: Mapping[str, Place],
    tensors_after: Mapping[str, str],
    tensors_before: Mapping[str, str],
) -> list[Difference]:
    gone = [place for site, place in before.items() if site not in after]
    new = [place for site, place in after.items() if site not in before]
    rows = []
    if gone:
        classes = _with_tensors(gone, tensors_after)
        sites = folded(place.site for place in gone)
        rows.append(Difference(f"delta {delta}", "sites", _sites_of(gone), None, classes, sites))
    if new:
        classes = _with_tensors(new, tensors_before)
        sites = folded(place.site for place in new)
        rows.append(Difference(f"delta {delta}", "sites", None, _sites_of(new), classes, sites))
    return rows


def _with_tensors(places: Iterable[Place], other: Mapping[str, str]) -> tuple[str, ...]:
    """SITES; and CHECKPOINT where the other side's saved delta has no such tensors."""
    own = {name: form for place in places for name, form in place.tensors.items()}
    missing = any(other.get(name) != form for name, form in own.items())
    return (CHECKPOINT, SITES) if missing else (SITES,)


def _tensors(old: DeltaFacts, now: DeltaFacts) -> list[Difference]:
    """Tensors at the sites of both whose form differs, by own name and forms."""
    groups: dict[tuple[str, Any, Any], list[str]] = {}
    common = [site for site in now.places if site in old.places]
    for site in common:
        for name, was, new in changed(old.places[site].forms, now.places[site].forms):
            groups.setdefault((name, was, new), []).append(site)
    return [
        Difference(
            f"delta {now.name}", f"tensor {name}".strip(), was, new, (CHECKPOINT,), _where(sites, common)
        )
        for (name, was, new), sites in groups.items()
    ]  # fmt: skip


def _options(old: DeltaFacts, now: DeltaFacts) -> list[Difference]:
    """Options at the sites of both that differ. What an option acts on says its class; unknown means MATH."""
    groups: dict[tuple[str, str], tuple[Any, Any, list[str]]] = {}
    common = [site for site in now.places if site in old.places]
    for site in common:
        for key, was, new in changed(old.places[site].options, now.places[site].options):
            groups.setdefault((key, repr((was, new))), (was, new, []))[2].append(site)
    effects = effects_of(now.operator)
    rows = []
    for (key, _), (was, new, sites) in groups.items():
        of = MATH if effects.get(key, "math") == "math" else META
        where = _where(sites, common)
        # The word stands for an option that is not set: None means that the option is not there at all.
        shown = ["not set" if value is None else value for value in (was, new)]
        rows.append(Difference(f"delta {now.name}", key, *shown, (of,), where))
    return rows


def _order(pairs: list[tuple[DeltaFacts, DeltaFacts]]) -> list[Difference]:
    """Two deltas that changed places: their results differ only where they meet in a module."""
    rows = []
    # `pairs` is in the order of the second side.
    for (old_first, first), (old_second, second) in combinations(pairs, 2):
        if old_first.position > old_second.position:
            modules = [{place.module for place in each.places.values()} for each in (first, second)]
            of = MATH if modules[0] & modules[1] else META
            names = (f"after {second.name}", f"before {second.name}")
            rows.append(Difference(f"delta {first.name}", "order", *names, (of,)))
    return rows


def _sources(before: Facts, after: Facts) -> list[Difference]:
    """Operators that both sides use, whose source is not the same: an artifact of another version."""
    old, new = before.manifest["operators"], after.manifest["operators"]
    return [
        Difference(
            f"operator {name}",
            "source",
            f"{old[name]['package']} {old[name]['version']}, {old[name]['source_sha256'][:12]}",
            f"{new[name]['package']} {new[name]['version']}, {new[name]['source_sha256'][:12]}",
            (MATH,),
        )
        for name in sorted(old.keys() & new.keys())
        if old[name]["source_sha256"] != new[name]["source_sha256"]
    ]


def _where(sites: list[str], common: list[str]) -> tuple[str, ...]:
    """The sites, unless it is all of them."""
    return () if len(sites) == len(common) else folded(sites)


def _sites_of(places: list[Place]) -> str:
    number = sum(place.parameters for place in places)
    return f"{len(places)} {'site' if len(places) == 1 else 'sites'}, {number:,} parameters"


def _summary(delta: DeltaFacts) -> str:
    return f"{delta.operator}, {_sites_of(list(delta.places.values()))}"
