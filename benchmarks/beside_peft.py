"""LoRA and DoRA beside PEFT: a training step, the bytes kept for its backward pass, one token, attaching.

Run it as `python benchmarks/beside_peft.py [--json FILE]`; needs peft. All models of a case are in one process and take
turns, so that what else the machine does meets them alike; ratios of medians are what to read. The floor of training is
the same model frozen, with gradients flowing through its activations.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from torch import nn
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

import deltac
from deltac.prepare import prepare
from deltac.rewrite.apply import apply
from deltac.rewrite.pipeline import rewrite

RANK, ALPHA, BATCH, LENGTH, VOCABULARY = 8, 16.0, 4, 128, 8000
#: Case → dtype of the base, DoRA, dropout.
TRAINING = {
    "LoRA, float32": (torch.float32, False, 0.0),
    "LoRA, bfloat16 base": (torch.bfloat16, False, 0.0),
    "LoRA, dropout 0.1": (torch.float32, False, 0.1),
    "DoRA, float32": (torch.float32, True, 0.0),
}


def main() -> None:
    """Measures everything and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="runs of a training step")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    cases: list[tuple[str, Callable[[], list[dict[str, Any]]]]] = [
        *((name, lambda name=name: training(name, arguments.runs)) for name in TRAINING),
        ("one token", lambda: one_token(10 * arguments.runs)),
        ("attaching", lambda: attaching(arguments.runs)),
    ]
    rows = []
    for _, measure in tqdm(cases, disable=None):
        rows += measure()
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "deltac": deltac.__version__,
        "peft": peft.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "runs": arguments.runs,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(", ".join(f"{key} {value}" for key, value in machine.items()), end="\n\n")
    print("| | PEFT | deltac | deltac's overhead in PEFT's | spread (floor, PEFT, deltac) |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            "| "
            + " | ".join(row[key] for key in ("what", "peft", "deltac", "share", "spread"))
            + " |"
        )


def training(name: str, runs: int) -> list[dict[str, Any]]:
    """A step over the floor, and the bytes that the step keeps."""
    dtype, dora, dropout = TRAINING[name]
    floor = llama(768, 2048, 12, dtype).requires_grad_(False)
    floor.model.embed_tokens.register_forward_hook(lambda module, args, out: out.requires_grad_())
    models = {"floor": floor, "peft": by_peft(llama(768, 2048, 12, dtype), dora, dropout)}
    models["deltac"] = by_deltac(llama(768, 2048, 12, dtype), dora, dropout).model
    tokens = torch.randint(VOCABULARY, (BATCH, LENGTH))
    optimizers = {
        key: torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        for key, model in models.items()
        if key != "floor"
    }

    def step(key: str) -> None:
        models[key](input_ids=tokens, labels=tokens).loss.backward()
        if key in optimizers:
            optimizers[key].step()
            optimizers[key].zero_grad()

    for model in models.values():
        model.train()
    times = in_turns(models, step, runs)
    kept = {key: kept_bytes(model, tokens) / 2**20 for key, model in models.items()}
    return [
        _row(f"{name}: step over the floor", times),
        {
            "what": f"{name}: MiB kept for backward (floor {kept['floor']:.0f})",
            "peft": f"{kept['peft']:.0f}",
            "deltac": f"{kept['deltac']:.0f}",
            "share": f"{(kept['deltac'] - kept['floor']) / (kept['peft'] - kept['floor']):.2f}",
            "spread": "",
            "values": kept,
        },
    ]


def one_token(runs: int) -> list[dict[str, Any]]:
    """A forward pass of one token, delta apart from the weights, merged and switched off."""
    token = torch.zeros(1, 1, dtype=torch.long)
    rows = []
    for name, dora in (("LoRA", False), ("DoRA", True)):
        models = {"floor": llama(256, 688, 12), "peft": by_peft(llama(256, 688, 12), dora)}
        compiled = by_deltac(llama(256, 688, 12), dora)
        models["deltac"] = compiled.model
        for way in ("apart", "merged", "disabled"):
            with ExitStack() as stack:
                for model in models.values():
                    model.eval()
                stack.enter_context(torch.no_grad())
                if way == "apart":
                    stack.enter_context(compiled.inference())
                elif way == "merged":
                    stack.enter_context(compiled.merged())
                    models["peft"].merge_adapter()
                    stack.callback(models["peft"].unmerge_adapter)
                else:
                    stack.enter_context(compiled.disabled())
                    stack.enter_context(models["peft"].disable_adapter())
                times = in_turns(models, lambda key, m=models: m[key](input_ids=token), runs)
            rows.append(_row(f"{name}: one token, {way}, over the base", times))
    return rows


