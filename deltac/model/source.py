"""Where a model comes from: hub id, local folder, installed package, or a config alone. Reads no weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from deltac.diagnostics import DeltacError, Diagnostic, Span

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class Origin:
    """A resolved source.

    Attributes:
        kind: `hub`, `folder`, `package` or `config`.
        name: what transformers loads from: the hub id, or the folder's path; empty for `config`.
        label: how the manifest names it: as the spec does, never with a path of this machine.
        revision: the hub revision, where one is given.
    """

    kind: str
    name: str = ""
    label: str = ""
    revision: str | None = None

    @property
    def folder(self) -> Path | None:
        """The folder on this machine, for the kinds `folder` and `package`."""
        return Path(self.name) if self.kind in ("folder", "package") else None


def resolve(source: str | None, revision: str | None, base: Path, span: Span | None) -> Origin:
    """Finds what `model.source` names.

    Args:
        source: hub id, folder (it starts with `.`, `/` or `~`), `package:DISTRIBUTION/PATH`, or None.
        revision: a branch, tag or commit of a hub id.
        base: the folder that relative folders are relative to: the spec's own.
        span: where the spec names it.

    Raises:
        DeltacError: DLT802, DLT803 (package), DLT804 (folder), DLT251 (neither form).
    """
    if source is None:
        return Origin("config")
    if source.startswith("package:"):
        return Origin("package", str(_package_folder(source, span)), source)
    if source.startswith((".", "/", "~")):
        folder = (base / Path(source).expanduser()).resolve()
        if not folder.is_dir():
            message = f"there is no folder '{source}' (looked at {folder})"
            fix = "give the folder that holds the model's config.json, seen from the spec"
            raise _error("DLT804", message, span, fix)
        return Origin("folder", str(folder), source)
    if not _HUB_ID.fullmatch(source):
        message = f"'{source}' is no hub id (NAMESPACE/NAME), folder (./PATH) or package:DISTRIBUTION/PATH"
        raise _error("DLT251", message, span, f"for a folder beside the spec, write './{source}'")
    return Origin("hub", source, source, revision)


def _package_folder(source: str, span: Span | None) -> Path:
    """The folder inside an installed distribution, found through its file list: nothing is imported."""
    name, _, path = source.removeprefix("package:").partition("/")
    try:
        files = distribution(name).files or []
    except (PackageNotFoundError, ValueError):
        fix = f"install it: pip install {name}"
        raise _error("DLT802", f"the package '{name}' is not installed", span, fix) from None
    wanted = PurePosixPath(path)
    if ".." in wanted.parts:
        raise _error("DLT803", f"'{path}' leaves the package", span)
    for file in files:
        if file.parent == wanted and file.name == "config.json":
            return Path(str(file.locate())).parent
    folders = sorted({str(file.parent) for file in files if file.name == "config.json"})
    fix = f"it holds models in: {', '.join(folders)}" if folders else "it holds no config.json"
    raise _error("DLT803", f"the package '{name}' has no config.json in '{path}'", span, fix)


def _error(code: str, message: str, span: Span | None, fix: str | None = None) -> DeltacError:
    return DeltacError([Diagnostic(code, message, span, fix=fix)])
