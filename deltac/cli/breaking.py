"""`deltac breaking`: what a change of specs does to deltas that were saved with them."""

from __future__ import annotations

import json

import click

from deltac.cli._model import format_option, remote_code
from deltac.cli._output import Output, output_format
from deltac.cli._reuse import given, reuse_options
from deltac.cli._settings import apply_settings, specs_here
from deltac.diagnostics import Problems

_CLASSES = ("CHECKPOINT", "MATH", "SITES", "META")


def _fail_on(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    words = [word.strip().upper() for word in value.split(",") if word.strip()]
    unknown = [word for word in words if word not in _CLASSES]
    if unknown:
        raise click.BadParameter(f"'{unknown[0]}' is no class; classes: {', '.join(_CLASSES)}.")
    return tuple(words)


@click.command("breaking", short_help="Tell whether saved deltas still load and mean the same.")
@click.argument("paths", nargs=-1, metavar="[SPECS]...")
@click.option(
    "--against",
    required=True,
    metavar="REF|PATH",
    help="A git reference, or the path of a spec, an artifact, or a folder of specs.",
)
@click.option(
    "--fail-on",
    default="CHECKPOINT,MATH,SITES",
    show_default=True,
    metavar="CLASSES",
    callback=_fail_on,
    help="Exit with 1 where a change is of one of these classes.",
)
@format_option
@remote_code
@reuse_options
@output_format
@click.pass_obj
def command(
    output: Output,
    paths: tuple[str, ...],
    against: str,
    fail_on: tuple[str, ...],
    form: str,
    trust_remote_code: bool,
) -> int:
    """Tell whether deltas saved with earlier specs still load and mean the same. Without SPECS: those of the
    project's settings, else all below this folder.

    \b
    CHECKPOINT  a saved delta no longer loads: tensor names, shapes, dtypes, or the base
    MATH        it loads, and the model computes something else
    SITES       the set of places changed
    META        neither: names, texts, budget, what matters in training alone
    """
    from deltac.review import json_schema
    from deltac.review.changes import changes
    from deltac.review.render_changes import breaking_markdown, breaking_text, hit
    from deltac.review.sides import Call

    call = Call(trust_remote_code=trust_remote_code, **given())
    problems = Problems()
    found = changes(specs_here(paths, apply_settings(output)), against, call, problems)
    output.diagnostics(problems)
    failed = any(hit(change, fail_on) for change in found)
    if form == "json":
        data = {
            "version": json_schema.VERSION,
            "against": against,
            "fail_on": fail_on,
            "failed": failed,
        }
        data["specs"] = [change.data() for change in found]
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        render = breaking_markdown if form == "markdown" else breaking_text
        click.echo(render(found, against, fail_on))
    return output.exit_code or int(failed)
