"""What the options of an operator act on, as its file declares."""

from __future__ import annotations

from collections.abc import Mapping


def effects_of(name: str) -> Mapping[str, str]:
    """Option → `math`, `training` or `start`; empty for an operator that is not installed here, which means `math`."""
    from deltac.operators import effects, get

    try:
        return effects(get(name).operator)
    except (ImportError, KeyError, TypeError):
        return {}
