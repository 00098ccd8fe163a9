"""Trains the same encoder by five methods to tell where a docstring comes from, and compares them.

python train.py --output build/docstrings
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import report
import torch
from predict import THREADS, encode, logits, read, tokenizer_of
from runs import BATCH, RATES, Runs, Watch, compile_method, train
from safetensors.torch import load_file
from tqdm import tqdm

PREDICT = Path(__file__).parent / "predict.py"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help=f"of {BATCH} texts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument(
        "--rates",
        type=pair,
        nargs="+",
        metavar="DELTA,HEAD",
        help="try these learning rates on the dev part, and write nothing",
    )
    parser.add_argument("--output", type=Path, default=Path("build/docstrings"))
    parser.add_argument("--small", action="store_true", help="one seed, 40 steps, two methods")
    args = parser.parse_args()
    if args.small:
        args.steps, args.seeds, args.methods = 40, [0], ["frozen", "lora"]
    return args


def pair(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    rate, head_rate = map(float, text.split(","))
    return rate, head_rate


def reloads_equal(folder: Path, expected: torch.Tensor) -> bool:
    """Whether a fresh process that loads the artifact finds the same logits, bit for bit."""
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "logits.safetensors"
        subprocess.run([sys.executable, PREDICT, folder, "--output", output], check=True)
        return torch.equal(load_file(output)["logits"], expected)


def main() -> int:
    """Runs the comparison, or tries learning rates."""
    args = arguments()
    torch.set_num_threads(THREADS)
    tokenizer = tokenizer_of(compile_method("frozen", 0).model)
    rows = read(tokenizer)
    print(report.describe(rows), flush=True)
    part = "dev" if args.rates else "test"
    examples = encode([row for row in rows if row.part == "train"], tokenizer)
    held_out = encode([row for row in rows if row.part == part], tokenizer)
    labels = torch.tensor([example["label"] for example in held_out])

    methods = [Runs(name, rates) for name in args.methods for rates in args.rates or [RATES[name]]]
    expected = None
    # The bar is silent where there is no terminal. The methods take turns, so that a slow spell of the
    # machine hits them all.
    with tqdm(total=len(args.seeds) * len(methods) * args.steps, unit="step", disable=None) as bar:
        for seed in args.seeds:
            for runs in methods:
                bar.set_description(f"{runs.method}, seed {seed}")
                compiled = compile_method(runs.method, seed)
                watch = Watch(bar, runs.seconds)
                train(compiled, runs.rates, seed, args.steps, examples, tokenizer, watch)
                found = logits(compiled.model, held_out, tokenizer)
                runs.accuracies.append((found.argmax(1) == labels).float().mean().item())
                runs.counts = compiled.manifest["counts"]
                if runs.method == "lora" and not args.rates:
                    compiled.save(args.output / "lora", overwrite=True)
                    expected = found

    results = [runs.row() for runs in methods]
    print(report.table(results, part), flush=True)
    if args.rates:
        return 0
    args.output.mkdir(parents=True, exist_ok=True)
    report.write(args.output, results, rows, args.steps, args.seeds)
    if expected is None:
        return 0
    print("\nThe last LoRA artifact, reloaded by predict.py in a fresh process:", flush=True)
    equal = reloads_equal(args.output / "lora", expected)
    print("logits equal, bit for bit" if equal else "logits DIFFER")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
