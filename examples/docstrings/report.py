"""The table and the picture of a comparison."""

from __future__ import annotations

import json
import platform
from collections import Counter
from pathlib import Path

import data
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

NAMES = {
    "frozen": "frozen base + head",
    "lora": "LoRA",
    "adapter": "adapter",
    "bitfit": "BitFit",
    "full": "full fine-tuning",
}


def describe(rows: list[data.Text]) -> str:
    """The data set in one line."""
    parts = Counter(row.part for row in rows)
    modules = Counter(part for part, _ in {(row.part, row.module) for row in rows})
    sides = ", ".join(f"{part} {parts[part]} ({modules[part]} modules)" for part in data.PARTS)
    return f"Python {platform.python_version()}: {len(rows)} texts, {len(data.CLASSES)} families; {sides}"


def table(results: list[dict], part: str = "test") -> str:
    """The results in Markdown."""
    accuracy = f"{part} accuracy, mean (range)"
    lines = [
        f"| method | {accuracy} | trained % of the base | delta bytes | s / step (CPU) | learning rate (head) |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in results:
        spread = (
            f"{row['accuracy']:.3f} ({min(row['accuracies']):.3f} to {max(row['accuracies']):.3f})"
        )
        seconds = f"{row['seconds_per_step']:.3f} ({row['cpu_seconds_per_step']:.3f})"
        lines.append(
            f"| {NAMES[row['method']]} | {spread} | {row['percent']:.3f} | {row['bytes']:,} | "
            f"{seconds} | {row['rate']:g} ({row['head_rate']:g}) |"
        )
    return "\n".join(lines)


def write(
    folder: Path,
    results: list[dict],
    rows: list[data.Text],
    steps: int,
    batch: int,
    seeds: list[int],
) -> None:
    """Writes results.md, results.json and results.png."""
    head = f"{describe(rows)}\n\n{steps} steps of {batch} texts by each method, seeds {', '.join(map(str, seeds))}.\n\n"
    (folder / "results.md").write_text(head + table(results) + "\n", encoding="utf-8")
    split = {part: sorted({row.module for row in rows if row.part == part}) for part in data.PARTS}
    content = {"steps": steps, "batch": batch, "seeds": seeds, "methods": results, "modules": split}
    (folder / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draw(results, folder / "results.png")


def draw(results: list[dict], file: Path) -> None:
    """Accuracy against the delta's size. The frozen base has no delta: it is a line."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for row in results:
        lowest, highest = min(row["accuracies"]), max(row["accuracies"])
        if row["delta"]:
            spread = [[row["accuracy"] - lowest], [highest - row["accuracy"]]]
            point = (row["delta"], row["accuracy"])
            axes.errorbar(*point, spread, fmt="o", capsize=4, color="C0")
            place = {"xytext": (8, 4), "textcoords": "offset points"}
            axes.annotate(NAMES[row["method"]], point, **place)
        else:
            axes.axhspan(lowest, highest, color="C1", alpha=0.2)
            axes.axhline(row["accuracy"], color="C1", label=NAMES[row["method"]])
            axes.legend(loc="lower right", frameon=False)
    axes.set_xscale("log")
    axes.set_xlim(1e4, 2e8)
    axes.set_xlabel("parameters in the delta (the head apart)")
    axes.set_ylabel("test accuracy: mean, range over seeds")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=100)
    plt.close(figure)
