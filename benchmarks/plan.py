"""How long `deltac plan` takes on a Llama of 405 B parameters, how much memory, and how both grow with its layers.

Run it as `python benchmarks/plan.py`. Each run is a process of its own; its time is that of the wall, Python's start
included, and its memory the most that it held. Fails above the limits, unless `--no-limits` is given.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

SPEC = """\
version: 1
name: llama-405b
model:
  class: AutoModelForCausalLM
  dtype: bfloat16
  config: {{model_type: llama, hidden_size: 16384, intermediate_size: 53248, num_hidden_layers: {layers},
           num_attention_heads: 128, num_key_value_heads: 8, vocab_size: 128256}}
deltas:
  - operator: lora
    target: {{role: [attention.query, attention.value]}}
    rank: 16
"""
LAYERS = 126
#: Seconds, bytes, and seconds a layer.
MOST_TIME, MOST_MEMORY, MOST_SLOPE = 12.0, 1 << 30, 0.030


def main() -> None:
    """Measures, prints a line per depth, and the slope."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=int, nargs="+", default=[14, 42, 70, 98, LAYERS])
    parser.add_argument("--runs", type=int, default=1, help="runs per depth; the median counts")
    parser.add_argument("--no-limits", action="store_true", help="measure only")
    options = parser.parse_args()
    times, memories = [], []
    for layers in options.depths:
        runs = [measure(layers) for _ in range(options.runs)]
        wall, processor, memory = (statistics.median(each) for each in zip(*runs, strict=True))
        times.append(wall)
        memories.append(memory)
        size = f"{memory / 2**20:6.0f} MiB"
        print(f"{layers:4} layers  {wall:6.2f} s  ({processor:.2f} s of processor)  {size}")
    slope = 0.0
    if len(options.depths) > 1:
        slope, start = statistics.linear_regression(options.depths, times)
        fit = statistics.correlation(options.depths, times)
        print(f"{1000 * slope:.1f} ms a layer, {start:.2f} s without layers; correlation {fit:.4f}")
    over = times[-1] > MOST_TIME or memories[-1] > MOST_MEMORY or slope > MOST_SLOPE
    if over and not options.no_limits:
        sys.exit(
            f"over {MOST_TIME:g} s, {MOST_MEMORY >> 20} MiB or {1000 * MOST_SLOPE:g} ms a layer"
        )


def measure(layers: int) -> tuple[float, float, int]:
    """Seconds of wall clock, seconds of processor time and the most bytes held of one `deltac plan`."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "llama.delta.yaml"
        spec.write_text(SPEC.format(layers=layers), encoding="utf-8")
        start = time.perf_counter()
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "deltac", "plan", str(spec)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        )
        _, status, usage = os.wait4(process, 0)
        seconds = time.perf_counter() - start
    if status:
        sys.exit(f"deltac plan failed on {layers} layers")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
