"""What changed or broke, spec by spec, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Collection

from deltac.review.changes import Change
from deltac.review.difference import CLASSES
from deltac.review.render import cell, cut, diff_markdown, diff_text, sentence


def changes_text(changes: Collection[Change], against: str) -> str:
    """What changed, for a terminal: the differences of each spec that is not as it was."""
    parts = [
        diff_text(change.found) if change.found else f"{change.path}: {_state(change)}"
        for change in changed(changes)
    ]
    return "\n\n".join([*parts, _total(changes, against)])


def changes_markdown(changes: Collection[Change], against: str) -> str:
    """The same for a pull-request comment."""
    parts = [_total(changes, f"`{against}`")]
    for change in changed(changes):
        own = f"### `{change.path}`: {cell(_state(change))}"
        parts.append(diff_markdown(change.found) if change.found else own)
    return "\n\n".join(parts)


def breaking_text(changes: Collection[Change], against: str, fail_on: Collection[str]) -> str:
    """For a terminal: one line for each difference, by class."""
    lines: list[str] = []
    for change in changes:
        lines += [f"{change.path}: {_state(change)}"]
        for classes, text, sites in _rows(change):
            lines.append(f"  {' '.join(classes):<16}  {text}")
            lines += [f"{'':<20}{site}" for site in sites]
    return "\n".join([*lines, _verdict(changes, against, fail_on)])


def breaking_markdown(changes: Collection[Change], against: str, fail_on: Collection[str]) -> str:
    """For a pull-request comment."""
    lines = [_verdict(changes, f"`{against}`", fail_on), ""]
    for change in changes:
        rows = _rows(change)
        lines += [f"### `{change.path}`: {cell(_state(change))}", ""]
        if rows:
            lines += ["| class | change |", "|---|---|"]
            lines += [
                f"| {', '.join(classes)} | {cell(text)}{''.join(f'<br>`{site}`' for site in sites)} |"
                for classes, text, sites in rows
            ]
            lines.append("")
    return "\n".join(lines).rstrip("\n")


def hit(change: Change, fail_on: Collection[str]) -> bool:
    """Whether a change hits one of the classes."""
    return not change.classes.isdisjoint(fail_on)


def changed(changes: Collection[Change]) -> list[Change]:
    """The changes with something to show."""
    return [
        each
        for each in changes
        if (each.found.differences if each.found else each.state != "unchanged")
    ]


def _total(changes: Collection[Change], against: str) -> str:
    number = len(changed(changes))
    return f"{_specs(changes)} compared with {against}: {number or 'none'} changed"


def _specs(changes: Collection[Change]) -> str:
    return f"{len(changes)} spec{'s' * (len(changes) != 1)}"


def _rows(change: Change) -> list[tuple[list[str], str, list[str]]]:
    """Classes, sentence and sites of each difference, the gravest first."""
    if change.found is None:
        return []
    rows = []
    for row in change.found.differences:
        classes = [name for name in CLASSES if name in row.classes]
        rows.append((classes, f"{row.subject}: {row.sign} {sentence(row)}", cut(row.sites)))
    return sorted(rows, key=lambda row: [CLASSES.index(name) for name in row[0]])


def _state(change: Change) -> str:
    found = change.found
    if change.state == "unchanged":
        return "nothing changed"
    if found is None:
        classes = (
            [] if change.state == "new" else [name for name in CLASSES if name in change.classes]
        )
        words = f" ({' '.join(classes)})" if classes else ""
        return f"{change.state}{words}" + (f", {change.note}" if change.note else "")
    words = [change.note] if change.note else []
    if found.level == "text":
        words.append(f"compared as text only: {found.why}")
    words.append("changed" if found.differences else "nothing changed")
    return "; ".join(words)


def _verdict(changes: Collection[Change], against: str, fail_on: Collection[str]) -> str:
    broken = [change for change in changes if hit(change, fail_on)]
    number = _specs(changes)
    wanted = ", ".join(name for name in CLASSES if name in fail_on)
    if not broken:
        return f"{number} compared with {against}: none breaks {wanted}"
    found = {name for change in broken for name in change.classes if name in fail_on}
    classes = ", ".join(name for name in CLASSES if name in found)
    return f"{number} compared with {against}: {len(broken)} {'break' if len(broken) > 1 else 'breaks'} {classes}"
