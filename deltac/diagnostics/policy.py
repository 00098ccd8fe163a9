"""Which warnings count, and what the process exits with. Errors always count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from deltac.diagnostics.catalogue import CODES, Code
from deltac.diagnostics.diagnostic import Diagnostic
from deltac.diagnostics.error import DeltacError
from deltac.diagnostics.nearest import did_you_mean


@dataclass(frozen=True)
class Policy:
    """What a call makes of warnings.

    Attributes:
        select: the codes of the warnings to report; None reports all.
        ignore: the codes of warnings not to report.
        warn_as_error: whether the warnings that are reported fail the call.
        exit_zero: whether a spec at fault leaves the exit code 0.
    """

    select: frozenset[str] | None = None
    ignore: frozenset[str] = frozenset()
    warn_as_error: bool = False
    exit_zero: bool = False

    def apply(self, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
        """The diagnostics to report, in their order."""
        kept = [each for each in diagnostics if each.severity == "error" or self._reports(each)]
        if not self.warn_as_error:
            return kept
        return [replace(each, as_error=each.entry.severity == "warning") for each in kept]

    def exit_code(self, diagnostics: Iterable[Diagnostic]) -> int:
        """The exit code of a call that reports these diagnostics."""
        codes = (each.entry.exit for each in diagnostics if each.severity == "error")
        worst = max(codes, default=0)
        return 0 if self.exit_zero and worst == 1 else worst

    def _reports(self, warning: Diagnostic) -> bool:
        selected = self.select is None or warning.code in self.select
        return selected and warning.code not in self.ignore


def find_code(word: str) -> Code:
    """The catalogue's entry of a code, as `DLT206` or by its name, `runs-several-times`.

    Raises:
        DeltacError: DLT835.
    """
    for entry in CODES.values():
        if word.strip().lower() in (entry.code.lower(), entry.name):
            return entry
    close = did_you_mean(word.strip().lower(), [each.name for each in CODES.values()])
    fix = close or f"codes go from {min(CODES)} to {max(CODES)}: `deltac explain --all` lists them"
    raise DeltacError.of("DLT835", f"there is no code '{word.strip()[:80]}'", fix=fix)


def find_warning(word: str) -> Code:
    """As `find_code`, for a warning.

    Raises:
        DeltacError: DLT835 (no such code), DLT841 (an error).
    """
    entry = find_code(word)
    if entry.severity == "error":
        message = f"{entry.code} {entry.name} is an error: only warnings can be ignored"
        raise DeltacError.of("DLT841", message, fix=f"mend it: `deltac explain {entry.code}`")
    return entry
