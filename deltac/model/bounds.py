"""Bounds for what a config may ask to be built: a model of a million layers would take hours even on shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig

from deltac.diagnostics import Problems
from deltac.spec import ModelSpec, Spec

#: Several times what the largest models have; each is a module of its own, or many.
LARGEST = 4096
_COUNTS = re.compile(r"(layers?|experts?|blocks)$")


def check_bounds(
    spec: Spec, model: ModelSpec, config: PreTrainedConfig, problems: Problems
) -> None:
    """Reports DLT253 for counts of layers, blocks or experts above `LARGEST`, those of sub-configs too."""
    for path, value in _counts(config.to_dict()):
        if value > LARGEST:
            span = spec.span((*model.path, "config", *path))
            message = f"'{'.'.join(path)}' is {value:,}: at most {LARGEST:,} can be built"
            problems.add("DLT253", message, span)


def _counts(
    values: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], int]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _counts(value, (*path, str(key)))
        elif isinstance(value, int) and _COUNTS.search(str(key)):
            yield (*path, str(key)), value
