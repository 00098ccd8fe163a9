"""`deltac explain`: what a diagnostic code means, with an example of the fault and of its repair."""

from __future__ import annotations

import click

from deltac.cli._output import output_format
from deltac.diagnostics import CODES
from deltac.diagnostics.catalogue import Code
from deltac.diagnostics.full import printable
from deltac.diagnostics.policy import find_code

_EXITS = {1: "the spec is at fault", 2: "the call or the environment", 3: "deltac itself"}


@click.command("explain", short_help="Explain diagnostic codes.")
@click.argument("codes", nargs=-1, metavar="[CODE]...")
@click.option("--all", "every", is_flag=True, help="List every code with its name.")
@output_format
def command(codes: tuple[str, ...], every: bool) -> None:
    """Explain diagnostic codes, given as DLT201 or by name: no-match."""
    if every == bool(codes):
        raise click.UsageError("give the codes to explain, or --all to list them")
    if every:
        width = max(len(entry.name) for entry in CODES.values())
        for entry in CODES.values():
            click.echo(f"{entry.code}  {entry.name:<{width}}  {_kind(entry)}")
        return
    # All are looked up before the first is printed.
    click.echo("\n\n".join([_page(entry) for entry in map(find_code, codes)]))


def _page(entry: Code) -> str:
    lines = [f"{entry.code} {entry.name}: {_kind(entry)}", "", entry.meaning]
    for title, text in (("wrong:", entry.wrong), ("right:", entry.right)):
        if text:
            shown = (f"    {printable(line)}".rstrip() for line in text.rstrip("\n").split("\n"))
            lines += ["", title, *shown]
    return "\n".join(lines)


def _kind(entry: Code) -> str:
    if entry.severity == "warning":
        return "warning"
    return f"error, exit {entry.exit} ({_EXITS[entry.exit]})"
