"""The files that a spec may name: those below one folder, whatever links there are."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from deltac.spec.yaml import MAX_BYTES

#: How the names of spec files end.
SPEC_SUFFIX = ".delta.yaml"


#: How an artifact names its manifest, and its spec beside it.
ARTIFACT = ("manifest.json", ("spec.delta.yaml", "spec.resolved.delta.yaml"))


def specs_below(folder: Path) -> list[str]:
    """The spec files below a folder, sorted by path, without those that artifacts below it keep."""
    files = sorted(each.as_posix() for each in folder.rglob(f"*{SPEC_SUFFIX}") if each.is_file())
    manifests = (Path(each).with_name(ARTIFACT[0]) for each in files)
    there = [each.as_posix() for each in dict.fromkeys(manifests) if each.is_file()]
    return own_specs(files, there, folder.as_posix())


def own_specs(specs: list[str], manifests: Collection[str], folder: str) -> list[str]:
    """The specs below a folder that no artifact in it keeps as a copy; the folder itself may be one.

    Args:
        specs: paths of spec files, with `/` between folders.
        manifests: paths of the files that are named as an artifact's manifest.
        folder: where both were looked for.
    """
    parents = {str(PurePosixPath(each).parent) for each in manifests}
    copies = {str(PurePosixPath(each).parent) for each in specs if each.endswith(ARTIFACT[1])}
    artifacts = parents & copies - {str(PurePosixPath(folder))}
    return [
        each for each in specs if not artifacts.intersection(map(str, PurePosixPath(each).parents))
    ]


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
