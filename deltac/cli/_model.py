"""What the verbs that need a model share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import click

from deltac.diagnostics import DeltacError

LIBRARIES = ("torch", "transformers", "safetensors", "jinja2", "accelerate", "tqdm")

remote_code = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Let code from the hub run, for a model that needs it. Read it first.",
)


def format_option(command: Callable) -> Callable:
    """Adds `--format` to a verb."""
    choice = click.Choice(["text", "json", "markdown"])
    return click.option(
        "--format", "form", type=choice, default="text", help="How to print the result."
    )(command)


def require_libraries() -> None:
    """Checks that what `deltac[model]` brings is there, before it is imported.

    Raises:
        DeltacError: DLT801.
    """
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        message = f"this command needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        raise DeltacError.of("DLT801", message, fix="pip install 'deltac[model]'")


def render_report(plan: Any, form: str) -> str:
    """The report of a plan in one of the formats of `--format`."""
    import json

    from deltac.planning.report import as_markdown, as_text, report

    data = report(plan)
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False)
    return as_markdown(data) if form == "markdown" else as_text(data)
