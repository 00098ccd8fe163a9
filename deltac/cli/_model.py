"""What the verbs that need a model share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deltac.diagnostics import DeltacError, Diagnostic

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


def open_named(model: str, class_name: str | None, forms: str, *, trust_remote_code: bool) -> Any:
    """A model on shapes, by the name that a call gives it: a hub id, a folder or a package path.

    Args:
        model: the name; a folder needs no dot in front, as it does in a spec.
        class_name: the model class, where the call says it.
        forms: what to say of a name that can't be one.
        trust_remote_code: whether code from the hub may run.

    Raises:
        DeltacError: as `open_source`, without a place: there is no spec to point at or to mend.
    """
    from deltac.prepare import open_source

    source = str(Path(model).resolve()) if Path(model).is_dir() else model
    try:
        return open_source(source, class_name, trust_remote_code=trust_remote_code)
    except DeltacError as error:
        raise DeltacError([_of_the_call(each, forms) for each in error.diagnostics]) from error


def _of_the_call(problem: Diagnostic, forms: str) -> Diagnostic:
    fix = problem.fix
    if problem.code == "DLT255":
        fix = str(fix).replace("write 'class: ...' in 'model'", "say which with --class")
    elif problem.code == "DLT805":
        fix = f"check the name and the network; {forms}"
    elif problem.code in ("DLT251", "DLT804"):
        fix = forms
    code = "DLT835" if problem.entry.exit == 1 else problem.code
    return replace(problem, code=code, span=None, fix=fix)
