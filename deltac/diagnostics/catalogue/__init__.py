"""Every diagnostic code of deltac, one file per family."""

from __future__ import annotations

from deltac.diagnostics.catalogue import (
    artifact,
    compatibility,
    composition,
    environment,
    internal,
    rewriting,
    schema,
    selection,
    shapes,
    source,
)
from deltac.diagnostics.catalogue.code import Code

__all__ = ["CODES", "FAMILIES", "Code"]

#: The families in the order of their first digit.
FAMILIES = (
    source,
    schema,
    selection,
    shapes,
    composition,
    rewriting,
    compatibility,
    artifact,
    environment,
    internal,
)


def _collect() -> dict[str, Code]:
    codes: dict[str, Code] = {}
    names: set[str] = set()
    for family in FAMILIES:
        for entry in family.CODES:
            if entry.code in codes or entry.name in names:
                raise ValueError(f"{entry.code} {entry.name} is in the catalogue twice")
            codes[entry.code] = entry
            names.add(entry.name)
    return codes


#: Every code, in the catalogue's order.
CODES = _collect()
