"""What a spec says once its bases, its variables and its anchors are in their places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deltac.diagnostics import DeltacError, Problems, Span
from deltac.spec.extends import Bases
from deltac.spec.files import Folder
from deltac.spec.merge import leftover_removals
from deltac.spec.scalars import Scalar
from deltac.spec.variables import Variables
from deltac.spec.yaml import Document

_MOST_TEXT = 4 << 20


def resolve(
    document: Document,
    place: tuple[Folder, str] | None,
    given: Mapping[str, Scalar],
    problems: Problems,
) -> tuple[Document | None, set[Span]]:
    """The whole spec, if all of it could be read, and the places whose values are not known.

    Args:
        document: what the spec's own file holds.
        place: the root folder, and the spec's path in it; None for a spec that is no file.
        given: values of variables, over those of `vars`.
        problems: where faults go.

    Raises:
        DeltacError: DLT127 (too long), DLT861 (a variable is given that the spec doesn't have).
    """
    if not isinstance(document.data, dict):
        return document, set()
    folder, path = place or (None, "")
    bases = Bases(folder, path, problems)
    root = bases.merged(document, path)
    if not bases.complete:
        return None, set()
    root = leftover_removals(root, problems)
    variables = Variables(root, given, bases.mentioned, problems)
    root = variables.root
    if _length(root.data) > _MOST_TEXT:
        message = f"with its aliases, the spec is longer than {_MOST_TEXT:,} characters"
        raise DeltacError.of("DLT127", message)
    files = bases.files if len(bases.files) > 1 else {}
    return Document(document.source, root, files, variables.values), variables.failed


def _length(data: Any) -> int:
    if isinstance(data, dict):
        return sum(len(key) + _length(value) for key, value in data.items())
    if isinstance(data, list):
        return sum(map(_length, data))
    return len(data) if isinstance(data, str) else 0
