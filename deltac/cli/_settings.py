"""What the project's settings say for a call that does not say it itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from deltac.cli._output import Output
from deltac.diagnostics.policy import find_code, find_warning
from deltac.spec.settings import Settings, find_settings


def apply_settings(output: Output) -> Settings | None:
    """The settings of the working folder; `select` and `ignore` hold where the call has none.

    Raises:
        DeltacError: DLT835, DLT841 (codes), DLT871 to DLT874 (the settings' file).
    """
    settings = find_settings(Path())
    if settings is None:
        return None
    policy = output.policy
    if policy.select is None and settings.select is not None:
        policy = replace(policy, select=frozenset(find_code(each).code for each in settings.select))
    if not policy.ignore:
        policy = replace(
            policy, ignore=frozenset(find_warning(each).code for each in settings.ignore)
        )
    output.policy = policy
    return settings


def paths_or_settings(paths: tuple[str, ...], settings: Settings | None) -> tuple[str, ...]:
    """The paths of a call; without any, the settings' `specs`.

    Raises:
        click.UsageError: there are neither.
    """
    found = paths or _specs(settings)
    if not found:
        message = (
            "Missing argument 'PATHS...': name specs, or set `specs` in the project's settings"
        )
        raise click.UsageError(message, click.get_current_context())
    return found


def specs_here(paths: tuple[str, ...], settings: Settings | None) -> tuple[str, ...]:
    """The paths of a call; without any, the settings' `specs`; without those, the working folder."""
    return paths or _specs(settings) or (".",)


def _specs(settings: Settings | None) -> tuple[str, ...]:
    if settings is None:
        return ()
    here = Path.cwd()
    found = [settings.folder / each for each in settings.specs]
    return tuple(
        str(each.relative_to(here) if each.is_relative_to(here) else each) for each in found
    )
