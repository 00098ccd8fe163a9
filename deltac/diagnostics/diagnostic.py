"""One problem: its code, what was found, where, and the way out."""

from __future__ import annotations

from dataclasses import dataclass

from deltac.diagnostics.catalogue import CODES, Code
from deltac.diagnostics.span import Span


@dataclass(frozen=True)
class Diagnostic:
    """A problem in a spec, a call or deltac itself.

    Attributes:
        code: its stable code, such as `DLT101`; the catalogue holds the name and the severity.
        message: one sentence: what was found, then what is allowed.
        span: where, if the problem lies in a source.
        notes: further facts, one sentence each.
        fix: what to do or to write instead.
        as_error: whether the caller wants this warning to count as an error.
    """

    code: str
    message: str
    span: Span | None = None
    notes: tuple[str, ...] = ()
    fix: str | None = None
    as_error: bool = False

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise KeyError(f"{self.code} is not in deltac/diagnostics/catalogue")
        told = self.span.notes if self.span else ()
        notes = dict.fromkeys((*self.notes, *told))  # each once, also when copied
        object.__setattr__(self, "notes", tuple(notes))

    def __str__(self) -> str:
        from deltac.diagnostics.concise import render  # which renders diagnostics

        return render([self])

    @property
    def entry(self) -> Code:
        """What the catalogue says about the code."""
        return CODES[self.code]

    @property
    def name(self) -> str:
        """The code's name in words, such as `unknown-key`."""
        return self.entry.name

    @property
    def severity(self) -> str:
        """`error` or `warning`."""
        return "error" if self.as_error else self.entry.severity

    @property
    def sort_key(self) -> tuple:
        """Orders by file, then by place; problems without a place come first."""
        if self.span is None:
            return ("", 0, 0, self.code, self.message)
        start, end = self.span.start.offset, self.span.end.offset
        return (self.span.source.name, start, end, self.code, self.message)
