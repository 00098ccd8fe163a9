"""Comments that silence a warning on their line: `# deltac: ignore[DLT206] the embedding is shared on purpose`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml

from deltac.diagnostics import CODES, DeltacError, Diagnostic, Problems, Source, Span
from deltac.diagnostics.policy import find_code
from deltac.spec.yaml import Document

#: First digits of the codes that show without a model, and of those that show with one.
WITHOUT_MODEL, WITH_MODEL = "01", "23456"

_COMMENT = re.compile(r"(?<![^\s])#[^\r\n]*?\bdeltac:[ \t]*ignore\b([^\r\n]*)")
_FORM = re.compile(r"\[([^\]]*)\](.*)")


@dataclass(frozen=True)
class Ignore:
    """One code that a comment silences.

    Attributes:
        code: of a warning.
        line: the line whose warnings it silences.
        span: the code in the comment.
    """

    code: str
    line: int
    span: Span

    @property
    def key(self) -> tuple[str, int, str]:
        """File, line and code."""
        return self.span.source.name, self.line, self.code


def check_ignores(document: Document) -> Problems:
    """The faults of the comments themselves: DLT151 (form), DLT152 (no such code), DLT153 (an error)."""
    problems = Problems()
    list(_read(document, problems))
    return problems


def silence(
    document: Document, found: Iterable[Diagnostic], families: str, *, complete: bool = True
) -> list[Diagnostic]:
    """The diagnostics without those that a comment silences.

    Args:
        document: what the comments stand in.
        found: errors and warnings.
        families: the first digits of the codes that were looked for.
        complete: whether all was looked at: then a comment that silences nothing is a DLT154.
    """
    ignores = [each for each in _read(document, Problems()) if each.code[3] in families]
    used: set[tuple[str, int, str]] = set()
    kept: list[Diagnostic] = []
    wanted = {one.key for one in ignores}
    for each in found:
        key = (each.span.source.name, each.span.start.line, each.code) if each.span else None
        if each.severity == "warning" and key in wanted:
            used.add(key)
        else:
            kept.append(each)
    if complete:
        for one in ignores:
            if one.key not in used:
                message = f"line {one.line} raises no {one.code} {CODES[one.code].name}"
                kept.append(Diagnostic("DLT154", message, one.span, fix="remove it"))
    return kept


def _read(document: Document, problems: Problems) -> Iterator[Ignore]:
    """What the comments of a spec's files silence; the faults of comments are added to the problems."""
    for source in {document.source.name: document.source, **document.files}.values():
        if "deltac:" in source.text:
            yield from _read_one(source, problems)


def _read_one(source: Source, problems: Problems) -> Iterator[Ignore]:
    texts = _texts(source.text)
    for match in _COMMENT.finditer(source.text):
        if any(start <= match.start() < end for start, end in texts):
            continue  # it only looks like a comment
        where = source.span(match.start(), match.end())
        form = _FORM.fullmatch(match[1])
        if form is None or not form[1].strip():
            message = "found no codes, expected `# deltac: ignore[CODE] reason`"
            problems.add("DLT151", message, where, fix="name the codes of the warnings")
        elif not form[2].strip():
            message = "found no reason, expected `# deltac: ignore[CODE] reason`"
            problems.add("DLT151", message, where, fix="say after the bracket why it is no fault")
        else:
            line = _line(source, match.start())
            yield from _codes(source, form[1], match.start(1) + 1, line, problems)


def _codes(
    source: Source, listed: str, offset: int, line: int, problems: Problems
) -> Iterator[Ignore]:
    for word in re.finditer(r"[^\s,][^,]*", listed):
        span = source.span(offset + word.start(), offset + len(listed[: word.end()].rstrip()))
        try:
            entry = find_code(word[0])
        except DeltacError as error:
            fault = error.diagnostics[0]
            problems.add("DLT152", fault.message, span, fix=fault.fix)
            continue
        if entry.severity == "error":
            message = f"{entry.code} {entry.name} is an error: only warnings can be ignored"
            problems.add("DLT153", message, span, fix="mend the error; remove the comment")
        else:
            yield Ignore(entry.code, line, span)


def _texts(text: str) -> list[tuple[int, int]]:
    """Start and end of each value that is quoted or a block: a `#` in it begins no comment."""
    found = []
    with contextlib.suppress(yaml.YAMLError):  # what follows a slip was not read
        for token in yaml.scan(text, Loader=yaml.CSafeLoader):
            if isinstance(token, yaml.ScalarToken) and not token.plain:
                found.append((token.start_mark.index, token.end_mark.index))
    return found


def _line(source: Source, offset: int) -> int:
    """The line that a comment speaks of: its own, or the next that is more than a comment."""
    number = source.position(offset).line
    last = source.position(len(source.text)).line
    while number < last and re.fullmatch(r"\s*(#.*)?", source.line(number)):
        number += 1
    return number
