"""One method's training: its spec compiled, its learning rates, its Trainer."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

import deltac

SPECS = Path(__file__).parent / "specs"
# Learning rates of the delta and of the head: the best of those that --rates tried on the dev part.
RATES = {
    "frozen": (0.0, 1e-1),
    "lora": (3e-3, 3e-2),
    "adapter": (1e-3, 3e-2),
    "bitfit": (3e-3, 3e-2),
    "full": (1e-4, 3e-2),
}


@dataclass
class Runs:
    """What the runs of one method with one pair of learning rates gave."""

    method: str
    rates: tuple[float, float]
    accuracies: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    counts: dict = field(default_factory=dict)

    def row(self) -> dict:
        """A row of the table."""
        return {
            "method": self.method,
            "accuracies": self.accuracies,
            "accuracy": statistics.mean(self.accuracies),
            "delta": self.counts["delta"],
            "heads": self.counts["heads"],
            "percent": self.counts["percent_of_base"],
            "bytes": self.counts["delta_bytes"],
            "seconds_per_step": statistics.median(self.seconds),
            "cpu_seconds_per_step": statistics.median(self.cpu_seconds),
            "rate": self.rates[0],
            "head_rate": self.rates[1],
        }


class Watch(TrainerCallback):
    """Times each step, from the batch to the changed parameters, and moves a progress bar."""

    def __init__(self, bar: tqdm, runs: Runs) -> None:
        """Appends to the seconds of `runs`."""
        self.bar, self.runs = bar, runs

    def on_step_begin(self, *_, **__) -> None:
        """Starts the clocks."""
        self.start = time.perf_counter(), time.process_time()

    def on_step_end(self, *_, **__) -> None:
        """Stops the clocks."""
        self.runs.seconds.append(time.perf_counter() - self.start[0])
        self.runs.cpu_seconds.append(time.process_time() - self.start[1])
        self.bar.update()


def compile_method(method: str, seed: int) -> deltac.Compiled:
    """The method's spec with another seed, compiled. Equal seeds give equal heads in every method."""
    spec = yaml.safe_load((SPECS / f"{method}.delta.yaml").read_text(encoding="utf-8"))
    return deltac.compile(spec | {"seed": seed})


def train(
    compiled: deltac.Compiled,
    rates: tuple[float, float],
    seed: int,
    steps: int,
    batch: int,
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
            per_device_train_batch_size=batch,
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
            processing_class=tokenizer,
            optimizers=(torch.optim.AdamW(groups), None),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
