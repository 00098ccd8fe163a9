"""`deltac presets`: the spec fragments that `extends: preset:NAME` takes."""

from __future__ import annotations

import click

from deltac.cli._output import output_format
from deltac.diagnostics import DeltacError
from deltac.diagnostics.nearest import did_you_mean
from deltac.spec.presets import preset_content, preset_description, preset_names


@click.command("presets", short_help="List the presets, or print one.")
@click.argument("name", required=False)
@output_format
def command(name: str | None) -> None:
    """List the presets, or print one: it says what `extends: preset:NAME` puts into a spec."""
    known = preset_names()
    if name is None:
        width = max(map(len, known))
        for each in known:
            click.echo(f"{each:<{width}}  {preset_description(each)}")
        return
    if name not in known:
        fix = did_you_mean(name, known)
        notes = [f"presets: {', '.join(known)}"]
        raise DeltacError.of("DLT835", f"there is no preset `{name[:50]}`", notes=notes, fix=fix)
    click.echo(preset_content(name).decode(), nl=False)
