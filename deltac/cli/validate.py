"""`deltac validate`: checks specs against the schema, and against their models where those are at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from deltac.cli._cache import Cache, cache_folder
from deltac.cli._check_model import check_model
from deltac.cli._fault import fault_of
from deltac.cli._files import spec_files
from deltac.cli._lock import check_locked, locked_option
from deltac.cli._output import Output, output_format, policy_options
from deltac.cli._reuse import given, reuse_options
from deltac.cli._settings import apply_settings, paths_or_settings
from deltac.cli._stdin import STDIN, inspect_stdin
from deltac.diagnostics import DeltacError, Diagnostic
from deltac.diagnostics.full import printable
from deltac.review.installed import installed_fragment
from deltac.spec import Spec
from deltac.spec.load import inspect


@click.command("validate", short_help="Check specs, without the network.")
@click.argument("paths", nargs=-1)
@click.option(
    "--require-model",
    is_flag=True,
    help="Fail where a spec can be checked against the schema only.",
)
@click.option("--no-cache", is_flag=True, help="Neither use nor keep results of earlier calls.")
@locked_option
@reuse_options
@policy_options
@output_format
@click.pass_obj
def command(
    output: Output, paths: tuple[str, ...], require_model: bool, no_cache: bool, locked: bool
) -> None:
    """Check specs: files, folders (every *.delta.yaml below), or - for standard input.

    The schema is always checked. Selection, shapes, composition and budget are checked where the model's config lies
    on this machine: in the spec, beside it (`config_file`), in a folder, an installed package or the hub's cache. The
    network is never asked and no code of a model runs, so a stranger's spec can be checked safely. Exit code 1 when a
    spec is at fault, 2 when the call or the environment is.
    """
    # All that is read is read offline already; with this the hub's client, once imported, refuses to ask.
    os.environ["HF_HUB_OFFLINE"] = "1"
    output.as_data = True
    settings = apply_settings(output)
    paths = paths_or_settings(paths, settings)
    require_model = require_model or (settings is not None and settings.require_model)
    output.diagnostics([])
    cache = Cache(None if no_cache else cache_folder() / "validate")
    for path in paths:
        try:
            for name in spec_files(path):
                found, reason = _check(name, cache)
                if require_model and reason is not None and not _errors(found):
                    found.append(_not_checked(name, reason))
                if locked and not _errors(found):
                    found += _check_lock(name)
                _report(output, STDIN if name == "-" else name, found, reason)
        except DeltacError as error:
            output.diagnostics(error.diagnostics)


def _check(name: str, cache: Cache) -> tuple[list[Diagnostic], str | None]:
    """What is wrong with a spec, and why its model was not looked at; None where it was."""
    spec, problems = _check_schema(name)
    found = list(problems)
    if spec is None:
        return found, "the schema comes first"
    base = Path() if name == "-" else Path(name).parent
    try:
        checked = check_model(spec, base, cache)
    except Exception as error:  # whatever a library raises at one spec, the others are checked
        fault = fault_of(error, STDIN if name == "-" else name)
        return [*found, *fault.diagnostics], "the check against the model failed"
    return list(DeltacError([*found, *checked.diagnostics]).diagnostics), checked.reason


def _check_schema(name: str) -> tuple[Spec | None, Any]:
    if name != "-":
        return inspect(Path(name), extra_fragment=installed_fragment, **given())
    return inspect_stdin()


def _check_lock(name: str) -> list[Diagnostic]:
    try:
        check_locked([name])
    except DeltacError as error:
        return list(error.diagnostics)
    return []


def _not_checked(name: str, reason: str) -> Diagnostic:
    shown = STDIN if name == "-" else name
    fix = "put a copy of the model's config.json beside the spec: 'config_file: PATH'"
    return Diagnostic("DLT842", f"{shown} was checked against the schema only: {reason}", fix=fix)


def _report(output: Output, name: str, found: list[Diagnostic], reason: str | None) -> None:
    kept = output.diagnostics(found)
    if any(each.code == "DLT831" for each in kept):
        return  # nothing was checked
    how_far = "schema" if reason is not None else "schema and model"
    output.checked[name] = {"checked": how_far, "reason": reason}
    if output.format == "json":
        return  # the object says it
    errors = len(_errors(kept))
    counts = [_count(errors, "error"), _count(len(kept) - errors, "warning")]
    state = ", ".join(each for each in counts if each) or "ok"
    why = f"; {reason}" if reason is not None else ""
    # In the other formats stdout is for the diagnostics.
    click.echo(printable(f"{name}: {state} (checked: {how_far}{why})"), err=output.format != "full")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}" if number else ""


def _errors(found: list[Diagnostic]) -> list[Diagnostic]:
    return [each for each in found if each.severity == "error"]
