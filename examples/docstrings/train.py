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
from predict import encode, logits, read, tokenizer_of
from runs import RATES, Runs, Watch, compile_method, train
from safetensors.torch import load_file
from tqdm import tqdm

PREDICT = Path(__file__).parent / "predict.py"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=32, help="texts a step")
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
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument(
        "--small",
        action="store_true",
        help="two methods, one seed, small batches, a third of the test",
    )
    args = parser.parse_args()
    args.every = 1
    if args.small:
        args.steps, args.batch, args.every = 60, 16, 3
        args.seeds, args.methods = [0], ["frozen", "lora"]
    return args


def pair(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    rate, head_rate = map(float, text.split(","))
    return rate, head_rate


def reloads_equal(args: argparse.Namespace, expected: torch.Tensor) -> bool:
    """Whether a fresh process that loads LoRA's artifact finds the same logits, bit for bit."""
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "logits.safetensors"
        command = [sys.executable, PREDICT, args.output / "lora", "--output", output]
        options = ["--every", str(args.every), "--threads", str(args.threads)]
        subprocess.run([*command, *options], check=True)
        return torch.equal(load_file(output)["logits"], expected)


def main() -> int:
    """Runs the comparison, or tries learning rates."""
    args = arguments()
    torch.set_num_threads(args.threads)
    tokenizer = tokenizer_of(compile_method("frozen", 0).model)
    rows = read(tokenizer)
    print(report.describe(rows), flush=True)
    part = "dev" if args.rates else "test"
    examples = encode([row for row in rows if row.part == "train"], tokenizer)
    held_out = encode([row for row in rows if row.part == part][:: args.every], tokenizer)
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
                watch = Watch(bar, runs)
                train(
                    compiled, runs.rates, seed, args.steps, args.batch, examples, tokenizer, watch
                )
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
    report.write(args.output, results, rows, args.steps, args.batch, args.seeds)
    if expected is None:
        return 0
    print("\nThe last LoRA artifact, reloaded by predict.py in a fresh process:", flush=True)
    equal = reloads_equal(args, expected)
    print("logits equal, bit for bit" if equal else "logits DIFFER")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
