"""`deltac lock`: writes beside each spec what it does to its base, or checks that."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from deltac.cli._files import spec_files
from deltac.cli._lock import check_locked, lock_of
from deltac.cli._model import remote_code
from deltac.cli._output import Output, output_format
from deltac.cli._reuse import reuse_options
from deltac.cli._settings import apply_settings, paths_or_settings
from deltac.diagnostics import DeltacError, Problems


@click.command("lock", short_help="Write what each spec does beside it, for review.")
@click.argument("paths", nargs=-1)
@click.option(
    "--check", is_flag=True, help="Fail if a lock is missing, stale or unpinned; write nothing."
)
@remote_code
@reuse_options
@output_format
@click.pass_obj
def command(output: Output, paths: tuple[str, ...], check: bool, trust_remote_code: bool) -> int:
    """Write NAME.delta.lock beside each spec: files, or folders (every *.delta.yaml below). Without any, those
    of the project's settings.

    A lock says what a spec really does: its places, shapes and counts, one line for each run of identical sites, the
    base's structure and commit. Commit it with the spec, and a review shows what a change of a pattern changed.
    """
    if "-" in paths:
        raise click.UsageError("a lock lies beside its spec: give the spec's file, not '-'.")
    paths = paths_or_settings(paths, apply_settings(output))
    problems, names = Problems(), []
    for path in paths:
        try:
            names += spec_files(path)
        except DeltacError as error:
            problems.extend(error.diagnostics)
        if check and Path(path).is_dir():
            from deltac.review.lock import check_left_over

            check_left_over(Path(path), problems)
    for name in names:
        try:
            if check:
                check_locked([name], trust_remote_code=trust_remote_code)
                click.echo(f"{name}: the lock is fresh")
            else:
                _write(Path(name), output, trust_remote_code)
        except DeltacError as error:
            problems.extend(error.diagnostics)
    problems.raise_if_any()
    return 0


def _write(spec: Path, output: Output, trust_remote_code: bool) -> None:
    from deltac.review.lock import differing_lines, is_unpinned, lock_path, read_lock, to_text

    lock, path = lock_of(spec, trust_remote_code=trust_remote_code), lock_path(spec)
    if path.is_file():
        try:
            old = read_lock(path)
        except DeltacError:
            old = None  # it is written anew
        if old is not None and not differing_lines(old, lock):
            # A build elsewhere may know less: a commit that the lock has is not taken out.
            lock["base"] = old["base"]
    text = to_text(lock)
    if is_unpinned(lock):
        problems = Problems()
        message = f"{path}: no commit is known for '{lock['base']['source']}'"
        problems.add("DLT606", message, fix="write the commit as 'revision' in the spec")
        output.diagnostics(problems)
    state = "written"
    if path.is_file() and path.read_bytes() == text.encode():
        state = "unchanged"
    else:
        _replace(path, text.encode())
    click.echo(f"{path}: {state}")


def _replace(path: Path, content: bytes) -> None:
    """Writes a file in one step."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(content)
    made = Path(file.name)
    mask = os.umask(0)
    os.umask(mask)
    made.chmod(0o666 & ~mask)
    made.replace(path)
