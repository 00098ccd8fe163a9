"""A place where an operator can't act, before it becomes one diagnostic for all places alike."""

from __future__ import annotations


class RefusedError(Exception):
    """Why an operator can't act at one place.

    Attributes:
        code: the diagnostic's code.
        fix: what to do instead, if anything is to be said.
    """

    def __init__(self, code: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.fix = fix
