"""The files that a spec may name: those below one folder, whatever links there are."""

from __future__ import annotations

import posixpath
from pathlib import Path

from deltac.spec.yaml import MAX_BYTES

#: How the names of spec files end.
SPEC_SUFFIX = ".delta.yaml"


def specs_below(folder: Path) -> list[str]:
    """The spec files below a folder, sorted by path."""
    files = (each for each in folder.rglob(f"*{SPEC_SUFFIX}") if each.is_file())
    return sorted(each.as_posix() for each in files)


class OutsideError(Exception):
    """A path leads out of the folder that a spec may name files of."""


class Folder:
    """The root folder of a spec, below which its bases and its model's files lie.

    Attributes:
        root: absolute, without links.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @classmethod
    def of(cls, spec: Path, root: Path | None = None) -> tuple[Folder, str]:
        """The root folder of a spec, and the spec's own path in it.

        Args:
            spec: the spec's file.
            root: the root folder, where the caller names it; else the repository that the spec lies
                in, else the spec's own folder.

        Raises:
            OutsideError: the spec does not lie below `root`.
        """
        parent = spec.parent.resolve()
        if root is None:
            inside = (each for each in (parent, *parent.parents) if (each / ".git").exists())
            root = next(inside, parent)
        folder = cls(root)
        if not parent.is_relative_to(folder.root):
            raise OutsideError
        return folder, (parent.relative_to(folder.root) / spec.name).as_posix()

    def find(self, path: str) -> Path:
        """The absolute path of a file or folder by its path from the root, links followed.

        Raises:
            OutsideError: it lies elsewhere.
            OSError, ValueError: there can be no such path.
        """
        found = (self.root / path).resolve()
        if posixpath.normpath(path).startswith(".."):
            raise OutsideError  # a way out and in again is a name that an artifact can't keep
        if not found.is_relative_to(self.root):
            raise OutsideError
        return found

    def read(self, path: str) -> bytes:
        """The content of a file, of too large a one its beginning. Raises as `find`."""
        found = self.find(path)
        if found.exists() and not found.is_file():
            # Opening a pipe would wait for ever.
            raise OSError(0, "it is no file")
        with found.open("rb") as file:
            return file.read(MAX_BYTES + 1)
