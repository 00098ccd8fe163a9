"""How the command line prints diagnostics: format, colour, stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TextIO

import click

from deltac.diagnostics import Diagnostic, full, json

FORMATS = ("full", "json")


class Output:
    """Prints diagnostics in the format that the call asks for."""

    def __init__(self) -> None:
        self.format = "full"

    def diagnostics(self, diagnostics: Iterable[Diagnostic], *, as_data: bool = False) -> None:
        """Prints diagnostics on stderr.

        Args:
            diagnostics: what to print; the JSON object is printed even when there are none.
            as_data: JSON goes to stdout, for a verb whose data the diagnostics are.
        """
        diagnostics = list(diagnostics)
        if self.format == "json":
            click.echo(json.render(diagnostics), err=not as_data)
        elif diagnostics:
            # click would strip the colour by rules of its own.
            sys.stderr.write(full.render(diagnostics, color=wants_color(sys.stderr)) + "\n\n")


def wants_color(stream: TextIO) -> bool:
    """Whether the stream is a terminal that shows colour, and nobody asked for none."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def output_format(command: Callable) -> Callable:
    """Adds the option `--output-format` to a verb."""

    def keep(ctx: click.Context, _: click.Parameter, value: str) -> None:
        # Under click's test runner a verb may be called without the group.
        ctx.ensure_object(Output).format = value

    return click.option(
        "--output-format",
        type=click.Choice(FORMATS),
        default="full",
        callback=keep,
        is_eager=True,
        expose_value=False,
        help="How to print diagnostics.",
    )(command)
