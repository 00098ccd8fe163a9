"""The command `deltac`: its verbs, and what happens to what they raise."""

from __future__ import annotations

import importlib
import os
import sys

import click

import deltac
from deltac.cli._fault import fault_of
from deltac.cli._output import Output
from deltac.diagnostics import DeltacError

#: One file of this folder each, in the order of a spec's way. A verb's file imports what is heavy
#: inside its function, so that `deltac --help` and `deltac validate` stay fast.
VERBS = (
    "init",
    "validate",
    "plan",
    "compile",
    "lock",
    "diff",
    "breaking",
    "merge",
    "inspect",
    "operators",
    "presets",
    "explain",
    "schema",
)


class _Verbs(click.Group):
    """Loads the file of a verb when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        return importlib.import_module(f"deltac.cli.{cmd_name}").command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(deltac.__version__, message="deltac %(version)s")
def cli() -> None:
    """Compile delta-tuning specs: YAML becomes a rewritten, trainable model and its manifest.

    `deltac init MODEL` writes a spec to begin with. Exit codes: 0 fine, 1 a spec is at fault, 2 the call or the
    environment, 3 deltac itself.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 fine, 1 the spec, 2 the call, 3 deltac itself."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal without Unicode gets escapes rather than a crash.
            stream.reconfigure(errors="backslashreplace")
    output = Output()
    try:
        code = _run(arguments, output)
        output.finish()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe left; the flush at the interpreter's end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def _run(arguments: list[str] | None, output: Output) -> int:
    try:
        # Not `cli.main`: it exits with 1 when a pipe breaks, which says that a spec is at fault.
        words = sys.argv[1:] if arguments is None else list(arguments)
        with cli.make_context("deltac", words, obj=output) as context:
            result = cli.invoke(context)
        return result if isinstance(result, int) and result else output.exit_code
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        raise
    except DeltacError as error:
        output.diagnostics(error.diagnostics)
        return output.exit_code
    except Exception as error:
        fault = fault_of(error)
        output.diagnostics(fault.diagnostics)
        return fault.exit_code
