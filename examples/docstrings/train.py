"""Trains the same encoder by five methods to tell where a docstring comes from, and compares them.

python train.py --output build/docstrings
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import report
import torch
import yaml
from predict import encode, logits, read, tokenizer_of
from safetensors.torch import load_file
from tqdm import tqdm
from transformers import (
    DataCollatorWithPadding,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

import deltac

HERE = Path(__file__).parent
# Learning rates of the delta and of the head, the best of those that --rates tried on the dev part.
RATES = {
    "frozen": (0.0, 1e-1),
    "lora": (3e-3, 3e-2),
    "adapter": (3e-3, 3e-2),
    "bitfit": (3e-3, 3e-2),
    "full": (1e-4, 3e-2),
}
BATCH = 32
THREADS = 2


@dataclass
class Run:
    """What the runs of one method at one learning rate gave."""

    method: str
    rates: tuple[float, float]
    accuracies: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    counts: dict = field(default_factory=dict)

    def row(self) -> dict:
        """A row of the table."""
        return {
            "method": self.method,
            "accuracy": statistics.mean(self.accuracies),
            "lowest": min(self.accuracies),
            "highest": max(self.accuracies),
            "delta": self.counts["delta"],
            "percent": self.counts["percent_of_base"],
            "heads": self.counts["heads"],
            "bytes": self.counts["delta_bytes"],
            "seconds_per_step": statistics.median(self.seconds),
            "rate": self.rates[0],
            "head_rate": self.rates[1],
        }


class Watch(TrainerCallback):
    """Times each step, from the batch to the changed parameters, and moves a progress bar."""

    def __init__(self, bar: tqdm, seconds: list[float]) -> None:
        """Appends to `seconds`."""
        self.bar, self.seconds = bar, seconds

    def on_step_begin(self, *_, **__) -> None:
        """Starts the clock."""
        self.start = time.perf_counter()

    def on_step_end(self, *_, **__) -> None:
        """Stops the clock."""
        self.seconds.append(time.perf_counter() - self.start)
        self.bar.update()


def compile_method(method: str, seed: int) -> deltac.Compiled:
    """The method's spec with another seed, compiled. Equal seeds give equal heads in every method."""
    spec = yaml.safe_load((HERE / "specs" / f"{method}.delta.yaml").read_text(encoding="utf-8"))
    return deltac.compile(spec | {"seed": seed})


def train(
    compiled: deltac.Compiled,
    rates: tuple[float, float],
    seed: int,
    steps: int,
    examples: list[dict],
    tokenizer: Tokenizer,
    watch: Watch,
) -> None:
    """Trains a compiled model in place, its delta at one learning rate and its head at another."""
    rate, head_rate = rates
    groups = compiled.parameter_groups(rate, heads_lr=head_rate)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            lr_scheduler_type="linear",
            warmup_steps=max(steps // 10, 1),
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=True,
            seed=seed,
        )
        trainer = deltac.DeltaTrainer(
            compiled.model,
            arguments,
            train_dataset=examples,
            data_collator=DataCollatorWithPadding(tokenizer),
            optimizers=(torch.optim.AdamW(groups), None),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def reloads_equal(folder: Path, expected: torch.Tensor) -> bool:
    """Whether a fresh process that loads the artifact finds the same logits, bit for bit."""
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "logits.safetensors"
        command = [sys.executable, str(HERE / "predict.py"), str(folder), "--output", str(output)]
        subprocess.run([*command, "--threads", str(THREADS)], check=True)
        return torch.equal(load_file(output)["logits"], expected)


def pair(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    rate, head_rate = map(float, text.split(","))
    return rate, head_rate


def main() -> None:
    """Runs the comparison, or the search for a learning rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=120, help=f"of {BATCH} texts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument(
        "--rates", type=pair, nargs="+", help="try these DELTA,HEAD on the dev part"
    )
    parser.add_argument("--output", type=Path, default=Path("build/docstrings"))
    parser.add_argument("--small", action="store_true", help="one seed, 40 steps, two methods")
    args = parser.parse_args()
    if args.small:
        args.steps, args.seeds, args.methods = 40, [0], ["frozen", "lora"]
    torch.set_num_threads(THREADS)

    tokenizer = tokenizer_of(compile_method("frozen", 0).model)
    rows = read(tokenizer)
    print(report.describe(rows))
    part = "dev" if args.rates else "test"
    examples = encode([row for row in rows if row.part == "train"], tokenizer)
    held_out = encode([row for row in rows if row.part == part], tokenizer)
    labels = torch.tensor([example["label"] for example in held_out])

    runs = [Run(name, rates) for name in args.methods for rates in args.rates or [RATES[name]]]
    lora = None
    # The progress bar is silent where there is no terminal. Seeds come first, so that the methods take turns.
    with tqdm(total=len(args.seeds) * len(runs) * args.steps, unit="step", disable=None) as bar:
        for seed in args.seeds:
            for run in runs:
                bar.set_description(f"{run.method}, seed {seed}")
                compiled = compile_method(run.method, seed)
                watch = Watch(bar, run.seconds)
                train(compiled, run.rates, seed, args.steps, examples, tokenizer, watch)
                found = logits(compiled.model, held_out, tokenizer)
                run.accuracies.append((found.argmax(1) == labels).float().mean().item())
                run.counts = compiled.manifest["counts"]
                if run.method == "lora":
                    lora = compiled, found

    table = [run.row() for run in runs]
    print(report.table(table, part))
    if args.rates:
        return
    args.output.mkdir(parents=True, exist_ok=True)
    report.write(args.output, table, rows, args.steps, args.seeds)
    if lora is not None:
        compiled, found = lora
        folder = compiled.save(args.output / "lora", overwrite=True)
        print(f"\nLoRA's artifact, reloaded by {HERE.name}/predict.py in a fresh process:")
        equal = reloads_equal(folder, found)
        print(f"logits {'equal, bit for bit' if equal else 'DIFFER'}")
        if not equal:
            sys.exit(1)


if __name__ == "__main__":
    main()
