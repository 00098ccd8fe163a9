"""How long `deltac validate` takes: one file, 200 files, and a result that is kept. Prints medians.

Run it as `python benchmarks/validate.py`; needs nothing but deltac. Each run is a process of its own, as in CI.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = """\
version: 1
name: spec-{number}
description: A spec of usual length.
{model}
deltas:
  - name: attention
    operator: lora
    target: {{module: [q_proj, v_proj], layers: 0-1}}
    rank: 8
    alpha: 16
  - name: norms
    operator: tune
    target: {{class: LlamaRMSNorm}}
seed: {number}
"""
#: Not in the hub's cache: the schema is all that can be checked.
FAR = "model: {source: nobody/nothing, class: AutoModelForCausalLM}"
HERE = """\
model:
  class: AutoModelForCausalLM
  config: {model_type: llama, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4}"""


def main() -> None:
    """Measures and prints a line per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="runs per case")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "one", 1, FAR)
        write(folder / "many", 200, FAR)
        write(folder / "model", 1, HERE)
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        cases = [
            ("schema, 1 file", ["one"], runs),
            ("schema, 200 files", ["many"], runs),
            ("schema and model, 1 file, nothing kept", ["model", "--no-cache"], min(runs, 3)),
            ("schema and model, 1 file, kept", ["model"], runs),
        ]
        run(["model"], folder, environment)
        for title, arguments, count in cases:
            times = [run(arguments, folder, environment) for _ in range(count)]
            median, worst = statistics.median(times), max(times)
            print(f"{title:<40} median {median:6.2f} s   worst {worst:6.2f} s   of {count}")


def write(folder: Path, number: int, model: str) -> None:
    """Writes specs that differ in name and seed."""
    folder.mkdir()
    for at in range(number):
        text = SPEC.format(number=at, model=model)
        (folder / f"spec-{at}.delta.yaml").write_text(text, encoding="utf-8")


def run(arguments: list[str], folder: Path, environment: dict[str, str]) -> float:
    """The seconds that one call takes."""
    command = [sys.executable, "-m", "deltac", "validate", *arguments]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
