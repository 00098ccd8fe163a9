"""What reading and comparing specs needs of the operators, which are imported (torch with them) only when asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def effects_of(name: str) -> Mapping[str, str]:
    """Option → `math`, `training` or `start`; empty for an operator that is not installed here, which means `math`."""
    from deltac.operators import effects, get

    try:
        return effects(get(name).operator)
    except (ImportError, KeyError, TypeError):
        return {}


def installed_fragment(name: str) -> Mapping[str, Any]:
    """The schema fragment of an operator from another installed package, which is imported."""
    from deltac.operators import fragment, get

    return fragment(get(name).operator)
