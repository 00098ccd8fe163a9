"""Which commit a hub id stands for, as far as the cache on this machine knows."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from deltac.model.source import Origin

_COMMIT = re.compile(r"[0-9a-f]{40}")


def commit_of(origin: Origin) -> str | None:
    """The commit of a hub id: its revision where that is one, else what the cache has for the branch or tag.

    None for other sources, and for a revision that the cache does not hold. Never asks the network.
    """
    if origin.kind != "hub":
        return None
    if _COMMIT.fullmatch(origin.revision or ""):
        return origin.revision
    found = try_to_load_from_cache(origin.name, "config.json", revision=origin.revision)
    # The cache keeps each commit's files in a folder of its name.
    name = Path(found).parent.name if isinstance(found, str) else ""
    return name if _COMMIT.fullmatch(name) else None
