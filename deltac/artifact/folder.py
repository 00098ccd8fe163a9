"""The artifact's folder: written whole or not at all, and never over a trained delta unasked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltac.artifact.spec import made_from
from deltac.diagnostics import DeltacError, Diagnostic

MANIFEST = "manifest.json"
_WRITTEN = "give the folder that deltac compile or save() wrote"


def check_writable(folder: Path, *, overwrite: bool) -> None:
    """Refuses a folder that must not be replaced.

    Raises:
        DeltacError: DLT702 (it holds a trained delta), DLT703 (it holds something else).
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise _error("DLT703", f"'{folder}' is no folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        state = manifest["state"]
    except (OSError, ValueError, KeyError, TypeError):
        message = f"'{folder}' is not empty and holds no artifact of deltac"
        raise _error("DLT703", message, "choose another folder") from None
    if state != "initial" and not overwrite:
        message = f"'{folder}' holds a trained delta"
        raise _error(
            "DLT702", message, "choose another folder, or say --force (overwrite=True in Python)"
        )


def check_model_folder(folder: Path, *, overwrite: bool, needed: Iterable[Path]) -> None:
    """Refuses a folder that a merged model must not replace.

    Args:
        folder: where the model shall be written.
        overwrite: whether a model there may be replaced.
        needed: folders that must stay, such as the base's and the artifact's.

    Raises:
        DeltacError: DLT735 (not empty), DLT703 (it holds no model), DLT736 (something needed lies in it).
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise _error("DLT703", f"'{folder}' is no folder")
    place = folder.resolve()
    for each in needed:
        if each.resolve().is_relative_to(place):
            message = f"'{folder}' holds '{each}', which is read here"
            raise _error("DLT736", message, "choose another folder with --output")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        message = f"'{folder}' is not empty"
        raise _error("DLT735", message, "choose another folder, or say --force")
    if not (folder / "config.json").is_file():
        message = f"'{folder}' is not empty and holds no model"
        raise _error("DLT703", message, "choose another folder")


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Writes the files as a new folder and puts it in the place of an old one in one step.

    Args:
        folder: where the artifact shall lie.
        files: relative path → content.

    Raises:
        DeltacError: DLT709; an old folder is as it was then, and no part of a new one remains.
    """
    with new_folder(folder) as made:
        for name, content in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, which takes its place in one step when the block ends well.

    Raises:
        DeltacError: DLT709; an old folder is as it was then, and no part of a new one remains.
    """
    made = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield made
        made.chmod(0o777 & ~_umask())
        _exchange(made, folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        fix = "choose another folder with --output, or make room"
        raise _error("DLT709", f"can't write '{folder}': {reason}", fix) from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _exchange(made: Path, folder: Path) -> None:
    if not folder.exists():
        made.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)) / "old"
    folder.rename(aside)
    try:
        made.rename(folder)
    except OSError:
        aside.rename(folder)
        aside.parent.rmdir()
        raise
    shutil.rmtree(aside.parent)


def write_into(folder: Path, files: dict[str, bytes]) -> None:
    """Writes the files into a folder that holds others too (a Trainer's checkpoint), the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: (name == MANIFEST, name)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(files[name])
        Path(file.name).replace(path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact, its files checked against it.

    Raises:
        DeltacError: DLT701 (no artifact), DLT704 (a later format), DLT705 (a file was changed).
    """
    path = folder / MANIFEST
    if not folder.exists():
        raise _error("DLT701", f"there is no folder '{folder}'", _WRITTEN)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, files = manifest["format"], manifest["files"]
        names = [*files.items(), (manifest["spec"]["file"], manifest["spec"])]
        names += made_from(manifest).items()
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = (
            f"'{folder}' is no artifact of deltac: {path.name}: {type(error).__name__}: {error}"
        )
        raise _error("DLT701", message, _WRITTEN) from None
    if version != 1:
        raise _error(
            "DLT704",
            f"the manifest has format {version}; this deltac reads format 1",
            "update deltac",
        )
    for name, entry in names:
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            fix = "get the whole folder again: an artifact is all of its files"
            message = f"a file of the artifact can't be read: {error}"
            raise _error("DLT701", message, fix) from None
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            fix = "get the artifact again; to change a spec, edit the one under version control and compile it"
            raise _error("DLT705", f"{name} is not the file that the manifest describes", fix)
    return manifest


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _error(code: str, message: str, fix: str | None = None) -> DeltacError:
    return DeltacError([Diagnostic(code, message, fix=fix)])
