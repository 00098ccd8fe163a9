"""The second level of `deltac validate`: a spec against the shapes of its model, remembered between calls."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import deltac
from deltac.cli._cache import Cache, key_of
from deltac.cli._model import LIBRARIES
from deltac.diagnostics import DeltacError, Diagnostic, Source
from deltac.model.reach import reach
from deltac.spec import Spec
from deltac.spec.schema import load_schema, operator_names

#: What level 2 finds depends on these.
_LIBRARIES = ("torch", "transformers")


@dataclass(frozen=True)
class Checked:
    """What the model said of a spec.

    Attributes:
        diagnostics: what was found, in order.
        reason: why the model was not looked at; None where it was.
    """

    diagnostics: tuple[Diagnostic, ...] = ()
    reason: str | None = None


def check_model(spec: Spec, base: Path, cache: Cache) -> Checked:
    """Checks selection, shapes, composition and budget of a spec whose schema is right.

    Never asks the network and runs no code of the model's own. Imports torch only where the cache has no answer.

    Args:
        spec: the spec.
        base: the folder that its relative paths start from.
        cache: where results are kept.
    """
    try:
        here = reach(spec, base)
    except DeltacError as error:
        return Checked(error.diagnostics)
    if here.reason is not None:
        return Checked(reason=here.reason)
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        return Checked(
            reason=f"{', '.join(missing)} {are} not installed: pip install 'deltac[model]'"
        )
    sources = [spec.document.source, *spec.document.files.values()]
    key = key_of([*_versions(spec), *_texts(spec, sources), *here.facts])
    known = _restore(cache.get(key), sources)
    if known is not None:
        return known
    checked = _check(spec, base)
    stored = _store(checked, sources)
    if stored is not None:
        cache.put(key, stored)
    return checked


def _check(spec: Spec, base: Path) -> Checked:
    from deltac.prepare import prepare

    try:
        prepared = prepare(spec, base=base, offline=True)
    except DeltacError as error:
        if [each.code for each in error.diagnostics] == ["DLT806"]:
            return Checked(reason="the model needs code from the hub, which is not run here")
        return Checked(error.diagnostics)
    return Checked(DeltacError(prepared.plan.warnings).diagnostics)


def _versions(spec: Spec) -> list[str]:
    versions = [f"{name} {version(name)}" for name in _LIBRARIES]
    builtin = operator_names(load_schema())
    others = sorted({delta.operator for delta in spec.deltas} - set(builtin))
    if others:
        # Level 1 has imported these packages already, and torch with them.
        from deltac.operators import get

        versions += [f"{name} {get(name).source_sha256}" for name in others]
    return [deltac.__version__, _own_sources(), *versions]


@functools.cache
def _own_sources() -> str:
    """A hash of deltac's own files, operators and all: in a checkout they change without the version."""
    digest = hashlib.sha256()
    folder = Path(deltac.__file__).parent
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _texts(spec: Spec, sources: Iterable[Source]) -> list[str]:
    values = [f"{name}={value!r}" for name, value in sorted(spec.document.variables.items())]
    limits = repr(spec.settings and spec.settings.limits)
    return [*(source.text for source in sources), "limits", limits, "variables", *values]


def _store(checked: Checked, sources: list[Source]) -> dict[str, Any] | None:
    """The result as JSON data; None where it must not be kept: what is not the spec's fault may pass."""
    names = [source.name for source in sources]
    rows = []
    for each in checked.diagnostics:
        if each.entry.exit != 1 or (each.span and each.span.source.name not in names):
            return None
        place = None
        if each.span:
            start, end = each.span.start.offset, each.span.end.offset
            place = [names.index(each.span.source.name), start, end]
        rows.append([each.code, each.message, place, list(each.notes), each.fix])
    return {"reason": checked.reason, "diagnostics": rows}


def _restore(stored: Any, sources: list[Source]) -> Checked | None:
    """What `_store` gave; None for anything else."""
    try:
        rows = []
        for code, message, place, notes, fix in stored["diagnostics"]:
            span = sources[place[0]].span(place[1], place[2]) if place else None
            rows.append(Diagnostic(code, message, span, tuple(notes), fix))
        return Checked(tuple(rows), stored["reason"])
    except (KeyError, TypeError, ValueError, IndexError):
        return None
