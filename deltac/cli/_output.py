"""How the command line prints diagnostics: format, colour, stream; and which it prints."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import TextIO

import click

from deltac.diagnostics import Diagnostic, full
from deltac.diagnostics.policy import Policy, find_code, find_warning

#: Each but `full` is a file of `deltac.diagnostics` with a function `render`.
FORMATS = ("full", "concise", "json", "github", "sarif", "junit")
#: Formats that are one document: it is printed when the verb is through.
_DOCUMENTS = ("json", "sarif", "junit")


class Output:
    """Prints diagnostics in the format that the call asks for.

    Attributes:
        format: one of `FORMATS`.
        policy: what the call makes of warnings.
        as_data: whether the diagnostics are the verb's result, which goes to stdout; `full` goes to stderr anyway.
        checked: what `deltac validate` looked at, by file: for the formats that list files.
    """

    def __init__(self) -> None:
        self.format = "full"
        self.policy = Policy()
        self.as_data = False
        self.checked: dict[str, dict[str, str | None]] = {}
        self._shown: list[Diagnostic] | None = None

    def diagnostics(self, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
        """Prints the diagnostics that the policy lets through, and returns them.

        A format that is one document is printed by `finish`.
        """
        kept = self.policy.apply(diagnostics)
        self._shown = [*(self._shown or ()), *kept]
        if kept and self.format not in _DOCUMENTS:
            self._print(kept)
        return kept

    @property
    def exit_code(self) -> int:
        """The exit code that the diagnostics so far ask for."""
        return self.policy.exit_code(self._shown or ())

    def finish(self) -> None:
        """Prints the document of all diagnostics, where the format is one and the verb came to them."""
        if self._shown is not None and self.format in _DOCUMENTS:
            self._print(self._shown)

    def _print(self, diagnostics: list[Diagnostic]) -> None:
        if self.format == "full":
            # click would strip the colour by rules of its own.
            sys.stderr.write(full.render(diagnostics, color=wants_color(sys.stderr)) + "\n\n")
            return
        render = importlib.import_module(f"deltac.diagnostics.{self.format}").render
        lists_files = self.format in ("json", "junit")
        text = render(diagnostics, self.checked) if lists_files else render(diagnostics)
        click.echo(text, err=not self.as_data)


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


def policy_options(command: Callable) -> Callable:
    """Adds `--select`, `--ignore`, `--warn-as-error` and `--exit-zero` to a verb."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
        if not value:
            return
        if isinstance(value, tuple):
            find = find_warning if parameter.name == "ignore" else find_code
            words = [word for text in value for word in text.split(",")]
            value = frozenset(find(word).code for word in words)
        output = ctx.ensure_object(Output)
        output.policy = Policy(**{**vars(output.policy), str(parameter.name): value})

    def option(name: str, about: str, **more: object) -> Callable:
        return click.option(name, callback=keep, expose_value=False, help=about, **more)

    codes = {"multiple": True, "metavar": "CODES"}
    for add in (
        option("--exit-zero", "Exit with 0 although a spec is at fault.", is_flag=True),
        option("--warn-as-error", "Let warnings fail as errors do.", is_flag=True),
        option("--ignore", "Report no warning of these codes (with commas between).", **codes),
        option("--select", "Report warnings of these codes only, and all errors.", **codes),
    ):
        command = add(command)
    return command
