"""The spec on standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from deltac.cli._reuse import given
from deltac.diagnostics import DeltacError, Problems
from deltac.review.installed import installed_fragment
from deltac.spec import Spec
from deltac.spec.files import Folder, OutsideError
from deltac.spec.load import inspect_bytes
from deltac.spec.yaml import MAX_BYTES

STDIN = "<stdin>"

#: It counts as this file of the working folder: its bases are relative to it, an artifact keeps it so.
_AS_FILE = Path("stdin.delta.yaml")


def inspect_stdin() -> tuple[Spec | None, Problems]:
    """The spec on standard input, if it has no errors, and every problem."""
    root = given()["root"]
    try:
        place = Folder.of(_AS_FILE, root)
    except OutsideError:
        problems = Problems()
        problems.add("DLT862", f"the working folder does not lie in the root folder {root}")
        return None, problems
    return inspect_bytes(
        sys.stdin.buffer.read(MAX_BYTES + 1),
        STDIN,
        extra_fragment=installed_fragment,
        variables=given()["variables"],
        place=place,
    )


def source_of(name: str) -> Path | Spec:
    """What `prepare` takes for an argument: the path of a file, or the spec that `-` stands for.

    Raises:
        DeltacError: every problem of the spec on standard input.
    """
    if name != "-":
        return Path(name)
    spec, problems = inspect_stdin()
    if spec is None:
        raise DeltacError(problems)
    return spec
