"""`deltac diff`: what differs between two versions of a spec."""

from __future__ import annotations

import json

import click

from deltac.cli._model import format_option, remote_code
from deltac.cli._output import Output, output_format
from deltac.cli._reuse import given, reuse_options

#: Version of what `--format json` prints.
VERSION = 1


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--exit-code", is_flag=True, help="Exit with 1 where there are differences.")
@format_option
@remote_code
@reuse_options
@output_format
@click.pass_obj
def command(
    output: Output, before: str, after: str, exit_code: bool, form: str, trust_remote_code: bool
) -> int:
    """Show what differs between two specs: A and B are spec files, artifacts, or REF:PATH in git.

    Compared is what the specs do, delta by delta and site by site: order of keys, comments and defaults that are
    written out make no difference. Where a model can't be reached, the texts are compared, and the result says so.
    """
    from deltac.review.compare import compare
    from deltac.review.effects import effects_of
    from deltac.review.render import diff_markdown, diff_text
    from deltac.review.sides import Call, side

    call = Call(trust_remote_code=trust_remote_code, **given())
    sides = [side(each, call) for each in (before, after)]
    found = compare(*sides, effects_of)
    if form == "json":
        click.echo(json.dumps({"version": VERSION, **found.data()}, indent=2, ensure_ascii=False))
    else:
        click.echo(diff_markdown(found) if form == "markdown" else diff_text(found))
    return 1 if exit_code and found.differences else 0
