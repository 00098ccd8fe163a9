"""What a plan says to people: the same facts as plain data and as lines of text."""

from __future__ import annotations

from typing import Any

from deltac.model.fold import fold, ranges, unfold
from deltac.planning.plan import Plan, trained_by


def report(plan: Plan) -> dict[str, Any]:
    """The plan as plain values: base, deltas with sites per entry and per stack of blocks, heads, counts."""
    spec, counts = plan.spec, plan.counts
    deltas = []
    for delta in spec.deltas:
        own = [placement for placement in plan.placements if placement.delta is delta]
        matched = plan.matched[delta.name]
        deltas.append(
            {
                "name": delta.name,
                "operator": delta.operator,
                "entries": matched.entries,
                "sites": fold(matched.sites),
                "site_count": len(matched.sites),
                "blocks": {stack: _per_block(counts) for stack, counts in matched.blocks.items()},
                "missing": {
                    stack: none
                    for stack, counts in matched.blocks.items()
                    if (none := _missing(_per_block(counts), plan.graph.stacks[stack]))
                },
                "parameters": trained_by(own),
            }
        )
    return {
        "name": spec.name,
        "class": plan.graph.class_name,
        "source": spec.model.source if spec.model else None,
        "stacks": dict(plan.graph.stacks),
        "deltas": deltas,
        "heads": {
            "names": fold(head.name for head in plan.heads),
            "fresh": fold(h.name for h in plan.heads if h.fresh),
        },
        "counts": {
            "base": counts.base,
            "delta": counts.delta,
            "added": counts.added,
            "tuned_in_place": counts.tuned,
            "factors": counts.factors,
            "fixed": counts.fixed,
            "heads": counts.heads,
            "delta_bytes": counts.bytes,
            "percent_of_base": 100 * counts.of_base,
            "percent_of_base_and_added": 100 * counts.of_total,
        },
    }


def as_text(data: dict[str, Any]) -> str:
    """The report for a terminal."""
    counts = data["counts"]
    lines = [
        f"{data['name']}: {data['class']}" + (f" from {data['source']}" if data["source"] else ""),
        "",
    ]
    for delta in data["deltas"]:
        lines.append(
            f"{delta['name']}: {delta['operator']}, {_plural(delta['site_count'], 'site')}, "
            f"{delta['parameters']:,} parameters"
        )
        width = max((len(entry) for entry in delta["entries"]), default=0)
        lines += [
            f"  {entry:<{width}}  {number} selected" for entry, number in delta["entries"].items()
        ]
        for stack, rows in delta["blocks"].items():
            missing = delta["missing"].get(stack)
            where = ", ".join(f"{row['sites']} in each of {row['blocks']}" for row in rows)
            lines.append(f"  {stack}: {where}" + (f"; none in {missing}" if missing else ""))
        lines += [f"    {site}" for site in delta["sites"]]
    heads = data["heads"]
    if data["deltas"]:
        lines.append("")
    trainable = counts["delta"] + counts["heads"]
    lines.append(
        f"trainable  {trainable:,}: {counts['delta']:,} in the delta, {counts['heads']:,} in heads"
    )
    lines.append(
        f"delta      {counts['percent_of_base']:.4f}% of the base's {counts['base']:,}, "
        f"{counts['percent_of_base_and_added']:.4f}% of base and added; {counts['delta_bytes']:,} bytes"
    )
    if heads["names"]:
        fresh = (
            "not in the base checkpoint"
            if heads["fresh"] == heads["names"]
            else f"new: {', '.join(heads['fresh']) or 'none'}"
        )
        lines.append(f"heads      {', '.join(heads['names'])} ({fresh})")
    return "\n".join(lines)


def as_markdown(data: dict[str, Any]) -> str:
    """The report for a pull-request comment."""
    counts = data["counts"]
    lines = [
        f"### {data['name']}: {data['class']}",
        "",
        "| delta | operator | sites | blocks | parameters |",
        "|---|---|---|---|---|",
    ]
    for delta in data["deltas"]:
        blocks = "; ".join(
            f"`{stack}` " + ", ".join(row["blocks"] for row in rows)
            for stack, rows in delta["blocks"].items()
        )
        sites = "<br>".join(f"`{site}`" for site in delta["sites"])
        lines.append(
            f"| {delta['name']} | {delta['operator']} | {delta['site_count']}: {sites} | {blocks} "
            f"| {delta['parameters']:,} |"
        )
    lines += [
        "",
        (
            f"Delta: {counts['delta']:,} parameters, {counts['percent_of_base_and_added']:.4f}% of base and added, "
            f"{counts['delta_bytes']:,} bytes. Heads: {counts['heads']:,}."
        ),
    ]
    return "\n".join(lines)


def _per_block(counts: dict[int, int]) -> list[dict[str, Any]]:
    """Blocks with equally many sites in one row."""
    groups: dict[int, list[int]] = {}
    for block, number in counts.items():
        groups.setdefault(number, []).append(block)
    return [{"blocks": ranges(blocks), "sites": number} for number, blocks in groups.items()]


def _missing(rows: list[dict[str, Any]], count: int) -> str:
    covered = {int(path) for row in rows for path in unfold("{" + row["blocks"] + "}")}
    return ranges(block for block in range(count) if block not in covered)


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
