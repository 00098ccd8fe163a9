"""Calls the command line inside the test's process: importing torch anew would cost seconds."""

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

from deltac.cli.main import main

SPECS = Path(__file__).parents[2] / "specs"
GOLDEN = Path(__file__).parents[1] / "golden" / "cli"

LLAMA = (
    "{model_type: llama, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, "
    "num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 67, eos_token_id: 2}"
)
MODEL = f"model:\n  class: AutoModelForCausalLM\n  config: {LLAMA}\n"
GOOD = (
    f"version: 1\nname: tiny\n{MODEL}deltas:\n  - {{operator: lora, target: {{module: q_proj}}}}\n"
)
BAD = GOOD.replace("q_proj", "q_prjo")


class Result(NamedTuple):
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str


def deltac(*arguments) -> Result:
    """Runs `deltac` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as exit_:
            code = exit_.code
    return Result(code, out.getvalue(), err.getvalue())


def files(folder) -> dict[str, bytes]:
    """Every file below a folder: relative path → content."""
    folder = Path(folder)
    return {
        each.relative_to(folder).as_posix(): each.read_bytes()
        for each in sorted(folder.rglob("*"))
        if each.is_file()
    }
