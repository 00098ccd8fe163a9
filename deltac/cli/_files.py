"""The spec files that an argument of the command line stands for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deltac.diagnostics import DeltacError

SUFFIX = ".delta.yaml"


def spec_files(path: str) -> Iterator[str]:
    """A file or `-` as it is; of a folder every spec below it, sorted by path.

    Raises:
        DeltacError: DLT832, a folder without specs.
    """
    if path == "-" or not Path(path).is_dir():
        yield path
        return
    names = sorted(each.as_posix() for each in Path(path).rglob(f"*{SUFFIX}") if each.is_file())
    if not names:
        raise DeltacError.of("DLT832", f"the folder {path} holds no file that ends in {SUFFIX}")
    yield from names
