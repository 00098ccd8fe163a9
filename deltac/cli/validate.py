"""`deltac validate`: checks specs without a model, a network or torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from deltac.cli._files import spec_files
from deltac.cli._lock import check_locked, locked_option
from deltac.cli._reuse import given, reuse_options
from deltac.cli._output import Output, output_format
from deltac.diagnostics import DeltacError, Diagnostic
from deltac.diagnostics.full import printable
from deltac.spec.files import Folder
from deltac.spec.load import inspect, inspect_bytes
from deltac.spec.yaml import MAX_BYTES

#: What this verb checks; a line per file says it.
CHECKED = "schema"


@click.command("validate")
@click.argument("paths", nargs=-1, required=True)
@locked_option
@reuse_options
@output_format
@click.pass_obj
def command(output: Output, paths: tuple[str, ...], locked: bool) -> int:
    """Check specs: files, folders (every *.delta.yaml below), or - for standard input.

    Nothing is downloaded or imported, so a stranger's spec can be checked safely. Exit code 1 when
    a spec is at fault, 2 when a path is.
    """
    found: list[Diagnostic] = []
    for path in paths:
        try:
            for name in spec_files(path):
                problems = _check(name)
                if locked and not any(each.severity == "error" for each in problems):
                    problems += _check_lock(name)
                found += problems
                if output.format == "full":
                    _report(output, name, problems)
        except DeltacError as error:
            found += error.diagnostics
            if output.format == "full":
                output.diagnostics(error.diagnostics)
    if output.format != "full":
        output.diagnostics(DeltacError(found).diagnostics, as_data=True)
    errors = [each for each in found if each.severity == "error"]
    return DeltacError(errors).exit_code if errors else 0


def _check(name: str) -> list[Diagnostic]:
    if name == "-":
        content = click.get_binary_stream("stdin").read(MAX_BYTES + 1)
        place, variables = Folder.of(Path("<stdin>"), given()["root"]), given()["variables"]
        found = inspect_bytes(
            content,
            "<stdin>",
            extra_fragment=_installed_fragment,
            variables=variables,
            place=place,
        )
        return list(found[1])
    return list(inspect(Path(name), extra_fragment=_installed_fragment, **given())[1])


def _check_lock(name: str) -> list[Diagnostic]:
    try:
        check_locked([name])
    except DeltacError as error:
        return list(error.diagnostics)
    return []


def _report(output: Output, name: str, problems: list[Diagnostic]) -> None:
    errors = sum(each.severity == "error" for each in problems)
    state = "ok" if not errors else "1 error" if errors == 1 else f"{errors} errors"
    output.diagnostics(problems)
    if any(each.code == "DLT831" for each in problems):
        return  # nothing was checked
    shown = "<stdin>" if name == "-" else printable(name)
    click.echo(f"{shown}: {state} (checked: {CHECKED})")


def _installed_fragment(name: str) -> Mapping[str, Any]:
    """The schema fragment of an operator from another installed package, which is imported."""
    from deltac.operators import fragment, get

    return fragment(get(name).operator)