def attaching(runs: int) -> list[dict[str, Any]]:
    """LoRA on the 224 linears of 6.7 billion parameters, on shapes. Both get the model; deltac also its plan."""
    with torch.device("meta"):
        bases = [llama(4096, 11008, 32, vocabulary=32000) for _ in range(2)]
    plan = prepare(_spec(False, 0.0), bases[0]).plan
    shapes = {name: new.shape for name, _, _, new in plan.added()}
    config = _peft_config(False, 0.0)
    times: dict[str, list[float]] = {"peft": [], "deltac": []}
    for _ in range(runs):
        start = time.perf_counter()
        attached = peft.get_peft_model(bases[1], config, low_cpu_mem_usage=True)
        times["peft"].append(time.perf_counter() - start)
        bases[1] = attached.unload()
        model = plan.graph.model
        start = time.perf_counter()
        with ExitStack() as stack:
            stack.enter_context(plan.graph.mode)
            with apply(plan, rewrite(plan), model, lambda name: torch.empty(shapes[name])) as undo:
                times["deltac"].append(time.perf_counter() - start)
            for back in reversed(undo):
                back()
    medians = {key: statistics.median(values) for key, values in times.items()}
    return [
        {
            "what": "attaching LoRA to 224 linears of 6.7 B, on shapes, seconds",
            "peft": f"{medians['peft']:.2f}",
            "deltac": f"{medians['deltac']:.2f}",
            "share": f"{medians['deltac'] / medians['peft']:.2f}",
            "spread": ", ".join(_spread(values) for values in times.values()),
            "values": medians,
        }
    ]


def llama(
    hidden: int,
    inner: int,
    layers: int,
    dtype: torch.dtype = torch.float32,
    vocabulary: int = VOCABULARY,
) -> LlamaForCausalLM:
    """A Llama with random weights, the same each time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        vocab_size=vocabulary,
    )
    return LlamaForCausalLM(config).to(dtype)


def by_peft(model: nn.Module, dora: bool, dropout: float = 0.0) -> nn.Module:
    """PEFT's model, with its own defaults."""
    return peft.get_peft_model(model, _peft_config(dora, dropout))


def by_deltac(model: nn.Module, dora: bool, dropout: float = 0.0) -> deltac.Compiled:
    """deltac's model, with its own defaults."""
    return deltac.compile(_spec(dora, dropout), model=model)


def in_turns(
    models: dict[str, nn.Module], call: Callable[[str], Any], runs: int
) -> dict[str, list[float]]:
    """Times of calls that take turns, after one that counts for nothing."""
    times: dict[str, list[float]] = {key: [] for key in models}
    for run in range(runs + 1):
        for key in models:
            start = time.perf_counter()
            call(key)
            if run:
                times[key].append(time.perf_counter() - start)
    return times


def kept_bytes(model: nn.Module, tokens: torch.Tensor) -> int:
    """Bytes of distinct storages that a forward pass keeps for the backward one; parameters don't count."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(input_ids=tokens, labels=tokens).loss
    total = sum(kept.values())
    del loss
    return total


def _spec(dora: bool, dropout: float) -> dict[str, Any]:
    delta: dict[str, Any] = {"operator": "dora" if dora else "lora", "target": {"role": "linear"}}
    more = {"dropout": dropout} if dropout else {}
    return {
        "version": 1,
        "heads": [],
        "tokens_per_step": BATCH * LENGTH,
        "deltas": [{"name": "delta", **delta, "rank": RANK, "alpha": ALPHA, **more}],
    }


def _peft_config(dora: bool, dropout: float) -> peft.LoraConfig:
    return peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, use_dora=dora, lora_dropout=dropout, target_modules="all-linear"
    )


def _row(what: str, times: dict[str, list[float]]) -> dict[str, Any]:
    medians = {key: statistics.median(values) for key, values in times.items()}
    ratios = {key: medians[key] / medians["floor"] for key in ("peft", "deltac")}
    overhead = ratios["peft"] - 1
    share = f"{(ratios['deltac'] - 1) / overhead:.2f}" if overhead > 0.05 else "-"
    return {
        "what": what,
        "peft": f"{ratios['peft']:.2f}",
        "deltac": f"{ratios['deltac']:.2f}",
        "share": share,
        "spread": ", ".join(_spread(values) for values in times.values()),
        "values": {"seconds": times},
    }


def _spread(values: list[float]) -> str:
    """Half the distance between the quartiles, in percent of the median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"±{50 * (high - low) / middle:.0f}%"


if __name__ == "__main__":
    main()
