"""A comparison for people: as text for a terminal and as Markdown for a pull-request comment."""

from __future__ import annotations

from typing import Any

from deltac.review.compare import Comparison
from deltac.review.difference import Difference

_MOST_LINES = 12


def diff_text(found: Comparison) -> str:
    """All differences, by what they belong to."""
    lines = [f"{found.before.label} -> {found.after.label}"]
    lines += [f"compared as text only: {found.why}"] if found.level == "text" else []
    if not found.differences:
        return "\n".join([*lines, "no differences"])
    for subject, rows in by_subject(found.differences).items():
        lines += ["", subject]
        for row in rows:
            lines.append(f"  {row.sign} {sentence(row)}")
            lines += [f"      {site}" for site in cut(row.sites)]
    if found.counts:
        lines += ["", "counts"]
        width = max(len(name) for name, _, _ in found.counts)
        lines += [
            f"    {name:<{width}}  {was:,} -> {now:,} ({now - was:+,})"
            for name, was, now in found.counts
        ]
    return "\n".join(lines)


def diff_markdown(found: Comparison) -> str:
    """The same for a pull-request comment."""
    lines = [f"### `{found.before.label}` → `{found.after.label}`", ""]
    if found.level == "text":
        lines += [f"Compared as text only: {cell(found.why)}.", ""]
    if not found.differences:
        return "\n".join([*lines, "No differences."])
    lines += ["| | what | before | after | class |", "|---|---|---|---|---|"]
    for row in found.differences:
        sites = "".join(f"<br>`{site}`" for site in cut(row.sites))
        values = " | ".join(
            "" if each is None else cell(str(shown(each))) for each in (row.before, row.after)
        )
        classes = ", ".join(row.classes)
        lines.append(f"| {cell(row.subject)} | {cell(row.what)}{sites} | {values} | {classes} |")
    if found.counts:
        lines += ["", "| count | before | after | change |", "|---|---:|---:|---:|"]
        lines += [f"| {n} | {was:,} | {now:,} | {now - was:+,} |" for n, was, now in found.counts]
    return "\n".join(lines)


def by_subject(rows: tuple[Difference, ...]) -> dict[str, list[Difference]]:
    """The differences by subject, in the order of their first appearance."""
    found: dict[str, list[Difference]] = {}
    for row in rows:
        found.setdefault(row.subject, []).append(row)
    return found


def sentence(row: Difference) -> str:
    """One difference on one line: `alpha: 8 -> 16`."""
    if row.before is None or row.after is None:
        value = row.after if row.before is None else row.before
        return f"{row.what}: {shown(value)}"
    return f"{row.what}: {shown(row.before)} -> {shown(row.after)}"


def shown(value: Any) -> Any:
    """A value as a spec would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def cut(sites: tuple[str, ...]) -> list[str]:
    """The first lines, and how many follow."""
    more = len(sites) - _MOST_LINES
    return [*sites[:_MOST_LINES], f"and {more} more lines"] if more > 0 else list(sites)


def cell(text: str) -> str:
    """A text in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
