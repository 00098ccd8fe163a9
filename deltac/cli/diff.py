"""`deltac diff`: what differs between two versions of specs."""

from __future__ import annotations

import json

import click

from deltac.cli._model import format_option, remote_code
from deltac.cli._output import Output, output_format
from deltac.cli._reuse import given, reuse_options
from deltac.cli._settings import apply_settings, specs_here
from deltac.diagnostics import Problems


@click.command("diff", short_help="Show what differs between what two specs do.")
@click.argument("paths", nargs=-1, metavar="[A B | SPECS...]")
@click.option(
    "--against",
    metavar="REF|PATH",
    help="Compare SPECS with a git reference, or with the path of a spec, an artifact, or a folder of specs.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 where there are differences.")
@format_option
@remote_code
@reuse_options
@output_format
@click.pass_obj
def command(
    output: Output,
    paths: tuple[str, ...],
    against: str | None,
    exit_code: bool,
    form: str,
    trust_remote_code: bool,
) -> int:
    """Show what differs between two specs: A and B are spec files, artifacts, or REF:PATH in git. Or, with --against,
    between SPECS (files and folders; without any, those of the project's settings, else all below this folder) and
    their earlier versions.

    Compared is what the specs do, delta by delta and site by site: order of keys, comments and defaults that are
    written out make no difference. Where a model can't be reached, the texts are compared, and the result says so.
    """
    from deltac.review import json_schema, render, render_changes
    from deltac.review.changes import changes
    from deltac.review.compare import compare
    from deltac.review.sides import Call, side

    call = Call(trust_remote_code=trust_remote_code, **given())
    if against is None:
        if len(paths) != 2:
            raise click.UsageError("give two specs, A and B, or --against with any number.")
        found = compare(*(side(each, call) for each in paths))
        data, differ = found.data(), bool(found.differences)
        text = render.diff_markdown(found) if form == "markdown" else render.diff_text(found)
    else:
        problems = Problems()
        specs = specs_here(paths, apply_settings(output))
        found = changes(specs, against, call, problems)
        output.diagnostics(problems)
        data = {"against": against, "specs": [each.data() for each in found]}
        differ = bool(render_changes.changed(found))
        show = (
            render_changes.changes_markdown if form == "markdown" else render_changes.changes_text
        )
        text = show(found, against)
    click.echo(
        json.dumps({"version": json_schema.VERSION, **data}, indent=2, ensure_ascii=False)
        if form == "json"
        else text
    )
    return output.exit_code or int(exit_code and differ)
