"""`deltac plan`: what a spec does to its model, worked out on shapes."""

from __future__ import annotations

import click

from deltac.cli._files import spec_files
from deltac.cli._lock import check_locked, locked_option
from deltac.cli._model import format_option, remote_code, render_report, require_libraries
from deltac.cli._output import Output, output_format, policy_options
from deltac.cli._reuse import given, reuse_options
from deltac.cli._settings import apply_settings, paths_or_settings
from deltac.cli._stdin import source_of
from deltac.diagnostics import DeltacError, Diagnostic


@click.command("plan", short_help="Show what specs select and train, on shapes.")
@click.argument("paths", nargs=-1)
@format_option
@locked_option
@remote_code
@policy_options
@reuse_options
@output_format
@click.pass_obj
def command(
    output: Output, paths: tuple[str, ...], form: str, locked: bool, trust_remote_code: bool
) -> int:
    """Show what specs select and train: files, folders (every *.delta.yaml below), or - for standard input.
    Without any, those of the project's settings.

    The model is built on shapes: no weights are read and no memory is taken for them.
    """
    require_libraries()
    paths = paths_or_settings(paths, apply_settings(output))
    from deltac.prepare import prepare

    errors: list[Diagnostic] = []
    for path in paths:
        for name in spec_files(path):
            try:
                if locked:
                    check_locked([name], trust_remote_code=trust_remote_code)
                source = source_of(name)
                planned = prepare(source, trust_remote_code=trust_remote_code, **given()).plan
            except DeltacError as error:
                errors += error.diagnostics
                continue
            output.diagnostics(planned.warnings)
            click.echo(render_report(planned, form))
    if errors:
        raise DeltacError(errors)
    return 0
