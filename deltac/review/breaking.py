"""Which specs changed against an earlier state, and what that does to deltas saved with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltac.artifact.folder import MANIFEST
from deltac.diagnostics import DeltacError, Problems
from deltac.review.compare import Comparison, Effects, compare
from deltac.review.difference import CHECKPOINT, META, SITES
from deltac.review.facts import Facts
from deltac.review.git import Repository
from deltac.review.sides import Call, artifact_side, file_side, git_side
from deltac.spec.load import inspect_bytes

SUFFIX = ".delta.yaml"


@dataclass(frozen=True)
class Change:
    """One spec against its earlier state.

    Attributes:
        path: the spec's file, as it is seen from the working folder.
        state: `compared`, `new`, `deleted`, or `unknown` where the earlier version can't be planned by this deltac.
        note: what is to be said of that.
        found: the differences, where both are known.
    """

    path: str
    state: str
    note: str = ""
    found: Comparison | None = None

    @property
    def classes(self) -> set[str]:
        """The classes that this change hits. What can't be compared may have broken anything."""
        if self.found is not None:
            return self.found.classes
        return {"new": {META}, "deleted": {CHECKPOINT, SITES}, "unknown": {CHECKPOINT}}[self.state]

    def data(self) -> dict[str, Any]:
        """The change as plain values."""
        own = {"path": self.path, "state": self.state, "note": self.note}
        return {**own, "classes": sorted(self.classes), **(self.found.data() if self.found else {})}


@dataclass(frozen=True)
class Earlier:
    """An earlier version of one spec: where it lay, its content, and how its facts are had."""

    name: str
    content: bytes
    facts: Callable[[Call], Facts]


def changes(paths: Iterable[str], against: str, effects: Effects, call: Call) -> list[Change]:
    """Compares specs with an earlier state.

    Args:
        paths: files and folders; a file that is gone but was there counts as deleted.
        against: a git reference, or the path of a spec, an artifact or a folder of specs.
        effects: see `compare`.
        call: how specs are read.

    Raises:
        DeltacError: the problems of specs as they are now; DLT61x (git), DLT831, DLT832 (nothing to compare).
    """
    paths = list(paths)
    state = _GitState(against) if _is_reference(against) else _PathState(Path(against))
    now = _files(paths)
    gone = {path: each for path, each in state.deleted(paths, now).items() if each is not None}
    _check_paths(paths, now, gone)
    found, problems = [], Problems()
    for path in now:
        earlier, note = state.find(path), ""
        moved = _moved(path, gone) if earlier is None else None
        if moved is not None:
            earlier, note = gone.pop(moved), f"was {moved}"
        try:
            found.append(_change(path, earlier, note, effects, call))
        except DeltacError as error:
            problems.extend(error.diagnostics)
    problems.raise_if_any()
    note = "no spec is left that deltas saved with it belong to"
    return [*found, *(Change(path, "deleted", note) for path in gone)]


def _check_paths(paths: list[str], now: list[str], gone: Mapping[str, Earlier]) -> None:
    """A path that stands for no spec, now or then, is a slip that must not pass for a good result."""
    problems = Problems()
    for path in paths:
        known = [os.path.normpath(each) for each in (*now, *gone)]
        own = os.path.normpath(path)
        if Path(path).is_dir():
            if not any(own == "." or Path(each).is_relative_to(own) for each in known):
                problems.add("DLT832", f"the folder {path} holds no file that ends in {SUFFIX}")
        elif own not in known:
            problems.add("DLT831", f"there is no {path}, now or in the earlier state")
    if not now and not gone and not problems:
        problems.add("DLT832", "there is no spec to compare, now or in the earlier state")
    problems.raise_if_any()


def _change(path: str, earlier: Earlier | None, note: str, effects: Effects, call: Call) -> Change:
    after = file_side(Path(path), call)
    if earlier is None:
        return Change(path, "new")
    try:
        before: Facts = earlier.facts(call)
    except DeltacError as error:
        first = error.diagnostics[0]
        note = f"the earlier version can't be planned now: {first.code}, {first.message}"
        return Change(path, "unknown", note)
    # A spec without a name has its file's; that a file moved is said once.
    if note and "name" not in after.spec.document.data:
        before = replace(before, spec=replace(before.spec, name=after.spec.name))
    return Change(path, "compared", note, compare(before, after, effects))


