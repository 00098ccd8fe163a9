"""The files of a model that a spec names by relative paths lie below the spec's root folder."""

from __future__ import annotations

import posixpath

from deltac.diagnostics import Problems
from deltac.spec import phrases
from deltac.spec.files import Folder, OutsideError
from deltac.spec.yaml import Document


def check_paths(document: Document, place: tuple[Folder, str] | None, problems: Problems) -> None:
    """Reports paths of the `model` section that lead out of the root folder. Opens nothing."""
    model = document.data.get("model") if isinstance(document.data, dict) else None
    for key in ("source", "config_file"):
        value = model.get(key) if isinstance(model, dict) else None
        if isinstance(value, str) and value and (key == "config_file" or value.startswith(".")):
            _check(document, ("model", key), value, place, problems)


def _check(
    document: Document,
    path: tuple[str, str],
    value: str,
    place: tuple[Folder, str] | None,
    problems: Problems,
) -> None:
    span, shown = document.span(path), phrases.short(value)
    if value.startswith(("/", "~", "\\")) or "://" in value:
        message = f"`config_file`: found `{shown}`, expected a path relative to the spec"
        problems.add("DLT138", message, span, fix="put a copy of the file beside the spec")
        return
    if place is None:
        return  # a text or a dict: the caller's own working folder
    folder, at = place
    try:
        folder.find(posixpath.join(posixpath.dirname(at), value))
    except OutsideError:
        message = f"`{path[-1]}`: `{shown}` leads out of the root folder of this spec"
        notes = ["the root folder is the repository of the spec, or else its own folder"]
        fix = "move it there, or name a root that holds both: `--root FOLDER`"
        if path[-1] == "source":
            fix += "; an absolute path is no matter of the root"
        problems.add("DLT138", message, span, notes, fix)
    except (OSError, ValueError):
        message = f"`{path[-1]}`: there can be no file `{shown}`"
        problems.add("DLT138", message, span, fix="put a copy of the file beside the spec")
