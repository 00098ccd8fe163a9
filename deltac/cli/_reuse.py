"""`--set` and `--root`: what a call says about a spec's variables and its root folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from deltac.spec.variables import parse_given

_KEY = "deltac.reuse"


def reuse_options(command: Callable) -> Callable:
    """Adds `--set` and `--root` to a verb; `given` tells what they say."""

    def keep_set(ctx: click.Context, _: click.Parameter, pairs: tuple[str, ...]) -> None:
        ctx.meta.setdefault(_KEY, {})["variables"] = parse_given(list(pairs))

    def keep_root(ctx: click.Context, _: click.Parameter, folder: str | None) -> None:
        ctx.meta.setdefault(_KEY, {})["root"] = Path(folder) if folder else None

    for add in (
        click.option(
            "--root",
            type=click.Path(exists=True, file_okay=False),
            callback=keep_root,
            expose_value=False,
            help="The folder that bases and model files must lie in; else the spec's repository.",
        ),
        click.option(
            "--set",
            metavar="NAME=VALUE",
            multiple=True,
            callback=keep_set,
            expose_value=False,
            help="The value of a variable of the spec (see `vars`). Repeatable.",
        ),
    ):
        command = add(command)
    return command


def given() -> dict[str, Any]:
    """What the call says: `variables` and `root`, as `load_spec` takes them."""
    return dict(click.get_current_context().meta.get(_KEY, {}))
