"""`deltac compile`: a spec becomes an artifact."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from deltac.cli._lock import check_locked, lock_warnings, locked_option
from deltac.cli._model import format_option, remote_code, render_report, require_libraries
from deltac.cli._output import Output, output_format, policy_options
from deltac.cli._reuse import given, reuse_options
from deltac.cli._settings import apply_settings
from deltac.cli._stdin import source_of


@click.command("compile", short_help="Write the artifact of a spec to build/NAME.")
@click.argument("spec", type=click.Path(dir_okay=False))
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False),
    help="Where to write; build/NAME without it.",
)
@click.option("--force", is_flag=True, help="Replace a folder that holds a trained delta.")
@click.option(
    "--dump-passes",
    type=click.Path(file_okay=False),
    help="A folder for the code of each distinct region after each pass, for those who want to see how it came about.",
)
@format_option
@locked_option
@remote_code
@reuse_options
@policy_options
@output_format
@click.pass_obj
def command(
    output: Output,
    spec: str,
    folder: str | None,
    force: bool,
    dump_passes: str | None,
    form: str,
    locked: bool,
    trust_remote_code: bool,
) -> int:
    """Compile a spec (- for standard input): plan it, rewrite the model, verify, and write the artifact.

    All of it runs on shapes. The base's weights are read only where the delta starts from them (parameters tuned in
    place, DoRA's magnitudes, `init: pissa`). The artifact holds the manifest, the initial delta, the generated code and
    the spec.
    """
    require_libraries()
    apply_settings(output)
    from deltac.api import initial_files, loaded_files
    from deltac.artifact.code import write_passes
    from deltac.artifact.folder import check_writable, write_folder
    from deltac.model.weights import weight_bytes
    from deltac.prepare import prepare
    from deltac.rewrite.pipeline import rewrite

    if locked:
        check_locked([spec], trust_remote_code=trust_remote_code)
    prepared = prepare(source_of(spec), trust_remote_code=trust_remote_code, **given())
    target = Path(folder) if folder is not None else Path("build") / prepared.plan.spec.name
    check_writable(target, overwrite=force)
    behind = lock_warnings(Path(spec), prepared) if spec != "-" else ()
    output.diagnostics([*prepared.plan.warnings, *behind])
    if output.exit_code:
        return output.exit_code  # --warn-as-error: nothing is written
    # The skeleton is the base's only until the plan is verified on it.
    shown = rewrite(prepared.plan, texts=True) if dump_passes else None
    needed, random = prepared.plan.needs_weights(), prepared.origin.kind == "config"
    if needed:
        size = weight_bytes(prepared.origin)
        how = f"reading the base's weights ({f'{size / 1e6:,.1f} MB' if size else 'size unknown'})"
        if random:
            how = "drawing the base's weights, for there is no source"
        click.echo(f"{how}: {len(needed)} parameters start from their values", err=True)
        files = loaded_files(prepared, progress=sys.stderr.isatty())
    else:
        files = initial_files(prepared)
    write_folder(target, files)
    if dump_passes and shown:
        write_passes(Path(dump_passes), shown)
    click.echo(render_report(prepared.plan, form))
    if form == "text":
        regions = sum(name.startswith("code/") for name in files)
        read = "drawn from the seed" if random else "read"
        click.echo(f"weights    {read if needed else 'none read'}")
        code = f"generated code of {regions} distinct region{'s' * (regions != 1)}"
        click.echo(f"wrote      {target} ({sum(map(len, files.values())):,} bytes, {code})")
    return 0
