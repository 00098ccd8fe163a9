"""What a plan says to people: the same facts as plain data and as lines of text."""

from __future__ import annotations

from typing import Any

from deltac.model.fold import fold, ranges
from deltac.planning.coverage import Coverage, coverages, spaced
from deltac.planning.plan import Placement, Plan, trained_by
from deltac.spec import Spec


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
                "layers": [_layers(each) for each in coverages(plan.graph, matched.blocks)],
                "uneven": {
                    entry: rows
                    for entry, layers in matched.layers.items()
                    if (rows := [_layers(c) for c in coverages(plan.graph, layers) if c.missing])
                },
                "runs_again": _runs_again(plan, own),
                "parameters": trained_by(own),
            }
        )
    return {
        "name": spec.name,
        "class": plan.graph.class_name,
        "source": spec.model.source if spec.model else None,
        "quantization": _quantized(spec),
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
        f"{data['name']}: {data['class']}"
        + (f" from {data['source']}" if data["source"] else "")
        + (f", {data['quantization']}" if data["quantization"] else ""),
        "",
    ]
    for delta in data["deltas"]:
        lines.append(
            f"{delta['name']}: {delta['operator']}, {_plural(delta['site_count'], 'site')}, "
            f"{delta['parameters']:,} parameters"
        )
        width = max((len(entry) for entry in delta["entries"]), default=0)
        for entry, number in delta["entries"].items():
            rows = delta["uneven"].get(entry, ())
            where = "".join(f", in {_covered(row, row['stack'])}" for row in rows)
            lines.append(f"  {entry:<{width}}  {number} selected{where}")
        lines += [f"  {row['stack']}: {_covered(row, sites=True)}" for row in delta["layers"]]
        lines += [
            f"  runs {calls} times in a forward pass: {', '.join(paths)}"
            for calls, paths in delta["runs_again"].items()
        ]
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
        "| delta | operator | sites | layers | parameters |",
        "|---|---|---|---|---|",
    ]
    for delta in data["deltas"]:
        layers = "; ".join(f"`{row['stack']}` {_covered(row)}" for row in delta["layers"])
        sites = "<br>".join(f"`{site}`" for site in delta["sites"])
        lines.append(
            f"| {delta['name']} | {delta['operator']} | {delta['site_count']}: {sites} | {layers} "
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


def _quantized(spec: Spec) -> str | None:
    """How the base will be quantized, such as `quantized to 4 bits (nf4) by bitsandbytes`; None where it isn't."""
    how = spec.model.quantization if spec.model else None
    return how and f"quantized to {how.bits} bits ({how.type}) by {how.method}"


def _layers(coverage: Coverage) -> dict[str, Any]:
    """The coverage of a stack as plain values; layers with equally many sites in one row."""
    groups: dict[int, list[int]] = {}
    for layer, number in coverage.sites.items():
        groups.setdefault(number, []).append(layer)
    return {
        "stack": coverage.stack,
        "with_sites": len(coverage.sites),
        "of": coverage.layers,
        "missing": coverage.missing,
        "sites": [{"layers": ranges(found), "sites": n} for n, found in groups.items()],
    }


def _covered(row: dict[str, Any], stack: str = "", *, sites: bool = False) -> str:
    """Such as `25 of 30 layers, 2 sites in each; missing 5, 11`."""
    told = f"{row['with_sites']} of {_plural(row['of'], 'layer')}" + (
        f" of {stack}" if stack else ""
    )
    if sites and len(row["sites"]) == 1:
        told += f", {_plural(row['sites'][0]['sites'], 'site')} in each"
    elif sites:
        for one in row["sites"]:
            each = "" if one["layers"].isdigit() else "each of "
            told += f", {_plural(one['sites'], 'site')} in {each}{one['layers']}"
    return told + (f"; missing {spaced(row['missing'])}" if row["missing"] else "")


def _runs_again(plan: Plan, placements: list[Placement]) -> dict[int, list[str]]:
    """How often a forward pass runs a module → the modules with sites that it runs more than once."""
    found: dict[int, dict[str, None]] = {}
    for placement in placements:
        calls = len(plan.graph.modules[placement.site.module].calls)
        if calls > 1:
            found.setdefault(calls, {})[placement.site.module] = None
    return {calls: fold(paths) for calls, paths in found.items()}


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
