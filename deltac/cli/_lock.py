"""What verbs share that look at the lock beside a spec."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from deltac.cli._model import require_libraries
from deltac.cli._reuse import given
from deltac.diagnostics import DeltacError, Problems

locked_option = click.option(
    "--locked",
    is_flag=True,
    help="Fail unless the lock beside each spec is there, fresh and pinned; nothing is written. For CI.",
)


def lock_of(path: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """The lock that a spec file gives now.

    Raises:
        DeltacError: the problems of the spec; DLT8xx where the model can't be reached.
    """
    require_libraries()
    from deltac.review.lock import make_lock
    from deltac.review.sides import Call, planned_side

    return make_lock(planned_side(path, Call(trust_remote_code=trust_remote_code, **given())))


def check_locked(names: Iterable[str], *, trust_remote_code: bool = False) -> None:
    """Checks the lock of each spec file.

    Raises:
        DeltacError: DLT601 to DLT604, of all files; the problems of a spec.
    """
    from deltac.review.lock import check_lock, lock_path

    problems = Problems()
    for name in names:
        if name == "-":
            message = "the spec on standard input has no lock beside it"
            problems.add("DLT601", message, fix="give the spec's file")
            continue
        try:
            new = lock_of(Path(name), trust_remote_code=trust_remote_code)
        except DeltacError as error:
            problems.extend(error.diagnostics)
            continue
        check_lock(lock_path(Path(name)), new, problems)
    problems.raise_if_any()


def lock_warnings(path: Path, prepared: Any) -> Problems:
    """A warning (DLT605) where the lock beside a spec is not fresh."""
    from deltac.review.lock import lock_path, make_lock, warn_if_behind
    from deltac.review.sides import facts_of

    problems = Problems()
    if lock_path(path).is_file():
        new = make_lock(facts_of(prepared, str(path)))
        warn_if_behind(lock_path(path), new, problems)
    return problems
