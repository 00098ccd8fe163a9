"""The spec files that an argument of the command line stands for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deltac.diagnostics import DeltacError
from deltac.spec.files import SPEC_SUFFIX, specs_below


def spec_files(path: str) -> Iterator[str]:
    """A file or `-` as it is; of a folder every spec below it, sorted by path.

    Raises:
        DeltacError: DLT832, a folder without specs.
    """
    if path == "-" or not Path(path).is_dir():
        yield path
        return
    names = specs_below(Path(path))
    if not names:
        message = f"the folder {path} holds no file that ends in {SPEC_SUFFIX}"
        fix = "name a file, or another folder; the specs inside of artifacts are left out"
        raise DeltacError.of("DLT832", message, fix=fix)
    yield from names
