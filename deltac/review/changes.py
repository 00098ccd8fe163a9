"""Which specs changed against an earlier state, and how."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltac.diagnostics import DeltacError, Problems
from deltac.review.compare import Comparison, compare
from deltac.review.difference import CHECKPOINT, META, SITES
from deltac.review.earlier import Earlier, State, state_of
from deltac.review.sides import Call, file_side
from deltac.spec.files import SPEC_SUFFIX, specs_below
from deltac.spec.load import inspect_bytes

#: What the states that hold no comparison mean. What can't be compared may have broken anything.
_CLASSES = {
    "unchanged": set(),
    "new": {META},
    "deleted": {CHECKPOINT, SITES},
    "unknown": {CHECKPOINT},
    "faulty": {CHECKPOINT},
}
STATES = ("compared", *_CLASSES)


@dataclass(frozen=True)
class Change:
    """One spec against its earlier state.

    Attributes:
        path: the spec's file, as it is seen from the working folder.
        state: `compared`; `unchanged`, every file that it is read from included; `new`; `deleted`; `unknown` where the
            earlier version can't be planned by this deltac; `faulty` where the spec can't be as it is now.
        note: what is to be said of that.
        found: the differences, of a spec that was compared.
    """

    path: str
    state: str
    note: str = ""
    found: Comparison | None = None

    @property
    def classes(self) -> set[str]:
        """The classes that this change hits."""
        return self.found.classes if self.found is not None else _CLASSES[self.state]

    def data(self) -> dict[str, Any]:
        """The change as plain values."""
        own = {"path": self.path, "state": self.state, "note": self.note}
        return {**own, "classes": sorted(self.classes), **(self.found.data() if self.found else {})}


def changes(
    paths: Iterable[str], against: str, call: Call, problems: Problems | None = None
) -> list[Change]:
    """Compares specs with an earlier state.

    Args:
        paths: files and folders; a file that is gone but was there counts as deleted.
        against: a git reference, or the path of a spec, an artifact or a folder of specs.
        call: how specs are read.
        problems: where the faults of specs as they are now go; the other specs are compared all the same.

    Raises:
        DeltacError: DLT61x (git), DLT831, DLT832 (nothing to compare).
    """
    paths = list(paths)
    state = state_of(against, paths, call)
    now = _files(paths)
    gone = state.deleted(now)
    _check_paths(paths, now, gone)
    found = []
    for path in now:
        earlier, note = state.find(path), ""
        moved = _moved(path, gone) if earlier is None else None
        if moved is not None:
            earlier, note = gone.pop(moved), f"was {moved}"
        try:
            found.append(_change(path, earlier, note, state, call))
        except DeltacError as error:
            if problems is None:
                raise
            problems.extend(error.diagnostics)
            note = f"it can't be compared: {_first(error)}"
            found.append(Change(path, "faulty", note))
    note = "no spec is left that deltas saved with it belong to"
    return [*found, *(Change(path, "deleted", note) for path in gone)]


def _change(path: str, earlier: Earlier | None, note: str, state: State, call: Call) -> Change:
    if earlier is not None and not note and state.unchanged(path):
        return Change(path, "unchanged")
    after = file_side(Path(path), call)
    if earlier is None:
        return Change(path, "new")
    try:
        before = earlier.facts()
    except DeltacError as error:
        note = f"the earlier version can't be planned now: {_first(error)}"
        return Change(path, "unknown", note)
    # A spec without a name has its file's; that a file moved is said once.
    if note and "name" not in after.spec.document.data:
        before = replace(before, spec=replace(before.spec, name=after.spec.name))
    return Change(path, "compared", note, compare(before, after))


def _first(error: DeltacError) -> str:
    first = error.diagnostics[0]
    return f"{first.code}, {first.message}"


def _files(paths: list[str]) -> list[str]:
    """The specs that are there now; of a folder every one below it."""
    found: list[str] = []
    for path in paths:
        if Path(path).is_dir():
            found += specs_below(Path(path))
        elif Path(path).exists():
            found.append(path)
    return list(dict.fromkeys(found))


def _check_paths(paths: list[str], now: list[str], gone: Mapping[str, Earlier]) -> None:
    """A path that stands for no spec, now or then, is a slip that must not pass for a good result."""
    problems = Problems()
    known = [os.path.normpath(each) for each in (*now, *gone)]
    for path in paths:
        own = os.path.normpath(path)
        if Path(path).is_dir():
            if not any(own == "." or Path(each).is_relative_to(own) for each in known):
                message = f"the folder {path} holds no file that ends in {SPEC_SUFFIX}"
                problems.add("DLT832", message)
        elif own not in known:
            problems.add("DLT831", f"there is no {path}, now or in the earlier state")
    if not now and not gone and not problems:
        problems.add("DLT832", "there is no spec to compare, now or in the earlier state")
    problems.raise_if_any()


def _moved(path: str, gone: Mapping[str, Earlier]) -> str | None:
    """The deleted file that a new one was: the only one whose spec has the same name."""
    name = _name(Path(path).read_bytes(), path)
    same = [old for old, each in gone.items() if name and _name(each.content, each.name) == name]
    return same[0] if len(same) == 1 else None


def _name(content: bytes, path: str) -> str | None:
    spec, _ = inspect_bytes(content, path)
    return spec.name if spec else None
