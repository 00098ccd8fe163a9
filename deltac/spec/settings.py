"""A project's settings: `[tool.deltac]` of pyproject.toml, or deltac.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltac.diagnostics import DeltacError, Problems, Source, Span, did_you_mean
from deltac.spec import phrases
from deltac.spec.budget import Budget, BudgetError, parse_bytes, parse_trainable
from deltac.spec.yaml import MAX_BYTES


@dataclass(frozen=True)
class Limits:
    """What every spec of a project must keep to (`policy`); None asks for nothing."""

    operators: tuple[str, ...] | None = None
    max_rank: int | None = None
    pinned_revisions: bool = False
    budget: Budget | None = None


@dataclass(frozen=True)
class Settings:
    """The settings of a project.

    Attributes:
        file: the file that they stand in, as messages name it.
        folder: the folder of that file; `specs` are relative to it.
        specs: files and folders that verbs take when the call names none.
        plugins: packages whose operators specs may use; None allows every installed one.
        require_model: whether `validate` fails where it can't look at the model.
        select: codes of the warnings to report; None reports all.
        ignore: codes of warnings not to report.
        limits: what every spec must keep to.
    """

    file: str
    folder: Path
    specs: tuple[str, ...] = ()
    plugins: tuple[str, ...] | None = None
    require_model: bool = False
    select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def key(self, name: str) -> str:
        """A key as messages name it, with its file."""
        return f"`policy.{name}` in {self.file}"


def find_settings(start: Path) -> Settings | None:
    """The settings of the nearest folder that has some, from `start` up to the repository's.

    Raises:
        DeltacError: DLT871 to DLT874.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        found = [each for each in (_own(folder), _pyproject(folder)) if each is not None]
        if len(found) == 2:
            message = f"settings stand in both deltac.toml and pyproject.toml of {folder}"
            raise DeltacError.of("DLT873", message, fix="keep them in one of the two")
        if found:
            return _read(*found[0], folder)
        if (folder / ".git").exists():
            break
    return None


def _own(folder: Path) -> tuple[Source, dict] | None:
    path = folder / "deltac.toml"
    return _parse(path) if path.is_file() else None


def _pyproject(folder: Path) -> tuple[Source, dict] | None:
    path = folder / "pyproject.toml"
    if not path.is_file() or b"tool.deltac" not in _bytes(path):
        return None  # another tool's file, whatever state it is in
    source, data = _parse(path)
    found = data.get("tool", {}).get("deltac")
    return None if found is None else (source, found)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise DeltacError.of("DLT871", f"can't read {path}: {error.strerror}") from None


def _parse(path: Path) -> tuple[Source, dict]:
    try:
        text = _bytes(path).decode("utf-8")
        return Source(str(path), text), tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeltacError.of("DLT871", f"{path} is not TOML: {error}") from None


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ValueError("a list of texts")
    return tuple(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _rank(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("an integer of at least 1")
    return value


def _budget(value: Any) -> Budget:
    if not isinstance(value, dict) or not value or value.keys() - {"trainable", "bytes"}:
        raise ValueError('a table such as `{trainable = "2%", bytes = "10MB"}`')
    for each in value.values():
        if isinstance(each, bool) or not isinstance(each, int | str) or each == 0:
            raise ValueError("a count, or text such as `2%`")
    count, percent = parse_trainable(value["trainable"]) if "trainable" in value else (None, None)
    return Budget(count, percent, parse_bytes(value["bytes"]) if "bytes" in value else None)


def _table(value: Any) -> dict:
    if not isinstance(value, dict):
        raise ValueError("a table")
    return value


_KEYS: dict[str, Callable] = {
    "specs": _texts,
    "plugins": _texts,
    "require-model": _flag,
    "select": _texts,
    "ignore": _texts,
    "policy": _table,
}
_POLICY: dict[str, Callable] = {
    "operators": _texts,
    "max-rank": _rank,
    "pinned-revisions": _flag,
    "budget": _budget,
}


def _read(source: Source, data: Any, folder: Path) -> Settings:
    problems = Problems()
    values = _values(source, data, _KEYS, "", problems)
    limits = _values(source, values.pop("policy", {}), _POLICY, "policy.", problems)
    problems.raise_if_any()
    return Settings(source.name, folder, **values, limits=Limits(**limits))


def _values(
    source: Source, data: Any, known: dict[str, Callable], prefix: str, problems: Problems
) -> dict[str, Any]:
    values = {}
    for key, value in data.items() if isinstance(data, dict) else ():
        shown = f"{prefix}{phrases.short(key)}"
        if key not in known:
            notes = [f"settings: {', '.join(prefix + each for each in known)}"]
            message, fix = f"there is no setting `{shown}`", did_you_mean(key, known)
            problems.add("DLT872", message, _place(source, key), notes, fix)
            continue
        try:
            values[key.replace("-", "_")] = known[key](value)
        except BudgetError as error:
            problems.add("DLT874", f"`{shown}`: {error}", _place(source, key))
        except ValueError as error:
            message = f"`{shown}`: found {phrases.value(value)}; expected {error}"
            problems.add("DLT874", message, _place(source, key))
    return values


def _place(source: Source, key: str) -> Span | None:
    """The first line that sets a key of that name; TOML's reader tells no places."""
    match = re.search(rf"^[ \t]*\"?{re.escape(key)}\"?[ \t]*=", source.text, re.MULTILINE)
    return source.span(match.start(), match.end() - 1) if match else None