class _GitState:
    """Specs at a git reference."""

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self.repository = Repository(Path())
        self.commit = self.repository.commit(ref)

    def find(self, path: str) -> Earlier | None:
        return self._read(self.repository.path(Path(path)))

    def deleted(self, paths: list[str], now: list[str]) -> dict[str, Earlier | None]:
        here = {self.repository.path(Path(path)) for path in now}
        names: list[str] = []
        for path in paths:
            if Path(path).is_dir():
                folder = self.repository.path(Path(path).resolve())
                names += self.repository.names(self.commit, folder, SUFFIX)
            else:
                names.append(self.repository.path(Path(path)))
        gone = [name for name in dict.fromkeys(names) if name not in here]
        return {os.path.relpath(self.repository.top / name): self._read(name) for name in gone}

    def _read(self, name: str) -> Earlier | None:
        content = self.repository.read(self.commit, name)
        if content is None:
            return None
        repository, commit, label = self.repository, self.commit, f"{self.ref}:{name}"
        return Earlier(
            name, content, lambda call: git_side(repository, commit, name, content, label, call)
        )


class _PathState:
    """An earlier spec, artifact or folder of specs that lies beside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.one = path.is_file() or (path / MANIFEST).is_file()
        self.names: dict[str, str] = {}

    def find(self, path: str) -> Earlier | None:
        if self.one and self.path.is_dir():
            return Earlier(str(self.path), b"", lambda call: artifact_side(self.path))
        file = self.path if self.one else self.path / self.names[path]
        if not file.is_file():
            return None
        return Earlier(str(file), file.read_bytes(), lambda call: file_side(file, call))

    def deleted(self, paths: list[str], now: list[str]) -> dict[str, Earlier | None]:
        if self.one:
            if len(now) != 1:
                message = f"'{self.path}' is one spec, and {len(now)} are to be compared with it"
                raise DeltacError.of("DLT832", message, fix="name the one spec")
            return {}
        folders = [Path(path) for path in paths if Path(path).is_dir()]
        for path in now:
            above = [folder for folder in folders if Path(path).is_relative_to(folder)]
            inner = Path(path).relative_to(above[0]) if above else Path(path).name
            self.names[path] = str(inner)
        if not folders:
            return {}
        here, gone = set(self.names.values()), {}
        for file in sorted(self.path.rglob(f"*{SUFFIX}")):
            name = str(file.relative_to(self.path))
            if name not in here:
                shown = str(folders[0] / name)
                self.names[shown] = name
                gone[shown] = self.find(shown)
        return gone


def _files(paths: list[str]) -> list[str]:
    """The specs that are there now; of a folder every one below it."""
    found: list[str] = []
    for path in paths:
        if Path(path).is_dir():
            below = (each for each in Path(path).rglob(f"*{SUFFIX}") if each.is_file())
            found += sorted(each.as_posix() for each in below)
        elif Path(path).exists():
            found.append(path)
    return list(dict.fromkeys(found))


def _is_reference(against: str) -> bool:
    """Whether `against` is for git.

    Raises:
        DeltacError: DLT614, it is a path as well.
    """
    if not Path(against).exists():
        return True
    if against.startswith((".", "/", "~")):
        return False
    try:
        both = Repository(Path()).has(against)
    except DeltacError:
        both = False
    if both:
        message = f"'{against}' is a path and a git reference"
        fix = f"write ./{against} for the path, or refs/heads/{against} for the branch"
        raise DeltacError.of("DLT614", message, fix=fix)
    return False


def _moved(path: str, gone: dict[str, Earlier]) -> str | None:
    """The deleted file that a new one was: the only one whose spec has the same name."""
    name = _name(Path(path).read_bytes(), path)
    same = [old for old, each in gone.items() if name and _name(each.content, each.name) == name]
    return same[0] if len(same) == 1 else None


def _name(content: bytes, path: str) -> str | None:
    spec, _ = inspect_bytes(content, path)
    return spec.name if spec else None
