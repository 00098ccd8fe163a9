"""An earlier state of specs: at a git reference, in another folder, or one spec or artifact."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deltac.artifact.folder import MANIFEST
from deltac.diagnostics import DeltacError
from deltac.review.facts import Facts
from deltac.review.git import Repository
from deltac.review.sides import Call, artifact_side, file_side, files_of, git_side
from deltac.spec.files import ARTIFACT, SPEC_SUFFIX, own_specs, specs_below


@dataclass(frozen=True)
class Earlier:
    """An earlier version of one spec: where it lay, its content, and how its facts are had."""

    name: str
    content: bytes
    facts: Callable[[], Facts]


class State(Protocol):
    """Where earlier versions of specs are found; every path is as seen from the working folder."""

    def find(self, path: str) -> Earlier | None:
        """The earlier version of a spec that is there now."""

    def deleted(self, now: list[str]) -> dict[str, Earlier]:
        """The specs that were there and are not among those of `now`."""

    def unchanged(self, path: str) -> bool:
        """Whether the spec and every file that it is read from are known to be as they were."""


def state_of(against: str, paths: list[str], call: Call) -> State:
    """The state that `--against` names, for the files and folders that are compared with it.

    Raises:
        DeltacError: DLT611, DLT612 (git), DLT614 (it is a path as well).
    """
    path = Path(against)
    if not path.exists():
        return _AtCommit(against, paths, call)
    if not against.startswith((".", "/", "~")):
        _refuse_reference(against)
    if path.is_file() or (path / MANIFEST).is_file():
        return _One(path, call)
    return _InFolder(path, paths, call)


def _refuse_reference(against: str) -> None:
    """Refuses a path that is a git reference as well (DLT614)."""
    try:
        both = Repository(Path()).has(against)
    except DeltacError:
        both = False
    if both:
        message = f"'{against}' is a path and a git reference"
        fix = f"write ./{against} for the path, or refs/heads/{against} for the branch"
        raise DeltacError.of("DLT614", message, fix=fix)


class _AtCommit:
    """Specs at a git reference."""

    def __init__(self, ref: str, paths: list[str], call: Call) -> None:
        self.ref, self.paths, self.call = ref, paths, call
        self.repository = Repository(Path())
        self.commit = self.repository.commit(ref)

    def find(self, path: str) -> Earlier | None:
        return self._read(self.repository.path(Path(path)))

    def deleted(self, now: list[str]) -> dict[str, Earlier]:
        here = {self.repository.path(Path(path)) for path in now}
        names: list[str] = []
        for path in self.paths:
            if Path(path).is_dir():
                folder = self.repository.path(Path(path).resolve())
                specs = self.repository.names(self.commit, folder, SPEC_SUFFIX)
                manifests = self.repository.names(self.commit, folder, f"/{ARTIFACT[0]}")
                names += own_specs(specs, manifests, folder)
            else:
                names.append(self.repository.path(Path(path)))
        found = {name: self._read(name) for name in dict.fromkeys(names) if name not in here}
        return {
            os.path.relpath(self.repository.top / name): each
            for name, each in found.items()
            if each is not None
        }

    def unchanged(self, path: str) -> bool:
        try:
            return all(
                file.read_bytes()
                == self.repository.read(self.commit, self.repository.path(file))
                for file in files_of(Path(path), self.call)
            )  # fmt: skip
        except (DeltacError, OSError):
            return False  # whatever is wrong, comparing tells

    def _read(self, name: str) -> Earlier | None:
        content = self.repository.read(self.commit, name)
        if content is None:
            return None
        return Earlier(
            name,
            content,
            lambda: git_side(
                self.repository, self.commit, name, content, f"{self.ref}:{name}", self.call
            ),
        )


class _InFolder:
    """Specs in another folder, where each is found by its path below the folder that is compared."""

    def __init__(self, folder: Path, paths: list[str], call: Call) -> None:
        self.folder, self.call = folder, call
        self.compared = [Path(path) for path in paths if Path(path).is_dir()]

    def find(self, path: str) -> Earlier | None:
        return self._read(self.folder / self._inner(path))

    def deleted(self, now: list[str]) -> dict[str, Earlier]:
        if not self.compared:
            return {}
        here = {str(self._inner(path)) for path in now}
        inner = [Path(each).relative_to(self.folder) for each in specs_below(self.folder)]
        found = {each: self._read(self.folder / each) for each in inner if str(each) not in here}
        return {str(self.compared[0] / each): file for each, file in found.items() if file}

    def unchanged(self, path: str) -> bool:
        return False  # its bases and model files are other ones

    def _inner(self, path: str) -> Path:
        above = [folder for folder in self.compared if Path(path).is_relative_to(folder)]
        return Path(path).relative_to(above[0]) if above else Path(Path(path).name)

    def _read(self, file: Path) -> Earlier | None:
        if not file.is_file():
            return None
        return Earlier(str(file), file.read_bytes(), lambda: file_side(file, self.call))


class _One:
    """One spec or artifact, which one spec is compared with."""

    def __init__(self, path: Path, call: Call) -> None:
        self.path, self.call = path, call

    def find(self, path: str) -> Earlier | None:
        read = artifact_side if self.path.is_dir() else lambda file: file_side(file, self.call)
        return Earlier(str(self.path), b"", lambda: read(self.path))

    def deleted(self, now: list[str]) -> dict[str, Earlier]:
        if len(now) != 1:
            message = f"'{self.path}' is one spec, and {len(now)} are to be compared with it"
            raise DeltacError.of("DLT832", message, fix="name the one spec")
        return {}

    def unchanged(self, path: str) -> bool:
        return False
