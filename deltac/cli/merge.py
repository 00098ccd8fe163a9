"""`deltac merge`: an artifact becomes a plain model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from deltac.cli._model import remote_code, require_libraries
from deltac.cli._output import Output, output_format


@click.command("merge", short_help="Write base and delta as one plain model.")
@click.argument("artifact", type=click.Path(file_okay=False))
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(file_okay=False),
    help="Where to write the merged model.",
)
@click.option(
    "--partial",
    is_flag=True,
    help="Merge what can be merged; write the rest as an artifact into OUTPUT-rest.",
)
@click.option(
    "--force", is_flag=True, help="Replace a model, or a trained delta, in these folders."
)
@remote_code
@output_format
@click.pass_obj
def command(
    output: Output,
    artifact: str,
    folder: str,
    partial: bool,
    force: bool,
    trust_remote_code: bool,
) -> int:
    """Merge a delta into its base: a plain transformers model that loads anywhere, without deltac.

    ARTIFACT is a folder that compile or save() wrote. Its base is read, and never changed. Some deltas can't be merged,
    such as adapters, which act on activations: without --partial they are refused, all at once. The tokenizer is not
    copied: use the base's.
    """
    require_libraries()
    from deltac.api import load
    from deltac.artifact.folder import (
        check_model_folder,
        check_writable,
        new_folder,
        read_manifest,
        write_folder,
    )
    from deltac.model.quiet import quiet
    from deltac.partial import merged_base, rest_on

    target, rest_folder = Path(folder), Path(f"{folder.rstrip('/')}-rest")
    needed = [Path(artifact)]
    if source := read_manifest(Path(artifact))["base"]["source"]:
        needed.append(Path(artifact) / Path(source).expanduser())
    check_model_folder(target, overwrite=force, needed=needed)
    compiled = load(artifact, trust_remote_code=trust_remote_code)
    stay = compiled.unmergeable()
    if partial and stay:
        check_writable(rest_folder, overwrite=force)
    if partial:
        base, notes = merged_base(compiled)
    else:
        compiled.check_mergeable("say --partial to merge the others")
        base, notes = compiled.merge_without(())
    output.diagnostics(notes)
    bar = sys.stderr.isatty()
    files: dict[str, bytes] = {}
    with new_folder(target) as made:
        with quiet(bar=bar):
            base.save_pretrained(made)
        size = sum(file.stat().st_size for file in made.iterdir())
        if stay:
            # Folders in an artifact's spec start from the artifact, and the two lie side by side.
            files = rest_on(base, compiled, f"../{target.resolve().name}").files()
    if stay:
        write_folder(rest_folder, files)
    for line in _report(compiled.manifest, stay):
        click.echo(line)
    click.echo(f"wrote      {target} ({size:,} bytes, {type(base).__name__})")
    if stay:
        click.echo(f"wrote      {rest_folder} ({sum(map(len, files.values())):,} bytes)")
    return 0


def _report(manifest: dict[str, Any], stay: dict[str, list[str]]) -> list[str]:
    """One line for each delta that was merged, one for each reason of one that was not."""
    lines = []
    for delta in manifest["deltas"]:
        name = f"{delta['name']} ({delta['operator']})"
        if delta["name"] in stay:
            lines += [f"stays      {name}: {reason}" for reason in stay[delta["name"]]]
        else:
            sites = [site for part in delta["parts"] for site in part["sites"]]
            lines.append(f"merged     {name}: {', '.join(sites)}")
    return lines
