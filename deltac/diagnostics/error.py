"""The one exception of deltac, and the collector that leads to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from deltac.diagnostics.diagnostic import Diagnostic
from deltac.diagnostics.full import render
from deltac.diagnostics.span import Span


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The diagnostics sorted by place, each once."""
    return tuple(sorted(dict.fromkeys(diagnostics), key=lambda each: each.sort_key))


class DeltacError(Exception):
    """All problems that one step of deltac found. `str()` renders them in full.

    Attributes:
        diagnostics: the problems, sorted by place, each once.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = in_order(diagnostics)
        # Exceptions are pickled as class and args, so args must be what __init__ takes.
        super().__init__(self.diagnostics)

    @classmethod
    def of(
        cls,
        code: str,
        message: str,
        span: Span | None = None,
        notes: Iterable[str] = (),
        fix: str | None = None,
    ) -> DeltacError:
        """The error of a single problem."""
        return cls([Diagnostic(code, message, span, tuple(notes), fix)])

    def __str__(self) -> str:
        return render(self.diagnostics)

    @property
    def exit_code(self) -> int:
        """The process's exit code: 1 the spec, 2 the call or the environment, 3 deltac itself."""
        return max((each.entry.exit for each in self.diagnostics), default=1)


class DeltacWarning(UserWarning):
    """What `deltac.compile` and `Compiled.merge` warn of; the message begins with the place and the code."""


class Problems:
    """Collects diagnostics, so that one run reports them all."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []

    def add(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        notes: Iterable[str] = (),
        fix: str | None = None,
    ) -> None:
        """Adds one problem."""
        self._found.append(Diagnostic(code, message, span, tuple(notes), fix))

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Adds problems that another step found."""
        self._found.extend(diagnostics)

    def raise_if_any(self) -> None:
        """Raises a `DeltacError` with everything of severity `error`, if there is any."""
        if any(each.severity == "error" for each in self._found):
            raise DeltacError(self._found)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(in_order(self._found))

    def __len__(self) -> int:
        return len(in_order(self._found))

    def __bool__(self) -> bool:
        return bool(self._found)
