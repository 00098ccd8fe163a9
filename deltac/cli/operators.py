"""`deltac operators`: the operators and their options."""

from __future__ import annotations

import json
from typing import Any

import click

from deltac.cli._model import require_libraries
from deltac.cli._output import output_format
from deltac.diagnostics import DeltacError
from deltac.diagnostics.nearest import nearest


@click.command("operators", short_help="List the operators, or describe one.")
@click.argument("name", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How to print the result.",
)
@output_format
def command(name: str | None, form: str) -> None:
    """List the operators, or show one with its options, family, site and paper."""
    require_libraries()
    from deltac.operators import fragment, get, names

    known = names()
    if name is not None and name not in known:
        close = nearest(name, known)
        fix = f"did you mean '{close}'?" if close else f"operators: {', '.join(known)}"
        raise DeltacError.of("DLT835", f"there is no operator '{name}'", fix=fix)
    shown = [get(each) for each in ([name] if name else known)]
    if form == "json":
        rows = {
            each.operator.name: _facts(each) | {"options": fragment(each.operator)["properties"]}
            for each in shown
        }
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif name is None:
        width = max(map(len, known))
        for each in shown:
            click.echo(
                f"{each.operator.name:<{width}}  {each.operator.family:<19}  {each.operator.summary()}"
            )
    else:
        click.echo(_page(shown[0]))


def _facts(entry: Any) -> dict[str, Any]:
    operator = entry.operator
    return {
        "summary": operator.summary(),
        "family": operator.family,
        "site": operator.site,
        "package": entry.package,
        "version": entry.version,
        "paper": {
            "title": operator.paper.title,
            "authors": operator.paper.authors,
            "year": operator.paper.year,
            "url": operator.paper.url,
        },
    }


def _page(entry: Any) -> str:
    from deltac.operators._describe import identity, kinds, options

    operator, paper = entry.operator, entry.operator.paper
    lines = [f"{operator.name}: {operator.family}, from {entry.package} {entry.version}", ""]
    lines += [line.strip() for line in (operator.__doc__ or "").strip().splitlines()]
    lines += [
        "",
        f"sites: {kinds(operator)}",
        f"starts as the base: {identity(operator)}",
        f"paper: {paper.authors} ({paper.year}). {paper.title}. {paper.url}",
        "",
    ]
    rows = list(options(operator))
    lines.append("options:" if rows else "no options")
    for name, takes, default, meaning in rows:
        default = f"default {default}" if default.startswith("`") else default
        lines += [f"  {name}: {'; '.join(filter(None, (takes, default)))}", f"    {meaning}"]
    return "\n".join(lines)
